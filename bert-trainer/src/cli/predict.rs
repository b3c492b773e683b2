//! `bert-trainer predict`

use std::io::BufRead as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::{AnswerArgs, DeviceArgs, OpenCheckpoint, Report, Task, is_model_file};
use crate::data::tasks::RawExample;
use crate::evaluate::{DevicePredictor, OUTSIDE, Prediction, Predictor};

/// Predict with a checkpoint, or with an exported model through the code of the device.
///
/// A tab separates two texts: `a<TAB>b` for pairs, `question<TAB>context` for spans.
///
/// Example: bert-trainer predict --model assistant "turn on the light in the kitchen"
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint directory of a fine-tuned model, or exported model.bert.
    #[arg(long)]
    model: PathBuf,
    /// Texts; `-` reads one a line from stdin.
    #[arg(required = true)]
    text: Vec<String>,
    /// Task of the model, where its checkpoint does not say whether it reads one text or two:
    /// classify or pair.
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// Tokens of a text at most; the model's positions if not given.
    #[arg(long)]
    max_length: Option<u32>,
    #[command(flatten)]
    answers: AnswerArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let texts = texts(&args.text)?;
    let predictions = if is_model_file(&args.model)? {
        predict(&mut DevicePredictor::open(&args.model)?, &args, &texts)?
    } else {
        let open = OpenCheckpoint::open(&args.model, args.task, &args.device, args.max_length)?;
        match open.predictor() {
            Some(mut predictor) => predict(&mut predictor, &args, &texts)?,
            None => bail!(
                "{}: a pre-trained model has no task; fine-tune it first",
                args.model.display()
            ),
        }
    };
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

fn predict(
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
