//! Learning aids: distillation and int8-aware training against PyTorch and against what they are for,
//! frozen layers and layer-wise rates through the binary.
//!
//! The golden files come from `tests/golden/make_aids.py`.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bert_core::{Model as DeviceModel, Rows, ScratchVec, Session};
use bert_kernels::{Buffer, Context};
use bert_tests::command::{self, Outcome, json};
use bert_tests::fixture::fixture;
use bert_tests::golden::{self, Tensors, number, relative_error};
use bert_trainer::config::Config;
use bert_trainer::data::tasks::{Labels, TaskKind, TaskLabels};
use bert_trainer::data::{PackedBatch, TaskBatch};
use bert_trainer::export::{ExportOptions, export};
use bert_trainer::model::{
    Additions, DeviceBatch, DropoutPlan, Head, LoadedCheckpoint, Losses, Model, ParameterTable,
    Precision, Targets, Teaching, Term, head_of, initial_values, name_task, write_checkpoint,
};
use bert_trainer::train::{Optimizer, OptimizerOptions};

/// As in `parity.rs`: f32 against f64 of PyTorch.
const MAX_RELATIVE_ERROR: f64 = 1e-4;
const GRADIENT_FLOOR: f64 = 1e-3;
const MAX_LOSS_ERROR: f64 = 1e-4;

const LABELS: usize = 4;

/// The student of the golden files.
fn student(ctx: &Context, tensors: &Tensors, additions: Additions) -> Model {
    let config = golden::config("aids/student");
    let head = Head::Classify { labels: LABELS };
    let table = ParameterTable::with_projection(&config, &head, additions.projection);
    let mut values = golden::values("aids/student", &ParameterTable::new(&config, &head));
    values.resize(table.len(), 0.0);
    for part in ["weight", "bias"] {
        if let Some(parameter) = table.find(&format!("distillation.projection.{part}")) {
            values[parameter.range()].copy_from_slice(&tensors.f32(&format!("projection.{part}")));
        }
    }
    Model::with_additions(ctx, &config, head, Precision::F32, &values, additions).unwrap()
}

/// A golden batch with its labels.
fn batch(ctx: &Context, tensors: &Tensors, number: usize) -> (DeviceBatch, Targets) {
    let tokens = tensors.batch(number);
    let device_batch = DeviceBatch::upload(ctx, &tokens);
    let labels = tensors.u32(&format!("batch.{number}.labels"));
    let head = Head::Classify { labels: LABELS };
    let batch = TaskBatch { tokens, labels, ..Default::default() };
    (device_batch, Targets::task(ctx, head, &batch))
}

/// Compares the gradient of every parameter with that of PyTorch.
fn check_gradients(model: &Model, tensors: &Tensors, name: &str) {
    let gradients = model.context().read_f32(model.gradients()).unwrap();
    let parameters = model.table().parameters();
    for parameter in parameters {
        let expected = tensors.f32(&format!("{name}.gradient.{}", parameter.name));
        let error = relative_error(&gradients[parameter.range()], &expected, GRADIENT_FLOOR);
        assert!(error <= MAX_RELATIVE_ERROR, "{name} {}: {error:.2e}", parameter.name);
    }
    assert_eq!(parameters.len(), tensors.names(&format!("{name}.gradient.")).len());
}

fn mean(ctx: &Context, term: &Option<Term>) -> f64 {
    term.as_ref().map_or(0.0, |term| term.read(ctx).unwrap().mean_loss())
}

#[test]
fn distillation_equals_pytorch() {
    let ctx = Context::open("cpu").unwrap();
    let tensors = Tensors::open("aids.safetensors");
    let facts = golden::json("aids.json");
    let additions = Additions { projection: Some(24), ..Additions::default() };
    let model = student(&ctx, &tensors, additions);
    let (device_batch, mut targets) = batch(&ctx, &tensors, 0);
    let taught = |name: &str| ctx.upload_f32(&tensors.f32(&format!("distilled.teacher_{name}")));
    targets.teaching = Teaching {
        weight: number(&facts["distill_weight"]) as f32,
        sequence: Some(taught("logits")),
        hidden: Some(taught("hidden")),
        ..Teaching::default()
    };
    let losses =
        model.accumulate_gradients(&device_batch, &targets, &DropoutPlan::OFF, 1.0).unwrap();
    let found = [&losses.sequence, &losses.imitation.sequence, &losses.imitation.hidden];
    for (name, term) in ["task", "logits", "hidden"].into_iter().zip(found) {
        let error = (mean(&ctx, term) - number(&facts["losses"][name])).abs();
        assert!(error <= MAX_LOSS_ERROR, "{name}: {error:.2e}");
    }
    check_gradients(&model, &tensors, "distilled");
}

#[test]
fn a_teacher_computes_what_transformers_computes() {
    let ctx = Context::open("cpu").unwrap();
    let tensors = Tensors::open("aids.safetensors");
    let (config, head) = (golden::config("aids/teacher"), Head::Classify { labels: LABELS });
    let values = golden::values("aids/teacher", &ParameterTable::new(&config, &head));
    let model = Model::new(&ctx, &config, head, Precision::F32, &values).unwrap();
    let (device_batch, targets) = batch(&ctx, &tensors, 0);
    let (_, logits) = model.evaluate(&device_batch, &targets).unwrap();
    let found = [("logits", logits.sequence.as_ref()), ("hidden", logits.hidden.last())];
    for (name, buffer) in found {
        let found = ctx.read_f32(buffer.unwrap()).unwrap();
        let expected = tensors.f32(&format!("distilled.teacher_{name}"));
        assert!(relative_error(&found, &expected, 0.0) <= MAX_RELATIVE_ERROR, "{name}");
    }
}

#[test]
fn straight_through_gradients_equal_pytorchs() {
    let ctx = Context::open("cpu").unwrap();
    let tensors = Tensors::open("aids.safetensors");
    let model = student(&ctx, &tensors, Additions { quantize_aware: true, projection: None });
    let (device_batch, targets) = batch(&ctx, &tensors, 1);
    let losses =
        model.accumulate_gradients(&device_batch, &targets, &DropoutPlan::OFF, 1.0).unwrap();
    let expected = number(&golden::json("aids.json")["rounded_loss"]);
    assert!((mean(&ctx, &losses.sequence) - expected).abs() <= MAX_LOSS_ERROR);
    let (_, logits) = model.evaluate(&device_batch, &targets).unwrap();
    let found = ctx.read_f32(logits.sequence.as_ref().unwrap()).unwrap();
    let error = relative_error(&found, &tensors.f32("rounded.logits"), 0.0);
    assert!(error <= MAX_RELATIVE_ERROR, "logits: {error:.2e}");
    check_gradients(&model, &tensors, "rounded");

    // Without rounding the same weights give something else by far more than that.
    let plain = student(&ctx, &tensors, Additions::default());
    let (_, logits) = plain.evaluate(&device_batch, &targets).unwrap();
    let found = ctx.read_f32(logits.sequence.as_ref().unwrap()).unwrap();
    assert!(relative_error(&found, &tensors.f32("rounded.logits"), 0.0) > 1e-3);
}

/// A small model of any task, with weights large enough that all of it matters.
fn small_config() -> Config {
    let mut config = Config::named("bert-tiny").unwrap();
    config.vocab_size = 50;
    (config.hidden_size, config.num_attention_heads) = (16, 2);
    (config.intermediate_size, config.max_position_embeddings) = (24, 24);
    config.initializer_range = 0.2;
    config
}

/// Numbers in −1..1 that look random.
fn scattered(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn sequences(vocabulary: u32, lengths: &[u32]) -> PackedBatch {
    let mut batch = PackedBatch::new();
    let mut id = 1;
    for &length in lengths {
        let next = |_| {
            id = (id * 37 + 11) % vocabulary;
            id
        };
        let ids: Vec<u32> = (0..length).map(next).collect();
        let segments: Vec<u32> = (0..length).map(|at| u32::from(at * 2 > length)).collect();
        batch.push(&ids, &segments);
    }
    batch
}

/// The whole loss of a distillation.
fn total(ctx: &Context, losses: &Losses, weight: f64) -> f64 {
    let task = [&losses.sequence, &losses.words, &losses.spans];
    let parts = &losses.imitation;
    let taught = [&parts.sequence, &parts.words, &parts.spans, &parts.hidden];
    (1.0 - weight) * task.map(|term| mean(ctx, term)).iter().sum::<f64>()
        + weight * taught.map(|term| mean(ctx, term)).iter().sum::<f64>()
}

/// Every head with a teacher: the slope of the loss along some directions is what the gradient says.
#[test]
fn distillation_has_the_slope_of_central_differences() {
    const WEIGHT: f32 = 0.4;
    // Along a unit vector, a step of h errs by h² of a third derivative, and by 2⁻²⁴ · loss / h of
    // rounding: both about 1e-5 here, below slopes of 0.1.
    const STEP: f32 = 1e-2;
    const MAX_SLOPE_ERROR: f64 = 2e-3;
    let ctx = Context::open("cpu").unwrap();
    let config = small_config();
    let tokens = sequences(50, &[7, 3, 12]);
    let (rows, count, words) = (3, tokens.tokens(), [1, 4, 8, 11, 20]);
    let device_batch = DeviceBatch::upload(&ctx, &tokens);
    for head in [
        Head::Classify { labels: 3 },
        Head::MultiLabel { labels: 3 },
        Head::Regress { outputs: 1 },
        Head::Tag { labels: 5 },
        Head::Joint { intents: 3, slots: 5 },
        Head::Span,
    ] {
        for projection in [None, Some(20)] {
            let table = ParameterTable::with_projection(&config, &head, projection);
            let values = initial_values(&table, &config, 3);
            let additions = Additions { projection, ..Additions::default() };
            let model_of = |values: &[f32]| {
                let precision = Precision::F32;
                Model::with_additions(&ctx, &config, head, precision, values, additions).unwrap()
            };
            let task = TaskBatch {
                labels: vec![0, 2, 1],
                label_sets: vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0],
                values: vec![0.5, -1.0, 2.0],
                spans: vec![1, 3, 0, 0, 5, 5],
                tag_index: words.to_vec(),
                tag_target: vec![0, 4, 2, 1, 3],
                ..Default::default()
            };
            let mut targets = Targets::task(&ctx, head, &task);
            let taught = |len, seed| Some(ctx.upload_f32(&scattered(len, seed)));
            let outputs = if matches!(head, Head::Regress { .. }) { 1 } else { 3 };
            targets.teaching = Teaching {
                weight: WEIGHT,
                sequence: taught(rows * outputs, 1),
                words: taught(words.len() * 5, 2),
                spans: taught(count * 2, 3),
                hidden: taught(count * projection.unwrap_or(16), 4),
            };
            let model = model_of(&values);
            model.accumulate_gradients(&device_batch, &targets, &DropoutPlan::OFF, 1.0).unwrap();
            let gradient = ctx.read_f32(model.gradients()).unwrap();
            let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            // Along the gradient, where all of it counts, and along others.
            let mut directions = vec![gradient.clone()];
            directions.extend((5..7).map(|seed| {
                let noise = scattered(values.len(), seed);
                let along = gradient.iter().zip(noise).map(|(g, noise)| g * noise);
                along.collect::<Vec<f32>>()
            }));
            for direction in directions {
                let length = norm(&direction);
                let at = |step: f32| {
                    let moved = values.iter().zip(&direction);
                    let moved: Vec<f32> =
                        moved.map(|(x, d)| x + step * (f64::from(*d) / length) as f32).collect();
                    let (losses, _) = model_of(&moved).evaluate(&device_batch, &targets).unwrap();
                    total(&ctx, &losses, f64::from(WEIGHT))
                };
                let found = (at(STEP) - at(-STEP)) / (2.0 * f64::from(STEP));
                let product = gradient.iter().zip(&direction);
                let expected: f64 =
                    product.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum::<f64>() / length;
                let error = (found - expected).abs() / norm(&gradient);
                assert!(
                    error <= MAX_SLOPE_ERROR,
                    "{head:?} {projection:?}: {found} for {expected}"
                );
            }
        }
    }
}

/// What is rounded in training is what a device computes with.
///
/// Training has f32 where a device has attention weights of fourteen bits: about 2·10⁻⁵ of a context
/// value, 2·10⁻³ of its step, so 4 % of rows of 24 values have one that is rounded to its other
/// neighbour. From there on a row differs by a device's own noise, and in the next layer the keys of its
/// whole text do. Of texts of 3 to 23 tokens about half of the rows meet no such value in two layers;
/// those have the device's values but for the rounding of f32.
#[test]
fn the_rounded_model_is_the_devices() {
    const SAME: f64 = 1e-5;
    const LEAST_SHARE: f64 = 0.25;
    let ctx = Context::open("cpu").unwrap();
    let names = |names: &[&str]| Some(Labels::new(names.iter().copied()));
    let labels = TaskLabels { classes: names(&["off", "on"]), tags: names(&["B-x", "I-x", "O"]) };
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = fixture().path("tokenizer");
    for (kind, heads) in [(TaskKind::Joint, 2), (TaskKind::Joint, 3), (TaskKind::Span, 2)] {
        let mut config = small_config();
        config.vocab_size =
            std::fs::read_to_string(tokenizer.join("vocab.txt")).unwrap().lines().count();
        // Of three heads, neither a matrix of a projection nor a head begins at a round number.
        (config.hidden_size, config.num_attention_heads) = (12 * heads, heads);
        name_task(&mut config, kind, &labels);
        let head = head_of(kind, &labels);
        let table = ParameterTable::new(&config, &head);
        let values = initial_values(&table, &config, 7);
        let checkpoint = dir.path().join(format!("{}-{heads}", kind.name()));
        write_checkpoint(&checkpoint, &config, &table, &values, &tokenizer).unwrap();
        let bytes = export(&checkpoint, &ExportOptions::default()).unwrap();
        let device = DeviceModel::parse(&bytes).unwrap();
        let mut scratch = ScratchVec::new(device.scratch_bytes(24));
        let mut session = Session::new(&device, &mut scratch).unwrap();

        let lengths: Vec<u32> = (3..24).chain(3..24).collect();
        let tokens = sequences(config.vocab_size as u32, &lengths);
        let mut expected = Outputs::default();
        for ends in tokens.cu_seqlens.windows(2) {
            let range = ends[0] as usize..ends[1] as usize;
            let (ids, segments) = (&tokens.ids[range.clone()], &tokens.segments[range]);
            let mut output = session.run(ids, segments, Rows::All).unwrap();
            expected.hidden.extend(output.hidden());
            expected.labels.extend_from_slice(output.label_logits());
            for token in 0..ids.len() {
                expected.tokens.extend(output.tag_logits(token).into_iter().flatten());
                expected.tokens.extend(output.span_logits(token).into_iter().flatten());
            }
        }
        let found = |quantize_aware| {
            let additions = Additions { quantize_aware, projection: None };
            let precision = Precision::F32;
            let model =
                Model::with_additions(&ctx, &config, head, precision, &values, additions).unwrap();
            let everything = TaskBatch {
                labels: vec![0; lengths.len()],
                spans: vec![0; 2 * lengths.len()],
                tag_index: (0..tokens.tokens() as u32).collect(),
                tag_target: vec![0; tokens.tokens()],
                ..Default::default()
            };
            let targets = Targets::task(&ctx, head, &everything);
            let batch = DeviceBatch::upload(&ctx, &tokens);
            let (_, logits) = model.evaluate(&batch, &targets).unwrap();
            let read = |buffer: Option<&Buffer>| {
                buffer.map_or_else(Vec::new, |buffer| ctx.read_f32(buffer).unwrap())
            };
            Outputs {
                hidden: read(logits.hidden.last()),
                labels: read(logits.sequence.as_ref()),
                tokens: read(logits.words.as_ref().or(logits.spans.as_ref())),
            }
        };
        let (rounded, plain) = (found(true), found(false));
        for (what, part) in [
            ("hidden", (|out| &out.hidden) as fn(&Outputs) -> &Vec<f32>),
            ("labels", |out| &out.labels),
            ("tokens", |out| &out.tokens),
        ] {
            if part(&expected).is_empty() {
                continue;
            }
            let whole = part(&expected);
            // Labels are of a text, everything else of a token.
            let rows = if what == "labels" { lengths.len() } else { tokens.tokens() };
            let width = whole.len() / rows;
            let share = |found| {
                let pairs = part(found).chunks(width).zip(whole.chunks(width));
                let same = pairs.filter(|(a, b)| relative_error(a, b, 0.0) <= SAME).count();
                same as f64 / rows as f64
            };
            let distance = |found| relative_error(part(found), whole, 0.0);
            let (near, far) = (distance(&rounded), distance(&plain));
            let (all, none) = (share(&rounded), share(&plain));
            println!(
                "{} of {heads} heads, {what}: {all:.2} of the rows are the device's ({none:.2} without \
                 rounding), distances {near:.1e} and {far:.1e}",
                kind.name()
            );
            assert!(all >= LEAST_SHARE, "{what}: {all:.2} of the rows are the device's");
            // The plain model is not the device's, or nothing is shown.
            assert!(none < 0.02, "{what}: {none:.2} of the rows without rounding");
            assert!(near < 0.7 * far, "{what}: {near:.2e} of {far:.2e}");
        }
    }
}

#[derive(Default)]
struct Outputs {
    hidden: Vec<f32>,
    labels: Vec<f32>,
    tokens: Vec<f32>,
}

/// Below the frozen layers nothing is computed and nothing changes; above them the gradients are
/// those of a whole backward pass, to the bit, and they alone make the norm that is clipped.
#[test]
fn the_backward_pass_ends_above_frozen_layers() {
    let ctx = Context::open("cpu").unwrap();
    let (config, head) = (small_config(), Head::Classify { labels: 3 });
    let table = ParameterTable::new(&config, &head);
    let values = initial_values(&table, &config, 3);
    let tokens = sequences(50, &[7, 3, 12]);
    let device_batch = DeviceBatch::upload(&ctx, &tokens);
    let batch = TaskBatch { labels: vec![0, 2, 1], ..Default::default() };
    let targets = Targets::task(&ctx, head, &batch);
    let dropout = DropoutPlan::training(&config, 5, 1);
    let gradient = |frozen: Option<usize>| {
        let mut model = Model::new(&ctx, &config, head, Precision::F32, &values).unwrap();
        if let Some(layers) = frozen {
            model.freeze(layers);
        }
        model.accumulate_gradients(&device_batch, &targets, &dropout, 1.0).unwrap();
        (ctx.read_f32(model.gradients()).unwrap(), model)
    };
    let (whole, _) = gradient(None);
    for frozen in 0..=2 {
        let (found, model) = gradient(Some(frozen));
        let is_frozen = |name: &str| {
            let below = |layer| name.starts_with(&format!("bert.encoder.layer.{layer}."));
            name.starts_with("bert.embeddings.") || (0..frozen).any(below)
        };
        for parameter in table.parameters() {
            let range = parameter.range();
            if is_frozen(&parameter.name) {
                assert!(found[range].iter().all(|g| *g == 0.0), "{}", parameter.name);
            } else {
                assert!(found[range.clone()] == whole[range.clone()], "{}", parameter.name);
                assert!(found[range].iter().any(|g| *g != 0.0), "{}", parameter.name);
            }
        }
        let mut optimizer = Optimizer::new(&model, OptimizerOptions::default());
        let rates = table.blocks(|one| if is_frozen(&one.name) { 0.0 } else { 1.0 });
        optimizer.set_rates(&model, &rates);
        optimizer.step(&model, 0.1).unwrap();
        let norm = ctx.read_f32(optimizer.gradient_norm()).unwrap()[0];
        let expected = found.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!((f64::from(norm) / expected - 1.0).abs() < 1e-5);
        let after = ctx.read_f32(model.parameters()).unwrap();
        for parameter in table.parameters() {
            let same = after[parameter.range()] == values[parameter.range()];
            assert_eq!(same, is_frozen(&parameter.name), "{}", parameter.name);
        }
    }
}

/// A fine-tuning of the miniature for both its labels.
struct Run {
    dir: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn arguments(&self, task: &str, output: &str, more: &[&str]) -> Vec<OsString> {
        let pretrained = fixture().path("pretrained");
        self.arguments_from(&pretrained, task, output, more)
    }

    fn arguments_from(
        &self,
        model: &Path,
        task: &str,
        output: &str,
        more: &[&str],
    ) -> Vec<OsString> {
        let data = fixture().path("joint.tsv");
        let paths = [("--model", model.into()), ("--output", self.path(output))];
        let data = [("--train", data.clone()), ("--eval", data)];
        let named = paths.into_iter().chain(data);
        let named = named.flat_map(|(flag, path)| [OsString::from(flag), path.into()]);
        let fixed = ["finetune", "--task", task].map(OsString::from).into_iter();
        fixed.chain(named).chain(more.iter().map(OsString::from)).collect()
    }

    fn fails(&self, arguments: Vec<OsString>, code: i32, expected: &str) {
        let outcome: Outcome = command::run("bert-trainer", arguments);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.stderr.contains(expected), "{expected:?} in {outcome:?}");
        assert!(!self.path("refused").exists());
    }
}

/// Each tensor moves as fast as its layer may: the first step of AdamW goes by the learning rate, but
/// for gradients near ε.
#[test]
fn layers_learn_at_their_own_rates() {
    const RATE: f32 = 1e-3;
    let run = Run::new();
    let options = ["--epochs", "1", "--batch-size", "40", "--warmup-ratio", "0"];
    let rates = ["--learning-rate", "1e-3", "--weight-decay", "0", "--layer-decay", "0.5"];
    let more: Vec<&str> = options.into_iter().chain(rates).collect();
    json("bert-trainer", run.arguments("joint", "decayed", &more));
    let frozen: Vec<&str> = more.iter().copied().chain(["--freeze-layers", "1"]).collect();
    json("bert-trainer", run.arguments("joint", "frozen", &frozen));

    let before = LoadedCheckpoint::open(&fixture().path("pretrained")).unwrap();
    let open = |name: &str| LoadedCheckpoint::open(&run.path(name)).unwrap();
    let (decayed, frozen) = (open("decayed"), open("frozen"));
    let factors = [
        ("bert.embeddings.word_embeddings.weight", 0.25),
        ("bert.embeddings.LayerNorm.bias", 0.25),
        ("bert.encoder.layer.0.attention.self.value.weight", 0.5),
        ("bert.encoder.layer.0.output.LayerNorm.weight", 0.5),
        ("bert.encoder.layer.1.intermediate.dense.weight", 1.0),
        ("bert.encoder.layer.1.output.dense.bias", 1.0),
        ("bert.pooler.dense.weight", 1.0),
    ];
    for (name, factor) in factors {
        let (old, new) = (before.tensor(name).unwrap(), decayed.tensor(name).unwrap());
        let moved = old.iter().zip(new).map(|(old, new)| (new - old).abs()).fold(0.0, f32::max);
        let share = moved / (RATE * factor);
        assert!((0.9..1.001).contains(&share), "{name}: {share} of its rate");
        let same = frozen.tensor(name).unwrap() == old;
        assert_eq!(same, factor < 1.0, "{name}");
    }
    run.fails(run.arguments("joint", "refused", &["--freeze-layers", "3"]), 1, "2 layers");
    run.fails(run.arguments("joint", "refused", &["--layer-decay", "0"]), 1, "--layer-decay 0");
}

#[test]
fn students_learn_from_teachers_of_the_same_task() {
    let run = Run::new();
    let wide = run.path("wide.json");
    let text = std::fs::read_to_string(fixture().path("config.json")).unwrap();
    std::fs::write(&wide, text.replace("\"hidden_size\": 32", "\"hidden_size\": 48")).unwrap();
    let quick = ["--steps", "2", "--batch-size", "4", "--max-length", "32"];
    let paths =
        [("--data", fixture().path("shards")), ("--config", wide), ("--output", run.path("wide"))];
    let named = paths.into_iter().flat_map(|(flag, path)| [OsString::from(flag), path.into()]);
    let arguments = ["pretrain"].into_iter().chain(quick).map(OsString::from);
    json("bert-trainer", arguments.chain(named));
    let rate = ["--learning-rate", "2e-3", "--epochs", "8", "--batch-size", "8", "--dropout", "0"];
    json("bert-trainer", run.arguments_from(&run.path("wide"), "joint", "teacher", &rate));

    // Whatever the labels say: all of the loss is the teacher's.
    let teacher = run.path("teacher");
    let teacher = teacher.to_str().unwrap();
    let taught = ["--teacher", teacher, "--distill-weight", "1"];
    let more: Vec<&str> = rate.into_iter().chain(taught).collect();
    let student = json("bert-trainer", run.arguments("joint", "student", &more));
    assert!(student["loss"].as_f64().unwrap() < 1.0, "{student}");
    let hidden: Vec<&str> = more.iter().copied().chain(["--distill-hidden"]).collect();
    let both = json("bert-trainer", run.arguments("joint", "hidden", &hidden));
    // The distance of hidden states comes on top.
    assert!(both["loss"].as_f64().unwrap() > student["loss"].as_f64().unwrap());
    let open = |name: &str| LoadedCheckpoint::open(&run.path(name)).unwrap();
    let (plain, hidden) = (open("student"), open("hidden"));
    assert!(plain.values().len() == hidden.values().len(), "the projection is not kept");
    assert!(plain.values() != hidden.values());
    let record = bert_trainer::report::RunRecord::read(&run.path("hidden")).unwrap().unwrap();
    assert_eq!(record.configuration["distill_hidden"], true);
    assert_eq!(record.configuration["teacher"], teacher);

    let pretrained = fixture().path("pretrained");
    let pretrained = pretrained.to_str().unwrap();
    let refused = |more: &[&str], code, expected| {
        run.fails(run.arguments("joint", "refused", more), code, expected);
    };
    refused(&["--distill-weight", "0.5"], 2, "--teacher");
    refused(&["--distill-hidden"], 2, "--teacher");
    refused(&["--teacher", pretrained], 1, "a pre-trained model cannot teach");
    refused(&["--teacher", "/nowhere"], 1, "/nowhere");
    refused(&["--teacher", teacher, "--distill-weight", "1.5"], 1, "--distill-weight 1.5");
    refused(&["--quantize-aware", "--precision", "bf16"], 1, "--quantize-aware");
}

/// Whole texts may be read with another tokenizer, words may not.
#[test]
fn a_teacher_may_have_another_tokenizer_for_whole_texts() {
    let run = Run::new();
    let path = |name: &str| fixture().path(name);
    let corpus = [("--input", path("corpus.txt")), ("--output", run.path("tokenizer"))];
    let named = |pairs: &[(&str, PathBuf)]| -> Vec<OsString> {
        let pairs = pairs.iter().flat_map(|(flag, path)| [OsString::from(flag), path.into()]);
        pairs.collect()
    };
    let trainer = |words: &[&str], pairs: &[(&str, PathBuf)]| {
        json("bert-trainer", words.iter().map(OsString::from).chain(named(pairs)))
    };
    trainer(&["vocab", "--vocab-size", "90"], &corpus);
    let tokenizer = run.path("tokenizer");
    trainer(
        &["prepare"],
        &[
            ("--input", path("corpus.txt")),
            ("--tokenizer", tokenizer),
            ("--output", run.path("shards")),
        ],
    );
    trainer(
        &["pretrain", "--steps", "1", "--batch-size", "4", "--max-length", "32"],
        &[
            ("--data", run.path("shards")),
            ("--config", path("config.json")),
            ("--output", run.path("other")),
        ],
    );
    let texts = run.path("texts.tsv");
    let lines = std::fs::read_to_string(path("joint.tsv")).unwrap();
    let two: Vec<&str> = lines.lines().map(|line| line.rsplit_once('\t').unwrap().0).collect();
    std::fs::write(&texts, two.join("\n")).unwrap();
    let finetune = |task: &str, data: &Path, model: &Path, output: &str| {
        let pairs = [
            ("--train", data.to_owned()),
            ("--eval", data.to_owned()),
            ("--model", model.to_owned()),
            ("--output", run.path(output)),
        ];
        let words = ["finetune", "--task", task, "--epochs", "1"].map(OsString::from);
        words.into_iter().chain(named(&pairs)).collect::<Vec<_>>()
    };
    let with = |mut arguments: Vec<OsString>, teacher: &str| {
        arguments.extend(["--teacher".into(), run.path(teacher).into()]);
        arguments
    };
    let other = run.path("other");
    json("bert-trainer", finetune("classify", &texts, &other, "texts"));
    json("bert-trainer", finetune("joint", &path("joint.tsv"), &other, "words"));
    let student = |task, data: &Path, output| finetune(task, data, &path("pretrained"), output);
    let report = json("bert-trainer", with(student("classify", &texts, "student"), "texts"));
    assert_eq!(report["task"], "classify");

    let joint = path("joint.tsv");
    run.fails(with(student("joint", &joint, "refused"), "words"), 1, "another tokenizer");
    run.fails(with(student("joint", &joint, "refused"), "texts"), 1, "of --task joint");
    let mut hidden = with(student("classify", &texts, "refused"), "texts");
    hidden.push("--distill-hidden".into());
    run.fails(hidden, 1, "another tokenizer");
    let renamed = run.path("renamed.tsv");
    std::fs::write(&renamed, two.join("\n").replace("switch_on", "switch_up")).unwrap();
    run.fails(with(student("classify", &renamed, "refused"), "texts"), 1, "\"switch_on\"");
}

/// Through the binary: the checkpoint has unrounded weights, and the device agrees with what the
/// training saw.
#[test]
fn a_rounded_training_leaves_an_ordinary_checkpoint() {
    let run = Run::new();
    let more =
        ["--quantize-aware", "--epochs", "3", "--batch-size", "8", "--learning-rate", "2e-3"];
    let trained = json("bert-trainer", run.arguments("joint", "rounded", &more));
    let model = run.path("model.bert");
    let pairs = [
        ("--model", run.path("rounded")),
        ("--output", model),
        ("--eval", fixture().path("joint.tsv")),
    ];
    let named = pairs.iter().flat_map(|(flag, path)| [OsString::from(flag), path.into()]);
    let exported = json("bert-trainer", std::iter::once("export".into()).chain(named));
    for (name, value) in trained["metrics"].as_object().unwrap() {
        let (seen, device) = (number(value), number(&exported["eval"]["metrics"][name]));
        // One word of 280 may lie on the edge.
        assert!(
            (seen - device).abs() <= 0.03,
            "{name}: {seen} in training, {device} on the device"
        );
    }
    let checkpoint = LoadedCheckpoint::open(&run.path("rounded")).unwrap();
    let row = &checkpoint.tensor("bert.pooler.dense.weight").unwrap()[..32];
    let largest = row.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let off = row.iter().map(|x| x * 127.0 / largest).filter(|x| (x - x.round()).abs() > 1e-3);
    assert!(off.count() > 20);
}
