//! One operation, one file.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod bias;
pub(crate) mod binary_cross_entropy;
pub(crate) mod cross_entropy;
pub(crate) mod dropout;
pub(crate) mod elementwise;
pub(crate) mod embedding;
pub(crate) mod fake_quantize;
pub(crate) mod gemm;
pub(crate) mod layer_norm;
pub(crate) mod linear_cross_entropy;
pub(crate) mod mean_squared_error;
pub(crate) mod optimizer;
pub(crate) mod rows;
pub(crate) mod span_cross_entropy;

pub use activation::{Activation, ActivationBackward, activation_backward};
pub use attention::{AttentionBackward, AttentionForward, attention_backward, attention_forward};
pub use bias::{BiasBackward, bias_backward, bias_workspace_len};
pub use binary_cross_entropy::{
    BinaryCrossEntropyBackward, BinaryCrossEntropyForward, binary_cross_entropy_backward,
    binary_cross_entropy_forward,
};
pub use cross_entropy::{
    CrossEntropyBackward, CrossEntropyForward, IGNORE, cross_entropy_backward,
    cross_entropy_forward,
};
pub use dropout::{DeviceDropout, Dropout, DropoutArgs, dropout, dropout_keys, keep_host};
pub use elementwise::{add_assign, cast, copy, fill, scale};
pub use embedding::{
    EMBEDDING_RUN, EmbeddingBackward, EmbeddingForward, RowGroups, embedding_backward,
    embedding_forward, embedding_workspace_len, group_rows,
};
pub use fake_quantize::{FakeQuantizeRows, fake_quantize_rows};
pub use gemm::{
    Epilogue, Gemm, GemmBlock, GemmExtents, GemmTuning, Transpose, fastest_block, gemm, gemm_block,
    gemm_blocks, gemm_scratch_len, time_blocks,
};
pub use layer_norm::{
    LayerNormBackward, LayerNormForward, layer_norm_backward, layer_norm_forward,
    layer_norm_workspace_len,
};
pub use linear_cross_entropy::{
    LinearCrossEntropyBackward, LinearCrossEntropyForward, linear_cross_entropy_backward,
    linear_cross_entropy_chunk, linear_cross_entropy_forward, linear_cross_entropy_workspace_len,
};
pub use mean_squared_error::{
    SquaredErrorBackward, SquaredErrorForward, squared_error_backward, squared_error_forward,
};
pub use optimizer::{
    AdamW, BLOCK, GlobalNorm, Lamb, adamw, global_norm, global_norm_workspace_len, lamb,
};
pub use rows::{GatherRows, ScatterAddRows, gather_rows, scatter_add_rows};
pub use span_cross_entropy::{
    SpanCrossEntropyBackward, SpanCrossEntropyForward, span_cross_entropy_backward,
    span_cross_entropy_forward,
};
