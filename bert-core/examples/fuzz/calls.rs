//! Every call of a session with two texts, and what must hold for its answer.

use bert_core::{
    AnswerOptions, Answers, Classification, EmbedOptions, Error, Head, Layers, Model, Pooling,
    Rows, ScratchVec, Session, Tags,
};

use crate::common::Random;
use crate::guard;

/// Most tags, spans and answers that are asked for.
const MOST: usize = 4;

/// Asks everything of a model, the questions included that its head does not answer.
pub fn every_call(random: &mut Random, model: &Model<'_>, a: &str, b: &str) {
    let config = *model.config();
    // A session may take fewer tokens than the model.
    let most = config.max_length as usize;
    let limit = if random.below(2) == 0 { most } else { 3 + random.below(most - 2) };
    let mut scratch = ScratchVec::new(model.scratch_bytes(limit));
    let mut session = Session::with_limit(model, &mut scratch, limit).unwrap();

    guard::call("output_crc");
    let before = crc(&mut session, a);
    labels(&mut session, a, b);
    numbers(&mut session, a, b);
    tags(&mut session, a);
    answers(random, &mut session, a, b);
    embeddings(&mut session, a);
    ids(random, &mut session, limit);
    guard::call("output_crc");
    assert_eq!(before, crc(&mut session, a), "another answer after other questions");
    guard::call("self_test");
    match session.self_test() {
        Ok(()) | Err(Error::SelfTest { .. } | Error::Arithmetic { .. }) => {}
        Err(Error::TooManyTokens { .. }) if limit < most => {}
        Err(error) => panic!("{error}"),
    }
}

/// The checksum of the answer to a text; none where the model cannot read two texts.
fn crc(session: &mut Session<'_, '_>, text: &str) -> Option<u32> {
    let two = matches!(session.model().config().head, Head::PairClassify { .. } | Head::Span);
    pair(session, two, |session| session.output_crc(text))
}

/// The answer, which must be there when the head suits the question, and only then.
fn answered<T>(suits: bool, answer: Result<T, Error>) -> Option<T> {
    match answer {
        Ok(answer) => {
            assert!(suits, "a head answered a question that is not its own");
            Some(answer)
        }
        Err(Error::WrongHead) if !suits => None,
        Err(error) => panic!("{error}"),
    }
}

/// An answer to two texts (if `two`), which a model with one segment refuses.
fn pair<'s, 'm, 'a, T>(
    session: &'s mut Session<'m, 'a>,
    two: bool,
    ask: impl FnOnce(&'s mut Session<'m, 'a>) -> Result<T, Error>,
) -> Option<T> {
    let segments = session.model().config().segments;
    match ask(session) {
        Err(Error::TokenRange) if two && segments < 2 => None,
        answer => Some(answer.unwrap()),
    }
}

fn labels(session: &mut Session<'_, '_>, a: &str, b: &str) {
    let head = session.model().config().head;
    let words: Vec<&str> = a.split(' ').collect();
    let text = matches!(head, Head::Classify { .. } | Head::Joint { .. });
    guard::call("classify");
    answered(text, session.classify(a)).iter().for_each(classification);
    guard::call("classify_words");
    answered(text, session.classify_words(&words)).iter().for_each(classification);
    guard::call("classify_pair");
    if let Head::PairClassify { .. } = head {
        let answer = pair(session, true, |session| session.classify_pair(a, b));
        answer.iter().for_each(classification);
    } else {
        assert!(answered(false, session.classify_pair(a, b)).is_none());
    }
    guard::call("classify_labels");
    let many = matches!(head, Head::MultiLabel { .. });
    if let Some(answer) = answered(many, session.classify_labels(a)) {
        finite(answer.logits());
        assert_eq!(answer.all().count(), head.labels() as usize);
        assert!(answer.all().all(|label| (0.0..=1.0).contains(&label.probability)));
        assert!(answer.top::<MOST>().len() <= MOST);
    }
}

fn classification(answer: &Classification<'_, '_>) {
    finite(answer.logits());
    assert!(answer.label < answer.logits().len());
    assert!((0.0..=1.0).contains(&answer.probability()));
    let total: f32 = answer.probabilities().map(|(_, probability)| probability).sum();
    assert!((total - 1.0).abs() < 1e-3, "{total}");
    assert!(answer.top::<MOST>().len() <= MOST);
}

fn numbers(session: &mut Session<'_, '_>, a: &str, b: &str) {
    let head = session.model().config().head;
    let suits = matches!(head, Head::Regress { .. });
    guard::call("regress");
    answered(suits, session.regress(a)).iter().for_each(|answer| finite(answer.values));
    guard::call("regress_pair");
    if suits {
        let answer = pair(session, true, |session| session.regress_pair(a, b));
        answer.iter().for_each(|answer| finite(answer.values));
    } else {
        assert!(answered(false, session.regress_pair(a, b)).is_none());
    }
}

fn tags(session: &mut Session<'_, '_>, text: &str) {
    let head = session.model().config().head;
    let (any, joint) = (head.tags() > 0, matches!(head, Head::Joint { .. }));
    let words: Vec<&str> = text.split(' ').collect();
    guard::call("tag");
    if let Some(tags) = answered(any, session.tag(text)) {
        check_tags(tags, text);
    }
    guard::call("tag_words");
    // Joined by single spaces, the words are the text again.
    if let Some(tags) = answered(any, session.tag_words(&words)) {
        check_tags(tags, text);
    }
    guard::call("joint");
    if let Some(answer) = answered(joint, session.joint(text)) {
        classification(&answer.label);
        check_tags(answer.tags, text);
    }
    guard::call("joint_words");
    if let Some(answer) = answered(joint, session.joint_words(&words)) {
        classification(&answer.label);
        check_tags(answer.tags, text);
    }
    guard::call("spans");
    let Some(tags) = answered(any, session.tag(text)) else { return };
    match tags.spans::<MOST>() {
        Ok(spans) => spans.iter().for_each(|span| inside(text, span.start, span.end)),
        Err(error) => assert_eq!(error, Error::TooManySpans { limit: MOST as u32 }),
    }
}

fn check_tags(mut tags: Tags<'_, '_>, text: &str) {
    let mut last = None;
    while let Some((tag, logits)) = tags.next_logits() {
        finite(logits);
        assert!(tag.tag < logits.len() && (0.0..=1.0).contains(&tag.probability));
        assert!(last < Some(tag.word), "words out of order");
        last = Some(tag.word);
        inside(text, tag.start, tag.end);
    }
}

fn answers(random: &mut Random, session: &mut Session<'_, '_>, a: &str, b: &str) {
    guard::call("answer");
    let suits = matches!(session.model().config().head, Head::Span);
    let options = AnswerOptions {
        stride: [0, 1, 5, usize::MAX][random.below(4)],
        max_answer_tokens: [0, 1, 30, usize::MAX][random.below(4)],
        no_answer_threshold: [None, Some(0.0), Some(f32::INFINITY), Some(f32::NAN)]
            [random.below(4)],
    };
    for question in [a, "a", ""] {
        match session.answer::<MOST>(question, b, &options) {
            // The question leaves no room for the context.
            Err(Error::TooManyTokens { found, limit }) if suits => assert!(found > limit),
            answer => answered(suits, answer).iter().for_each(|answers| check_answers(answers, b)),
        }
    }
}

fn check_answers(answers: &Answers<MOST>, context: &str) {
    finite(&[answers.null_score, answers.null_probability]);
    for span in &answers.spans {
        finite(&[span.score, span.probability]);
        inside(context, span.start, span.end);
    }
}

fn embeddings(session: &mut Session<'_, '_>, text: &str) {
    guard::call("embed");
    let (hidden, depth) = (session.model().config().hidden, session.model().config().layers);
    for layers in [Layers::One(0), Layers::One(depth), Layers::SumLastFour, Layers::ConcatLastFour]
    {
        for pooling in [Pooling::Mean, Pooling::First] {
            let options = EmbedOptions { pooling, layers };
            let mut out = vec![f32::NAN; options.out_len(hidden as usize)];
            match session.embed(text, options, &mut out) {
                Ok(mut embedding) => embedding.normalize(),
                Err(error) => {
                    assert_eq!(error, Error::Layers { needed: 4, found: depth });
                    continue;
                }
            }
            finite(&out);
        }
    }
}

/// Ids as a caller might make them up.
fn ids(random: &mut Random, session: &mut Session<'_, '_>, limit: usize) {
    guard::call("run");
    let (vocabulary, segments) =
        (session.model().config().vocabulary, session.model().config().segments);
    let count = random.below(limit + 2);
    let mut ids: Vec<u32> = (0..count).map(|_| random.next() as u32 % vocabulary).collect();
    let zeros = if random.below(2) == 0 { Vec::new() } else { vec![0; count] };
    if count > 0 && random.below(4) == 0 {
        ids[random.below(count)] = [vocabulary, u32::MAX][random.below(2)];
    }
    let in_range = ids.iter().all(|&id| id < vocabulary);
    for rows in [Rows::First, Rows::All] {
        match session.run(&ids, &zeros, rows) {
            Ok(mut output) => {
                assert!(in_range && (1..=limit).contains(&count));
                finite(&output.hidden());
                finite(output.label_logits());
                finite(output.tag_logits(0).unwrap_or(&[]));
                finite(&output.span_logits(0).unwrap_or_default());
            }
            Err(Error::NoTokens) => assert_eq!(count, 0),
            Err(Error::TooManyTokens { .. }) => assert!(count > limit),
            Err(Error::TokenRange) => assert!(!in_range),
            Err(error) => panic!("{error}"),
        }
    }
    let beyond = u32::from(segments);
    assert_eq!(session.run(&[0], &[beyond], Rows::All).err(), Some(Error::TokenRange));
    assert_eq!(session.run(&[0], &[0, 0], Rows::All).err(), Some(Error::TokenRange));
}

fn finite(values: &[f32]) {
    assert!(values.iter().all(|value| value.is_finite()), "{values:?}");
}

/// A span is some characters of the text.
fn inside(text: &str, start: u32, end: u32) {
    let part = text.get(start as usize..end as usize);
    assert!(part.is_some_and(|part| !part.is_empty()), "{start}..{end} of {text:?}");
}
