//! The stages of the demo: each runs one command of a real binary and keeps its figures.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::report::{Figures, Stage};
use crate::shell;

/// Pieces of the vocabulary; the grammar has about 600 words.
const VOCABULARY: &str = "1200";
/// Tokens of a sequence at most, in training and in the exported model.
const MAX_LENGTH: &str = "64";
/// Chosen so that the demo ends within four minutes on two cores.
const PRETRAIN_STEPS: &str = "1000";
const PRETRAIN_BATCH: &str = "16";
const FINETUNE_EPOCHS: &str = "4";
const FINETUNE_BATCH: &str = "16";
/// Far above the paper's 1e-4: bert-tiny is narrow and the run short.
const PRETRAIN_RATE: &str = "2e-3";
const FINETUNE_RATE: &str = "1.5e-3";

/// Builds what a user builds: the trainer and the command line for devices.
pub fn build_binaries() -> anyhow::Result<()> {
    let build = ["build", "--release", "-p", "bert-trainer", "-p", "bert-edge"];
    shell::run(&mut shell::cargo(build))
}

/// The command that answers a sentence of the reader's own.
pub fn try_command(model: &Path) -> String {
    let binary = super::relative(&binary("bert-edge"));
    format!("{} tag {} \"turn on the lamp in the kitchen\"", binary.display(), model.display())
}

/// The demo's run so far.
pub struct Pipeline {
    dir: PathBuf,
    figures: Figures,
}

impl Pipeline {
    /// A run that keeps its files in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, figures: Figures::default() }
    }

    /// Learns the vocabulary.
    pub fn vocab(&mut self, corpus: &Path) -> anyhow::Result<PathBuf> {
        let output = self.dir.join("tokenizer");
        self.stage("vocab", |run| {
            run.arg("vocab").arg("--input").arg(corpus);
            run.args(["--vocab-size", VOCABULARY]).arg("--output").arg(&output);
        })?;
        Ok(output)
    }

    /// Writes the shards.
    pub fn prepare(&mut self, corpus: &Path, tokenizer: &Path) -> anyhow::Result<PathBuf> {
        let output = self.dir.join("shards");
        self.stage("prepare", |run| {
            run.arg("prepare").arg("--input").arg(corpus);
            run.arg("--tokenizer").arg(tokenizer).arg("--output").arg(&output);
        })?;
        Ok(output)
    }

    /// Masked language model and next sentence prediction from random values.
    pub fn pretrain(&mut self, shards: &Path) -> anyhow::Result<PathBuf> {
        let output = self.dir.join("pretrained");
        let result = self.stage("pretrain", |run| {
            run.arg("pretrain").arg("--data").arg(shards).arg("--output").arg(&output);
            run.args(["--config", "bert-tiny", "--max-length", MAX_LENGTH]);
            run.args(["--steps", PRETRAIN_STEPS, "--batch-size", PRETRAIN_BATCH]);
            run.args(["--learning-rate", PRETRAIN_RATE, "--log-steps", "20"]);
        })?;
        self.figures.mlm_loss_before = number(&result, &["mlm_loss_first"])?;
        Ok(output)
    }

    /// The pre-trained model on dialogues it has not seen.
    pub fn eval_pretrained(&mut self, model: &Path, corpus: &Path) -> anyhow::Result<()> {
        let result = self.stage("eval (pre-trained)", |run| {
            run.arg("eval").arg("--model").arg(model).arg("--data").arg(corpus);
            run.args(["--max-length", MAX_LENGTH]);
        })?;
        self.figures.mlm_loss = number(&result, &["metrics", "mlm_loss"])?;
        self.figures.mlm_unigram_loss = number(&result, &["metrics", "mlm_unigram_loss"])?;
        self.figures.nsp_accuracy = number(&result, &["metrics", "nsp_accuracy"])?;
        Ok(())
    }

    /// Intents and slots.
    pub fn finetune(&mut self, from: &Path, train: &Path, valid: &Path) -> anyhow::Result<PathBuf> {
        let output = self.dir.join("assistant");
        self.stage("finetune", |run| {
            run.args(["finetune", "--task", "joint"]).arg("--model").arg(from);
            run.arg("--train").arg(train).arg("--eval").arg(valid).arg("--output").arg(&output);
            run.args(["--epochs", FINETUNE_EPOCHS, "--batch-size", FINETUNE_BATCH]);
            run.args(["--learning-rate", FINETUNE_RATE, "--max-length", MAX_LENGTH]);
        })?;
        Ok(output)
    }

    /// The fine-tuned model as it was trained.
    pub fn eval_f32(&mut self, model: &Path, test: &Path) -> anyhow::Result<()> {
        let result = self.eval("eval (f32)", model, test)?;
        self.figures.intent_accuracy_f32 = number(&result, &["metrics", "intent_accuracy"])?;
        self.figures.slot_f1_f32 = number(&result, &["metrics", "slot_f1"])?;
        Ok(())
    }

    /// Quantizes into a model file.
    pub fn export(&mut self, model: &Path, test: &Path) -> anyhow::Result<PathBuf> {
        let output = self.dir.join("model.bert");
        let result = self.stage("export", |run| {
            run.arg("export").arg("--model").arg(model).arg("--output").arg(&output);
            run.args(["--max-length", MAX_LENGTH]).arg("--eval").arg(test);
        })?;
        self.figures.scratch_bytes = number(&result, &["scratch_bytes"])? as u64;
        let written = std::fs::metadata(&output)
            .with_context(|| format!("export left no file {}", output.display()))?;
        self.figures.model_bytes = written.len();
        Ok(output)
    }

    /// The model file, through the code of the device.
    pub fn eval_int8(&mut self, model: &Path, test: &Path) -> anyhow::Result<()> {
        let result = self.eval("eval (int8)", model, test)?;
        self.figures.intent_accuracy_int8 = number(&result, &["metrics", "intent_accuracy"])?;
        self.figures.slot_f1_int8 = number(&result, &["metrics", "slot_f1"])?;
        Ok(())
    }

    /// Time of a sentence in `bert-core`, on one core: the mean over these of their medians.
    pub fn bench(&mut self, model: &Path, sentences: &[&str]) -> anyhow::Result<()> {
        let start = Instant::now();
        eprintln!("\ndemo: bench");
        let mut microseconds = 0.0;
        for sentence in sentences {
            let result = self.edge("bench", model, &[sentence])?;
            microseconds += number(&result, &["median_us"])?;
        }
        self.figures.microseconds_per_sentence = microseconds / sentences.len() as f64;
        let seconds = start.elapsed().as_secs_f64();
        self.figures.stages.push(Stage { name: "bench", seconds });
        Ok(())
    }

    /// Intent and slots of these sentences, as lines for a person.
    pub fn answer(&self, model: &Path, sentences: &[&str]) -> anyhow::Result<String> {
        let answers = self.edge("tag", model, sentences)?;
        let mut lines = String::new();
        for answer in answers["results"].as_array().into_iter().flatten() {
            let word = |value: &Value, key: &str| value[key].as_str().unwrap_or("?").to_owned();
            lines += &format!("  \"{}\"\n", word(answer, "text"));
            lines += &format!("    {:<12} {}\n", "intent", word(answer, "label"));
            for slot in answer["slots"].as_array().into_iter().flatten() {
                lines += &format!("    {:<12} {}\n", word(slot, "slot"), word(slot, "text"));
            }
        }
        Ok(lines)
    }

    /// Runs a command of `bert-edge` and gives its JSON object.
    fn edge(&self, command: &str, model: &Path, texts: &[&str]) -> anyhow::Result<Value> {
        let mut run = Command::new(binary("bert-edge"));
        run.arg(command).arg(model).args(texts).arg("--json");
        serde_json::from_str(&stdout_of(run)?)
            .with_context(|| format!("bert-edge {command} printed something else than JSON"))
    }

    /// All figures of the run, which took this long after the build.
    pub fn into_figures(self, seconds: f64) -> Figures {
        Figures { seconds, ..self.figures }
    }

    fn eval(&mut self, name: &'static str, model: &Path, data: &Path) -> anyhow::Result<Value> {
        self.stage(name, |run| {
            run.arg("eval").arg("--model").arg(model).arg("--data").arg(data);
        })
    }

    /// Runs a command of the trainer and gives its JSON object.
    fn stage(
        &mut self,
        name: &'static str,
        arguments: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Value> {
        let mut command = Command::new(binary("bert-trainer"));
        arguments(&mut command);
        command.arg("--json");
        eprintln!("\ndemo: {name}");
        let start = Instant::now();
        let text = stdout_of(command)?;
        self.figures.stages.push(Stage { name, seconds: start.elapsed().as_secs_f64() });
        serde_json::from_str(&text)
            .with_context(|| format!("stage {name} printed something else than JSON"))
    }
}

/// Runs to the end; progress passes through on stderr.
fn stdout_of(mut command: Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{command:?} failed with {}; its message is above", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed invalid UTF-8"))
}

fn number(value: &Value, path: &[&str]) -> anyhow::Result<f64> {
    let found = path.iter().try_fold(value, |value, key| value.get(key));
    found
        .and_then(Value::as_f64)
        .with_context(|| format!("expected a number {:?} in {value}", path.join(".")))
}

fn binary(name: &str) -> PathBuf {
    shell::target_dir().join("release").join(name).with_extension(std::env::consts::EXE_EXTENSION)
}
