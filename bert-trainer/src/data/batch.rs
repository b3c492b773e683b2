use std::ops::Range;

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

    /// The packed tokens of a run of sequences.
    fn token_range(&self, run: &Range<usize>) -> Range<u32> {
        self.cu_seqlens[run.start]..self.cu_seqlens[run.end]
    }

    /// A run of sequences as a batch of its own.
    fn run(&self, run: Range<usize>) -> Self {
        let mut part = Self::new();
        for ends in self.cu_seqlens[run.start..=run.end].windows(2) {
            let tokens = ends[0] as usize..ends[1] as usize;
            part.push(&self.ids[tokens.clone()], &self.segments[tokens]);
        }
        part
    }
}

/// Part `part` of `parts` of a run of sequences, which are of nearly equal length.
pub fn cut(run: Range<usize>, part: usize, parts: usize) -> Range<usize> {
    let bound = |part: usize| run.start + part * run.len() / parts;
    bound(part)..bound(part + 1)
}

/// A batch's sequences in order, cut into runs of nearly equal length.
fn runs(sequences: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = parts.clamp(1, sequences.max(1));
    (0..parts).map(move |part| cut(0..sequences, part, parts))
}

/// The rows of a run out of values that have as many a sequence for all sequences; none out of none.
fn rows<T: Clone>(values: &[T], run: &Range<usize>, sequences: usize) -> Vec<T> {
    let width = values.len() / sequences.max(1);
    values[run.start * width..run.end * width].to_vec()
}

/// What belongs to the tokens of a run: packed indices, now from its first token, and their targets.
fn at_tokens(index: &[u32], targets: &[u32], tokens: &Range<u32>) -> (Vec<u32>, Vec<u32>) {
    let pairs = index.iter().zip(targets).filter(|(at, _)| tokens.contains(at));
    pairs.map(|(at, target)| (at - tokens.start, *target)).unzip()
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

impl PretrainBatch {
    /// The batch in `parts` parts, each with a run of the sequences; fewer if it has fewer sequences.
    pub fn split(&self, parts: usize) -> Vec<Self> {
        let sequences = self.tokens.sequences();
        runs(sequences, parts)
            .map(|run| {
                let tokens = self.tokens.token_range(&run);
                let (masked_index, masked_target) =
                    at_tokens(&self.masked_index, &self.masked_target, &tokens);
                Self {
                    masked_index,
                    masked_target,
                    nsp_label: rows(&self.nsp_label, &run, sequences),
                    tokens: self.tokens.run(run),
                }
            })
            .collect()
    }
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

impl TaskBatch {
    /// The batch in `parts` parts, each with a run of the sequences; fewer if it has fewer sequences.
    pub fn split(&self, parts: usize) -> Vec<Self> {
        let sequences = self.tokens.sequences();
        runs(sequences, parts)
            .map(|run| {
                let tokens = self.tokens.token_range(&run);
                let (tag_index, tag_target) = at_tokens(&self.tag_index, &self.tag_target, &tokens);
                Self {
                    labels: rows(&self.labels, &run, sequences),
                    label_sets: rows(&self.label_sets, &run, sequences),
                    values: rows(&self.values, &run, sequences),
                    spans: rows(&self.spans, &run, sequences),
                    tag_index,
                    tag_target,
                    tokens: self.tokens.run(run),
                }
            })
            .collect()
    }
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

    fn sequences(lengths: &[u32]) -> PackedBatch {
        let mut batch = PackedBatch::new();
        for (number, &length) in lengths.iter().enumerate() {
            let ids: Vec<u32> = (0..length).map(|at| 100 * number as u32 + at).collect();
            batch.push(&ids, &vec![1; ids.len()]);
        }
        batch
    }

    #[test]
    fn a_step_in_one_part_is_the_step() {
        let batch = PretrainBatch {
            tokens: sequences(&[3, 5]),
            masked_index: vec![1, 3, 7],
            masked_target: vec![7, 8, 9],
            nsp_label: vec![0, 1],
        };
        assert_eq!(batch.split(1), vec![batch.clone()]);
        let batch = TaskBatch {
            tokens: sequences(&[4, 2]),
            labels: vec![1, 0],
            label_sets: vec![0.0, 1.0, 1.0, 0.0],
            values: vec![0.5, -1.0],
            spans: vec![0, 1, 0, 0],
            tag_index: vec![1, 5],
            tag_target: vec![3, 4],
        };
        assert_eq!(batch.split(1), vec![batch.clone()]);
    }

    #[test]
    fn parts_have_every_sequence_once_with_its_targets() {
        let batch = PretrainBatch {
            tokens: sequences(&[2, 4, 3]),
            masked_index: vec![1, 2, 5, 6],
            masked_target: vec![7, 8, 9, 6],
            nsp_label: vec![0, 1, 0],
        };
        let parts = batch.split(2);
        assert_eq!(parts.iter().map(|part| part.tokens.sequences()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(parts[0].masked_index, [1]);
        assert_eq!(parts[1].tokens.ids, [100, 101, 102, 103, 200, 201, 202]);
        assert_eq!(parts[1].tokens.positions, [0, 1, 2, 3, 0, 1, 2]);
        assert_eq!(
            (parts[1].masked_index.as_slice(), parts[1].masked_target.as_slice()),
            ([0, 3, 4].as_slice(), [8, 9, 6].as_slice())
        );
        assert_eq!(parts[1].nsp_label, [1, 0]);
        // More parts than sequences are as many as there are sequences.
        assert_eq!(batch.split(9).len(), 3);

        let batch = TaskBatch {
            tokens: sequences(&[2, 2, 2]),
            label_sets: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            spans: vec![0, 1, 1, 1, 0, 0],
            tag_index: vec![1, 3, 5],
            tag_target: vec![7, 8, 9],
            ..TaskBatch::default()
        };
        let last = &batch.split(3)[2];
        assert_eq!(
            (last.label_sets.as_slice(), last.spans.as_slice()),
            ([5.0, 6.0].as_slice(), [0, 0].as_slice())
        );
        assert_eq!(
            (last.tag_index.as_slice(), last.tag_target.as_slice()),
            ([1].as_slice(), [9].as_slice())
        );
        assert!(last.labels.is_empty() && last.values.is_empty());
    }
}
