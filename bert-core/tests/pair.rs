//! Two texts: laid out and cut as Hugging Face `tokenizers` does, at every limit.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/hugging_face.rs"]
mod hugging_face;

use bert_core::tokenizer::TokenizerConfig;
use bert_core::{Error, Model, Rows, ScratchVec, Session};
use common::hostile::text;
use common::{FloatModel, HeadKind, Random, Sizes};
use hugging_face::Pairs;

const MAX_LENGTH: usize = 40;

fn float(head: HeadKind) -> FloatModel {
    let tiny = Sizes { layers: 1, hidden: 16, heads: 2, feed_forward: 8, ..Sizes::SMALL };
    FloatModel::random(Sizes { head, max_length: MAX_LENGTH, ..tiny }, 4)
}

/// The session's logits of two texts must have the bits of those that `tokenizers`' ids give.
fn check(session: &mut Session<'_, '_>, pairs: &Pairs, texts: (&str, &str), limit: usize) {
    let encoding = pairs.cut(texts, limit);
    let ids = encoding.get_ids();
    let output = session.run(ids, encoding.get_type_ids(), Rows::First).unwrap();
    let expected = output.label_logits().to_vec();
    let answer = session.classify_pair(texts.0, texts.1).unwrap();
    assert_eq!(answer.tokens, ids.len(), "{texts:?} {limit}");
    assert_eq!(answer.logits(), expected, "{texts:?} {limit}");
    assert_eq!(answer.truncated, pairs.whole_length(texts) > limit, "{texts:?} {limit}");
}

fn check_all(limits: impl Iterator<Item = usize>, texts: &[(String, String)]) {
    let float = float(HeadKind::PairClassify);
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let pairs = Pairs::new(&float.pieces, &TokenizerConfig::uncased());
    for limit in limits {
        let mut session = Session::with_limit(&model, &mut memory, limit).unwrap();
        for (a, b) in texts {
            check(&mut session, &pairs, (a, b), limit);
        }
    }
}

#[test]
fn every_two_lengths_are_cut_alike_at_every_limit() {
    // Different letters, so that no two cuts have the same ids.
    let letters = |from: u8, n: u8| (from..from + n).map(|c| format!("{} ", c as char)).collect();
    let mut texts: Vec<(String, String)> = Vec::new();
    for a in 0..=12 {
        texts.extend((0..=12).map(|b| (letters(b'a', a), letters(b'm', b))));
    }
    check_all(3..=16, &texts);
}

#[test]
fn drawn_texts_are_cut_alike_at_every_limit() {
    let mut random = Random(3);
    let texts: Vec<_> = (0..60).map(|_| (text(&mut random), text(&mut random))).collect();
    check_all(3..=MAX_LENGTH, &texts);
}

#[test]
fn texts_far_longer_than_the_limit_are_cut_alike() {
    let long = |letter: &str, n: usize| letter.repeat(n);
    let texts = [
        (long("a ", 5000), long("b ", 5001)),
        (long("a ", 5001), long("b ", 5000)),
        (long("a ", 5000), long("b ", 5000)),
        (long("a ", 5000), "b c".into()),
        (String::new(), long("b", 5000)),
        (long("é中", 3000), String::new()),
    ];
    check_all(3..=MAX_LENGTH, &texts);
}

#[test]
fn numbers_of_one_text_and_of_two() {
    let float = float(HeadKind::Regress);
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let pairs = Pairs::new(&float.pieces, &TokenizerConfig::uncased());
    let mut random = Random(9);
    for _ in 0..50 {
        let (a, b) = (text(&mut random), text(&mut random));
        let encoding = pairs.cut((&a, &b), MAX_LENGTH);
        let (ids, segments) = (encoding.get_ids(), encoding.get_type_ids());
        let expected = session.run(ids, segments, Rows::First).unwrap().label_logits().to_vec();
        let answer = session.regress_pair(&a, &b).unwrap();
        assert_eq!((answer.values, answer.tokens), (&expected[..], ids.len()));
        assert_eq!(answer.truncated, pairs.whole_length((&a, &b)) > MAX_LENGTH);
        let exact = float.reference(ids, segments).labels;
        for (value, exact) in answer.values.iter().zip(&exact) {
            // The bound of the label logits, see `engine.rs`.
            assert!((*value as f64 - exact).abs() < 0.25, "{value} {exact}");
        }
        // One text is a pair without its second part.
        let length = encoding.get_type_ids().iter().filter(|&&segment| segment == 0).count();
        if !answer.truncated {
            let expected = session.run(&ids[..length], &[], Rows::First).unwrap();
            let expected = expected.label_logits().to_vec();
            assert_eq!(session.regress(&a).unwrap().values, expected);
        }
    }
}

#[test]
fn two_texts_need_two_segments() {
    let float = float(HeadKind::Regress);
    let mut builder = float.builder(&["a"]);
    builder.embeddings.segment = &float.segment[..16];
    let file = builder.build().unwrap();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    assert_eq!(session.regress("a b").unwrap().values.len(), 5);
    assert_eq!(session.regress_pair("a", "b").err(), Some(Error::TokenRange));
}
