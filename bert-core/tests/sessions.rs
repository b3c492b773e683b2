//! Many texts on several threads: each answer is the one that a single session gives, at its place.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bert_core::{Error, Model, Rows, ScratchVec, Session, Sessions};
use common::{FloatModel, HeadKind, Sizes};

fn file() -> Vec<u8> {
    let sizes = Sizes { max_length: 40, head: HeadKind::Classify, ..Sizes::SMALL };
    FloatModel::random(sizes, 9).build()
}

/// Token ids of very different lengths, so that threads overtake each other; some are too long.
fn inputs(vocabulary: u32) -> Vec<Vec<u32>> {
    let length = |i: u32| if i.is_multiple_of(10) { 41 } else { 1 + i * 7 % 40 };
    (0..97).map(|i| (0..length(i)).map(|t| (i * 31 + t * 7) % vocabulary).collect()).collect()
}

fn logits(session: &mut Session<'_, '_>, ids: &[u32]) -> Result<Vec<u32>, Error> {
    let output = session.run(ids, &[], Rows::First)?;
    Ok(output.label_logits().iter().map(|logit| logit.to_bits()).collect())
}

#[test]
fn answers_are_in_order_and_those_of_one_session() {
    let file = file();
    let model = Model::parse(&file).unwrap();
    let inputs = inputs(model.config().vocabulary);
    let mut memory = ScratchVec::of(&model);
    let mut one = Session::new(&model, &mut memory).unwrap();
    let expected: Vec<_> = inputs.iter().map(|ids| logits(&mut one, ids)).collect();
    assert!(expected.iter().any(Result::is_err) && expected.iter().any(Result::is_ok));
    for threads in [0, 1, 2, 5, 200] {
        let mut sessions = Sessions::new(&model, threads).unwrap();
        assert_eq!(sessions.threads(), threads.max(1));
        // Twice: memory that was used before changes nothing.
        for _ in 0..2 {
            let found = sessions.map(&inputs, |session, ids| logits(session, ids)).unwrap();
            assert_eq!(found, expected, "{threads} threads");
        }
    }
}

#[test]
fn no_text_has_no_answer() {
    let file = file();
    let model = Model::parse(&file).unwrap();
    let mut sessions = Sessions::new(&model, 3).unwrap();
    let answers = sessions.map(&[] as &[&str], |session, text| session.kernels().name() == *text);
    assert_eq!(answers.unwrap(), []);
}
