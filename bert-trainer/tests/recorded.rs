//! Passes that a device keeps and replays are the passes that were launched.
//!
//! `BERT_RUNTIME` names the runtime, as for the tests of the kernels. The CPU keeps nothing; there the
//! batches that are filled up and the arena are tested.

#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use bert_kernels::Context;
use bert_trainer::config::Config;
use bert_trainer::data::{PackedBatch, PretrainBatch};
use bert_trainer::model::{
    Head, Losses, Model, ParameterTable, PassInputs, PassShape, PassSize, Precision, Shares,
    initial_values,
};
use bert_trainer::train::RecordedPasses;

/// A batch that is filled up has other sums over its tokens, in f32.
const MAX_RELATIVE_ERROR: f64 = 1e-5;

const LENGTHS: [usize; 3] = [40, 64, 7];
const LARGEST: PassSize = PassSize { tokens: 640, sequences: 10, masked: 100 };

/// The device, which a test has to itself: nothing may be freed on it while another records a pass.
fn context() -> (Context, MutexGuard<'static, ()>) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let device = std::env::var("BERT_RUNTIME").unwrap_or_else(|_| "cpu".into());
    (Context::open(&device).unwrap(), turn)
}

fn model(ctx: &Context, precision: Precision) -> Model {
    let config = Config {
        vocab_size: 300,
        hidden_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 128,
        max_position_embeddings: 64,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
        initializer_range: 0.2,
        ..Config::default()
    };
    let table = ParameterTable::new(&config, &Head::Pretraining);
    let values = initial_values(&table, &config, 3);
    Model::new(ctx, &config, Head::Pretraining, precision, &values).unwrap()
}

/// A batch of sequences of these lengths; every so manieth token is masked.
fn batch(lengths: &[usize], every: usize, mut id: u32) -> PretrainBatch {
    let mut tokens = PackedBatch::new();
    for &length in lengths {
        let ids: Vec<u32> = (0..length)
            .map(|_| {
                id = (id * 37 + 11) % 300;
                id
            })
            .collect();
        let segments: Vec<u32> = (0..length).map(|at| u32::from(at * 2 > length)).collect();
        tokens.push(&ids, &segments);
    }
    let masked_index: Vec<u32> = (1..tokens.tokens() as u32).step_by(every).collect();
    PretrainBatch {
        masked_target: masked_index.iter().map(|at| at * 7 % 300).collect(),
        masked_index,
        nsp_label: (0..lengths.len() as u32).map(|at| at % 2).collect(),
        tokens,
    }
}

/// What a pass leaves: gradients, and losses and hits of both heads.
type Left = (Vec<f32>, [(f64, u64, u64); 2]);

fn left(model: &Model, losses: &Losses) -> Left {
    let ctx = model.context();
    let gradients = ctx.read_f32(model.gradients()).unwrap();
    model.zero_gradients().unwrap();
    let term = |term: &Option<_>| {
        let tally = Option::as_ref(term).map(|term: &bert_trainer::model::Term| term.read(ctx));
        let tally = tally.unwrap().unwrap();
        (tally.loss, tally.correct, tally.rows)
    };
    (gradients, [term(&losses.masked), term(&losses.sequence)])
}

fn launched(model: &Model, batch: &PretrainBatch, draws: (u64, u64)) -> Left {
    let config = model.config();
    let shape = PassShape::of(batch);
    let inputs = PassInputs::new(config, batch, &shape, Shares::default(), draws);
    let (device_batch, targets, dropout) = inputs.on(config, &inputs.upload(model.context()), 0);
    let losses = model.accumulate_gradients(&device_batch, &targets, &dropout, 1.0).unwrap();
    left(model, &losses)
}

fn recorded(
    passes: &mut RecordedPasses,
    model: &Model,
    batch: &PretrainBatch,
    draws: (u64, u64),
) -> Left {
    let shares = Shares::default();
    let losses = passes.accumulate_gradients(model, batch, shares, draws, 1.0).unwrap();
    left(model, &losses)
}

fn expect_close(found: &Left, expected: &Left) {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = found.0.iter().zip(&expected.0);
    let error = norm(&mut pairs.map(|(a, b)| f64::from(a - b)));
    let size = norm(&mut expected.0.iter().map(|&v| f64::from(v)));
    assert!(size > 0.0 && error <= MAX_RELATIVE_ERROR * size, "{error:e} of {size:e}");
    for (found, expected) in found.1.iter().zip(&expected.1) {
        assert!((found.0 - expected.0).abs() <= 1e-5 * expected.0, "{found:?} {expected:?}");
        assert_eq!((found.1, found.2), (expected.1, expected.2));
    }
}

#[test]
fn a_replay_leaves_what_launches_leave() {
    let (ctx, _turn) = context();
    let model = model(&ctx, Precision::F32);
    let mut passes = RecordedPasses::new(&ctx, LARGEST, 64);
    // Three batches of one shape, as far as the device can tell.
    let batches = [
        batch(&LENGTHS, 6, 1),
        batch(&[LENGTHS[0] - 3, LENGTHS[1], LENGTHS[2] + 2], 7, 5),
        batch(&[LENGTHS[2], LENGTHS[0] - 1, LENGTHS[1]], 6, 90),
    ];
    let mut first = Vec::new();
    for (round, pass) in (0..12).map(|at| (at / 3, at % 3)) {
        let found = recorded(&mut passes, &model, &batches[pass], (9, pass as u64));
        match round {
            0 => {
                // The masks of dropout are those of a pass alone, and differ from pass to pass.
                expect_close(&found, &launched(&model, &batches[pass], (9, pass as u64)));
                first.push(found);
            }
            _ => assert!(found == first[pass], "round {round}, batch {pass}"),
        }
    }
    if ctx.can_record() {
        assert_eq!((passes.refused(), passes.replays()), (None, 10));
    } else {
        assert_eq!(passes.replays(), 0);
        assert!(passes.refused().is_some());
    }
}

#[test]
fn the_arena_grows_with_the_largest_shape_and_then_no_more() {
    let (ctx, _turn) = context();
    let model = model(&ctx, Precision::F32);
    let mut passes = RecordedPasses::new(&ctx, LARGEST, 64);
    let (small, large) = (batch(&LENGTHS, 6, 1), batch(&[64, 64, 50, 33, 64], 6, 4));
    let expected = [&small, &large].map(|batch| launched(&model, batch, (2, 1)));
    let mut sizes = Vec::new();
    for at in [0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0] {
        let batch = [&small, &large][at];
        expect_close(&recorded(&mut passes, &model, batch, (2, 1)), &expected[at]);
        sizes.push(passes.arena_bytes());
    }
    assert!(sizes[..4].iter().all(|&size| size == sizes[0] && size > 0));
    assert!(sizes[4..].iter().all(|&size| size == sizes[4] && size > sizes[0]));
}

/// Buffers of a pass that are dropped make room: the arena is far smaller than all of them together.
#[test]
fn the_arena_has_what_is_alive_together() {
    let (ctx, _turn) = context();
    let model = model(&ctx, Precision::F32);
    let batch = batch(&LENGTHS, 6, 1);
    let size = |model: &Model| {
        let mut passes = RecordedPasses::new(&ctx, LARGEST, 64);
        recorded(&mut passes, model, &batch, (2, 1));
        passes.arena_bytes()
    };
    let kept = size(&model);
    let lean = size(&model.with_recompute(true));
    assert!(lean < kept, "{lean} {kept}");
}
