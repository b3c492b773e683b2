/// B sequences without padding: T packed tokens and where each sequence begins.
///
/// All vectors but `cu_seqlens` have length T.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackedBatch {
    /// Piece ids, `[T]`.
    pub ids: Vec<u32>,
    /// Segment (token type) of each token, `[T]`: 0 for the first text, 1 for the second.
    pub segments: Vec<u32>,
    /// Position of each token in its sequence, `[T]`.
    pub positions: Vec<u32>,
    /// Sequence b is tokens `cu_seqlens[b]..cu_seqlens[b + 1]`, `[B + 1]`.
    pub cu_seqlens: Vec<u32>,
    /// Sequence of each token, `[T]`.
    pub token_sequence: Vec<u32>,
}

impl PackedBatch {
    /// A batch of no sequences.
    pub fn new() -> Self {
        PackedBatch { cu_seqlens: vec![0], ..Default::default() }
    }

    /// B, the number of sequences.
    pub fn sequences(&self) -> usize {
        self.cu_seqlens.len().saturating_sub(1)
    }

    /// T, the number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Length of the longest sequence, in tokens; 0 if there is none.
    pub fn max_length(&self) -> usize {
        self.cu_seqlens.windows(2).map(|ends| (ends[1] - ends[0]) as usize).max().unwrap_or(0)
    }

    /// Appends one sequence; `ids` and `segments` have the same length.
    ///
    /// Returns the packed index of its first token.
    pub fn push(&mut self, ids: &[u32], segments: &[u32]) -> u32 {
        debug_assert_eq!(ids.len(), segments.len());
        let start = self.ids.len() as u32;
        let sequence = self.sequences() as u32;
        self.ids.extend_from_slice(ids);
        self.segments.extend_from_slice(segments);
        self.positions.extend(0..ids.len() as u32);
        self.token_sequence.extend(std::iter::repeat_n(sequence, ids.len()));
        self.cu_seqlens.push(self.ids.len() as u32);
        start
    }
}

/// A step of pre-training: sentence pairs with masked tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PretrainBatch {
    /// The pairs after masking, `[CLS] a [SEP] b [SEP]`.
    pub tokens: PackedBatch,
    /// Packed indices of the M masked tokens, ascending, `[M]`.
    pub masked_index: Vec<u32>,
    /// The piece that stood there, `[M]`.
    pub masked_target: Vec<u32>,
    /// For each sequence 0 if b follows a in the corpus, 1 if it is random, `[B]`.
    pub nsp_label: Vec<u32>,
}

/// A step of fine-tuning or evaluation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskBatch {
    /// `[CLS] text [SEP]` or `[CLS] a [SEP] b [SEP]` of each example.
    pub tokens: PackedBatch,
    /// Label of each sequence, `[B]`; ignored where it has none.
    pub labels: Vec<u32>,
    /// 1 for each label that a sequence has, else 0, `[B, C]`, row by row.
    pub label_sets: Vec<f32>,
    /// Number of each sequence, `[B]`.
    pub values: Vec<f32>,
    /// First and last token of the answer in each sequence, relative to its start, `[B, 2]`.
    pub spans: Vec<u32>,
    /// Packed index of the first piece of each word, ascending; empty if the task has no tags.
    pub tag_index: Vec<u32>,
    /// Tag of each of those words, as long as `tag_index`.
    pub tag_target: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushing_keeps_the_vectors_parallel() {
        let mut batch = PackedBatch::new();
        assert_eq!((batch.sequences(), batch.tokens(), batch.max_length()), (0, 0, 0));
        assert_eq!(batch.push(&[2, 7, 3], &[0, 0, 0]), 0);
        assert_eq!(batch.push(&[2, 8, 3, 9, 3], &[0, 0, 0, 1, 1]), 3);
        assert_eq!(batch.cu_seqlens, [0, 3, 8]);
        assert_eq!(batch.positions, [0, 1, 2, 0, 1, 2, 3, 4]);
        assert_eq!(batch.token_sequence, [0, 0, 0, 1, 1, 1, 1, 1]);
        assert_eq!((batch.sequences(), batch.tokens(), batch.max_length()), (2, 8, 5));
    }
}
