//! What an exported model was measured to be: where int8 loses, what takes memory, what takes time.

use serde_json::{Map, Value, json};

use super::format::{Unit, number, title};
use super::{DataFile, Metrics};
use crate::log::grouped;

/// An export beside the checkpoint it was made from, measured with the code of the device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExportReport {
    /// Name of the model file, without folders.
    pub model: String,
    /// Task of the model.
    pub task: String,
    /// The examples it was measured on.
    pub data: DataFile,
    /// Metrics of the checkpoint in f32.
    pub f32: Metrics,
    /// The model with all matrices in int8.
    pub int8: Measured,
    /// The model with some of them in f16, if that is what was exported, and which ones.
    pub kept: Option<(Vec<String>, Measured)>,
    /// The model with the whole word table in int8 and with a smaller one, if it was exported so.
    pub word_tables: Vec<WordTableCost>,
    /// Sequences that the hidden states were compared on.
    pub compared: usize,
    /// Bytes of the file by what they hold.
    pub weights: Vec<PartBytes>,
    /// Bytes of the scratch memory by what they hold.
    pub scratch: Vec<PartBytes>,
    /// How long the examples took.
    pub times: Times,
}

/// What a model file was measured to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Metrics through `bert-core`.
    pub metrics: Metrics,
    /// Size of the file.
    pub model_bytes: u64,
    /// Scratch memory it needs.
    pub scratch_bytes: u64,
    /// Signal to noise of the hidden states after the embeddings and after each layer, in decibels.
    pub decibels: Vec<Option<f64>>,
    /// Time of an example in microseconds: half of them take longer.
    pub median_us: f64,
}

/// A model with some word table, and what it scores.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WordTableCost {
    /// How the table is stored: `int8` or `int4`.
    pub encoding: String,
    /// Whether it has a part of the vocabulary only.
    pub is_pruned: bool,
    /// Its rows.
    pub pieces: u64,
    /// Its size.
    pub table_bytes: u64,
    /// Size of the file.
    pub model_bytes: u64,
    /// Metrics through `bert-core`.
    pub metrics: Metrics,
}

/// A part of a file or of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartBytes {
    /// What it holds.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// How long the examples took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times {
    /// The kernels that ran, as `BERT_ARCH` names them.
    pub kernels: String,
    /// How often each example was run; the shortest time counts.
    pub rounds: u32,
    /// Of all examples, in microseconds.
    pub total_us: f64,
    /// Those that took longest, the longest first.
    pub slowest: Vec<SlowExample>,
}

/// An example that took long.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SlowExample {
    /// Its line in the file, or its number.
    pub line: u64,
    /// Tokens that were read, those of all windows.
    pub tokens: usize,
    /// Time in microseconds.
    pub us: f64,
    /// The text.
    pub text: String,
    /// The second text or the context.
    pub second: Option<String>,
}

impl Measured {
    /// The layer, counted from 0, after which the signal stands least above the noise compared to
    /// before it, and by how many decibels; `None` if none loses.
    pub fn largest_drop(&self) -> Option<(usize, f64)> {
        let drops = self.decibels.windows(2).enumerate().filter_map(|(layer, pair)| {
            let drop = pair[0]? - pair[1]?;
            (drop > 0.0).then_some((layer, drop))
        });
        // The first of equals.
        drops.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }
}

impl ExportReport {
    /// What was exported.
    pub fn exported(&self) -> &Measured {
        self.kept.as_ref().map_or(&self.int8, |(_, measured)| measured)
    }

    /// Its name, see [`arithmetic`].
    pub fn name(&self) -> String {
        arithmetic(self.kept.as_ref().map_or(&[], |(parts, _)| parts))
    }

    /// Names of the places where hidden states were compared: the embeddings, then the layers from 0.
    pub fn places(&self) -> Vec<String> {
        let layers = self.exported().decibels.len().saturating_sub(1);
        let layers = (0..layers).map(|layer| format!("layer {layer}"));
        std::iter::once("embeddings".to_owned()).chain(layers).collect()
    }

    /// The main figures, a line each.
    pub fn lines(&self) -> Vec<String> {
        let exported = self.exported();
        let metric = |(name, value)| format!("{} {}", title(name), Unit::of(name).show(value));
        let f32: Vec<String> = self.f32.iter().map(metric).collect();
        let mut lines = vec![format!("f32 on the same examples: {}", f32.join(", "))];
        if let [Some(first), .., Some(last)] = exported.decibels[..] {
            let mut line = format!(
                "signal to noise: {first:.1} dB after the embeddings, {last:.1} dB after the last layer"
            );
            if let Some((layer, drop)) = exported.largest_drop() {
                line += &format!("; layer {layer} loses most, {drop:.1} dB");
            }
            lines.push(line);
        }
        let Times { kernels, total_us, slowest, .. } = &self.times;
        let mut line = format!("time with {kernels}: median {} µs", number(exported.median_us));
        if self.kept.is_some() {
            line += &format!(" ({} µs in int8 alone)", number(self.int8.median_us));
        }
        line += &format!(", {} µs in all", grouped(*total_us as u64));
        if let Some(SlowExample { line: at, tokens, us, .. }) = slowest.first() {
            line += &format!("; slowest: line {at}, {tokens} tokens, {} µs", number(*us));
        }
        lines.push(line);
        lines
    }

    /// The figures for a program.
    pub fn figures(&self) -> Value {
        let parts = |parts: &[PartBytes]| -> Map<String, Value> {
            parts.iter().map(|part| (part.name.clone(), json!(part.bytes))).collect()
        };
        let exported = self.exported();
        let drop = exported.largest_drop();
        let slow = |one: &SlowExample| {
            json!({
                "line": one.line,
                "tokens": one.tokens,
                "us": one.us,
                "text": one.text,
                "second": one.second,
            })
        };
        json!({
            "f32": self.f32,
            "int8": measured(&self.int8),
            "kept": self.kept.as_ref().map(|(_, kept)| measured(kept)),
            "places": self.places(),
            "compared": self.compared,
            "largest_drop": drop.map(|(layer, decibels)| json!({ "layer": layer, "decibels": decibels })),
            "weights": parts(&self.weights),
            "scratch": parts(&self.scratch),
            "kernels": self.times.kernels,
            "rounds": self.times.rounds,
            "total_us": self.times.total_us,
            "slowest": self.times.slowest.iter().map(slow).collect::<Vec<_>>(),
        })
    }
}

/// What the matrices of a model are, some parts of which are f16: `int8`, or `int8 with layer 1 and head
/// in f16`.
pub fn arithmetic(halves: &[String]) -> String {
    match halves {
        [] => "int8".to_owned(),
        parts => format!("int8 with {} in f16", listed(parts)),
    }
}

fn measured(measured: &Measured) -> Value {
    json!({
        "metrics": measured.metrics,
        "model_bytes": measured.model_bytes,
        "scratch_bytes": measured.scratch_bytes,
        "decibels": measured.decibels,
        "median_us": measured.median_us,
    })
}

/// `a`, `a and b`, `a, b and c`.
fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_that_loses_most_is_named() {
        let of = |decibels: &[Option<f64>]| {
            Measured { decibels: decibels.to_vec(), ..Default::default() }.largest_drop()
        };
        assert_eq!(of(&[Some(40.0), Some(38.0), Some(30.0), Some(29.0)]), Some((1, 8.0)));
        assert_eq!(of(&[Some(40.0), Some(38.0), Some(36.0)]), Some((0, 2.0)));
        assert_eq!(of(&[Some(30.0), Some(38.0)]), None);
        assert_eq!(of(&[None, Some(38.0), None, Some(3.0)]), None);
        assert_eq!((of(&[]), of(&[Some(1.0)])), (None, None));
    }

    #[test]
    fn parts_are_listed_as_people_do() {
        let names = |count: usize| ["a", "b", "c"][..count].iter().map(|n| n.to_string());
        let lists = [0, 1, 2, 3].map(|count| listed(&names(count).collect::<Vec<_>>()));
        assert_eq!(lists, ["", "a", "a and b", "a, b and c"]);
    }
}
