//! Spans over windows: against `tokenizers`' windows and a search that looks at everything.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/hugging_face.rs"]
mod hugging_face;

use bert_core::tokenizer::TokenizerConfig;
use bert_core::{
    Answer, AnswerOptions, AnswerSearch, Answers, Error, Model, Rows, ScratchVec, Session,
    SpanWindow,
};
use common::hostile::text;
use common::{FloatModel, HeadKind, Random, Sizes, softmax};
use hugging_face::Pairs;

const MAX_LENGTH: usize = 24;

fn float() -> FloatModel {
    let tiny = Sizes { layers: 1, hidden: 16, heads: 2, feed_forward: 8, ..Sizes::SMALL };
    FloatModel::random(Sizes { head: HeadKind::Span, max_length: MAX_LENGTH, ..tiny }, 4)
}

/// One window with everything that the search is given.
#[derive(Default)]
struct Window {
    start_logits: Vec<f32>,
    end_logits: Vec<f32>,
    starts: Vec<u32>,
    ends: Vec<u32>,
    null_score: f32,
}

/// All answers there are, sorted; written without any bound, list of best or early end.
fn brute_force(windows: &[Window], options: &AnswerOptions, n: usize) -> (Vec<Answer>, f32) {
    let mut all: Vec<Answer> = Vec::new();
    for window in windows {
        let tokens = window.starts.len();
        for (first, last) in (0..tokens).flat_map(|i| (0..tokens).map(move |j| (i, j))) {
            let (start, end) = (window.starts[first], window.ends[last]);
            let score = window.start_logits[first] + window.end_logits[last];
            if first <= last && last - first < options.max_answer_tokens && start < end {
                all.push(Answer { start, end, score, probability: 0.0 });
            }
        }
    }
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.start, a.end).cmp(&(b.start, b.end))));
    let mut seen = std::collections::HashSet::new();
    all.retain(|answer| seen.insert((answer.start, answer.end)));
    all.truncate(n);
    let null_score = windows.iter().map(|w| w.null_score).reduce(f32::min).unwrap();
    (all, null_score)
}

fn same<const N: usize>(found: &Answers<N>, windows: &[Window], options: &AnswerOptions) {
    let (expected, null_score) = brute_force(windows, options, N);
    let place = |a: &Answer| (a.start, a.end, a.score.to_bits());
    let places = |answers: &[Answer]| answers.iter().map(place).collect::<Vec<_>>();
    assert_eq!(places(&found.spans), places(&expected), "{options:?}");
    assert_eq!(found.null_score, null_score);
    assert_eq!(found.windows as usize, windows.len());

    let mut scores: Vec<f64> = expected.iter().map(|a| a.score as f64).collect();
    let threshold = options.no_answer_threshold;
    if threshold.is_some() {
        scores.push(null_score as f64);
    }
    let mut exact = softmax(&scores);
    let null = if threshold.is_some() { exact.pop().unwrap() } else { 0.0 };
    // exp, its argument, the sum and the quotient: see `MAX_EXP_RELATIVE_ERROR`.
    let close = |found: f32, exact: f64| assert!((found as f64 - exact).abs() < 5e-6, "{found}");
    close(found.null_probability, null);
    found.spans.iter().zip(exact).for_each(|(span, exact)| close(span.probability, exact));

    let best = expected.first();
    let answers = best.is_some_and(|best| !threshold.is_some_and(|t| null_score - best.score > t));
    assert_eq!(found.has_answer, answers);
    assert_eq!(found.best().map(place), best.filter(|_| answers).map(place));
}

#[test]
fn the_search_finds_what_looking_at_everything_finds() {
    let mut random = Random(5);
    for round in 0..2000 {
        // Few values, so that scores are often equal; many windows that overlap.
        let (values, size) = (1 + random.below(9), 1 + random.below(40));
        let options = AnswerOptions {
            stride: 0,
            max_answer_tokens: random.below(12),
            no_answer_threshold: [None, Some(0.0), Some(2.5), Some(-3.0)][random.below(4)],
        };
        let logit = |random: &mut Random| match round % 2 {
            0 => random.below(values) as f32 - 2.0,
            _ => random.normal(3.0),
        };
        let windows: Vec<Window> = (0..1 + random.below(6))
            .map(|_| {
                let (first, tokens) = (random.below(40), random.below(size));
                let mut window = Window { null_score: logit(&mut random), ..Window::default() };
                for token in first..first + tokens {
                    // Neighbours often share their bytes, and some lie the wrong way round.
                    let start = (token - token % (1 + random.below(2))) as u32 * 2;
                    window.starts.push(start);
                    window.ends.push((start + 2).saturating_sub(random.below(5) as u32 / 4 * 3));
                    window.start_logits.push(logit(&mut random));
                    window.end_logits.push(logit(&mut random));
                }
                window
            })
            .collect();
        search::<0>(&windows, &options);
        search::<1>(&windows, &options);
        search::<3>(&windows, &options);
        search::<20>(&windows, &options);
        search::<1000>(&windows, &options);
    }
}

fn search<const N: usize>(windows: &[Window], options: &AnswerOptions) {
    let mut search = AnswerSearch::<N>::new(options);
    for w in windows {
        search.add(&SpanWindow {
            start_logits: &w.start_logits,
            end_logits: &w.end_logits,
            starts: &w.starts,
            ends: &w.ends,
            null_score: w.null_score,
        });
    }
    same(&search.finish(), windows, options);
}

/// The windows that `tokenizers` makes, run one by one.
fn windows(
    session: &mut Session<'_, '_>,
    pairs: &Pairs,
    texts: (&str, &str),
    limit: usize,
    stride: usize,
) -> Vec<Window> {
    let encodings = pairs.windows(texts, limit, stride);
    let run = |encoding: &tokenizers::Encoding| {
        let (ids, segments) = (encoding.get_ids(), encoding.get_type_ids());
        let mut output = session.run(ids, segments, Rows::All).unwrap();
        let [start, end] = output.span_logits(0).unwrap();
        let mut window = Window { null_score: start + end, ..Window::default() };
        // The last token is the second [SEP].
        for token in (0..ids.len() - 1).filter(|&token| segments[token] == 1) {
            let [start_logit, end_logit] = output.span_logits(token).unwrap();
            window.start_logits.push(start_logit);
            window.end_logits.push(end_logit);
            let (start, end) = encoding.get_offsets()[token];
            window.starts.push(start as u32);
            window.ends.push(end as u32);
        }
        window
    };
    encodings.iter().map(run).collect()
}

fn check_all(texts: &[(String, String)], limits: impl Iterator<Item = usize>) {
    let float = float();
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let pairs = Pairs::new(&float.pieces, &TokenizerConfig::uncased());
    for limit in limits {
        let mut session = Session::with_limit(&model, &mut memory, limit).unwrap();
        for (i, (question, context)) in texts.iter().enumerate() {
            let options = AnswerOptions {
                stride: [0, 1, 3, limit / 2, limit, usize::MAX][i % 6],
                max_answer_tokens: [1, 4, 30][i % 3],
                no_answer_threshold: [None, Some(0.0), Some(-1.5), Some(0.7)][i % 4],
            };
            let asked = pairs.whole_length((question, "")) - 3;
            let found = session.answer::<7>(question, context, &options);
            if asked + 4 > limit {
                let (found_tokens, limit) = (asked as u32 + 4, limit as u32);
                let error = Error::TooManyTokens { found: found_tokens, limit };
                assert_eq!(found.err(), Some(error), "{question:?} {limit}");
                continue;
            }
            let room = limit - asked - 3;
            let stride = if options.stride < room { options.stride } else { room / 2 };
            let windows = windows(&mut session, &pairs, (question, context), limit, stride);
            let found = found.unwrap();
            same(&found, &windows, &options);
            for answer in &found.spans {
                assert!(context.get(answer.start as usize..answer.end as usize).is_some());
            }
        }
    }
}

#[test]
fn windows_and_answers_are_those_of_tokenizers_at_every_length() {
    let text = |n: usize| "abcdefghijklmnopqrstuvwxyz".repeat(3)[..n].replace("", " ");
    let mut texts = Vec::new();
    for asked in [0, 1, 2, 5, 9, 20] {
        texts.extend((0..60).step_by(1 + asked % 3).map(|n| (text(asked), text(n))));
    }
    check_all(&texts, [3, 4, 5, 9, 23, 24].into_iter());
}

#[test]
fn drawn_texts_have_the_same_answers_with_their_bytes() {
    let mut random = Random(7);
    let short = |text: String| text.chars().take(12).collect::<String>();
    let texts: Vec<_> = (0..150).map(|_| (short(text(&mut random)), text(&mut random))).collect();
    check_all(&texts, [8, 13, 24].into_iter());
}

#[test]
fn a_long_context_is_read_to_its_end() {
    let float = float();
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let context = "한글 e\u{301} \u{1d15e}x, ".repeat(200);
    let options = AnswerOptions { stride: 8, ..AnswerOptions::default() };
    let answers = session.answer::<20>("a b", &context, &options).unwrap();
    let pairs = Pairs::new(&float.pieces, &TokenizerConfig::uncased());
    let windows = windows(&mut session, &pairs, ("a b", &context), MAX_LENGTH, 8);
    assert!(windows.len() > 50);
    same(&answers, &windows, &options);
}

#[test]
fn an_empty_context_has_no_answer() {
    let float = float();
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    for context in ["", " \n\t", "\u{0}\u{200d}"] {
        for no_answer_threshold in [None, Some(0.0)] {
            let options = AnswerOptions { no_answer_threshold, ..AnswerOptions::default() };
            let answers = session.answer::<3>("a", context, &options).unwrap();
            assert!(answers.spans.is_empty() && answers.best().is_none() && !answers.has_answer);
            assert!(answers.null_score.is_finite());
            let certain = if no_answer_threshold.is_some() { 1.0 } else { 0.0 };
            assert_eq!((answers.null_probability, answers.windows), (certain, 1));
        }
    }
}

#[test]
fn the_threshold_is_exceeded_not_reached() {
    let window = Window {
        start_logits: vec![1.0],
        end_logits: vec![2.0],
        starts: vec![0],
        ends: vec![1],
        null_score: 3.5,
    };
    for (threshold, answered) in
        [(None, true), (Some(0.25), false), (Some(0.5), true), (Some(f32::NEG_INFINITY), false)]
    {
        let options = AnswerOptions { no_answer_threshold: threshold, ..Default::default() };
        search::<2>(std::slice::from_ref(&window), &options);
        let (spans, null) = brute_force(std::slice::from_ref(&window), &options, 2);
        assert_eq!(threshold.is_none_or(|t| null - spans[0].score <= t), answered);
    }
}
