//! NVIDIA's tensor cores: asynchronous copies bring tiles in two stages, one fills while the other is used,
//! and each plane has 16 rows. The accumulators of `mma` m16n8 lie as the left operand of the next m16n8k16
//! does; four lanes share a row.

mod forward;
mod keys;
mod queries;
mod tile;

pub(super) use forward::attend;
pub(super) use keys::differentiate as differentiate_keys;
pub(super) use queries::differentiate as differentiate_queries;
