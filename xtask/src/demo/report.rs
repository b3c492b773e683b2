//! The demo's figures: the table, `report.json`, and what is demanded of them.

use anyhow::{Context as _, bail};
use serde_json::json;

/// Least share of right intents, of the f32 model and of the quantized one.
const MIN_INTENT_ACCURACY: f64 = 0.99;
/// Least F1 of the slots, of the f32 model and of the quantized one.
const MIN_SLOT_F1: f64 = 0.97;
/// Most that quantization may cost: 0.3 points.
const MAX_QUANTIZATION_LOSS: f64 = 0.003;

/// A stage and how long it took.
#[derive(Debug, Clone)]
pub struct Stage {
    /// What the table calls it.
    pub name: &'static str,
    /// Wall time.
    pub seconds: f64,
}

/// What the demo measured. Accuracies and F1 are shares of 1, losses are in nats.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// In the order in which they ran.
    pub stages: Vec<Stage>,
    /// MLM loss of the first step.
    pub mlm_loss_before: f64,
    /// MLM loss on unseen dialogues.
    pub mlm_loss: f64,
    /// Loss of guessing each piece by its frequency.
    pub mlm_unigram_loss: f64,
    /// Share of sentence pairs told apart.
    pub nsp_accuracy: f64,
    /// Share of right intents before quantization.
    pub intent_accuracy_f32: f64,
    /// Share of right intents of the model file.
    pub intent_accuracy_int8: f64,
    /// F1 of slots before quantization.
    pub slot_f1_f32: f64,
    /// F1 of slots of the model file.
    pub slot_f1_int8: f64,
    /// Size of the model file.
    pub model_bytes: u64,
    /// Memory that `bert-core` needs beside the model file.
    pub scratch_bytes: u64,
    /// Time of a sentence in `bert-core` on one core.
    pub microseconds_per_sentence: f64,
    /// All of the demo without the build.
    pub seconds: f64,
}

impl Figures {
    /// The content of `report.json`.
    pub fn json(&self) -> anyhow::Result<String> {
        let stages: serde_json::Map<_, _> =
            self.stages.iter().map(|stage| (stage.name.to_owned(), json!(stage.seconds))).collect();
        let report = json!({
            "mlm_loss_before": self.mlm_loss_before,
            "mlm_loss": self.mlm_loss,
            "mlm_unigram_loss": self.mlm_unigram_loss,
            "nsp_accuracy": self.nsp_accuracy,
            "intent_accuracy_f32": self.intent_accuracy_f32,
            "intent_accuracy_int8": self.intent_accuracy_int8,
            "slot_f1_f32": self.slot_f1_f32,
            "slot_f1_int8": self.slot_f1_int8,
            "model_bytes": self.model_bytes,
            "scratch_bytes": self.scratch_bytes,
            "microseconds_per_sentence": self.microseconds_per_sentence,
            "seconds": self.seconds,
            "stage_seconds": stages,
        });
        let text = serde_json::to_string_pretty(&report).context("cannot encode the report")?;
        Ok(text + "\n")
    }

    /// Prints stages and figures.
    pub fn print_table(&self) {
        println!();
        println!("  stage                         seconds");
        println!("  --------------------  ---------------");
        for stage in &self.stages {
            println!("  {:<20}  {:>15.1}", stage.name, stage.seconds);
        }
        println!("  {:<20}  {:>15.1}", "all", self.seconds);
        println!();
        let row = |name: &str, value: String| println!("  {name:<34}  {value}");
        row(
            "MLM loss, before → after (unigram)",
            format!(
                "{:.3} → {:.3} ({:.3}) nats",
                self.mlm_loss_before, self.mlm_loss, self.mlm_unigram_loss
            ),
        );
        row("NSP accuracy", percent(self.nsp_accuracy));
        let pair = |f32: f64, int8: f64| format!("{} f32, {} int8", percent(f32), percent(int8));
        row("intent accuracy", pair(self.intent_accuracy_f32, self.intent_accuracy_int8));
        row("slot F1", pair(self.slot_f1_f32, self.slot_f1_int8));
        row("model file", format!("{} bytes", self.model_bytes));
        row("scratch", format!("{} bytes", self.scratch_bytes));
        row("time of a sentence in bert-core", format!("{:.0} µs", self.microseconds_per_sentence));
    }

    /// Whether the demo shows what it has to show.
    ///
    /// # Errors
    ///
    /// All figures that miss, in one sentence each.
    pub fn check_demands(&self) -> anyhow::Result<()> {
        let missed = self.missed_demands();
        if missed.is_empty() {
            return Ok(());
        }
        bail!("the demo missed its figures: {}", missed.join("; "));
    }

    fn missed_demands(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let mut at_least = |name: &str, found: f64, least: f64| {
            if found.is_nan() || found < least {
                missed.push(format!("{name} is {}, expected {}", percent(found), percent(least)));
            }
        };
        at_least("f32 intent accuracy", self.intent_accuracy_f32, MIN_INTENT_ACCURACY);
        at_least("int8 intent accuracy", self.intent_accuracy_int8, MIN_INTENT_ACCURACY);
        at_least("f32 slot F1", self.slot_f1_f32, MIN_SLOT_F1);
        at_least("int8 slot F1", self.slot_f1_int8, MIN_SLOT_F1);
        at_least(
            "int8 intent accuracy beside f32's",
            self.intent_accuracy_int8,
            self.intent_accuracy_f32 - MAX_QUANTIZATION_LOSS,
        );
        at_least(
            "int8 slot F1 beside f32's",
            self.slot_f1_int8,
            self.slot_f1_f32 - MAX_QUANTIZATION_LOSS,
        );
        if self.mlm_loss.is_nan() || self.mlm_loss >= self.mlm_unigram_loss {
            missed.push(format!(
                "MLM loss is {:.3}, expected less than the unigram loss {:.3}",
                self.mlm_loss, self.mlm_unigram_loss
            ));
        }
        missed
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn good() -> Figures {
        Figures {
            mlm_loss: 3.0,
            mlm_unigram_loss: 5.0,
            intent_accuracy_f32: 0.996,
            intent_accuracy_int8: 0.994,
            slot_f1_f32: 0.98,
            slot_f1_int8: 0.979,
            ..Figures::default()
        }
    }

    #[test]
    fn good_figures_pass_and_each_bad_one_is_named() {
        good().check_demands().unwrap();
        let check = |figures: Figures, expected: &str| {
            let message = figures.check_demands().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check(Figures { intent_accuracy_f32: 0.98, ..good() }, "f32 intent accuracy is 98.00 %");
        check(Figures { slot_f1_int8: 0.971, ..good() }, "int8 slot F1 beside f32's");
        check(Figures { slot_f1_int8: f64::NAN, ..good() }, "int8 slot F1 is NaN");
        check(Figures { mlm_loss: 5.5, ..good() }, "MLM loss is 5.500");
    }

    #[test]
    fn the_report_has_the_keys_that_scripts_read() {
        let report: serde_json::Value = serde_json::from_str(&good().json().unwrap()).unwrap();
        for key in [
            "mlm_loss",
            "mlm_unigram_loss",
            "nsp_accuracy",
            "intent_accuracy_f32",
            "intent_accuracy_int8",
            "slot_f1_f32",
            "slot_f1_int8",
            "model_bytes",
            "scratch_bytes",
            "microseconds_per_sentence",
            "seconds",
        ] {
            assert!(report[key].is_number(), "{key}");
        }
    }
}
