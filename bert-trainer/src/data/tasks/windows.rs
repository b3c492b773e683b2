//! A question and its context as sequences: `[CLS] question [SEP] part of the context [SEP]`.

use std::ops::{ControlFlow, Range};

use super::{ContextTokens, EncodeOptions, RawExample, Target, TaskExample};
use crate::data::TextTokenizer;

/// The windows of an example, laid out as `bert_core::Session::answer` reads them.
///
/// A window that does not hold the whole answer has `[CLS]` as its target, as in Transformers'
/// `run_qa.py`. Of several true answers the first that stands in the context is learned; if there
/// are some but none stands in it, nothing is.
///
/// # Errors
///
/// What was expected, if the question leaves no room for a token of the context.
pub(super) fn encode_windows(
    raw: &RawExample,
    tokenizer: &TextTokenizer,
    options: EncodeOptions,
) -> Result<Vec<TaskExample>, String> {
    let special = tokenizer.special();
    let mut question = vec![special.cls];
    tokenizer.encode(&raw.text, &mut question);
    question.push(special.sep);
    let first = question.len();
    if first + 2 > options.max_length {
        return Err(format!("a --max-length above {} for this question", first + 1));
    }
    let tokens = Tokens::read(raw.second.as_deref().unwrap_or_default(), tokenizer);
    let answer = raw.answers().iter().find_map(|answer| {
        let start = answer.start?;
        tokens.between(start, start + answer.text.len() as u32)
    });
    let is_known = answer.is_some() || raw.answers().is_empty();
    let room = options.max_length - 1 - first;
    let overlap = bert_core::window_overlap(options.stride, room);

    let mut windows = Vec::new();
    let mut begin = 0;
    loop {
        let end = tokens.ids.len().min(begin + room);
        let mut ids = question.clone();
        ids.extend_from_slice(&tokens.ids[begin..end]);
        ids.push(special.sep);
        let mut segments = vec![0; first];
        segments.resize(ids.len(), 1);
        let position = |token: usize| (first + token - begin) as u32;
        let target = match &answer {
            Some(found) if found.start >= begin && found.end <= end => {
                Target::Span { start: position(found.start), end: position(found.end - 1) }
            }
            _ if is_known => Target::Span { start: 0, end: 0 },
            _ => Target::None,
        };
        windows.push(TaskExample {
            ids,
            segments,
            word_starts: Vec::new(),
            word_index: Vec::new(),
            tags: Vec::new(),
            target,
            source: 0,
            context: Some(ContextTokens {
                first: first as u32,
                starts: tokens.starts[begin..end].to_vec(),
                ends: tokens.ends[begin..end].to_vec(),
            }),
        });
        if end == tokens.ids.len() {
            return Ok(windows);
        }
        begin = end - overlap;
    }
}

/// The tokens of a context with their bytes.
struct Tokens {
    ids: Vec<u32>,
    starts: Vec<u32>,
    ends: Vec<u32>,
}

impl Tokens {
    fn read(context: &str, tokenizer: &TextTokenizer) -> Self {
        let mut tokens = Self { ids: Vec::new(), starts: Vec::new(), ends: Vec::new() };
        tokenizer
            .core()
            .tokenize(context, |token| {
                tokens.ids.push(token.id);
                tokens.starts.push(token.start);
                tokens.ends.push(token.end);
                ControlFlow::Continue(())
            })
            .expect("contexts come from files that were read whole, far below 4 GiB");
        tokens
    }

    /// The tokens that have a byte in `start..end`.
    fn between(&self, start: u32, end: u32) -> Option<Range<usize>> {
        let touches = |index: &usize| self.ends[*index] > start && self.starts[*index] < end;
        let first = (0..self.ids.len()).find(touches)?;
        let last = (0..self.ids.len()).rfind(touches)?;
        Some(first..last + 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::tokenizer;
    use super::super::{Gold, GoldAnswer};
    use super::*;

    const CONTEXT: &str = "stop unplayed jazz play stop";

    fn windows(answer: Option<(&str, u32)>, max_length: usize, stride: usize) -> Vec<TaskExample> {
        let answers: Vec<GoldAnswer> = answer
            .map(|(text, start)| GoldAnswer { text: text.into(), start: Some(start) })
            .into_iter()
            .collect();
        let (gold, second) = (Gold::Answers(answers), Some(CONTEXT.into()));
        let raw = RawExample { gold, second, ..RawExample::new("play jazz", 1) };
        let options = EncodeOptions { max_length, stride };
        encode_windows(&raw, &tokenizer(), options).unwrap()
    }

    #[test]
    fn a_short_context_is_one_window() {
        // See `tokenizer`: play 5, un 6, ##play 7, ##ed 8, jazz 9, stop 10.
        let [window] = &windows(Some(("unplayed jazz", 5)), 32, 4)[..] else { panic!() };
        assert_eq!(window.ids, [2, 5, 9, 3, 10, 6, 7, 8, 9, 5, 10, 3]);
        assert_eq!(window.segments, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(window.target, Target::Span { start: 5, end: 8 });
        let context = window.context.as_ref().unwrap();
        assert_eq!(context.first, 4);
        let first = |token: usize| &CONTEXT[context.starts[token] as usize..];
        assert!(first(4).starts_with("jazz") && first(6) == "stop");
    }

    #[test]
    fn a_long_context_is_read_in_overlapping_windows() {
        let found = windows(Some(("jazz", 14)), 9, 2);
        let parts: Vec<&[u32]> =
            found.iter().map(|window| &window.ids[4..window.ids.len() - 1]).collect();
        assert_eq!(parts, [&[10, 6, 7, 8][..], &[7, 8, 9, 5], &[9, 5, 10]]);
        let targets: Vec<&Target> = found.iter().map(|window| &window.target).collect();
        let span = |at| Target::Span { start: at, end: at };
        assert_eq!(targets, [&span(0), &span(6), &span(4)]);
    }

    #[test]
    fn no_answer_is_cls() {
        assert_eq!(windows(None, 32, 4)[0].target, Target::Span { start: 0, end: 0 });
    }

    #[test]
    fn an_answer_that_does_not_stand_in_the_context_is_not_learned() {
        // In no token: a blank.
        assert_eq!(windows(Some((" ", 4)), 32, 4)[0].target, Target::None);
        let misplaced = GoldAnswer { text: "jazz".into(), start: None };
        let placed = GoldAnswer { text: "play".into(), start: Some(19) };
        let target = |answers: &[&GoldAnswer]| {
            let gold = Gold::Answers(answers.iter().map(|&answer| answer.clone()).collect());
            let raw = RawExample {
                gold,
                second: Some(CONTEXT.into()),
                ..RawExample::new("play jazz", 1)
            };
            let options = EncodeOptions { max_length: 32, stride: 4 };
            encode_windows(&raw, &tokenizer(), options).unwrap()[0].target.clone()
        };
        assert_eq!(target(&[&misplaced]), Target::None);
        assert_eq!(target(&[&misplaced, &placed]), Target::Span { start: 9, end: 9 });
    }

    #[test]
    fn a_question_without_room_is_refused() {
        let raw = RawExample::new("play jazz", 1);
        let options = EncodeOptions { max_length: 5, stride: 1 };
        let error = encode_windows(&raw, &tokenizer(), options).unwrap_err();
        assert_eq!(error, "a --max-length above 5 for this question");
    }
}
