use std::path::Path;

use super::encode::encode_text;
use super::windows::encode_windows;
use super::{RawExample, TaskKind, TaskLabels, count};
use crate::data::rng::{Stream, permutation};
use crate::data::{DataError, PackedBatch, TaskBatch, TextTokenizer};
use bert_kernels::ops::IGNORE;

/// A sequence as a model reads it: an example, or a window of one.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskExample {
    /// `[CLS] text [SEP]` or `[CLS] a [SEP] b [SEP]`; at most the maximal length.
    pub ids: Vec<u32>,
    /// Segment of each piece: 0 for the first text, 1 for the second.
    pub segments: Vec<u32>,
    /// Index in `ids` of the first piece of each word, ascending; words that were cut off at the
    /// maximal length are absent, so this may be shorter than `tags`.
    pub word_starts: Vec<u32>,
    /// Which word of the raw example each of `word_starts` begins; words without a piece are skipped.
    pub word_index: Vec<u32>,
    /// Tag of each word, the cut-off ones included.
    pub tags: Vec<u32>,
    /// What the sequence as a whole should give.
    pub target: Target,
    /// Which raw example this is of.
    pub source: u32,
    /// For spans, the tokens of the context.
    pub context: Option<ContextTokens>,
}

/// What a sequence as a whole should give.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Target {
    /// Nothing, or it is not known.
    #[default]
    None,
    /// A label.
    Label(u32),
    /// Any number of labels.
    Labels(Vec<u32>),
    /// A number.
    Value(f32),
    /// First and last token of the answer, as indices in `ids`; both 0, where `[CLS]` stands, if the
    /// sequence does not hold it.
    Span {
        /// First token.
        start: u32,
        /// Last token.
        end: u32,
    },
}

/// Where the tokens of the context stand in a sequence and in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextTokens {
    /// Index in `ids` of the first of them.
    pub first: u32,
    /// First byte of each in the context.
    pub starts: Vec<u32>,
    /// Byte after each.
    pub ends: Vec<u32>,
}

/// The limits of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Tokens of a sequence at most, `[CLS]` and `[SEP]` included.
    pub max_length: usize,
    /// For spans: tokens that a window of the context has in common with the one before.
    pub stride: usize,
}

impl EncodeOptions {
    /// Sequences of at most `max_length` tokens and BERT's stride of 128.
    pub fn new(max_length: usize) -> Self {
        Self { max_length, stride: bert_core::AnswerOptions::default().stride }
    }
}

/// The examples of one task file with their ids.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskData {
    /// The sequences in the order of the file: one an example, or, for spans, one a window.
    pub examples: Vec<TaskExample>,
    /// How many examples were longer than the maximal length and lost their end.
    pub truncated: usize,
    /// How many words have no piece (control characters, lone accents, U+FFFD) and were left out.
    pub invisible_words: usize,
    /// How many questions have answers of which none stands where the file says; they are not
    /// learned.
    pub misplaced_questions: usize,
    /// C, the number of labels a text may have; 0 where texts have none.
    classes: usize,
}

impl TaskData {
    /// Turns raw examples into ids; `path` is named in errors.
    ///
    /// Only the first sub-token of a word carries its tag, as in the paper (Devlin et al. 2019,
    /// section 5.3). Two texts are cut longest first; the context of a question is read in windows.
    ///
    /// # Errors
    /// [`DataError::UnknownLabel`] for a label or tag that `labels` lacks,
    /// [`DataError::Option`] if `max_length` leaves no room for a piece (of a context, beside its
    /// question).
    pub fn encode(
        path: &Path,
        raw: &[RawExample],
        kind: TaskKind,
        labels: &TaskLabels,
        tokenizer: &TextTokenizer,
        options: EncodeOptions,
    ) -> Result<Self, DataError> {
        let least = if raw.iter().any(|example| example.second.is_some()) { 5 } else { 3 };
        if options.max_length < least {
            let expected = format!("{least} or more tokens");
            return Err(DataError::option("max-length", expected, options.max_length));
        }
        labels.check(path, raw)?;
        let classes = labels.classes.as_ref().map_or(0, |classes| classes.len());
        let examples = Vec::with_capacity(raw.len());
        let mut data = TaskData { examples, classes, ..TaskData::default() };
        for (source, example) in raw.iter().enumerate() {
            let source = source as u32;
            if kind == TaskKind::Span {
                let windows = encode_windows(example, tokenizer, options).map_err(|expected| {
                    let found = format!("{} tokens", options.max_length);
                    DataError::line(path, example.line, expected, found)
                })?;
                let is_lost = windows.iter().all(|window| window.target == Target::None);
                data.misplaced_questions += usize::from(is_lost);
                let of_source = |window| TaskExample { source, ..window };
                data.examples.extend(windows.into_iter().map(of_source));
                continue;
            }
            let (encoded, lost) = encode_text(example, labels, tokenizer, options.max_length);
            data.truncated += usize::from(lost.truncated);
            data.invisible_words += lost.invisible_words;
            data.examples.push(TaskExample { source, ..encoded });
        }
        Ok(data)
    }

    /// The same sequences for a head with these labels, none of which is said to be right.
    #[must_use]
    pub fn with_classes(self, labels: &TaskLabels) -> Self {
        let classes = labels.classes.as_ref().map_or(0, |classes| classes.len());
        Self { classes, ..self }
    }

    /// C, the number of labels a text may have; 0 where texts have none.
    pub fn classes(&self) -> usize {
        self.classes
    }

    #[cfg(test)]
    pub(crate) fn of_examples(examples: Vec<TaskExample>, classes: usize) -> Self {
        Self { examples, classes, ..Self::default() }
    }

    /// What was lost on the way from the file, for a person; nothing if nothing was.
    pub fn lost(&self) -> Vec<String> {
        let counts = [
            (self.truncated, "example", "longer than the maximal length, cut"),
            (self.invisible_words, "word", "without a piece, left out"),
            (
                self.misplaced_questions,
                "question",
                "whose answers are not where the file says, left out",
            ),
        ];
        let lost = counts.into_iter().filter(|(number, ..)| *number > 0);
        lost.map(|(number, noun, what)| format!("{} {what}", count(number, noun))).collect()
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// Steps of an epoch; the last batch may be smaller. `batch_size` is at least 1.
    pub fn steps_per_epoch(&self, batch_size: usize) -> u64 {
        self.examples.len().div_ceil(batch_size) as u64
    }

    /// The sequences of each step of a training epoch, in a random order that depends on (seed,
    /// epoch) alone.
    pub fn epoch(&self, seed: u64, epoch: u64, batch_size: usize) -> Vec<Vec<u32>> {
        let order = permutation(seed, Stream::ExampleOrder, epoch, self.examples.len() as u32);
        order.chunks(batch_size.max(1)).map(<[u32]>::to_vec).collect()
    }

    /// The sequences of each batch of an evaluation, in the order of the file.
    pub fn in_order(&self, batch_size: usize) -> Vec<Vec<u32>> {
        let order: Vec<u32> = (0..self.examples.len() as u32).collect();
        order.chunks(batch_size.max(1)).map(<[u32]>::to_vec).collect()
    }

    /// Packs the named sequences, each index below [`TaskData::len`].
    pub fn batch(&self, examples: &[u32]) -> TaskBatch {
        let mut batch = TaskBatch { tokens: PackedBatch::new(), ..Default::default() };
        for &index in examples {
            let example = &self.examples[index as usize];
            let start = batch.tokens.push(&example.ids, &example.segments);
            self.push_target(&mut batch, &example.target);
            batch.tag_index.extend(example.word_starts.iter().map(|first| start + first));
            let seen = example.word_starts.len();
            match example.tags.get(..seen) {
                Some(tags) => batch.tag_target.extend_from_slice(tags),
                None => batch.tag_target.extend(std::iter::repeat_n(IGNORE, seen)),
            }
        }
        batch
    }

    /// Every kind of target gets its row: a head reads the kind that it learns.
    fn push_target(&self, batch: &mut TaskBatch, target: &Target) {
        let (mut label, mut value, mut span) = (IGNORE, 0.0, [IGNORE; 2]);
        let first = batch.label_sets.len();
        batch.label_sets.resize(first + self.classes, 0.0);
        match target {
            Target::None => {}
            Target::Label(id) => label = *id,
            Target::Labels(ids) => {
                for &id in ids {
                    batch.label_sets[first + id as usize] = 1.0;
                }
            }
            Target::Value(number) => value = *number,
            Target::Span { start, end } => span = [*start, *end],
        }
        batch.labels.push(label);
        batch.values.push(value);
        batch.spans.extend(span);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{tokenizer, with_file};
    use super::super::{Labels, ReadOptions, read};
    use super::*;

    const JOINT: &[u8] = b"Play\tplay unplayed jazz\tO O B-genre\nStop\tstop\tO\n";

    fn encode(max_length: usize) -> TaskData {
        with_file(JOINT, |path| {
            let raw = read(path, TaskKind::Joint, &ReadOptions::default())?;
            let labels = TaskLabels::collect(TaskKind::Joint, &raw);
            let options = EncodeOptions::new(max_length);
            TaskData::encode(path, &raw, TaskKind::Joint, &labels, &tokenizer(), options)
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
        assert_eq!(data.examples[0].target, Target::Label(0));
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
            read(path, TaskKind::Tag, &ReadOptions::default())
        })
        .unwrap();
        let labels = TaskLabels::collect(TaskKind::Tag, &raw);
        let options = EncodeOptions::new(16);
        let data =
            TaskData::encode(Path::new("x"), &raw, TaskKind::Tag, &labels, &tokenizer(), options);
        let data = data.unwrap();
        assert_eq!(data.invisible_words, 1);
        assert_eq!(data.examples[0].ids, [2, 1, 9, 3]);
        assert_eq!(data.examples[0].word_starts, [1, 2]);
        assert_eq!(data.examples[0].tags, [0, 0]);
    }

    #[test]
    fn what_is_lost_is_told() {
        assert_eq!(encode(16).lost(), Vec::<String>::new());
        assert_eq!(encode(5).lost(), ["1 example longer than the maximal length, cut"]);
        let json = br#"{"data":[{"paragraphs":[{"context":"stop jazz","qas":[
            {"id":"a","question":"play","answers":[{"text":"jazz","answer_start":5}]},
            {"id":"b","question":"play","answers":[{"text":"jazz","answer_start":4}]},
            {"id":"c","question":"play","is_impossible":true}]}]}]}"#;
        let raw = with_file(json, |path| read(path, TaskKind::Span, &ReadOptions::default()));
        let (raw, labels) = (raw.unwrap(), TaskLabels::default());
        let (kind, options) = (TaskKind::Span, EncodeOptions::new(16));
        let data = TaskData::encode(Path::new("q"), &raw, kind, &labels, &tokenizer(), options);
        let data = data.unwrap();
        assert_eq!(data.lost(), ["1 question whose answers are not where the file says, left out"]);
        assert_eq!(data.batch(&[0, 1, 2]).spans, [4, 4, IGNORE, IGNORE, 0, 0]);
    }

    #[test]
    fn an_unknown_tag_names_its_line() {
        let raw = with_file(b"# c\nplay\tX\njazz\tZ\n", |path| {
            read(path, TaskKind::Tag, &ReadOptions::default())
        })
        .unwrap();
        let labels = TaskLabels { classes: None, tags: Some(Labels::new(["X", "Y"])) };
        let path = Path::new("e.conll");
        let options = EncodeOptions::new(16);
        let result = TaskData::encode(path, &raw, TaskKind::Tag, &labels, &tokenizer(), options);
        let error = result.unwrap_err().to_string();
        assert_eq!(error, "e.conll:3: unknown tag \"Z\"; known are X, Y");
    }

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
