//! From a fine-tuned checkpoint to a quantized model file.
//!
//! Quantization itself is `bert-core`'s: this module only hands over the weights by name.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use bert_core::Pooling;
use bert_core::format::{
    Activation, EmbeddingWeights, HeadWeights, LayerWeights, Layout, LinearWeights, ModelBuilder,
    NormWeights, Part, WordEncoding,
};

use crate::config::HiddenAct;
use crate::data::TextTokenizer;
use crate::data::tasks::{TaskKind, TaskLabels};
use crate::model::{LoadedCheckpoint, PROJECTIONS};
use crate::prune::Pruning;

/// What a device checks itself with when no text is given: it exercises words, unknown characters
/// and punctuation, whatever the vocabulary is.
const SELF_TEST_TEXTS: [&str; 3] =
    ["turn on the light in the kitchen, please!", "Où est l'été? 42 °C", "a"];

/// What a model file is to be.
#[derive(Clone, Copy, Default)]
pub struct ExportOptions<'a> {
    /// One text or two, where the checkpoint is of labels and does not say.
    pub task: Option<TaskKind>,
    /// A vector for a text instead of the checkpoint's task, pooled like this.
    pub embed: Option<Pooling>,
    /// Tokens of a text at most; all positions if not given.
    pub max_length: Option<usize>,
    /// How the matrices lie.
    pub layout: Layout,
    /// How the word table is stored.
    pub words: WordEncoding,
    /// The pieces that stay; all if not given.
    pub pruning: Option<&'a Pruning>,
    /// Parts whose matrices are f16 instead of int8.
    pub halves: &'a [Part],
}

/// The bytes of a model file.
///
/// # Errors
///
/// If the checkpoint is not of a task a device runs, `max_length` is longer than its positions, or a part
/// that is to be f16 is none of the model's.
pub fn export(dir: &Path, options: &ExportOptions<'_>) -> anyhow::Result<Vec<u8>> {
    let ExportOptions { task, embed, max_length, layout, words, pruning, halves } = *options;
    let mut checkpoint = LoadedCheckpoint::open(dir)?;
    if let Some(kind) = task {
        checkpoint.read_as(kind);
    }
    if embed.is_none() && checkpoint.task.is_none() {
        bail!(
            "{}: a pre-trained model has no task; fine-tune it before you export it, or take its \
             vectors with --embed",
            dir.display()
        );
    }
    let tokenizer = TextTokenizer::open(dir)?;
    let positions = checkpoint.config.max_position_embeddings;
    let max_length = max_length.unwrap_or(positions);
    ensure!(
        (3..=positions).contains(&max_length),
        "--max-length {max_length}: {} has {positions} positions",
        dir.display()
    );
    let weights = Weights { checkpoint: &checkpoint };
    let config = &checkpoint.config;
    let mut embeddings = weights.embeddings(tokenizer.pieces().len())?;
    let rows = pruning.map(|pruning| pruning.rows(embeddings.word, config.hidden_size));
    embeddings.word = rows.as_deref().unwrap_or(embeddings.word);
    let builder = ModelBuilder {
        hidden: config.hidden_size,
        heads: config.num_attention_heads,
        feed_forward: config.intermediate_size,
        max_length,
        activation: match config.hidden_act {
            HiddenAct::Gelu => Activation::Gelu,
            HiddenAct::GeluNew | HiddenAct::GeluPytorchTanh => Activation::GeluTanh,
            HiddenAct::Relu => Activation::Relu,
        },
        epsilon: config.layer_norm_epsilon(),
        tokenizer: tokenizer.config(),
        vocabulary: pruning.map_or(tokenizer.pieces(), Pruning::pieces),
        embeddings,
        layers: (0..config.num_hidden_layers)
            .map(|index| weights.layer(index))
            .collect::<anyhow::Result<_>>()?,
        pooler: match embed.is_none() && checkpoint.head.has_pooler() {
            true => Some(weights.linear("bert.pooler.dense")?),
            false => None,
        },
        head: match (embed, &checkpoint.task) {
            (None, Some((task, labels))) => weights.head(*task, labels)?,
            (pooling, _) => HeadWeights::Embed { pooling: pooling.unwrap_or(Pooling::Mean) },
        },
        layout,
        words,
        halves,
        self_test_texts: &SELF_TEST_TEXTS,
    };
    builder.build().with_context(|| format!("{}", dir.display()))
}

/// The checkpoint's tensors under the names they are asked for.
struct Weights<'a> {
    checkpoint: &'a LoadedCheckpoint,
}

impl<'a> Weights<'a> {
    fn tensor(&self, name: &str) -> anyhow::Result<&'a [f32]> {
        self.checkpoint.tensor(name)
    }

    fn linear(&self, name: &str) -> anyhow::Result<LinearWeights<'a>> {
        Ok(LinearWeights {
            weight: self.tensor(&format!("{name}.weight"))?,
            bias: self.tensor(&format!("{name}.bias"))?,
        })
    }

    fn norm(&self, name: &str) -> anyhow::Result<NormWeights<'a>> {
        Ok(NormWeights {
            gamma: self.tensor(&format!("{name}.weight"))?,
            beta: self.tensor(&format!("{name}.bias"))?,
        })
    }

    /// Rows of the word table beyond the vocabulary (padding to a round number) stay behind.
    fn embeddings(&self, vocabulary: usize) -> anyhow::Result<EmbeddingWeights<'a>> {
        let table = |name: &str| self.tensor(&format!("bert.embeddings.{name}.weight"));
        let hidden = self.checkpoint.config.hidden_size;
        let word = table("word_embeddings")?;
        let rows = word.len() / hidden;
        let word = word.get(..vocabulary * hidden).with_context(|| {
            format!("vocab.txt has {vocabulary} pieces, the word table only {rows} rows")
        })?;
        Ok(EmbeddingWeights {
            word,
            position: table("position_embeddings")?,
            segment: table("token_type_embeddings")?,
            norm: self.norm("bert.embeddings.LayerNorm")?,
        })
    }

    fn layer(&self, index: usize) -> anyhow::Result<LayerWeights<'a>> {
        let name = format!("bert.encoder.layer.{index}");
        let projection = |part| self.linear(&format!("{name}.attention.self.{part}"));
        let [query, key, value] = PROJECTIONS;
        Ok(LayerWeights {
            query: projection(query)?,
            key: projection(key)?,
            value: projection(value)?,
            attention_output: self.linear(&format!("{name}.attention.output.dense"))?,
            attention_norm: self.norm(&format!("{name}.attention.output.LayerNorm"))?,
            feed_forward_in: self.linear(&format!("{name}.intermediate.dense"))?,
            feed_forward_out: self.linear(&format!("{name}.output.dense"))?,
            feed_forward_norm: self.norm(&format!("{name}.output.LayerNorm"))?,
        })
    }

    fn head(&self, task: TaskKind, labels: &'a TaskLabels) -> anyhow::Result<HeadWeights<'a>> {
        let classes = labels.classes.as_ref().map_or(&[][..], |labels| labels.names());
        let tags = labels.tags.as_ref().map_or(&[][..], |labels| labels.names());
        Ok(match task {
            TaskKind::Classify => {
                HeadWeights::Classify { classifier: self.linear("classifier")?, labels: classes }
            }
            TaskKind::MultiLabel => {
                HeadWeights::MultiLabel { classifier: self.linear("classifier")?, labels: classes }
            }
            TaskKind::Pair => HeadWeights::PairClassify {
                classifier: self.linear("classifier")?,
                labels: classes,
            },
            TaskKind::Regress => HeadWeights::Regress { regressor: self.linear("classifier")? },
            TaskKind::Span => HeadWeights::Span { spans: self.linear("qa_outputs")? },
            TaskKind::Tag => HeadWeights::Tag { tagger: self.linear("classifier")?, tags },
            TaskKind::Joint => HeadWeights::Joint {
                classifier: self.linear("intent_classifier")?,
                labels: classes,
                tagger: self.linear("slot_classifier")?,
                tags,
            },
        })
    }
}
