//! What a BERT is made of: the numbers of Hugging Face's `config.json`.
//!
//! A [`Config`] comes from a name ([`Config::named`]), from a file or checkpoint directory
//! ([`Config::load`]) or from either, as `--config` takes it ([`Config::resolve`]).
//! Keys are named as `transformers.BertConfig` names them; a missing key takes the value of the
//! BERT paper (Devlin et al. 2019, and the defaults of `BertConfig`); a key this crate does not
//! know is kept and written back untouched.
//! A key whose value would make the model compute something else than BERT is an error.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Name of the file inside a checkpoint directory.
pub const CONFIG_FILE: &str = "config.json";

/// Largest `vocab_size`: ids stay far below `u32::MAX`, which marks ignored targets.
pub const MAX_VOCABULARY: usize = 1 << 20;
/// Largest `hidden_size` and `num_attention_heads`.
pub const MAX_HIDDEN: usize = 1 << 14;
/// Largest `num_hidden_layers`.
pub const MAX_LAYERS: usize = 512;
/// Largest `intermediate_size`.
pub const MAX_FEED_FORWARD: usize = 1 << 17;
/// Largest `max_position_embeddings`.
pub const MAX_POSITIONS: usize = 1 << 16;
/// Largest `type_vocab_size`.
pub const MAX_SEGMENTS: usize = 1 << 8;
/// Largest number of labels of a head.
pub const MAX_LABELS: usize = 1 << 16;

/// The configs of a name: name, layers, hidden size.
/// A = H/64 and F = 4H in all of them
/// (Devlin et al. 2019, §3; Turc et al. 2019, "Well-Read Students Learn Better", table 1).
const NAMED: [(&str, usize, usize); 6] = [
    ("bert-tiny", 2, 128),
    ("bert-mini", 4, 256),
    ("bert-small", 4, 512),
    ("bert-medium", 8, 512),
    ("bert-base", 12, 768),
    ("bert-large", 24, 1024),
];

/// The activation of the feed-forward layer and of the MLM head (`hidden_act`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HiddenAct {
    /// `gelu`: x·Φ(x) with the error function; BERT's.
    Gelu,
    /// `gelu_new`: the tanh form, under the name of `google-research/bert` ports.
    GeluNew,
    /// `gelu_pytorch_tanh`: the tanh form, under PyTorch's name.
    GeluPytorchTanh,
    /// `relu`: max(0, x).
    Relu,
}

impl HiddenAct {
    const ALL: [Self; 4] = [Self::Gelu, Self::GeluNew, Self::GeluPytorchTanh, Self::Relu];

    /// The value of `hidden_act`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::GeluNew => "gelu_new",
            Self::GeluPytorchTanh => "gelu_pytorch_tanh",
            Self::Relu => "relu",
        }
    }

    /// True for both names of the tanh form of GELU.
    pub fn is_tanh_form(self) -> bool {
        matches!(self, Self::GeluNew | Self::GeluPytorchTanh)
    }
}

/// The shape and the constants of a model, as in `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Config {
    /// V: rows of the word embedding table.
    pub vocab_size: usize,
    /// H: width of the residual stream; a multiple of `num_attention_heads`.
    pub hidden_size: usize,
    /// L: encoder layers.
    pub num_hidden_layers: usize,
    /// A: attention heads of a layer.
    pub num_attention_heads: usize,
    /// F: width of the feed-forward layer.
    pub intermediate_size: usize,
    /// P: rows of the position table, the longest sequence in tokens.
    pub max_position_embeddings: usize,
    /// S: rows of the segment table.
    pub type_vocab_size: usize,
    /// Activation of the feed-forward layer and of the MLM head.
    pub hidden_act: HiddenAct,
    /// Dropout after embeddings and both sublayers, in [0, 1).
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities, in [0, 1).
    pub attention_probs_dropout_prob: f64,
    /// Dropout before a classification head; `None` means `hidden_dropout_prob`.
    pub classifier_dropout: Option<f64>,
    /// Epsilon of every layer norm.
    pub layer_norm_eps: f64,
    /// Standard deviation of the truncated-normal initialization.
    pub initializer_range: f64,
    /// Id of `[PAD]`.
    pub pad_token_id: u32,
    /// Class names of the transformers class that wrote the checkpoint, `["BertForPreTraining"]`.
    pub architectures: Option<Vec<String>>,
    /// Label of each output of the head: classes, or tags of a tagger or joint model.
    /// Written as `id2label` and `label2id`.
    pub labels: Option<Vec<String>>,
    /// Intents of a joint model, whose tags are `labels`.
    /// Written as `intent_id2label`, a key of this project that `transformers` carries along.
    pub intent_labels: Option<Vec<String>>,
    /// `single_label_classification`, `regression` …, as `transformers` names them.
    pub problem_type: Option<String>,
    /// Every other key of the file, in its order, written back as it was read
    /// (but `dtype`: weights are always written as f32).
    pub extra: Map<String, Value>,
}

impl Default for Config {
    /// BERT-base (Devlin et al. 2019), which is what a missing key means.
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3_072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            hidden_act: HiddenAct::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            layer_norm_eps: 1e-12,
            initializer_range: 0.02,
            pad_token_id: 0,
            architectures: None,
            labels: None,
            intent_labels: None,
            problem_type: None,
            extra: Map::new(),
        }
    }
}

impl Config {
    /// The names [`Config::named`] knows, smallest model first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, ..)| *name)
    }

    /// The config of a name, with BERT's vocabulary of 30,522; set `vocab_size` to your own.
    ///
    /// # Errors
    /// [`ConfigError::UnknownName`] lists the names.
    ///
    /// ```
    /// use bert_trainer::config::Config;
    /// let tiny = Config::named("bert-tiny").unwrap();
    /// assert_eq!((tiny.num_hidden_layers, tiny.hidden_size), (2, 128));
    /// ```
    pub fn named(name: &str) -> Result<Self, ConfigError> {
        let Some(&(_, layers, hidden)) = NAMED.iter().find(|(n, ..)| *n == name) else {
            return Err(ConfigError::UnknownName { name: name.to_owned() });
        };
        Ok(Self {
            hidden_size: hidden,
            num_hidden_layers: layers,
            num_attention_heads: hidden / 64,
            intermediate_size: 4 * hidden,
            ..Self::default()
        })
    }

    /// Reads `config.json`, given itself or the directory it lies in.
    ///
    /// # Errors
    /// The file is missing or unreadable, is not a JSON object, or holds a value that is out of
    /// range or asks for something BERT is not; each names the file, and the key if there is one.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = if path.is_dir() { path.join(CONFIG_FILE) } else { path.to_owned() };
        let text = std::fs::read_to_string(&file)
            .map_err(|source| ConfigError::Read { file: file.clone(), source })?;
        let object: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|source| ConfigError::Json { file: file.clone(), source })?;
        Self::try_from(object).map_err(|source| ConfigError::Value { file, source })
    }

    /// What `--config` takes: a name of [`Config::names`], a `config.json` or its directory.
    ///
    /// # Errors
    /// As [`Config::named`] for something that is no path, as [`Config::load`] otherwise.
    pub fn resolve(name_or_path: &str) -> Result<Self, ConfigError> {
        let path = Path::new(name_or_path);
        if path.exists() || name_or_path.ends_with(".json") || name_or_path.contains('/') {
            return Self::load(path);
        }
        Self::named(name_or_path)
    }

    /// The text of `config.json`: two spaces of indentation, a newline at the end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&Map::from(self.clone()))
            .expect("a map of strings and JSON values is always writable");
        text.push('\n');
        text
    }

    /// Checks what every constructor checks; call it after changing fields by hand.
    ///
    /// # Errors
    /// The first key out of range.
    pub fn validate(&self) -> Result<(), InvalidKey> {
        for (key, value, max) in [
            ("vocab_size", self.vocab_size, MAX_VOCABULARY),
            ("hidden_size", self.hidden_size, MAX_HIDDEN),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("num_attention_heads", self.num_attention_heads, MAX_HIDDEN),
            ("intermediate_size", self.intermediate_size, MAX_FEED_FORWARD),
            ("max_position_embeddings", self.max_position_embeddings, MAX_POSITIONS),
            ("type_vocab_size", self.type_vocab_size, MAX_SEGMENTS),
        ] {
            if !(1..=max).contains(&value) {
                return Err(InvalidKey::new(key, format!("an integer in 1..={max}"), value));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let expected =
                format!("a multiple of num_attention_heads ({})", self.num_attention_heads);
            return Err(InvalidKey::new("hidden_size", expected, self.hidden_size));
        }
        for (key, value) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ] {
            if !(0.0..1.0).contains(&value) {
                return Err(InvalidKey::new(key, "a number in [0, 1)", value));
            }
        }
        // Below 1e-30 the epsilon would vanish in f32, which the device computes with.
        if !(1e-30..=1.0).contains(&self.layer_norm_eps) {
            return Err(InvalidKey::new(
                "layer_norm_eps",
                "a number in 1e-30..=1",
                self.layer_norm_eps,
            ));
        }
        if !(0.0..=10.0).contains(&self.initializer_range) {
            return Err(InvalidKey::new(
                "initializer_range",
                "a number in 0..=10",
                self.initializer_range,
            ));
        }
        if self.pad_token_id as usize >= self.vocab_size {
            let expected = format!("an id below vocab_size ({})", self.vocab_size);
            return Err(InvalidKey::new("pad_token_id", expected, self.pad_token_id));
        }
        for (key, labels) in [("id2label", &self.labels), ("intent_id2label", &self.intent_labels)]
        {
            let count = labels.as_ref().map_or(1, Vec::len);
            if !(1..=MAX_LABELS).contains(&count) {
                return Err(InvalidKey::new(key, format!("1..={MAX_LABELS} labels"), count));
            }
        }
        Ok(())
    }

    /// D: width of one attention head, H / A.
    pub fn head_width(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// `layer_norm_eps` as the device takes it.
    pub fn layer_norm_epsilon(&self) -> f32 {
        self.layer_norm_eps as f32
    }

    /// `hidden_dropout_prob` as the device takes it.
    pub fn hidden_dropout(&self) -> f32 {
        self.hidden_dropout_prob as f32
    }

    /// `attention_probs_dropout_prob` as the device takes it.
    pub fn attention_dropout(&self) -> f32 {
        self.attention_probs_dropout_prob as f32
    }

    /// Dropout before a classification head: `classifier_dropout`, else `hidden_dropout_prob`.
    pub fn head_dropout(&self) -> f32 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob) as f32
    }

    /// True if `architectures` names `class`.
    pub fn is_architecture(&self, class: &str) -> bool {
        self.architectures.iter().flatten().any(|a| a == class)
    }

    /// Numbers to learn in the pre-training model: embeddings, encoder, pooler, MLM head (tied
    /// decoder counted once), NSP head. It is the count of the tables of Devlin et al. 2019
    /// (110 M, 340 M) and Turc et al. 2019 (4.4 M for bert-tiny).
    pub fn parameter_count(&self) -> usize {
        let (v, h, f) = (self.vocab_size, self.hidden_size, self.intermediate_size);
        let norm = 2 * h;
        let dense = h * h + h;
        let embeddings = (v + self.max_position_embeddings + self.type_vocab_size) * h + norm;
        let layer = 4 * dense + norm + (h * f + f) + (f * h + h) + norm;
        let pooler = dense;
        let heads = (dense + norm + v) + (2 * h + 2);
        embeddings + self.num_hidden_layers * layer + pooler + heads
    }
}

impl TryFrom<Map<String, Value>> for Config {
    type Error = InvalidKey;

    fn try_from(object: Map<String, Value>) -> Result<Self, InvalidKey> {
        refuse_other_models(&object)?;
        let mut keys = Keys(object);
        let default = Self::default();
        let labels = keys.labels("id2label")?;
        // `label2id` says the same; it is rebuilt on writing. Alone it is of no use to anyone.
        keys.0.shift_remove("label2id");
        // There is one model type, and weights are written as f32, whatever their type was.
        keys.0.shift_remove("model_type");
        keys.0.shift_remove("torch_dtype");
        keys.0.shift_remove("dtype");
        let config = Self {
            vocab_size: keys.size("vocab_size", default.vocab_size)?,
            hidden_size: keys.size("hidden_size", default.hidden_size)?,
            num_hidden_layers: keys.size("num_hidden_layers", default.num_hidden_layers)?,
            num_attention_heads: keys.size("num_attention_heads", default.num_attention_heads)?,
            intermediate_size: keys.size("intermediate_size", default.intermediate_size)?,
            max_position_embeddings: keys
                .size("max_position_embeddings", default.max_position_embeddings)?,
            type_vocab_size: keys.size("type_vocab_size", default.type_vocab_size)?,
            hidden_act: keys.activation(default.hidden_act)?,
            hidden_dropout_prob: keys
                .number("hidden_dropout_prob")?
                .unwrap_or(default.hidden_dropout_prob),
            attention_probs_dropout_prob: keys
                .number("attention_probs_dropout_prob")?
                .unwrap_or(default.attention_probs_dropout_prob),
            classifier_dropout: keys.number("classifier_dropout")?,
            layer_norm_eps: keys.number("layer_norm_eps")?.unwrap_or(default.layer_norm_eps),
            initializer_range: keys
                .number("initializer_range")?
                .unwrap_or(default.initializer_range),
            pad_token_id: keys.size("pad_token_id", default.pad_token_id as usize).and_then(
                |id| {
                    let expected = "an id that fits in 32 bits";
                    u32::try_from(id).map_err(|_| InvalidKey::new("pad_token_id", expected, id))
                },
            )?,
            architectures: keys.strings("architectures")?,
            labels,
            intent_labels: keys.labels("intent_id2label")?,
            problem_type: keys.string("problem_type")?,
            extra: keys.0,
        };
        config.validate()?;
        Ok(config)
    }
}

impl From<Config> for Map<String, Value> {
    fn from(config: Config) -> Self {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        if let Some(architectures) = config.architectures {
            put("architectures", json!(architectures));
        }
        put("model_type", json!("bert"));
        put("dtype", json!("float32"));
        put("vocab_size", json!(config.vocab_size));
        put("hidden_size", json!(config.hidden_size));
        put("num_hidden_layers", json!(config.num_hidden_layers));
        put("num_attention_heads", json!(config.num_attention_heads));
        put("intermediate_size", json!(config.intermediate_size));
        put("max_position_embeddings", json!(config.max_position_embeddings));
        put("type_vocab_size", json!(config.type_vocab_size));
        put("hidden_act", json!(config.hidden_act.name()));
        put("hidden_dropout_prob", json!(config.hidden_dropout_prob));
        put("attention_probs_dropout_prob", json!(config.attention_probs_dropout_prob));
        if let Some(dropout) = config.classifier_dropout {
            put("classifier_dropout", json!(dropout));
        }
        put("layer_norm_eps", json!(config.layer_norm_eps));
        put("initializer_range", json!(config.initializer_range));
        put("pad_token_id", json!(config.pad_token_id));
        if let Some(labels) = &config.labels {
            put("id2label", id_to_label(labels));
            let ids = labels.iter().enumerate().map(|(id, label)| (label.clone(), json!(id)));
            put("label2id", Value::Object(ids.collect()));
        }
        if let Some(intents) = &config.intent_labels {
            put("intent_id2label", id_to_label(intents));
        }
        if let Some(problem_type) = config.problem_type {
            put("problem_type", json!(problem_type));
        }
        for (key, value) in config.extra {
            map.entry(key).or_insert(value);
        }
        map
    }
}

fn id_to_label(labels: &[String]) -> Value {
    Value::Object(labels.iter().enumerate().map(|(id, l)| (id.to_string(), json!(l))).collect())
}

/// Refuses what would silently compute something else than BERT's encoder.
fn refuse_other_models(object: &Map<String, Value>) -> Result<(), InvalidKey> {
    for (key, supported) in [
        ("model_type", json!("bert")),
        ("position_embedding_type", json!("absolute")),
        ("is_decoder", json!(false)),
        ("add_cross_attention", json!(false)),
        ("is_encoder_decoder", json!(false)),
        ("tie_word_embeddings", json!(true)),
        ("pruned_heads", json!({})),
        ("quantization_config", json!({})),
    ] {
        match object.get(key) {
            None | Some(Value::Null) => {}
            Some(found) if *found == supported => {}
            Some(found) => return Err(InvalidKey::new(key, supported, found)),
        }
    }
    Ok(())
}

/// The keys of the file not yet used; every getter removes its key. `null` means missing.
struct Keys(Map<String, Value>);

impl Keys {
    fn take(&mut self, key: &str) -> Option<Value> {
        self.0.shift_remove(key).filter(|value| !value.is_null())
    }

    fn size(&mut self, key: &'static str, default: usize) -> Result<usize, InvalidKey> {
        let Some(value) = self.take(key) else {
            return Ok(default);
        };
        value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| InvalidKey::new(key, "a non-negative integer", value))
    }

    fn number(&mut self, key: &'static str) -> Result<Option<f64>, InvalidKey> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        value.as_f64().map(Some).ok_or_else(|| InvalidKey::new(key, "a number", value))
    }

    fn string(&mut self, key: &'static str) -> Result<Option<String>, InvalidKey> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(InvalidKey::new(key, "a string", other)),
        }
    }

    fn strings(&mut self, key: &'static str) -> Result<Option<Vec<String>>, InvalidKey> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        serde_json::from_value(value.clone())
            .map(Some)
            .map_err(|_| InvalidKey::new(key, "a list of strings", value))
    }

    fn activation(&mut self, default: HiddenAct) -> Result<HiddenAct, InvalidKey> {
        let Some(name) = self.string("hidden_act")? else {
            return Ok(default);
        };
        HiddenAct::ALL.into_iter().find(|act| act.name() == name).ok_or_else(|| {
            let names = HiddenAct::ALL.map(HiddenAct::name).join(", ");
            InvalidKey::new("hidden_act", format!("one of {names}"), name)
        })
    }

    /// `{"0": "label", …}` with the ids 0..n in any order.
    fn labels(&mut self, key: &'static str) -> Result<Option<Vec<String>>, InvalidKey> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let by_id = value.as_object().and_then(|object| {
            object
                .iter()
                .map(|(id, label)| Some((id.parse().ok()?, label.as_str()?.to_owned())))
                .collect::<Option<BTreeMap<usize, String>>>()
        });
        match by_id {
            Some(by_id) if by_id.keys().copied().eq(0..by_id.len()) => {
                Ok(Some(by_id.into_values().collect()))
            }
            _ => Err(InvalidKey::new(key, "an object of labels by the ids \"0\", \"1\" …", value)),
        }
    }
}

/// A key of a config whose value cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("key \"{key}\": expected {expected}, found {found}")]
pub struct InvalidKey {
    /// The key, as in `config.json`.
    pub key: &'static str,
    /// What the key takes.
    pub expected: String,
    /// What stands there, shortened.
    pub found: String,
}

impl InvalidKey {
    fn new(key: &'static str, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        const LONGEST: usize = 80;
        let mut found = found.to_string();
        if let Some((end, _)) = found.char_indices().nth(LONGEST) {
            found.truncate(end);
            found.push('…');
        }
        Self { key, expected: expected.to_string(), found }
    }
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Neither a known name nor a path.
    #[error("no config named \"{name}\": expected {}, or the path of a config.json", names())]
    UnknownName {
        /// What was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("{}: cannot read the model's config: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no JSON object.
    #[error("{}: expected a JSON object: {source}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A value cannot be used.
    #[error("{}: {source}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// Key, expected, found.
        source: InvalidKey,
    },
}

fn names() -> String {
    Config::names().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Result<Config, InvalidKey> {
        serde_json::from_str::<Map<String, Value>>(text).unwrap().try_into()
    }

    #[test]
    fn parameter_counts_are_the_published_ones() {
        // google-research/bert's table of miniatures, in millions, and the paper's BERT-large.
        for (name, millions) in [
            ("bert-tiny", 4.4),
            ("bert-mini", 11.3),
            ("bert-small", 29.1),
            ("bert-medium", 41.7),
            ("bert-base", 110.1),
        ] {
            let count = Config::named(name).unwrap().parameter_count() as f64 / 1e6;
            assert!((count - millions).abs() <= 0.05, "{name}: {count}");
        }
        // transformers: BertForPreTraining(BertConfig()).num_parameters()
        assert_eq!(Config::named("bert-base").unwrap().parameter_count(), 110_106_428);
        assert_eq!(Config::named("bert-large").unwrap().parameter_count(), 336_226_108);
    }

    #[test]
    fn missing_keys_take_berts_values_and_unknown_keys_survive() {
        let config = parse(r#"{"vocab_size": 100, "hidden_size": 24, "note": [1, 2]}"#).unwrap();
        assert_eq!(config.num_attention_heads, 12);
        assert_eq!(config.layer_norm_eps, 1e-12);
        let written: Map<String, Value> = config.clone().into();
        assert_eq!(written["note"], json!([1, 2]));
        assert_eq!(written["model_type"], json!("bert"));
        assert_eq!(parse(&config.to_json()).unwrap().vocab_size, 100);
        let twice = parse(&config.to_json()).unwrap();
        assert_eq!(parse(&twice.to_json()).unwrap(), twice);
    }

    #[test]
    fn labels_keep_their_order_whatever_the_files_order() {
        let text = r#"{"id2label": {"1": "b", "0": "a", "2": "c"}, "label2id": {"a": 0}}"#;
        let config = parse(text).unwrap();
        assert_eq!(config.labels.as_deref().unwrap(), ["a", "b", "c"]);
        let written: Map<String, Value> = config.into();
        assert_eq!(written["label2id"], json!({"a": 0, "b": 1, "c": 2}));
    }

    #[test]
    fn what_is_not_bert_is_refused_by_key() {
        for (text, key, says) in [
            (r#"{"position_embedding_type": "relative_key"}"#, "position_embedding_type", "abs"),
            (r#"{"model_type": "roberta"}"#, "model_type", "bert"),
            (r#"{"hidden_size": 100}"#, "hidden_size", "multiple of num_attention_heads (12)"),
            (r#"{"hidden_size": "wide"}"#, "hidden_size", "integer"),
            (r#"{"hidden_act": "silu"}"#, "hidden_act", "gelu_new"),
            (r#"{"num_hidden_layers": 0}"#, "num_hidden_layers", "1..="),
            (r#"{"vocab_size": 99999999999}"#, "vocab_size", "1..="),
            (r#"{"hidden_dropout_prob": 1.0}"#, "hidden_dropout_prob", "[0, 1)"),
            (r#"{"id2label": {"0": "a", "2": "b"}}"#, "id2label", "labels"),
            (r#"{"pad_token_id": 30522}"#, "pad_token_id", "below vocab_size"),
            (r#"{"is_decoder": true}"#, "is_decoder", "false"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.key, key, "{text}");
            assert!(error.to_string().contains(says), "{error}");
        }
        assert!(parse(r#"{"position_embedding_type": null, "pruned_heads": {}}"#).is_ok());
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(CONFIG_FILE);
        let message = Config::load(&file).unwrap_err().to_string();
        assert!(message.contains("config.json: cannot read"), "{message}");
        for (text, says) in [("[]", "expected a JSON object"), ("{\"hidden_act\": 1}", "string")] {
            std::fs::write(&file, text).unwrap();
            let message = Config::load(dir.path()).unwrap_err().to_string();
            assert!(message.contains("config.json: ") && message.contains(says), "{message}");
            assert!(!message.contains('\n'));
        }
        let message = Config::resolve("bert-huge").unwrap_err().to_string();
        assert!(message.contains("bert-tiny, bert-mini"), "{message}");
    }
}
