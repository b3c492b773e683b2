//! Labels that are true or not each for itself.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bert_core::math::MAX_SIGMOID_RELATIVE_ERROR;
use bert_core::{Head, Model, Rows, ScratchVec, Session};
use common::hostile::text;
use common::{FloatModel, HeadKind, Random, Sizes};

fn float(labels: usize) -> FloatModel {
    FloatModel::random(Sizes { head: HeadKind::MultiLabel, labels, ..Sizes::SMALL }, 12)
}

/// Calls `check` with a session of a model with that many labels.
fn with_session(labels: usize, check: impl FnOnce(&FloatModel, &mut Session<'_, '_>)) {
    let float = float(labels);
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    assert_eq!(model.config().head, Head::MultiLabel { labels: labels as u16 });
    let mut memory = ScratchVec::of(&model);
    check(&float, &mut Session::new(&model, &mut memory).unwrap());
}

#[test]
fn each_probability_is_that_of_its_logit() {
    with_session(9, |float, session| {
        let ids: Vec<u32> = [2].into_iter().chain(5..15).chain([3]).collect();
        let exact = float.reference(&ids, &[]).labels;
        let output = session.run(&ids, &[], Rows::First).unwrap();
        let logits = output.label_logits().to_vec();
        let answer = session.classify_labels("a b c d e f g h i j").unwrap();
        assert_eq!((answer.logits(), answer.tokens, answer.truncated), (&logits[..], 12, false));
        for (i, (label, exact)) in answer.all().zip(&exact).enumerate() {
            assert_eq!((label.label, label.name), (i, float.labels[i].as_str()));
            // The bound of the label logits, see `engine.rs`.
            assert!((logits[i] as f64 - exact).abs() < 0.25, "{logits:?} {exact}");
            let exact = 1.0 / (1.0 + (-logits[i] as f64).exp());
            let error = (label.probability as f64 - exact).abs() / exact;
            assert!(error <= MAX_SIGMOID_RELATIVE_ERROR, "{error:e}");
        }
    });
}

#[test]
fn above_and_top_are_those_of_all_labels_sorted() {
    let mut random = Random(4);
    with_session(9, |_, session| {
        let mut several = 0;
        for _ in 0..200 {
            let text = text(&mut random);
            let answer = session.classify_labels(&text).unwrap();
            let all: Vec<_> = answer.all().collect();
            for threshold in [-1.0, 0.0, 0.25, 0.5, all[3].probability, 1.0, f32::NAN] {
                let above: Vec<_> = answer.above(threshold).collect();
                let expected = all.iter().filter(|label| label.probability > threshold);
                assert_eq!(above, expected.copied().collect::<Vec<_>>());
            }
            let positive = answer.logits().iter().filter(|&&logit| logit > 0.0).count();
            assert_eq!(answer.above(0.5).count(), positive);
            several += (positive > 1) as usize;

            let mut sorted = all;
            let logits = answer.logits();
            sorted.sort_by(|a, b| logits[b.label].total_cmp(&logits[a.label]));
            assert_eq!(answer.top::<20>()[..], sorted);
            assert_eq!(answer.top::<4>()[..], sorted[..4]);
            assert!(answer.top::<0>().is_empty());
        }
        assert!(several > 100, "{several}");
    });
}

#[test]
fn one_label_is_a_yes_or_no() {
    with_session(1, |_, session| {
        let answer = session.classify_labels("abc").unwrap();
        assert_eq!((answer.all().count(), answer.top::<3>().len()), (1, 1));
        session.self_test().unwrap();
    });
}

/// Logits so large that probabilities round to 0 and 1 are still told apart and stay in order.
#[test]
fn saturated_labels_keep_their_order() {
    let mut float = float(4);
    float.classifier.bias = vec![-5000.0, 1000.0, 5000.0, 1000.0];
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let answer = session.classify_labels("abc").unwrap();
    let probabilities: Vec<f32> = answer.all().map(|label| label.probability).collect();
    assert_eq!(probabilities, [0.0, 1.0, 1.0, 1.0]);
    let order: Vec<usize> = answer.top::<4>().iter().map(|label| label.label).collect();
    assert_eq!((order[0], order[3]), (2, 0));
}

#[test]
fn long_texts_are_cut_and_say_so() {
    with_session(3, |_, session| {
        let cut = session.classify_labels(&"a ".repeat(500)).unwrap();
        assert_eq!((cut.tokens, cut.truncated), (24, true));
        let logits = cut.logits().to_vec();
        let fits = session.classify_labels(&"a ".repeat(22)).unwrap();
        assert_eq!((fits.logits(), fits.truncated), (&logits[..], false));
    });
}
