//! AMD's matrix cores: MFMA of CDNA, WMMA of RDNA 3.
//!
//! All products are transposed: a lane of the accumulators has several rows of one column, and so it has of
//! a right operand. With the cube's own tokens as columns, `Sᵀ = K Qᵀ` leaves in a lane four (MFMA) or eight
//! (WMMA) keys of one query, which are what it has to hold for `Oᵀ += Vᵀ Pᵀ`: with MFMA just those, with WMMA
//! those of the other half of the plane too, which one exchange brings. A query's row of the softmax is in
//! the lanes whose numbers are equal modulo 16, and each has one peak and one total for all it holds.
//! Gradients follow the same pattern: `d_Qᵀ += Kᵀ d_Sᵀ` for a plane of queries, `d_Vᵀ += d_Oᵀ P` and
//! `d_Kᵀ += Qᵀ d_S` for a plane of keys. Rows of the results are chosen such that a lane ends with neighbours
//! along D, which it stores itself.
//!
//! The cube's own rows are read from global memory straight to the lanes. The other side's tiles are loaded
//! to registers while the one before is used, and go to shared memory when all planes are done with it: one
//! stage, so that several cubes fit in a compute unit. They lie there as in global memory; for products
//! along tokens a lane reads a few neighbours of each token and takes their halves apart, as
//! [`amd_tile`](crate::amd_tile) does for GEMM.

mod forward;
mod keys;
mod place;
mod queries;
mod tile;

pub(super) use forward::attend;
pub(super) use keys::differentiate as differentiate_keys;
pub(super) use queries::differentiate as differentiate_queries;
