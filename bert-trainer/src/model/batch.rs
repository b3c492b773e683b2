//! A batch of packed sequences on the device.

use bert_kernels::{Buffer, Context, ops};

use crate::data::PackedBatch;

/// Packed token ids with their lengths, and the groupings that the embedding gradients need.
pub struct DeviceBatch {
    pub(super) ids: Buffer,
    pub(super) positions: Buffer,
    pub(super) segments: Buffer,
    pub(super) cu_seqlens: Buffer,
    pub(super) token_sequence: Buffer,
    /// Index of the first token of each sequence, `[B]`: where `[CLS]` stands.
    pub(super) first: Buffer,
    pub(super) groups: [DeviceGroups; 3],
    /// T, tokens of all sequences.
    pub tokens: usize,
    /// B, sequences.
    pub sequences: usize,
    /// Tokens of the longest sequence.
    pub max_length: usize,
}

/// Tokens grouped by the table row they use, for the scatter-add of an embedding's gradient.
pub(super) struct DeviceGroups {
    pub order: Buffer,
    pub rows: Buffer,
    pub offsets: Buffer,
}

impl DeviceBatch {
    /// Copies a batch to the device.
    pub fn upload(ctx: &Context, batch: &PackedBatch) -> Self {
        let ends = &batch.cu_seqlens;
        let groups = [&batch.ids, &batch.positions, &batch.segments].map(|ids| {
            let groups = ops::group_rows(ids);
            DeviceGroups {
                order: ctx.upload_u32(&groups.order),
                rows: ctx.upload_u32(&groups.rows),
                offsets: ctx.upload_u32(&groups.offsets),
            }
        });
        Self {
            ids: ctx.upload_u32(&batch.ids),
            positions: ctx.upload_u32(&batch.positions),
            segments: ctx.upload_u32(&batch.segments),
            cu_seqlens: ctx.upload_u32(ends),
            token_sequence: ctx.upload_u32(&batch.token_sequence),
            first: ctx.upload_u32(&ends[..ends.len() - 1]),
            groups,
            tokens: batch.ids.len(),
            sequences: ends.len() - 1,
            max_length: ends.windows(2).map(|ends| (ends[1] - ends[0]) as usize).max().unwrap_or(0),
        }
    }
}
