//! The int8 engine against the forward pass in f64, and its promises about memory.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bert_core::{
    Activation, AnswerOptions, Error, Head, Model, Pooling, Rows, Scratch, ScratchVec, Session,
    Shape, scratch_bytes,
};
use common::{FloatModel, HeadKind, Random, Sizes};

/// Least cosine between a row of the int8 engine's last layer and the same row in f64.
///
/// Quantizing a weight row and an activation row to 8 bits each adds noise of about 1/127/√12 · c
/// of the row's root mean square, c ≈ 3 the ratio of largest to root mean square: 0.7 % each, about
/// 1 % a matrix. Four matrices a layer in sequence, mended by the residual stream, stay under 3 % a
/// layer: cosine ≥ 1 − 0.03² · L/2 > 0.998 for two layers.
const MIN_COSINE: f64 = 0.998;

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let dot = |x: &mut dyn Iterator<Item = (f64, f64)>| x.map(|(a, b)| a * b).sum::<f64>();
    let ab = dot(&mut a.iter().map(|v| *v as f64).zip(b.iter().copied()));
    let aa = dot(&mut a.iter().map(|v| (*v as f64, *v as f64)));
    let bb = dot(&mut b.iter().map(|v| (*v, *v)));
    ab / (aa * bb).sqrt()
}

fn ids(random: &mut Random, sizes: Sizes, count: usize) -> Vec<u32> {
    (0..count).map(|_| random.below(sizes.vocabulary) as u32).collect()
}

fn variants() -> Vec<Sizes> {
    let s = Sizes::SMALL;
    vec![
        s,
        Sizes { activation: Activation::GeluTanh, head: HeadKind::Classify, ..s },
        Sizes { activation: Activation::Relu, pooler: false, ..s },
        Sizes { head: HeadKind::Tag, pooler: false, ..s },
        // Widths that are no multiple of a tile or of the lanes.
        Sizes { hidden: 30, heads: 3, feed_forward: 47, labels: 2, tags: 3, ..s },
        Sizes { layers: 1, hidden: 128, heads: 1, feed_forward: 17, ..s },
        Sizes { head: HeadKind::PairClassify, ..s },
        Sizes { head: HeadKind::Regress, labels: 1, ..s },
        Sizes { head: HeadKind::Span, pooler: false, ..s },
        Sizes { head: HeadKind::Span, hidden: 30, heads: 3, feed_forward: 47, ..s },
        Sizes { head: HeadKind::Embed(Pooling::Mean), ..s },
        Sizes { head: HeadKind::MultiLabel, labels: 9, ..s },
        Sizes { head: HeadKind::MultiLabel, labels: 1, pooler: false, ..s },
    ]
}

#[test]
fn close_to_f64() {
    for (seed, sizes) in variants().into_iter().enumerate() {
        let float = FloatModel::random(sizes, seed as u64);
        let file = float.build();
        let model = Model::parse(&file).unwrap();
        let mut memory = ScratchVec::of(&model);
        let mut session = Session::new(&model, &mut memory).unwrap();
        let mut random = Random(seed as u64 ^ 99);
        for count in [1, 2, 3, 4, 5, 8, 9, 23, 24] {
            let ids = ids(&mut random, sizes, count);
            let segments: Vec<u32> = (0..count).map(|t| (t > count / 2) as u32).collect();
            let exact = float.reference(&ids, &segments);
            let mut output = session.run(&ids, &segments, Rows::All).unwrap();
            for (row, exact) in output.hidden().chunks_exact(sizes.hidden).zip(&exact.hidden) {
                let c = cosine(row, exact);
                assert!(c > MIN_COSINE, "{sizes:?} {count} tokens: cosine {c}");
            }
            match model.config().head.outputs() {
                0 => assert!(output.label_logits().is_empty()),
                _ => close(output.label_logits(), &exact.labels),
            }
            for (t, exact) in exact.tags.iter().enumerate() {
                match output.tag_logits(t) {
                    Some(logits) => close(logits, exact),
                    None => assert_eq!(model.config().head.tags(), 0),
                }
            }
            for (t, exact) in exact.spans.iter().enumerate() {
                match output.span_logits(t) {
                    Some(logits) => close(&logits, exact),
                    None => assert_ne!(sizes.head, HeadKind::Span),
                }
            }
            assert!(output.tag_logits(count).is_none());
            assert!(output.span_logits(count).is_none());
        }
    }
}

/// Logits have a standard deviation near 1 (weights of variance 1/H on rows of variance 1); 3 % of
/// noise a layer, two layers, four standard deviations.
const MAX_LOGIT_ERROR: f64 = 0.25;

fn close(logits: &[f32], exact: &[f64]) {
    assert_eq!(logits.len(), exact.len());
    for (a, b) in logits.iter().zip(exact) {
        assert!((*a as f64 - b).abs() < MAX_LOGIT_ERROR, "{logits:?} {exact:?}");
    }
}

#[test]
fn the_first_row_does_not_depend_on_the_others_being_computed() {
    let float = FloatModel::random(Sizes::SMALL, 5);
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let ids = ids(&mut Random(1), Sizes::SMALL, 17);
    let mut all = session.run(&ids, &[], Rows::All).unwrap();
    let (hidden, logits) = (all.hidden()[..32].to_vec(), all.label_logits().to_vec());
    let mut first = session.run(&ids, &[], Rows::First).unwrap();
    assert_eq!(first.hidden(), hidden);
    assert_eq!(first.label_logits(), logits);
}

/// Invariant 2, on this machine: stored once, equal ever after. The same figure must come out on
/// every instruction set.
#[test]
fn output_bits_are_those_of_arithmetic_revision_2() {
    assert_eq!(bert_core::ARITHMETIC, 2);
    let float = FloatModel::random(Sizes::SMALL, 42);
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let mut random = Random(7);
    let mut crc = bert_core::checksum::Crc32::new();
    for count in 1..=24 {
        let ids = ids(&mut random, Sizes::SMALL, count);
        let mut output = session.run(&ids, &[], Rows::All).unwrap();
        output.hidden().iter().for_each(|v| crc.update(&v.to_le_bytes()));
        output.label_logits().iter().for_each(|v| crc.update(&v.to_le_bytes()));
        let tags = output.tag_logits(0).unwrap();
        tags.iter().for_each(|v| crc.update(&v.to_le_bytes()));
    }
    assert_eq!(crc.finish(), EXPECTED_CRC);
}

const EXPECTED_CRC: u32 = 3_745_903_481;

#[test]
fn scratch_is_exact_to_the_byte() {
    for sizes in variants() {
        let file = FloatModel::random(sizes, 3).build();
        let model = Model::parse(&file).unwrap();
        for limit in [3, 4, 5, 23, 24] {
            let needed = model.scratch_bytes(limit);
            let mut memory = ScratchVec::new(needed);
            Session::with_limit(&model, &mut memory, limit).unwrap();
            let short = &mut memory[..needed - 1];
            let error = Session::with_limit(&model, short, limit).err().unwrap();
            let (needed, found) = (needed as u32, needed as u32 - 1);
            assert_eq!(error, Error::Scratch { needed, found });
        }
        let header = bert_core::scratch_bytes_of(&file);
        assert_eq!(header, model.scratch_bytes(sizes.max_length));
        // A model for longer text than the scratch allows is refused by `new`.
        let mut memory = ScratchVec::new(model.scratch_bytes(23));
        assert!(matches!(Session::new(&model, &mut memory), Err(Error::Scratch { .. })));
        let mut memory = ScratchVec::of(&model);
        let error = Session::with_limit(&model, &mut memory, 25).err();
        assert_eq!(error, Some(Error::TooManyTokens { found: 25, limit: 24 }));
    }
}

#[test]
fn scratch_of_bert_tiny_is_known_at_compile_time_and_linear() {
    const SHAPE: Shape = Shape { hidden: 128, heads: 2, feed_forward: 512, labels: 7, tags: 0 };
    const BYTES: usize = scratch_bytes(&SHAPE, 64);
    static ROOM: Scratch<BYTES> = Scratch::new();
    assert!(ROOM.len() <= 96 * 1024, "{BYTES}");
    let of = |tokens| scratch_bytes(&SHAPE, tokens);
    assert_eq!(of(512) - of(256), of(256) - of(0));
    assert_eq!(scratch_bytes(&SHAPE, usize::MAX / 4096), usize::MAX);
}

#[test]
fn misaligned_scratch_is_refused() {
    let file = FloatModel::random(Sizes::SMALL, 3).build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::new(model.scratch_bytes(24) + 16);
    let error = Session::new(&model, &mut memory[1..]).err();
    assert_eq!(error, Some(Error::ScratchAlignment));
}

#[test]
fn sessions_give_labels_tags_and_spans() {
    let float = FloatModel::random(Sizes::SMALL, 8);
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    assert_eq!(model.config().head, Head::Joint { labels: 5, tags: 7 });
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    session.self_test().unwrap();
    let text = "  abc\tde, fgh ";
    let joint = session.joint(text).unwrap();
    assert!(!joint.label.truncated);
    let total: f32 = joint.label.probabilities().map(|(_, p)| p).sum();
    assert!((total - 1.0).abs() < 1e-5);
    let (name, p) = (joint.label.name(), joint.label.probability());
    assert!(joint.label.probabilities().any(|x| x == (name, p)));
    assert!(joint.label.probabilities().all(|x| x.1 <= p));
    let logits = joint.label.logits().to_vec();
    let tags: Vec<_> = joint.tags.collect();
    let words: Vec<&str> = tags.iter().map(|t| &text[t.start as usize..t.end as usize]).collect();
    assert_eq!(words, ["abc", "de,", "fgh"]);
    assert!(tags.iter().all(|t| t.name == format!("B-tag{}", t.tag)));
    assert_eq!(session.classify(text).unwrap().logits(), logits);
    assert_eq!(session.classify_words(&["abc", "de,", "fgh"]).unwrap().logits(), logits);
    let again: Vec<_> = session.tag_words(&["abc", "de,", "fgh"]).unwrap().collect();
    assert_eq!(
        again.iter().map(|t| t.tag).collect::<Vec<_>>(),
        tags.iter().map(|t| t.tag).collect::<Vec<_>>()
    );
    assert_eq!(again[1].start, 4);
    let same: Vec<_> = session.tag(text).unwrap().collect();
    assert_eq!(same, tags);
    assert_eq!(session.joint_words(&["abc", "de,", "fgh"]).unwrap().label.logits(), logits);
}

#[test]
fn bounded_results_are_those_of_the_iterators() {
    let file = FloatModel::random(Sizes::SMALL, 8).build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();

    let answer = session.classify("abc de fgh").unwrap();
    let mut all: Vec<_> = answer.probabilities().enumerate().collect();
    all.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    let found: Vec<_> =
        answer.top::<8>().iter().map(|l| (l.label, (l.name, l.probability))).collect();
    assert_eq!(found, all, "more room than labels");
    for (found, expected) in answer.top::<3>().iter().zip(&all) {
        assert_eq!((found.label, found.probability), (expected.0, expected.1.1));
    }
    assert_eq!(answer.top::<3>().len(), 3);
    assert_eq!(answer.top::<1>()[0].name, answer.name());
    assert!(answer.top::<0>().is_empty());

    // Every tag of this model is a `B-`: a span a word.
    let spans = session.tag("abc de fgh").unwrap().spans::<3>().unwrap();
    let bytes: Vec<_> = spans.iter().map(|s| (s.start, s.end)).collect();
    assert_eq!(bytes, [(0, 3), (4, 6), (7, 10)]);
    let error = session.tag("abc de fgh").unwrap().spans::<2>().err();
    assert_eq!(error, Some(Error::TooManySpans { limit: 2 }));
}

#[test]
fn long_texts_are_cut_and_say_so() {
    let file = FloatModel::random(Sizes::SMALL, 8).build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let (fits, cut) = ("a ".repeat(22), "a ".repeat(23));
    assert!(!session.classify(&fits).unwrap().truncated);
    let answer = session.classify(&cut).unwrap();
    assert!(answer.truncated);
    assert_eq!(answer.tokens, 24);
    let tags = session.tag(&cut).unwrap();
    assert!(tags.truncated);
    assert_eq!(tags.count(), 22);
    let empty = session.classify("").unwrap();
    assert_eq!((empty.tokens, empty.truncated), (2, false));
    assert_eq!(session.tag(" \n ").unwrap().count(), 0);
}

#[test]
fn each_head_has_its_questions_and_the_others_are_errors() {
    for head in HeadKind::ALL {
        let file = FloatModel::random(Sizes { head, ..Sizes::SMALL }, 8).build();
        let model = Model::parse(&file).unwrap();
        let mut memory = ScratchVec::of(&model);
        let mut session = Session::new(&model, &mut memory).unwrap();
        session.self_test().unwrap();
        let options = AnswerOptions::default();
        let errors = [
            (session.classify("a").err(), head == HeadKind::Classify || head == HeadKind::Joint),
            (session.tag("a").err(), head == HeadKind::Tag || head == HeadKind::Joint),
            (session.joint("a").err(), head == HeadKind::Joint),
            (session.classify_pair("a", "b").err(), head == HeadKind::PairClassify),
            (session.classify_labels("a").err(), head == HeadKind::MultiLabel),
            (session.regress("a").err(), head == HeadKind::Regress),
            (session.regress_pair("a", "b").err(), head == HeadKind::Regress),
            (session.answer::<1>("a", "b", &options).err(), head == HeadKind::Span),
            (session.embed("a", Pooling::Mean, &mut [0.0; 32]).err(), true),
        ];
        for (i, (error, fits)) in errors.into_iter().enumerate() {
            let expected = if fits { None } else { Some(Error::WrongHead) };
            assert_eq!(error, expected, "{head:?}, question {i}");
        }
    }
}

#[test]
fn ids_that_do_not_fit_are_errors() {
    let sizes = Sizes { head: HeadKind::Classify, ..Sizes::SMALL };
    let file = FloatModel::random(sizes, 8).build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let mut run = |ids: &[u32], segments: &[u32]| session.run(ids, segments, Rows::All).err();
    assert_eq!(run(&[], &[]), Some(Error::NoTokens));
    assert_eq!(run(&[0; 25], &[]), Some(Error::TooManyTokens { found: 25, limit: 24 }));
    assert_eq!(run(&[64], &[]), Some(Error::TokenRange));
    assert_eq!(run(&[1, 2], &[0]), Some(Error::TokenRange));
    assert_eq!(run(&[1], &[2]), Some(Error::TokenRange));
    assert_eq!(run(&[1, 2], &[0, 1]), None);
}
