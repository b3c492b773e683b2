//! Measures an export for its page: everything but the f32 side is the code of the device.

use std::path::Path;

use anyhow::Context as _;
use bert_core::format::Kind;
use bert_core::{AnswerOptions, Model, scratch_parts};

use super::Evaluated;
use crate::cli::OpenCheckpoint;
use crate::data::TextTokenizer;
use crate::data::tasks::{EncodeOptions, RawExample, TaskData, TaskLabels};
use crate::evaluate::{
    DevicePredictor, Predictor as _, TaskMetrics, Timing, evaluate, layer_noise,
};
use crate::report::{DataFile, ExportReport, Measured, Metrics, PartBytes, SlowExample, Times};

/// Sequences that hidden states are compared on at most.
const COMPARED: usize = 256;
/// Examples that are shown as the slowest.
const SLOWEST: usize = 10;

/// What is measured on.
pub(super) struct Subject<'a> {
    pub checkpoint: &'a OpenCheckpoint,
    /// What the exported file cuts texts with.
    pub device: &'a TextTokenizer,
    /// The file of the examples.
    pub eval: &'a Path,
    pub examples: &'a [RawExample],
    pub answers: AnswerOptions,
}

/// The report of what was exported as `output`; `plain` is the same without the parts that were `kept` in
/// f16, if some were.
pub(super) fn measure(
    subject: &Subject<'_>,
    output: &Path,
    exported: &mut Evaluated,
    mut plain: Option<&mut Evaluated>,
    kept: &[String],
) -> anyhow::Result<ExportReport> {
    let Subject { checkpoint, device, eval, examples, answers } = *subject;
    let mut host = checkpoint.predictor().context("a pre-trained model has no task")?;
    let f32 = finite(&evaluate(&mut host, eval, examples, answers)?);
    let task = exported.predictor.task();
    let encode = |examples: &[RawExample], tokenizer| {
        let options = EncodeOptions { max_length: checkpoint.max_length, stride: answers.stride };
        // Whatever labels the examples have, they are not looked at.
        let none = TaskLabels::default();
        TaskData::encode(eval, examples, task, &none, tokenizer, options)
    };
    let mut sequences = encode(&spread(examples, COMPARED), &checkpoint.tokenizer)?;
    sequences.examples.truncate(COMPARED);
    let files: Vec<&[u8]> =
        plain.as_deref().into_iter().chain([&*exported]).map(Evaluated::comparable).collect();
    let mut noise = layer_noise(&checkpoint.model, &sequences, &files)?.into_iter();
    let mut measured = |one: &Evaluated, timing: &Timing| Measured {
        metrics: finite(&one.found),
        model_bytes: one.predictor.model_bytes() as u64,
        scratch_bytes: one.predictor.scratch_bytes() as u64,
        decibels: noise.next().unwrap_or_default().iter().map(|layer| layer.decibels()).collect(),
        median_us: median_us(timing),
    };
    let timing = exported.predictor.time(examples)?;
    let (int8, kept) = match plain.as_mut() {
        Some(plain) => {
            let of_plain = plain.predictor.time(examples)?;
            let plain = measured(plain, &of_plain);
            (plain, Some((kept.to_vec(), measured(exported, &timing))))
        }
        None => (measured(exported, &timing), None),
    };
    let mut tokens = vec![0; examples.len()];
    for sequence in &encode(examples, device)?.examples {
        tokens[sequence.source as usize] += sequence.ids.len();
    }
    let times = times(examples, &tokens, &timing);
    let model = Model::parse(exported.predictor.bytes())?;
    let config = model.config();
    let scratch = scratch_parts(&config.shape(), usize::from(config.max_length));
    Ok(ExportReport {
        model: output.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        task: task.name().to_owned(),
        data: DataFile::of("eval", eval, examples.len() as u64)?,
        f32,
        int8,
        kept,
        word_tables: Vec::new(),
        compared: sequences.examples.len(),
        weights: weights(&model, &exported.predictor),
        scratch: scratch
            .iter()
            .filter(|part| part.bytes > 0)
            .map(|part| PartBytes { name: part.name.to_owned(), bytes: part.bytes })
            .collect(),
        times,
    })
}

/// The metrics that are numbers.
pub(super) fn finite(metrics: &TaskMetrics) -> Metrics {
    metrics.iter().filter(|(_, value)| value.is_finite()).collect()
}

/// At most `most` examples from all over the file, which may be sorted.
fn spread(examples: &[RawExample], most: usize) -> Vec<RawExample> {
    let count = examples.len().min(most);
    (0..count).map(|i| examples[i * examples.len() / count].clone()).collect()
}

fn median_us(timing: &Timing) -> f64 {
    let mut seconds = timing.seconds.clone();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).map_or(0.0, |seconds| seconds * 1e6)
}

fn times(examples: &[RawExample], tokens: &[usize], timing: &Timing) -> Times {
    let us: Vec<f64> = timing.seconds.iter().map(|seconds| seconds * 1e6).collect();
    let mut order: Vec<usize> = (0..us.len()).collect();
    order.sort_by(|&a, &b| us[b].total_cmp(&us[a]));
    let slow = |&index: &usize| SlowExample {
        line: examples[index].line,
        tokens: tokens[index],
        us: us[index],
        text: examples[index].text.clone(),
        second: examples[index].second.clone(),
    };
    Times {
        kernels: timing.kernels.to_owned(),
        rounds: timing.rounds,
        total_us: us.iter().sum(),
        slowest: order.iter().take(SLOWEST).map(slow).collect(),
    }
}

/// Bytes of the sections by what they hold; they add up to the file.
fn weights(model: &Model<'_>, predictor: &DevicePredictor) -> Vec<PartBytes> {
    const PARTS: [(&str, &[Kind]); 10] = [
        ("word table", &[Kind::WordTable]),
        ("positions and segments", &[Kind::PositionTable, Kind::SegmentTable]),
        ("attention", &[Kind::QueryKeyValue, Kind::AttentionOutput]),
        ("feed-forward", &[Kind::FeedForwardIn, Kind::FeedForwardOut]),
        ("norms", &[Kind::EmbeddingNorm, Kind::AttentionNorm, Kind::FeedForwardNorm]),
        ("pooler", &[Kind::Pooler]),
        ("heads", &[Kind::ClassHead, Kind::TagHead, Kind::SpanHead]),
        ("vocabulary", &[Kind::Vocabulary]),
        ("header and labels", &[Kind::Header, Kind::Labels]),
        ("self-test", &[Kind::SelfTest]),
    ];
    let of = |kinds: &[Kind]| {
        let known = |kind: u16| kinds.iter().any(|one| *one as u16 == kind);
        let sections = model.sections().filter(|section| known(section.kind));
        sections.map(|section| u64::from(section.length)).sum::<u64>()
    };
    let mut parts: Vec<PartBytes> = PARTS
        .iter()
        .map(|(name, kinds)| PartBytes { name: (*name).to_owned(), bytes: of(kinds) })
        .collect();
    let known: u64 = parts.iter().map(|part| part.bytes).sum();
    let bytes = (predictor.model_bytes() as u64).saturating_sub(known);
    parts.push(PartBytes { name: "section table and padding".to_owned(), bytes });
    parts.retain(|part| part.bytes > 0);
    parts
}
