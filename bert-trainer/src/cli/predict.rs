//! `bert-trainer predict`

use std::io::BufRead as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde_json::{Value, json};

use super::pretrained::Pretraining;
use super::{AnswerArgs, DeviceArgs, OpenCheckpoint, Report, Task, is_model_file};
use crate::data::tasks::{RawExample, TaskKind};
use crate::evaluate::{DevicePredictor, OUTSIDE, Prediction, Predictor};

/// Predict with a checkpoint, or with an exported model through the code of the device.
///
/// A tab separates two texts: `a<TAB>b` for pairs, `question<TAB>context` for spans. A pre-trained
/// checkpoint fills in `[MASK]` (--task fill-mask) or tells whether b follows a (--task nsp).
///
/// Example: bert-trainer predict --model assistant "turn on the light in the kitchen"
/// Example: bert-trainer predict --model pretrained --task fill-mask "turn on the [MASK]"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Checkpoint directory, or exported model.bert.
    #[arg(long)]
    model: PathBuf,
    /// Texts; `-` reads one a line from stdin.
    #[arg(required = true)]
    text: Vec<String>,
    /// Task of the model; it is read from the model if not given. A pre-trained model has two, and a
    /// checkpoint of labels from elsewhere does not say whether it reads one text or two.
    #[arg(long, value_enum)]
    task: Option<Question>,
    /// For fill-mask: pieces for each mask.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Tokens of a text at most; the model's positions if not given.
    #[arg(long)]
    max_length: Option<u32>,
    #[command(flatten)]
    answers: AnswerArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What can be asked: a task of pre-training, or the one that a model was fine-tuned for.
#[derive(Debug, Clone, Copy)]
enum Question {
    Pretraining(Pretraining),
    Task(Task),
}

impl ValueEnum for Question {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Pretraining(Pretraining::FillMask),
            Self::Pretraining(Pretraining::NextSentence),
            Self::Task(Task::Classify),
            Self::Task(Task::MultiLabel),
            Self::Task(Task::Pair),
            Self::Task(Task::Regress),
            Self::Task(Task::Tag),
            Self::Task(Task::Joint),
            Self::Task(Task::Span),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Task(task) => return task.to_possible_value(),
            Self::Pretraining(Pretraining::FillMask) => "Pieces for each [MASK] of a text",
            Self::Pretraining(Pretraining::NextSentence) => {
                "The probability that b follows a, of `a<TAB>b`"
            }
        };
        let Self::Pretraining(task) = self else { return None };
        Some(PossibleValue::new(task.name()).help(help))
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let texts = texts(&args.text)?;
    let (pretraining, task) = match args.task {
        Some(Question::Pretraining(task)) => (Some(task), None),
        Some(Question::Task(task)) => (None, Some(TaskKind::from(task))),
        None => (None, None),
    };
    if is_model_file(&args.model)? {
        if let Some(task) = pretraining {
            bail!(
                "{}: --task {} takes a pre-trained checkpoint, not an exported model",
                args.model.display(),
                task.name()
            );
        }
        return predict(&mut DevicePredictor::open(&args.model)?, &args, task, &texts);
    }
    let open = OpenCheckpoint::open(&args.model, task, &args.device, args.max_length)?;
    if let Some(pretraining) = pretraining {
        return pretraining.predict(&args.model, &open, &texts, args.top as usize);
    }
    match open.predictor() {
        Some(mut predictor) => predict(&mut predictor, &args, task, &texts),
        None => bail!(
            "{}: a pre-trained model has no task of its own: --task fill-mask or nsp asks it what \
             it was trained for, or fine-tune it first",
            args.model.display()
        ),
    }
}

fn predict(
    predictor: &mut dyn Predictor,
    args: &Args,
    wanted: Option<TaskKind>,
    texts: &[String],
) -> anyhow::Result<Report> {
    let found = predictor.task();
    ensure!(
        wanted.is_none_or(|wanted| wanted == found),
        "{}: --task {} was asked for, but this is a model of {}",
        args.model.display(),
        wanted.map_or("", TaskKind::name),
        found.name()
    );
    let predictions = predictions(predictor, args, texts)?;
    let mut report = Report { lines: Vec::new(), json: json!(null) };
    let mut objects = Vec::new();
    for (example, prediction) in predictions {
        report.lines.push(line(&example, &prediction));
        objects.push(object(&example, &prediction));
    }
    report.json = json!({ "predictions": objects });
    Ok(report)
}

fn texts(arguments: &[String]) -> anyhow::Result<Vec<String>> {
    if arguments != ["-"] {
        return Ok(arguments.to_vec());
    }
    let mut texts = Vec::new();
    for (index, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.with_context(|| format!("stdin, line {}: expected UTF-8", index + 1))?;
        if !line.trim().is_empty() {
            texts.push(line);
        }
    }
    ensure!(!texts.is_empty(), "stdin: expected a text a line");
    Ok(texts)
}

fn predictions(
    predictor: &mut dyn Predictor,
    args: &Args,
    texts: &[String],
) -> anyhow::Result<Vec<(RawExample, Prediction)>> {
    let kind = predictor.task();
    predictor.set_answer_options(args.answers.options());
    let read = |(index, text): (usize, &String)| {
        RawExample::unlabelled(text, kind, index as u64 + 1)
            .map_err(|expected| anyhow!("text {}: expected {expected}", index + 1))
    };
    let examples: Vec<RawExample> =
        texts.iter().enumerate().map(read).collect::<anyhow::Result<_>>()?;
    let predictions = predictor.predict(&examples)?;
    Ok(examples.into_iter().zip(predictions).collect())
}

fn line(example: &RawExample, prediction: &Prediction) -> String {
    let mut line = example.text.clone();
    if let Some(label) = &prediction.label {
        line.push_str(&format!("\t{label}"));
    }
    for label in &prediction.labels {
        line.push_str(&format!("\t{label}"));
    }
    if let Some(value) = prediction.value {
        line.push_str(&format!("\t{value:.4}"));
    }
    for (index, tag) in prediction.tags.iter().enumerate().filter(|(_, tag)| *tag != OUTSIDE) {
        line.push_str(&format!("\t{}={tag}", example.word(index)));
    }
    if !prediction.answers.is_empty() {
        let answer = prediction.answer();
        line.push_str(&format!("\t{}", if answer.is_empty() { "(no answer)" } else { answer }));
    }
    line
}

fn object(example: &RawExample, prediction: &Prediction) -> Value {
    let mut object = json!({ "text": example.text });
    if let Some(second) = &example.second {
        object["second"] = json!(second);
    }
    if let Some(label) = &prediction.label {
        object["label"] = json!(label);
    }
    if !prediction.probabilities.is_empty() {
        if prediction.label.is_none() {
            object["labels"] = json!(prediction.labels);
        }
        object["probabilities"] = json!(prediction.probabilities);
    }
    if let Some(value) = prediction.value {
        object["value"] = json!(value);
    }
    if !prediction.tags.is_empty() {
        let words = prediction.tags.iter().enumerate().map(|(index, tag)| {
            let (start, end) = example.words[index];
            json!({ "word": example.word(index), "start": start, "end": end, "tag": tag })
        });
        object["words"] = words.collect();
    }
    if !prediction.answers.is_empty() {
        object["has_answer"] = json!(prediction.has_answer);
        object["answers"] = prediction
            .answers
            .iter()
            .map(|answer| {
                json!({
                    "text": answer.text,
                    "start": answer.start,
                    "end": answer.end,
                    "score": answer.score,
                    "probability": answer.probability,
                })
            })
            .collect();
    }
    object
}
