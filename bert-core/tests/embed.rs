//! Vectors of texts, from models with any head.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bert_core::{EmbedOptions, Error, Layers, Model, Pooling, Rows, ScratchVec, Session};
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

/// Rows \[T, H\] as one, in the arithmetic of the engine.
fn pooled(rows: &[f32], pooling: Pooling, hidden: usize) -> Vec<f32> {
    if pooling == Pooling::First {
        return rows[..hidden].to_vec();
    }
    let column = |h: usize| {
        rows.chunks_exact(hidden).fold(0.0f32, |sum, row| sum + row[h])
            / (rows.len() / hidden) as f32
    };
    (0..hidden).map(column).collect()
}

/// The same in f64.
fn exact_pooled(rows: &[Vec<f64>], pooling: Pooling) -> Vec<f64> {
    let mean = |h: usize| rows.iter().map(|row| row[h]).sum::<f64>() / rows.len() as f64;
    match pooling {
        Pooling::Mean => (0..rows[0].len()).map(mean).collect(),
        Pooling::First => rows[0].clone(),
    }
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
            let rows = session.run(&ids, &[], Rows::All).unwrap().hidden();
            let exact = float.reference(&ids, &[]).hidden;
            let mut out = vec![f32::NAN; sizes.hidden];

            let first = session.embed(&text, Pooling::First, &mut out).unwrap();
            assert_eq!((first.tokens, first.truncated), (count + 2, false));
            assert_eq!(first.vector, &rows[..sizes.hidden]);

            let mean = session.embed(&text, Pooling::Mean, &mut out).unwrap();
            assert_eq!((mean.tokens, mean.truncated), (count + 2, false));
            assert_eq!(mean.vector, pooled(&rows, Pooling::Mean, sizes.hidden));
            let exact = exact_pooled(&exact, Pooling::Mean);
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

/// Rows of layer n ≥ 1: the last ones of a model that ends there. Its matrices have the same bytes.
fn rows_of_layer(float: &mut FloatModel, layer: usize, ids: &[u32]) -> Vec<f32> {
    let rest = float.layers.split_off(layer);
    let file = float.build();
    float.layers.extend(rest);
    let model = Model::parse(&file).unwrap();
    assert_eq!(model.config().layers as usize, layer);
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    session.run(ids, &[], Rows::All).unwrap().hidden()
}

#[test]
fn every_layer_is_the_last_of_a_shorter_model() {
    let odd = Sizes { hidden: 30, heads: 3, feed_forward: 47, ..Sizes::SMALL };
    for sizes in [Sizes { layers: 6, ..Sizes::SMALL }, Sizes { layers: 4, ..odd }] {
        let mut float = FloatModel::random(sizes, 7);
        let file = float.build();
        let model = Model::parse(&file).unwrap();
        let mut memory = ScratchVec::of(&model);
        let mut session = Session::new(&model, &mut memory).unwrap();
        let mut random = Random(5);
        let (depth, hidden) = (sizes.layers, sizes.hidden);
        for count in [0, 1, 3, 14, 15, 22] {
            let (text, ids) = letters(&mut random, count);
            let exact = float.reference(&ids, &[]).layers;
            let layers: Vec<Vec<f32>> =
                (1..=depth).map(|layer| rows_of_layer(&mut float, layer, &ids)).collect();
            for pooling in [Pooling::Mean, Pooling::First] {
                let mut embed = |layers| {
                    let options = EmbedOptions { pooling, layers };
                    let mut out = vec![f32::NAN; options.out_len(hidden)];
                    let embedding = session.embed(&text, options, &mut out).unwrap();
                    assert_eq!((embedding.tokens, embedding.truncated), (count + 2, false));
                    out
                };
                let expected: Vec<Vec<f32>> =
                    layers.iter().map(|rows| pooled(rows, pooling, hidden)).collect();
                for (layer, expected) in expected.iter().enumerate() {
                    assert_eq!(&embed(Layers::One(layer as u16 + 1)), expected, "layer {layer}");
                }
                for (layer, exact) in exact.iter().enumerate() {
                    // 3 % of noise a layer, see `MIN_COSINE` in `engine.rs`; the tables have less.
                    let least = 1.0 - 0.03f64.powi(2) / 2.0 * (layer + 1) as f64;
                    let vector = embed(Layers::One(layer as u16));
                    let c = cosine(&vector, &exact_pooled(exact, pooling));
                    assert!(c > least, "layer {layer}: {c}");
                }
                assert_eq!(embed(Layers::Last), expected[depth - 1]);

                let four = &expected[depth - 4..];
                assert_eq!(embed(Layers::ConcatLastFour), four.concat());
                let sum = |h: usize| four[0][h] + four[1][h] + four[2][h] + four[3][h];
                let sum: Vec<f32> = (0..hidden).map(sum).collect();
                assert_eq!(embed(Layers::SumLastFour), sum);
            }
        }
    }
}

/// Layer 0 from the tables as they are stored: int8 with a scale per row, then layer norm in f64.
#[test]
fn layer_0_is_the_norm_of_the_stored_tables() {
    let float = FloatModel::random(Sizes::SMALL, 7);
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let stored = |table: &[f32], row: usize| {
        let row = &table[row * 32..(row + 1) * 32];
        let scale = row.iter().fold(0.0f32, |most, v| most.max(v.abs())) / 127.0;
        row.iter().map(|v| (v / scale).round_ties_even() as f64 * scale as f64).collect::<Vec<_>>()
    };
    let (text, ids) = letters(&mut Random(3), 9);
    let rows = ids.iter().enumerate().map(|(t, &id)| {
        let parts = [(&float.word, id as usize), (&float.position, t), (&float.segment, 0)];
        let parts = parts.map(|(table, row)| stored(table, row));
        let x: Vec<f64> = (0..32).map(|h| parts.iter().map(|part| part[h]).sum()).collect();
        let mean = x.iter().sum::<f64>() / 32.0;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 32.0;
        let norm = float.norm.gamma.iter().zip(&float.norm.beta);
        let unit = x.iter().map(|v| (v - mean) / (variance + 1e-12).sqrt());
        unit.zip(norm).map(|(v, (&g, &b))| v * g as f64 + b as f64).collect::<Vec<f64>>()
    });
    let exact: Vec<Vec<f64>> = rows.collect();
    for pooling in [Pooling::Mean, Pooling::First] {
        let options = EmbedOptions { pooling, layers: Layers::One(0) };
        let mut out = [0.0; 32];
        session.embed(&text, options, &mut out).unwrap();
        for (value, exact) in out.iter().zip(exact_pooled(&exact, pooling)) {
            // The residual stream is int8 in groups: half a step of a largest value below 4.
            assert!((*value as f64 - exact).abs() < 4.0 / 127.0 / 2.0, "{value} {exact}");
        }
    }
}

#[test]
fn layers_that_do_not_exist_and_room_for_less_are_refused() {
    for layers in [1, 2, 3, 4] {
        let file = FloatModel::random(Sizes { layers, ..Sizes::SMALL }, 6).build();
        let model = Model::parse(&file).unwrap();
        let mut memory = ScratchVec::of(&model);
        let mut session = Session::new(&model, &mut memory).unwrap();
        let found = layers as u16;
        let mut error = |layers, room: usize| {
            let options = EmbedOptions { pooling: Pooling::Mean, layers };
            session.embed("a b", options, &mut vec![0.0; room]).err()
        };
        for needed in [found + 1, found + 2, u16::MAX] {
            let expected = Some(Error::Layers { needed, found });
            assert_eq!(error(Layers::One(needed), 32), expected);
        }
        assert_eq!(error(Layers::One(found), 32), None);
        let short = (layers < 4).then_some(Error::Layers { needed: 4, found });
        assert_eq!(error(Layers::SumLastFour, 32), short);
        assert_eq!(error(Layers::ConcatLastFour, 128), short);
        if layers == 4 {
            let wrong = |expected, found| Some(Error::VectorLength { expected, found });
            assert_eq!(error(Layers::ConcatLastFour, 32), wrong(128, 32));
            assert_eq!(error(Layers::SumLastFour, 128), wrong(32, 128));
        }
    }
}
