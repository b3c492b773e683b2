//! Training within less memory: passes that add up to a step, layers that are computed again, and a
//! prediction of what a step needs that is not below what it takes.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bert_kernels::Context;
use bert_tests::command::{self, json};
use bert_tests::fixture::{fixture, prepared};
use bert_tests::golden::relative_error;
use bert_trainer::config::Config;
use bert_trainer::data::{PackedBatch, PretrainBatch, TaskBatch};
use bert_trainer::model::{
    DeviceBatch, DropoutPlan, Head, Model, ParameterTable, Precision, Shares, Targets,
    initial_values,
};
use serde_json::Value;

/// Gradients of one step in one pass or in several, in the Euclidean norm: the same sums in another
/// order, of some hundred terms each.
const MAX_REORDERING_ERROR: f64 = 1e-5;

/// Sequences of different lengths with different numbers of masked tokens and words.
const LENGTHS: [u32; 6] = [9, 24, 3, 16, 5, 30];

fn config(dropout: f64) -> Config {
    Config {
        vocab_size: 150,
        hidden_size: 32,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        intermediate_size: 64,
        max_position_embeddings: 32,
        hidden_dropout_prob: dropout,
        attention_probs_dropout_prob: dropout,
        initializer_range: 0.2,
        ..Config::default()
    }
}

fn tokens() -> PackedBatch {
    let mut batch = PackedBatch::new();
    let mut id = 1;
    for length in LENGTHS {
        let ids: Vec<u32> = (0..length)
            .map(|_| {
                id = (id * 37 + 11) % 150;
                id
            })
            .collect();
        let segments: Vec<u32> = (0..length).map(|at| u32::from(at * 2 > length)).collect();
        batch.push(&ids, &segments);
    }
    batch
}

fn model(ctx: &Context, config: &Config, head: Head, precision: Precision) -> Model {
    let table = ParameterTable::new(config, &head);
    let values = initial_values(&table, config, 3);
    Model::new(ctx, config, head, precision, &values).unwrap()
}

fn gradients(model: &Model) -> Vec<f32> {
    model.context().read_f32(model.gradients()).unwrap()
}

fn pretraining() -> PretrainBatch {
    let tokens = tokens();
    let masked_index: Vec<u32> = (1..tokens.tokens() as u32).step_by(4).collect();
    PretrainBatch {
        masked_target: masked_index.iter().map(|at| at * 7 % 150).collect(),
        masked_index,
        nsp_label: vec![0, 1, 1, 0, 1, 0],
        tokens,
    }
}

fn task() -> TaskBatch {
    let tokens = tokens();
    let tag_index: Vec<u32> = (1..tokens.tokens() as u32).step_by(3).collect();
    let ends = tokens.cu_seqlens.windows(2).map(|ends| ends[1] - ends[0]);
    TaskBatch {
        labels: vec![0, 2, 1, 1, 0, 2],
        label_sets: (0..18).map(|at| f32::from(at % 3 == 1)).collect(),
        values: vec![0.5, -1.0, 2.0, 0.0, 3.5, 1.0],
        spans: ends.flat_map(|length| [1, length - 1]).collect(),
        tag_target: tag_index.iter().map(|at| at % 4).collect(),
        tag_index,
        tokens,
    }
}

const HEADS: [Head; 6] = [
    Head::Classify { labels: 3 },
    Head::MultiLabel { labels: 3 },
    Head::Regress { outputs: 1 },
    Head::Tag { labels: 4 },
    Head::Joint { intents: 3, slots: 4 },
    Head::Span,
];

/// The gradient of a step in so many passes.
fn accumulated(model: &Model, parts: usize, dropout: impl Fn(usize) -> DropoutPlan) -> Vec<f32> {
    let ctx = model.context();
    model.zero_gradients().unwrap();
    let pass = |tokens: &PackedBatch, targets: Targets, number: usize| {
        let batch = DeviceBatch::upload(ctx, tokens);
        model.accumulate_gradients(&batch, &targets, &dropout(number), 1.0).unwrap();
    };
    if model.head() == Head::Pretraining {
        let step = pretraining();
        for (number, part) in step.split(parts).iter().enumerate() {
            let shares = Shares::pretraining(part, &step);
            pass(&part.tokens, Targets::pretraining(ctx, part, shares), number);
        }
    } else {
        let step = task();
        for (number, part) in step.split(parts).iter().enumerate() {
            let shares = Shares::task(part, &step);
            let targets = Targets { shares, ..Targets::task(ctx, model.head(), part) };
            pass(&part.tokens, targets, number);
        }
    }
    gradients(model)
}

#[test]
fn passes_add_up_to_the_step() {
    let ctx = Context::open("cpu").unwrap();
    for head in HEADS.into_iter().chain([Head::Pretraining]) {
        let model = model(&ctx, &config(0.0), head, Precision::F32);
        let whole = accumulated(&model, 1, |_| DropoutPlan::OFF);
        for parts in [2, 4, 6, 60] {
            let found = accumulated(&model, parts, |_| DropoutPlan::OFF);
            let error = relative_error(&found, &whole, 0.0);
            assert!(error <= MAX_REORDERING_ERROR, "{head:?} in {parts}: {error:.2e}");
        }
        // Without shares it would not: the parts differ in what they have to predict.
        assert!(whole.iter().any(|value| *value != 0.0));
    }
}

/// With weights, a mean divides by the sum of the weights, of the step and not of a pass.
#[test]
fn passes_of_weighted_labels_add_up_to_the_step() {
    let ctx = Context::open("cpu").unwrap();
    let model = model(&ctx, &config(0.0), Head::Classify { labels: 3 }, Precision::F32);
    let weights = [0.5f32, 3.0, 1.0];
    let total = |batch: &TaskBatch| -> f32 {
        batch.labels.iter().map(|&label| weights[label as usize]).sum()
    };
    let step = task();
    let gradient_in = |parts: usize| {
        model.zero_gradients().unwrap();
        for part in step.split(parts) {
            let mut targets = Targets::task(&ctx, model.head(), &part);
            targets.shaping.class_weights = Some(ctx.upload_f32(&weights));
            targets.shaping.total = Some(total(&part));
            targets.shares.sequence = total(&part) / total(&step);
            let batch = DeviceBatch::upload(&ctx, &part.tokens);
            model.accumulate_gradients(&batch, &targets, &DropoutPlan::OFF, 1.0).unwrap();
        }
        gradients(&model)
    };
    let error = relative_error(&gradient_in(3), &gradient_in(1), 0.0);
    assert!(error <= MAX_REORDERING_ERROR, "{error:.2e}");
}

/// Each pass drops other elements: two passes over the same text are not twice the same gradient.
#[test]
fn passes_draw_their_own_dropout() {
    let ctx = Context::open("cpu").unwrap();
    let config = config(0.2);
    let model = model(&ctx, &config, Head::Pretraining, Precision::F32);
    let of_pass = |pass| accumulated(&model, 1, |_| DropoutPlan::training(&ctx, &config, 1, pass));
    let (first, second) = (of_pass(6), of_pass(7));
    assert!(relative_error(&second, &first, 0.0) > 0.1);
    assert!(of_pass(6) == first);
}

/// The same kernels over the same values: not close, equal.
#[test]
fn layers_that_are_computed_again_give_the_same_bits() {
    let ctx = Context::open("cpu").unwrap();
    let config = config(0.1);
    for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
        for head in HEADS.into_iter().chain([Head::Pretraining]) {
            let model = model(&ctx, &config, head, precision);
            let dropout = |part| DropoutPlan::training(&ctx, &config, 5, part as u64);
            let kept = accumulated(&model, 2, dropout);
            let model = model.with_recompute(true);
            let again = accumulated(&model, 2, dropout);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert!(bits(&kept) == bits(&again), "{head:?} {precision:?}");
            assert!(kept.iter().any(|value| *value != 0.0));
        }
    }
}

fn pretrain(output: &Path, more: &[&str]) -> Value {
    let fixture = prepared();
    let mut arguments: Vec<OsString> = vec!["pretrain".into()];
    let mut add = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
    add("--data", fixture.path("shards").into());
    add("--config", fixture.path("config.json").into());
    add("--output", output.into());
    for (flag, value) in
        [("--batch-size", "6"), ("--max-length", "32"), ("--steps", "7"), ("--log-steps", "2")]
    {
        add(flag, value.into());
    }
    json("bert-trainer", arguments.into_iter().chain(more.iter().map(Into::into)))
}

fn weights(output: &Path) -> Vec<u8> {
    std::fs::read(output.join("model.safetensors")).unwrap()
}

#[test]
fn a_run_is_the_same_with_layers_computed_again_and_another_with_more_passes() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| -> PathBuf {
        let output = dir.path().join(name);
        pretrain(&output, more);
        output
    };
    let plain = run("plain", &[]);
    let again = run("again", &["--recompute"]);
    assert!(weights(&plain) == weights(&again));
    let metrics = |output: &Path| std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics(&plain), metrics(&again));

    let passes = run("passes", &["--accumulate", "3"]);
    assert!(weights(&plain) != weights(&passes));
    // Without dropout only the order of sums differs, and the same texts are learnt from.
    let calm = run("calm", &["--dropout", "0"]);
    let calm_passes = run("calm_passes", &["--dropout", "0", "--accumulate", "4"]);
    let losses = |output: &Path| -> Vec<f64> {
        let lines = metrics(output);
        let loss = |line: &str| serde_json::from_str::<Value>(line).unwrap()["mlm_loss"].clone();
        lines.lines().map(|line| loss(line).as_f64().unwrap()).collect()
    };
    for (a, b) in losses(&calm).iter().zip(losses(&calm_passes)) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

/// Stopped after every step and gone on, now with, now without layers computed again.
#[test]
fn a_run_of_several_passes_resumes_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let (calm, stopped) = (dir.path().join("calm"), dir.path().join("stopped"));
    pretrain(&calm, &["--accumulate", "4"]);
    for round in 0..3 {
        let more = ["--accumulate", "4", "--resume", "--max-seconds", "0", "--recompute"];
        let more = if round == 1 { &more[..5] } else { &more[..] };
        let report = pretrain(&stopped, more);
        assert_eq!(report["steps"], round + 1);
    }
    pretrain(&stopped, &["--accumulate", "4", "--resume"]);
    assert!(weights(&calm) == weights(&stopped));

    // Another number of passes is another run.
    let fixture = prepared();
    let mut arguments: Vec<OsString> =
        ["pretrain", "--resume", "--accumulate", "2"].map(Into::into).into();
    for (flag, value) in [
        ("--data", fixture.path("shards")),
        ("--config", fixture.path("config.json")),
        ("--output", stopped),
    ] {
        arguments.extend([flag.into(), value.into()]);
    }
    for option in ["--batch-size", "6", "--max-length", "32", "--steps", "7", "--log-steps", "2"] {
        arguments.push(option.into());
    }
    let refused = command::run("bert-trainer", arguments);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("cannot resume"), "{}", refused.stderr);
}

#[test]
fn fine_tuning_is_the_same_with_layers_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let good = fixture();
    let run = |name: &str, more: &[&str]| -> PathBuf {
        let output = dir.path().join(name);
        let mut arguments: Vec<OsString> =
            ["finetune", "--task", "joint", "--epochs", "1", "--batch-size", "9"]
                .map(Into::into)
                .into();
        for (flag, value) in [
            ("--train", good.path("joint.tsv")),
            ("--eval", good.path("joint.tsv")),
            ("--model", good.path("pretrained")),
            ("--output", output.clone()),
        ] {
            arguments.extend([flag.into(), value.into()]);
        }
        json("bert-trainer", arguments.into_iter().chain(more.iter().map(Into::into)));
        output
    };
    let passes = run("passes", &["--accumulate", "4"]);
    let again = run("again", &["--accumulate", "4", "--recompute"]);
    assert!(weights(&passes) == weights(&again));
    assert!(weights(&passes) != weights(&run("plain", &[])));
}

#[test]
fn more_passes_than_sequences_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (data, output) = (prepared().path("shards"), dir.path().join("output"));
    let (data, output) = (data.to_str().unwrap(), output.to_str().unwrap());
    let run = ["pretrain", "--data", data, "--output", output, "--batch-size", "4"];
    let outcome = command::run("bert-trainer", run.iter().chain(&["--accumulate", "5"]));
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("--accumulate 5"), "{}", outcome.stderr);
    let bench = ["bench", "--batch-size", "4", "--accumulate", "5"];
    assert_eq!(command::run("bert-trainer", bench).code, Some(1));
    assert_eq!(command::run("bert-trainer", ["bench", "--accumulate", "0"]).code, Some(2));
}

/// What `bench` predicts is what a step takes, and a little more.
#[test]
fn a_step_takes_what_was_predicted() {
    let mut totals = Vec::new();
    for (name, batch) in [("bert-tiny", "8"), ("bert-mini", "4")] {
        for more in [
            &[][..],
            &["--recompute"],
            &["--accumulate", "2"],
            &["--accumulate", "3", "--recompute"],
            &["--precision", "bf16"],
            &["--precision", "bf16", "--recompute"],
            &["--precision", "f16"],
        ] {
            let fixed = ["bench", "--config", name, "--vocab-size", "2000", "--steps", "1"];
            let size = ["--batch-size", batch, "--max-length", "96"];
            let report = json("bert-trainer", fixed.iter().chain(&size).chain(more));
            let memory = &report["memory"];
            let bytes = |key: &str| memory[key].as_u64().unwrap();
            let (predicted, taken) = (bytes("predicted_bytes"), bytes("in_use_bytes"));
            println!("{name} {more:?}: predicted {predicted}, taken {taken}");
            assert!(taken <= predicted, "{name} {more:?}: {taken} of {predicted}");
            assert!(taken * 100 >= predicted * 98, "{name} {more:?}: only {taken} of {predicted}");
            assert!(bytes("reserved_bytes") >= taken);
            totals.push(taken);
        }
    }
    for config in totals.chunks(7) {
        // Layers computed again, and smaller passes, take less.
        assert!(config[1] < config[0] && config[2] < config[0] && config[3] < config[2]);
        assert!(config[5] < config[4] && config[6] == config[4]);
    }
}

/// Without steps nothing is run, so that models larger than the machine can be asked about.
#[test]
fn large_models_are_predicted_without_being_made() {
    let predicted = |config: &str, more: &[&str]| -> u64 {
        let fixed = ["bench", "--steps", "0", "--config", config];
        let report = json("bert-trainer", fixed.iter().chain(more));
        report["memory"]["predicted_bytes"].as_u64().unwrap()
    };
    let (base, large) = (predicted("bert-base", &[]), predicted("bert-large", &[]));
    // Four buffers of 110 and 336 million numbers alone.
    assert!(base > 16 * 110_000_000 && large > 16 * 335_000_000);
    let lean = predicted("bert-large", &["--recompute", "--accumulate", "32"]);
    assert!(lean < 6_500_000_000 && large > 2 * lean, "{lean} {large}");
}
