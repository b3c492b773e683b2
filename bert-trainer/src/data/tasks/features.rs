use std::path::Path;

use super::{RawExample, TaskLabels};
use bert_kernels::ops::IGNORE;

use crate::data::rng::{Stream, permutation};
use crate::data::{DataError, PackedBatch, TaskBatch, TextTokenizer};

/// An example as a model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskExample {
    /// `[CLS]`, the pieces, `[SEP]`; at most the maximal length.
    pub ids: Vec<u32>,
    /// Segment of each piece; all 0 for a single text.
    pub segments: Vec<u32>,
    /// Index in `ids` of the first piece of each word, ascending; words that were cut off at the
    /// maximal length are absent, so this may be shorter than `tags`.
    pub word_starts: Vec<u32>,
    /// Which word of the raw example each of `word_starts` begins; words without a piece are skipped.
    pub word_index: Vec<u32>,
    /// Class of the text, if the task has classes.
    pub label: Option<u32>,
    /// Tag of each word, the cut-off ones included.
    pub tags: Vec<u32>,
}

/// The examples of one task file with their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskData {
    /// The examples in the order of the file.
    pub examples: Vec<TaskExample>,
    /// How many examples were longer than the maximal length and lost their end.
    pub truncated: usize,
    /// How many words have no piece (control characters, lone accents, U+FFFD) and were left out.
    pub invisible_words: usize,
}

impl TaskData {
    /// Turns raw examples into ids; `path` is named in errors.
    ///
    /// Only the first sub-token of a word carries its tag, as in the paper (Devlin et al. 2019,
    /// section 5.3).
    ///
    /// # Errors
    /// [`DataError::UnknownLabel`] for a label or tag that `labels` lacks,
    /// [`DataError::Option`] if `max_length` leaves no room for a piece.
    pub fn encode(
        path: &Path,
        raw: &[RawExample],
        labels: &TaskLabels,
        tokenizer: &TextTokenizer,
        max_length: usize,
    ) -> Result<Self, DataError> {
        if max_length < 3 {
            return Err(DataError::option("max-length", "3 or more tokens", max_length));
        }
        let mut data =
            TaskData { examples: Vec::with_capacity(raw.len()), truncated: 0, invisible_words: 0 };
        for example in raw {
            let example = encode_one(path, example, labels, tokenizer, max_length, &mut data)?;
            data.examples.push(example);
        }
        Ok(data)
    }

    /// Turns raw examples into ids for prediction, whatever labels they may have.
    ///
    /// # Errors
    /// [`DataError::Option`] if `max_length` leaves no room for a piece.
    pub fn unlabelled(
        raw: &[RawExample],
        tokenizer: &TextTokenizer,
        max_length: usize,
    ) -> Result<Self, DataError> {
        let none = TaskLabels { classes: None, tags: None };
        Self::encode(Path::new(""), raw, &none, tokenizer, max_length)
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// Steps of an epoch; the last batch may be smaller. `batch_size` is at least 1.
    pub fn steps_per_epoch(&self, batch_size: usize) -> u64 {
        self.examples.len().div_ceil(batch_size) as u64
    }

    /// The examples of each step of a training epoch, in a random order that depends on (seed,
    /// epoch) alone.
    pub fn epoch(&self, seed: u64, epoch: u64, batch_size: usize) -> Vec<Vec<u32>> {
        let order = permutation(seed, Stream::ExampleOrder, epoch, self.examples.len() as u32);
        order.chunks(batch_size.max(1)).map(<[u32]>::to_vec).collect()
    }

    /// The examples of each batch of an evaluation, in the order of the file.
    pub fn in_order(&self, batch_size: usize) -> Vec<Vec<u32>> {
        let order: Vec<u32> = (0..self.examples.len() as u32).collect();
        order.chunks(batch_size.max(1)).map(<[u32]>::to_vec).collect()
    }

    /// Packs the named examples, each index below [`TaskData::len`].
    pub fn batch(&self, examples: &[u32]) -> TaskBatch {
        let mut batch = TaskBatch { tokens: PackedBatch::new(), ..Default::default() };
        for &index in examples {
            let example = &self.examples[index as usize];
            let start = batch.tokens.push(&example.ids, &example.segments);
            batch.labels.push(example.label.unwrap_or(IGNORE));
            batch.tag_index.extend(example.word_starts.iter().map(|first| start + first));
            let seen = example.word_starts.len();
            match example.tags.get(..seen) {
                Some(tags) => batch.tag_target.extend_from_slice(tags),
                None => batch.tag_target.extend(std::iter::repeat_n(IGNORE, seen)),
            }
        }
        batch
    }
}

fn encode_one(
    path: &Path,
    raw: &RawExample,
    labels: &TaskLabels,
    tokenizer: &TextTokenizer,
    max_length: usize,
    data: &mut TaskData,
) -> Result<TaskExample, DataError> {
    let special = tokenizer.special();
    let label = match (&labels.classes, &raw.label) {
        (Some(classes), Some(name)) => Some(classes.id_or_error("label", name, path, raw.line)?),
        _ => None,
    };
    // The text is encoded whole, exactly as a device gets it; a word is found again by the offset
    // of its first piece.
    let mut ids = vec![special.cls];
    let mut first_piece = vec![None; raw.words.len()];
    let mut word = 0;
    tokenizer.for_each_piece(&raw.text, |id, start| {
        while word < raw.words.len() && raw.words[word].1 as usize <= start {
            word += 1;
        }
        if let Some(first @ None) = first_piece.get_mut(word) {
            *first = Some(ids.len() as u32);
        }
        ids.push(id);
    });
    if ids.len() > max_length - 1 {
        ids.truncate(max_length - 1);
        data.truncated += 1;
    }
    let mut tags = Vec::with_capacity(raw.words.len());
    let mut word_starts = Vec::with_capacity(raw.words.len());
    let mut word_index = Vec::with_capacity(raw.words.len());
    for (index, first) in first_piece.into_iter().enumerate() {
        let mut tag = None;
        if let (Some(known), Some(name)) = (&labels.tags, raw.tags.get(index)) {
            // The words of a CoNLL sentence stand on lines of their own.
            let line = raw.line + if raw.label.is_none() { index as u64 } else { 0 };
            tag = Some(known.id_or_error("tag", name, path, line)?);
        }
        let Some(first) = first else {
            data.invisible_words += 1;
            continue;
        };
        tags.extend(tag);
        if (first as usize) < ids.len() {
            word_starts.push(first);
            word_index.push(index as u32);
        }
    }
    ids.push(special.sep);
    Ok(TaskExample { segments: vec![0; ids.len()], ids, word_starts, word_index, label, tags })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::TaskKind;
    use super::super::tests::{tokenizer, with_file};
    use super::*;

    const JOINT: &[u8] = b"Play\tplay unplayed jazz\tO O B-genre\nStop\tstop\tO\n";

    fn encode(max_length: usize) -> TaskData {
        with_file(JOINT, |path| {
            let raw = super::super::read(path, TaskKind::Joint, 2)?;
            let labels = TaskLabels::collect(TaskKind::Joint, &raw);
            TaskData::encode(path, &raw, &labels, &tokenizer(), max_length)
        })
        .unwrap()
    }

    #[test]
    fn words_are_aligned_by_their_first_piece() {
        let data = encode(16);
        // [CLS] play un ##play ##ed jazz [SEP], see `tokenizer`.
        assert_eq!(data.examples[0].ids, [2, 5, 6, 7, 8, 9, 3]);
        assert_eq!(data.examples[0].word_starts, [1, 2, 5]);
        assert_eq!(data.examples[0].tags, [1, 1, 0]);
        assert_eq!(data.examples[0].label, Some(0));
        assert_eq!(data.truncated, 0);
    }

    #[test]
    fn what_is_cut_off_has_no_start_but_keeps_its_tag() {
        let data = encode(5);
        assert_eq!(data.examples[0].ids, [2, 5, 6, 7, 3]);
        assert_eq!(data.examples[0].word_starts, [1, 2]);
        assert_eq!(data.examples[0].tags.len(), 3);
        assert_eq!(data.truncated, 1);
        let batch = data.batch(&[1, 0]);
        assert_eq!(batch.labels, [1, 0]);
        assert_eq!(batch.tokens.cu_seqlens, [0, 3, 8]);
        assert_eq!(batch.tag_index, [1, 4, 5]);
        assert_eq!(batch.tag_target, [1, 1, 1]);
    }

    #[test]
    fn words_without_pieces_are_left_out() {
        let raw = with_file("a\u{200b}\tX\n\u{200b}\tY\njazz\tX\n".as_bytes(), |path| {
            super::super::read(path, TaskKind::Tag, 2)
        })
        .unwrap();
        let labels = TaskLabels::collect(TaskKind::Tag, &raw);
        let data = TaskData::encode(Path::new("x"), &raw, &labels, &tokenizer(), 16).unwrap();
        assert_eq!(data.invisible_words, 1);
        assert_eq!(data.examples[0].ids, [2, 1, 9, 3]);
        assert_eq!(data.examples[0].word_starts, [1, 2]);
        assert_eq!(data.examples[0].tags, [0, 0]);
    }

    #[test]
    fn an_unknown_tag_names_its_line() {
        let raw = with_file(b"# c\nplay\tX\njazz\tZ\n", |path| {
            super::super::read(path, TaskKind::Tag, 2)
        })
        .unwrap();
        let labels = TaskLabels { classes: None, tags: Some(Labels::new(["X", "Y"])) };
        let error = TaskData::encode(Path::new("e.conll"), &raw, &labels, &tokenizer(), 16);
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "e.conll:3: unknown tag \"Z\"; known are X, Y");
    }

    use super::super::Labels;

    #[test]
    fn epochs_are_keyed_orders_of_all_examples() {
        let data = encode(16);
        assert_eq!(data.epoch(1, 0, 1), data.epoch(1, 0, 1));
        let mut all: Vec<u32> = data.epoch(1, 0, 1).concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1]);
        assert_eq!(data.in_order(8), [[0, 1]]);
        assert_eq!(data.steps_per_epoch(8), 1);
        assert!((0..64).any(|epoch| data.epoch(1, epoch, 2) != data.epoch(1, 0, 2)));
    }
}
