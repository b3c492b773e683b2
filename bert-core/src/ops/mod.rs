//! The operations of the forward pass, one a file: these scalar definitions are the arithmetic of
//! the model file. Faster paths for an instruction set must give the same bits; [`crate::arch`]
//! has them.
//!
//! Sizes: T tokens, H hidden, A heads, D head width, F feed-forward. A *row* is one token.

mod activation;
mod attention;
mod embedding;
mod gemm;
mod layer_norm;
mod linear;
mod linear_half;
mod pool;
mod quantize_row;
mod residual;
mod softmax;

pub use activation::activate;
pub use attention::HeadPanels;
#[cfg(any(target_arch = "riscv32", test))]
pub(crate) use embedding::embedding_row_with;
pub use embedding::{Row, WordRow, embedding_row};
#[cfg(all(native_operations, not(cortex_m_dsp)))]
pub(crate) use gemm::gemm_at;
pub use gemm::{Activations, ROW_ALIGN, Weights, gemm};
pub use layer_norm::{add_norm_row, layer_norm_row};
pub use linear::linear;
#[cfg(all(native_operations, not(cortex_m_dsp)))]
pub(crate) use linear::linear_at;
pub use linear_half::linear_half;
pub use pool::{add_row, divide_row, l2_normalize_row};
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "riscv32",
    all(cortex_m_dsp, any(cortex_m_fpu, cortex_m_helium)),
    test
))]
pub(crate) use quantize_row::SMALLEST;
pub use quantize_row::quantize_row;
pub use residual::{GROUP, load_row, store_row};
#[cfg(any(target_arch = "x86_64", target_arch = "riscv32", test))]
pub(crate) use softmax::levels;
pub use softmax::{SoftmaxScales, combine_row, softmax_rows};

/// Revision of the arithmetic defined by this module and [`crate::math`]. It rises with any
/// change of any output bit, so that stored self-tests are known to be for other bits.
pub const ARITHMETIC: u16 = 2;
