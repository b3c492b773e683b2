//! `make-weights DIRECTORY LAYERS HIDDEN HEADS FEED_FORWARD`: a BERT of random weights, as a Hugging
//! Face directory with a head of two tags. No engine computes the head: what they are asked for is
//! the last layer, and a tagger is the model that needs all rows of it.
//!
//! Dense weights are normal with variance 1 / inputs, so that the rows between layers have the size
//! that a trained model gives them and the scores of attention differ; every bias and norm is random
//! too, so that a converter that mixes two up is noticed. A value depends on the seed, the name of
//! its tensor and its place alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::json;

const SEED: u64 = 1;
const VOCABULARY: usize = 30_522;
const POSITIONS: usize = 512;
const SEGMENTS: usize = 2;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, sizes @ ..] = &args[..] else { bail!("expected DIRECTORY and four sizes") };
    let sizes: Vec<usize> = sizes
        .iter()
        .map(|word| word.parse().with_context(|| format!("`{word}` is no size")))
        .collect::<Result<_>>()?;
    let [layers, hidden, heads, feed_forward] = sizes[..] else {
        bail!("expected LAYERS HIDDEN HEADS FEED_FORWARD, found {} sizes", sizes.len())
    };
    let folder = Path::new(folder);
    fs::create_dir_all(folder)?;
    let config = json!({
        "architectures": ["BertForTokenClassification"],
        "model_type": "bert",
        "id2label": { "0": "O", "1": "B-part" },
        "label2id": { "O": 0, "B-part": 1 },
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": feed_forward,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": SEGMENTS,
        "vocab_size": VOCABULARY,
    });
    fs::write(folder.join("config.json"), format!("{config:#}\n"))?;
    fs::write(folder.join("vocab.txt"), pieces().join("\n") + "\n")?;
    // The name by which Transformers and others know how to split text.
    let tokenizer = json!({ "tokenizer_class": "BertTokenizer", "do_lower_case": true });
    fs::write(folder.join("tokenizer_config.json"), format!("{tokenizer:#}\n"))?;

    let mut tensors = BTreeMap::new();
    for (name, shape) in names_and_shapes(layers, hidden, feed_forward) {
        let values = values(&name, &shape);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.insert(name, (shape, bytes));
    }
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| {
            Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let format = std::collections::HashMap::from([("format".to_string(), "pt".to_string())]);
    // Under its name only when it is whole.
    let part = folder.join("model.safetensors.part");
    serialize_to_file(views, Some(format), &part)?;
    fs::rename(part, folder.join("model.safetensors"))?;
    Ok(())
}

/// A vocabulary of BERT's size that can spell everything ASCII: its special tokens, each character
/// alone and as a continuation, then letters by two and three until it is full.
fn pieces() -> Vec<String> {
    let mut all: Vec<String> =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(String::from).into();
    let letters = || (b'a'..=b'z').map(char::from);
    for c in (b'!'..=b'~').map(char::from).filter(|c| !c.is_ascii_uppercase()) {
        all.extend([c.to_string(), format!("##{c}")]);
    }
    let two = || letters().flat_map(move |a| letters().map(move |b| format!("{a}{b}")));
    let three = || two().flat_map(move |ab| letters().map(move |c| format!("{ab}{c}")));
    let longer = two().chain(three());
    all.extend(longer.flat_map(|piece| [format!("##{piece}"), piece]).take(VOCABULARY - all.len()));
    all
}

fn names_and_shapes(
    layers: usize,
    hidden: usize,
    feed_forward: usize,
) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    for (name, rows) in [("word", VOCABULARY), ("position", POSITIONS), ("token_type", SEGMENTS)] {
        all.push((format!("bert.embeddings.{name}_embeddings.weight"), vec![rows, hidden]));
    }
    let norm = |name: String| {
        ["weight", "bias"].map(|part| (format!("{name}.LayerNorm.{part}"), vec![hidden]))
    };
    all.extend(norm("bert.embeddings".into()));
    for layer in 0..layers {
        for (name, outputs, inputs) in [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", feed_forward, hidden),
            ("output.dense", hidden, feed_forward),
        ] {
            let name = format!("bert.encoder.layer.{layer}.{name}");
            all.push((format!("{name}.weight"), vec![outputs, inputs]));
            all.push((format!("{name}.bias"), vec![outputs]));
        }
        all.extend(norm(format!("bert.encoder.layer.{layer}.attention.output")));
        all.extend(norm(format!("bert.encoder.layer.{layer}.output")));
    }
    all.push(("classifier.weight".into(), vec![2, hidden]));
    all.push(("classifier.bias".into(), vec![2]));
    all
}

fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let (mean, deviation) = match (name, shape) {
        _ if name.ends_with("LayerNorm.weight") => (1.0, 0.1),
        _ if name.ends_with("bias") => (0.0, 0.1),
        _ if name.starts_with("bert.embeddings") => (0.0, 0.02),
        (_, shape) => (0.0, 1.0 / (shape[shape.len() - 1] as f64).sqrt()),
    };
    // FNV-1a, so that each tensor has counters of its own.
    let stream = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ SEED, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let count = shape.iter().product::<usize>() as u64;
    (0..count).map(|at| (mean + deviation * normal(stream, at)) as f32).collect()
}

/// A normal draw: Box and Muller, *A Note on the Generation of Random Normal Deviates*, 1958.
fn normal(stream: u64, at: u64) -> f64 {
    let [a, b] = [2 * at, 2 * at + 1].map(|n| {
        let bits = mixed(stream.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        // In (0, 1]: its logarithm is finite.
        ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
    });
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// Finalizer of SplitMix64: Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*,
/// 2014.
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
