//! Vectors of texts, from models with any head.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bert_core::math::{LANES, reduce};
use bert_core::{Error, Model, Pooling, Rows, ScratchVec, Session};
use common::{FloatModel, HeadKind, Random, Sizes};

/// Letters, each a token of its own, and their ids with `[CLS]` and `[SEP]`.
fn letters(random: &mut Random, count: usize) -> (String, Vec<u32>) {
    let letters: Vec<u32> = (0..count).map(|_| random.below(26) as u32).collect();
    let text = letters.iter().map(|&n| format!("{} ", (b'a' + n as u8) as char)).collect();
    let ids = letters.iter().map(|n| n + 5);
    (text, [2].into_iter().chain(ids).chain([3]).collect())
}

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let a: Vec<f64> = a.iter().map(|&v| v as f64).collect();
    dot(&a, b) / (dot(&a, &a) * dot(b, b)).sqrt()
}

#[test]
fn vectors_are_those_of_the_rows_and_close_to_f64() {
    let sizes = Sizes { max_length: 40, ..Sizes::SMALL };
    let odd = Sizes { hidden: 30, heads: 3, feed_forward: 47, pooler: false, ..sizes };
    let all = HeadKind::ALL.into_iter().flat_map(|head| [sizes, odd].map(|s| Sizes { head, ..s }));
    for sizes in all {
        let float = FloatModel::random(sizes, 6);
        let file = float.build();
        let model = Model::parse(&file).unwrap();
        let mut memory = ScratchVec::of(&model);
        let mut session = Session::new(&model, &mut memory).unwrap();
        let mut random = Random(2);
        for count in [0, 1, 2, 13, 14, 15, 30, 37, 38] {
            let (text, ids) = letters(&mut random, count);
            let rows = session.run(&ids, &[], Rows::All).unwrap().hidden().to_vec();
            let exact = float.reference(&ids, &[]).hidden;
            let mut out = vec![f32::NAN; sizes.hidden];

            let first = session.embed(&text, Pooling::First, &mut out).unwrap();
            assert_eq!((first.tokens, first.truncated), (count + 2, false));
            assert_eq!(first.vector, &rows[..sizes.hidden]);

            let mean = session.embed(&text, Pooling::Mean, &mut out).unwrap();
            assert_eq!((mean.tokens, mean.truncated), (count + 2, false));
            for (h, value) in mean.vector.iter().enumerate() {
                let mut lanes = [0.0f32; LANES];
                for t in 0..count + 2 {
                    lanes[t % LANES] += rows[t * sizes.hidden + h];
                }
                assert_eq!(*value, reduce(&lanes) / (count + 2) as f32);
            }
            let sum = |h: usize| exact.iter().map(|row| row[h]).sum::<f64>();
            let exact: Vec<f64> = (0..sizes.hidden).map(|h| sum(h) / (count + 2) as f64).collect();
            // A mean is at least as close as its rows, see `MIN_COSINE` in `engine.rs`.
            let c = cosine(&out, &exact);
            assert!(c > 0.998, "{sizes:?} {count}: {c}");
        }
    }
}

#[test]
fn normalizing_changes_the_length_only() {
    let file = FloatModel::random(Sizes::SMALL, 6).build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    for text in ["", "abc", "a b c d e"] {
        let (mut raw, mut unit) = ([0.0; 32], [0.0; 32]);
        session.embed(text, Pooling::Mean, &mut raw).unwrap();
        session.embed(text, Pooling::Mean, &mut unit).unwrap().normalize();
        let length = raw.iter().map(|&v| (v as f64).powi(2)).sum::<f64>().sqrt();
        for (unit, raw) in unit.iter().zip(&raw) {
            assert!((*unit as f64 - *raw as f64 / length).abs() < 1e-6);
        }
    }
}

#[test]
fn long_texts_are_cut_and_room_of_another_size_is_refused() {
    let file = FloatModel::random(Sizes::SMALL, 6).build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let (mut cut, mut fits) = ([0.0; 32], [0.0; 32]);
    let embedding = session.embed(&"a ".repeat(500), Pooling::Mean, &mut cut).unwrap();
    assert_eq!((embedding.tokens, embedding.truncated), (24, true));
    let embedding = session.embed(&"a ".repeat(22), Pooling::Mean, &mut fits).unwrap();
    assert_eq!((embedding.tokens, embedding.truncated), (24, false));
    assert_eq!(cut, fits);
    for found in [0, 31, 33] {
        let mut out = vec![0.0; found];
        let error = session.embed("a", Pooling::First, &mut out).err();
        assert_eq!(error, Some(Error::VectorLength { expected: 32, found: found as u32 }));
    }
}
