//! Where every parameter lies in the flat buffers.
//!
//! Parameters, gradients and moments are one buffer each, with the same layout, so the optimizer is
//! one launch, the global norm one reduction and a checkpoint one read. The layout follows from the
//! [`Config`] and the [`Head`] alone.

use bert_kernels::ops;

use super::Head;
use crate::config::Config;

/// One named tensor in the flat buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name in a Hugging Face checkpoint.
    pub name: String,
    /// Shape, outermost first; a linear layer's weight is `[outputs, inputs]`.
    pub shape: Vec<usize>,
    /// First element in the flat buffers.
    pub offset: usize,
    /// Whether weight decay applies: not to biases and layer norms (BERT's optimizer, Devlin et al.
    /// 2018, appendix A.2 with google-research/bert's exclusion list).
    pub decayed: bool,
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements of the tensor in the flat buffers.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// The layer that distillation learns beside a model: its tensors are in no checkpoint.
pub const PROJECTION: &str = "distillation.projection";

/// How far from the input a tensor of BERT lies: 0 of the embeddings, l of layer l of 1 … L, `None` of
/// what stands on the encoder.
pub fn depth_of(name: &str) -> Option<usize> {
    if name.starts_with("bert.embeddings.") {
        return Some(0);
    }
    let (index, _) = name.strip_prefix("bert.encoder.layer.")?.split_once('.')?;
    index.parse().ok().map(|index: usize| index + 1)
}

/// All parameters of a model in the order in which they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterTable {
    parameters: Vec<Parameter>,
    len: usize,
}

/// The attention projections of a layer lie side by side, so that one product computes all three.
pub const PROJECTIONS: [&str; 3] = ["query", "key", "value"];

impl ParameterTable {
    /// The layout of a model of this configuration with this head.
    pub fn new(config: &Config, head: &Head) -> Self {
        Self::with_projection(config, head, None)
    }

    /// The same with a [`PROJECTION`] of the hidden states to the width of a teacher, if it has one,
    /// behind everything else.
    pub fn with_projection(config: &Config, head: &Head, teacher: Option<usize>) -> Self {
        let mut table = Self { parameters: Vec::new(), len: 0 };
        let hidden = config.hidden_size;
        let embeddings = "bert.embeddings";
        for (name, rows) in [
            ("word_embeddings", config.vocab_size),
            ("position_embeddings", config.max_position_embeddings),
            ("token_type_embeddings", config.type_vocab_size),
        ] {
            table.add(format!("{embeddings}.{name}.weight"), &[rows, hidden], true);
        }
        table.norm(&format!("{embeddings}.LayerNorm"), hidden);
        for index in 0..config.num_hidden_layers {
            let layer = format!("bert.encoder.layer.{index}");
            table.projections(&format!("{layer}.attention.self"), hidden);
            table.linear(&format!("{layer}.attention.output.dense"), hidden, hidden);
            table.norm(&format!("{layer}.attention.output.LayerNorm"), hidden);
            let wide = config.intermediate_size;
            table.linear(&format!("{layer}.intermediate.dense"), wide, hidden);
            table.linear(&format!("{layer}.output.dense"), hidden, wide);
            table.norm(&format!("{layer}.output.LayerNorm"), hidden);
        }
        if head.has_pooler() {
            table.linear("bert.pooler.dense", hidden, hidden);
        }
        match *head {
            Head::Pretraining => {
                let transform = "cls.predictions.transform";
                table.linear(&format!("{transform}.dense"), hidden, hidden);
                table.norm(&format!("{transform}.LayerNorm"), hidden);
                table.add("cls.predictions.bias".into(), &[config.vocab_size], false);
                table.linear("cls.seq_relationship", 2, hidden);
            }
            Head::Classify { labels: outputs }
            | Head::MultiLabel { labels: outputs }
            | Head::Regress { outputs }
            | Head::Tag { labels: outputs } => table.linear("classifier", outputs, hidden),
            Head::Joint { intents, slots } => {
                table.linear("intent_classifier", intents, hidden);
                table.linear("slot_classifier", slots, hidden);
            }
            Head::Span => table.linear("qa_outputs", 2, hidden),
            Head::Encoder => {}
        }
        if let Some(width) = teacher {
            table.linear(PROJECTION, width, hidden);
        }
        table.len = table.len.next_multiple_of(ops::BLOCK);
        table
    }

    /// The tensors in the order in which they lie.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Elements of a flat buffer, padding included; a multiple of [`ops::BLOCK`].
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the model has no parameter.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    /// Number of trained values, padding left out.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(Parameter::len).sum()
    }

    /// The tensor of a name.
    pub fn find(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// One value a block of [`ops::BLOCK`] elements: 1 where weight decay applies, else 0.
    pub fn decay_blocks(&self) -> Vec<f32> {
        self.blocks(|parameter| if parameter.decayed { 1.0 } else { 0.0 })
    }

    /// One value a block of [`ops::BLOCK`] elements: that of its tensor, 0 in padding. Neighbours in
    /// one block, as query, key and value may be, must have one value.
    pub fn blocks(&self, value: impl Fn(&Parameter) -> f32) -> Vec<f32> {
        let mut blocks = vec![0.0; self.len / ops::BLOCK];
        for parameter in &self.parameters {
            let range = parameter.range();
            blocks[range.start / ops::BLOCK..range.end.div_ceil(ops::BLOCK)].fill(value(parameter));
        }
        blocks
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.add(format!("{name}.weight"), &[outputs, inputs], true);
        self.add(format!("{name}.bias"), &[outputs], false);
    }

    fn norm(&mut self, name: &str, hidden: usize) {
        self.add(format!("{name}.weight"), &[hidden], false);
        self.add(format!("{name}.bias"), &[hidden], false);
    }

    /// Query, key and value without a gap between them: first the weights, then the biases.
    fn projections(&mut self, name: &str, hidden: usize) {
        self.align();
        for projection in PROJECTIONS {
            self.append(format!("{name}.{projection}.weight"), &[hidden, hidden], true);
        }
        self.align();
        for projection in PROJECTIONS {
            self.append(format!("{name}.{projection}.bias"), &[hidden], false);
        }
    }

    fn add(&mut self, name: String, shape: &[usize], decayed: bool) {
        self.align();
        self.append(name, shape, decayed);
    }

    fn append(&mut self, name: String, shape: &[usize], decayed: bool) {
        let parameter = Parameter { name, shape: shape.into(), offset: self.len, decayed };
        self.len += parameter.len();
        self.parameters.push(parameter);
    }

    /// A block is the unit of the decay flags and, in 16 bits, the alignment a slice needs.
    fn align(&mut self) {
        self.len = self.len.next_multiple_of(ops::BLOCK);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tensors_overlap_and_blocks_have_one_kind() {
        for head in [
            Head::Pretraining,
            Head::Classify { labels: 3 },
            Head::Tag { labels: 5 },
            Head::MultiLabel { labels: 2 },
            Head::Regress { outputs: 1 },
            Head::Joint { intents: 2, slots: 7 },
            Head::Span,
            Head::Encoder,
        ] {
            let table = ParameterTable::new(&Config::named("bert-tiny").unwrap(), &head);
            let mut end = 0;
            let blocks = table.decay_blocks();
            for parameter in table.parameters() {
                assert!(parameter.offset >= end, "{} overlaps", parameter.name);
                end = parameter.range().end;
                let flag = if parameter.decayed { 1.0 } else { 0.0 };
                let own = parameter.offset / ops::BLOCK..end.div_ceil(ops::BLOCK);
                assert!(blocks[own].iter().all(|found| *found == flag), "{}", parameter.name);
            }
            assert!(end <= table.len());
        }
    }

    #[test]
    fn the_paper_counts_110_and_340_million() {
        let count = |name| {
            ParameterTable::new(&Config::named(name).unwrap(), &Head::Pretraining).parameter_count()
        };
        assert_eq!(count("bert-base") / 1_000_000, 110);
        assert!((335..=340).contains(&(count("bert-large") / 1_000_000)));
    }
}
