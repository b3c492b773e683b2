//! Int8-aware training against the device it is for.

use std::ffi::OsString;

use bert_core::{Model as DeviceModel, Rows, ScratchVec, Session};
use bert_kernels::{Buffer, Context};
use bert_tests::command::json;
use bert_tests::fixture::fixture;
use bert_tests::golden::{number, relative_error};
use bert_trainer::data::TaskBatch;
use bert_trainer::data::tasks::{Labels, TaskKind, TaskLabels};
use bert_trainer::export::{ExportOptions, export};
use bert_trainer::model::{
    Additions, DeviceBatch, LoadedCheckpoint, Model, ParameterTable, Precision, Targets, head_of,
    initial_values, name_task, write_checkpoint,
};

use crate::runs::Run;
use crate::{sequences, small_config};

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
