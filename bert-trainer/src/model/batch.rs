//! What a pass reads that changes from pass to pass, on the device as parts of one buffer.

use std::ops::Range;

use bert_kernels::{Buffer, Context, DType, SLICE_ALIGN_BYTES, ops};

use super::{DropoutPlan, MaskedTargets, Shares, Targets};
use crate::config::Config;
use crate::data::{PackedBatch, PretrainBatch};

/// Packed token ids with their lengths, and the groupings that the embedding gradients need.
pub struct DeviceBatch {
    pub(super) ids: Buffer,
    pub(super) positions: Buffer,
    pub(super) segments: Buffer,
    /// Where each sequence begins, and T, `[attended + 1]`.
    pub(super) cu_seqlens: Buffer,
    pub(super) token_sequence: Buffer,
    /// Index of the first token of each sequence, `[B]`: where `[CLS]` stands.
    pub(super) first: Buffer,
    pub(super) groups: [DeviceGroups; 3],
    /// T, tokens of all sequences, with those that fill the batch up.
    pub tokens: usize,
    /// B, sequences.
    pub sequences: usize,
    /// Sequences with those that the tokens which fill the batch up are in.
    pub(super) attended: usize,
    /// Tokens of the longest sequence, or more.
    pub max_length: usize,
}

/// Tokens in the order of the table rows they use, for the scatter-add of an embedding's gradient.
pub(super) struct DeviceGroups {
    pub order: Buffer,
    pub rows: Buffer,
    pub more_runs: Buffer,
}

impl DeviceBatch {
    /// Copies a batch to the device.
    pub fn upload(ctx: &Context, batch: &PackedBatch) -> Self {
        let mut words = Words::default();
        let places = BatchPlaces::add(&mut words, batch, &PassShape::of_tokens(batch));
        places.on(&words.upload(ctx))
    }
}

/// The sizes that the launches of a pass of pre-training have in them: passes of one shape launch the
/// same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PassShape {
    /// T.
    pub tokens: usize,
    /// B.
    pub sequences: usize,
    /// Sequences of tokens that only fill the batch up; they may be empty.
    pub fill: usize,
    /// Tokens of the longest sequence, or more.
    pub max_length: usize,
    /// M.
    pub masked: usize,
}

impl PassShape {
    /// The shape of a batch as it is.
    pub fn of(batch: &PretrainBatch) -> Self {
        Self { masked: batch.masked_index.len(), ..Self::of_tokens(&batch.tokens) }
    }

    fn of_tokens(batch: &PackedBatch) -> Self {
        Self {
            tokens: batch.tokens(),
            sequences: batch.sequences(),
            fill: 0,
            max_length: batch.max_length(),
            masked: 0,
        }
    }
}

/// All that a pass of pre-training reads beside the parameters, in one run of words: a copy to the
/// device instead of twenty.
///
/// Where the shape has room for more than the batch, it is filled up with what leaves no trace: tokens in
/// sequences of their own that no loss asks for, masked positions and rows of tables to ignore.
pub struct PassInputs {
    words: Words,
    batch: BatchPlaces,
    masked: [Range<usize>; 3],
    next: Range<usize>,
    keys: Range<usize>,
    /// M of the batch.
    masked_rows: usize,
    shares: Shares,
}

impl PassInputs {
    /// The inputs of a batch that is `shares` of a step, with the dropout of pass `pass`.
    ///
    /// # Panics
    ///
    /// If the batch is larger than the shape.
    pub fn new(
        config: &Config,
        batch: &PretrainBatch,
        shape: &PassShape,
        shares: Shares,
        (seed, pass): (u64, u64),
    ) -> Self {
        let mut words = Words::default();
        let places = BatchPlaces::add(&mut words, &batch.tokens, shape);
        let rows = batch.masked_index.len();
        let mean = (shares.masked / rows.max(1) as f32).to_bits();
        let masked = [
            words.add(&batch.masked_index, shape.masked, ops::IGNORE),
            words.add(&batch.masked_target, shape.masked, ops::IGNORE),
            words.add(&[mean], 1, 0),
        ];
        let next = words.add(&batch.nsp_label, shape.sequences, 0);
        let keys = DropoutPlan::keys(config, seed, pass);
        let keys = words.add(&keys, keys.len(), 0);
        Self { words, batch: places, masked, next, keys, masked_rows: rows, shares }
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.words.0.len()
    }

    /// Whether there are none, which never is.
    pub fn is_empty(&self) -> bool {
        self.words.0.is_empty()
    }

    /// Copies the words to the device.
    pub fn upload(&self, ctx: &Context) -> Buffer {
        self.words.upload(ctx)
    }

    /// The words, for a buffer that is there.
    pub fn words(&self) -> &[u32] {
        &self.words.0
    }

    /// The parts of a buffer in which the words are. `first_token` is the batch's first token in those of
    /// the whole pass, where several processes share it.
    pub fn on(
        &self,
        config: &Config,
        buffer: &Buffer,
        first_token: u64,
    ) -> (DeviceBatch, Targets, DropoutPlan) {
        let [index, target, mean] = self.masked.each_ref().map(|place| buffer.slice(place.clone()));
        let masked = MaskedTargets {
            index,
            target,
            mean: mean.reinterpret(DType::F32, 1),
            rows: self.masked_rows,
        };
        let targets = Targets {
            masked: Some(masked),
            sequence: Some(buffer.slice(self.next.clone())),
            shares: self.shares,
            ..Targets::default()
        };
        let dropout = DropoutPlan::drawn(config, buffer.slice(self.keys.clone()));
        (self.batch.on(buffer), targets, dropout.from_token(config, first_token))
    }
}

/// Lists of words one behind the other, each where a slice may begin.
#[derive(Default)]
struct Words(Vec<u32>);

impl Words {
    /// Appends values, filled up to `len`.
    fn add(&mut self, values: &[u32], len: usize, fill: u32) -> Range<usize> {
        assert!(values.len() <= len, "{} values in a list of {len}", values.len());
        let start = self.0.len();
        self.0.extend_from_slice(values);
        self.0.resize(start + len, fill);
        // A list of nothing is a word that nobody reads.
        let end = self.0.len().max(start + 1);
        self.0.resize(end.next_multiple_of(SLICE_ALIGN_BYTES / size_of::<u32>()), 0);
        start..start + len
    }

    fn upload(&self, ctx: &Context) -> Buffer {
        ctx.upload_u32(&self.0)
    }
}

/// Where the lists of a batch are among the words.
struct BatchPlaces {
    ids: Range<usize>,
    positions: Range<usize>,
    segments: Range<usize>,
    cu_seqlens: Range<usize>,
    token_sequence: Range<usize>,
    first: Range<usize>,
    /// Order, rows and continued runs of each table.
    groups: [[Range<usize>; 3]; 3],
    shape: PassShape,
}

impl BatchPlaces {
    fn add(words: &mut Words, batch: &PackedBatch, shape: &PassShape) -> Self {
        let filled = fill_up(batch, shape);
        let groups =
            [&batch.ids, &batch.positions, &batch.segments].map(|ids| ops::group_rows(ids));
        let mut list = |values: &[u32]| words.add(values, values.len(), 0);
        Self {
            ids: list(&filled.ids),
            positions: list(&filled.positions),
            segments: list(&filled.segments),
            cu_seqlens: list(&filled.cu_seqlens),
            token_sequence: list(&filled.token_sequence),
            first: list(&batch.cu_seqlens[..shape.sequences]),
            groups: std::array::from_fn(|table| {
                let ops::RowGroups { order, rows, more_runs } = &groups[table];
                [
                    words.add(order, shape.tokens, 0),
                    words.add(rows, shape.tokens, ops::IGNORE),
                    words.add(more_runs, shape.tokens.div_ceil(ops::EMBEDDING_RUN), 0),
                ]
            }),
            shape: *shape,
        }
    }

    fn on(&self, buffer: &Buffer) -> DeviceBatch {
        let part = |place: &Range<usize>| buffer.slice(place.clone());
        DeviceBatch {
            ids: part(&self.ids),
            positions: part(&self.positions),
            segments: part(&self.segments),
            cu_seqlens: part(&self.cu_seqlens),
            token_sequence: part(&self.token_sequence),
            first: part(&self.first),
            groups: self.groups.each_ref().map(|[order, rows, more_runs]| DeviceGroups {
                order: part(order),
                rows: part(rows),
                more_runs: part(more_runs),
            }),
            tokens: self.shape.tokens,
            sequences: self.shape.sequences,
            attended: self.shape.sequences + self.shape.fill,
            max_length: self.shape.max_length,
        }
    }
}

/// A batch with as many tokens and sequences as the shape has.
fn fill_up(batch: &PackedBatch, shape: &PassShape) -> PackedBatch {
    let mut filled = batch.clone();
    for _ in 0..shape.fill {
        let len = (shape.tokens - filled.tokens()).min(shape.max_length);
        let nothing = vec![0; len];
        filled.push(&nothing, &nothing);
    }
    let found = (filled.tokens(), batch.sequences());
    assert_eq!(found, (shape.tokens, shape.sequences), "a batch of another shape");
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_filled_up_with_sequences_of_their_own() {
        let mut batch = PackedBatch::new();
        batch.push(&[7, 8, 9], &[0, 0, 1]);
        batch.push(&[7, 3], &[0, 1]);
        let exact = PassShape::of_tokens(&batch);
        assert_eq!(fill_up(&batch, &exact), batch);
        let shape = PassShape { tokens: 12, fill: 4, max_length: 3, ..exact };
        let filled = fill_up(&batch, &shape);
        assert_eq!(filled.cu_seqlens, [0, 3, 5, 8, 11, 12, 12]);
        assert_eq!(filled.positions[5..], [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(filled.ids[..5], batch.ids);
    }
}
