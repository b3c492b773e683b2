//! The operations of the forward pass, one a file: these scalar definitions are the arithmetic of
//! the model file. Faster paths for an instruction set must give the same bits.
//!
//! Sizes: T tokens, H hidden, A heads, D head width, F feed-forward. A *row* is one token.

mod activation;
mod attention;
mod embedding;
mod layer_norm;
mod linear;
mod pool;
mod quantize_row;
mod softmax;

pub use activation::activate;
pub use attention::{AttentionRow, attention_row};
pub use embedding::{Row, embedding_row};
pub use layer_norm::layer_norm_row;
pub use linear::linear;
pub use pool::{l2_normalize_row, mean_rows};
pub use quantize_row::{quantize_heads, quantize_row};
pub use softmax::softmax_row;

/// Revision of the arithmetic defined by this module and [`crate::math`]. It rises with any
/// change of any output bit, so that stored self-tests are known to be for other bits.
pub const ARITHMETIC: u16 = 1;
