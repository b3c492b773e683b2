//! GEMM, attention, layer norm and their companions, forward and backward, once, in CubeCL.
//!
//! This crate knows no BERT: operations take [`Buffer`]s and sizes. All outputs are the caller's, so
//! memory is planned once; launches are queued on the [`Context`]'s device.
//!
//! Letters are the same everywhere: B sequences, T tokens of all sequences packed together,
//! H hidden width, A heads, D head width, V vocabulary, M masked positions, N and K widths of a
//! linear layer.

// CubeCL reads a kernel's body as a language of its own: compound assignment of vectors, iterators
// over slices and a short-circuit `&&` before an access are not what they are on the host.
#![allow(clippy::assign_op_pattern, clippy::needless_range_loop, clippy::collapsible_if)]

mod amd_tile;
mod arena;
mod async_copy;
mod buffer;
#[cfg(feature = "cases")]
pub mod cases;
mod column_sums;
mod context;
mod error;
mod exp2;
mod lanes;
pub mod math;
mod matrix_core;
mod narrow;
#[cfg(feature = "nccl")]
mod nccl;
#[cfg(feature = "offline")]
pub mod offline;
pub mod ops;
mod profile;
mod teams;
mod tensor_tile;

pub use arena::{Arena, Recording};
pub use buffer::{Buffer, DType, SLICE_ALIGN_BYTES};
pub use context::{Context, DeviceShape, MemoryPeak, Recorded};
pub use error::KernelError;
pub use matrix_core::MatrixCore;
#[cfg(feature = "nccl")]
pub use nccl::{NCCL_ID_WORDS, Nccl};
pub use profile::{KernelTime, Profile};
