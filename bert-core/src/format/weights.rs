//! Float weights on their way into a model file, as Hugging Face stores them (a linear layer's weight
//! is \[out, in\]). All slices are row-major.

use super::Pooling;

/// The three tables and the norm of the embeddings.
#[derive(Clone, Copy)]
pub struct EmbeddingWeights<'a> {
    /// \[V, H\].
    pub word: &'a [f32],
    /// \[P, H\], P ≥ `max_length`.
    pub position: &'a [f32],
    /// \[S, H\].
    pub segment: &'a [f32],
    /// Norm of their sum.
    pub norm: NormWeights<'a>,
}

/// γ and β \[H\] of a layer norm.
#[derive(Clone, Copy)]
pub struct NormWeights<'a> {
    /// Gain.
    pub gamma: &'a [f32],
    /// Offset.
    pub beta: &'a [f32],
}

/// A linear layer.
#[derive(Clone, Copy)]
pub struct LinearWeights<'a> {
    /// \[out, in\].
    pub weight: &'a [f32],
    /// \[out\].
    pub bias: &'a [f32],
}

/// One transformer layer.
#[derive(Clone, Copy)]
pub struct LayerWeights<'a> {
    /// \[H, H\].
    pub query: LinearWeights<'a>,
    /// \[H, H\].
    pub key: LinearWeights<'a>,
    /// \[H, H\].
    pub value: LinearWeights<'a>,
    /// \[H, H\].
    pub attention_output: LinearWeights<'a>,
    /// After attention.
    pub attention_norm: NormWeights<'a>,
    /// \[F, H\].
    pub feed_forward_in: LinearWeights<'a>,
    /// \[H, F\].
    pub feed_forward_out: LinearWeights<'a>,
    /// After the feed-forward part.
    pub feed_forward_norm: NormWeights<'a>,
}

/// A head's weights and the names of what it answers.
#[non_exhaustive]
#[derive(Clone, Copy)]
pub enum HeadWeights<'a> {
    /// One label for the text.
    Classify {
        /// \[labels, H\], on the pooled `[CLS]`.
        classifier: LinearWeights<'a>,
        /// Names of the labels.
        labels: &'a [String],
    },
    /// One tag for each word.
    Tag {
        /// \[tags, H\], on each word's first token.
        tagger: LinearWeights<'a>,
        /// Names of the tags.
        tags: &'a [String],
    },
    /// Both.
    Joint {
        /// \[labels, H\], on the pooled `[CLS]`.
        classifier: LinearWeights<'a>,
        /// Names of the labels.
        labels: &'a [String],
        /// \[tags, H\], on each word's first token.
        tagger: LinearWeights<'a>,
        /// Names of the tags.
        tags: &'a [String],
    },
    /// One label for two texts; the segment table must have two rows.
    PairClassify {
        /// \[labels, H\], on the pooled `[CLS]`.
        classifier: LinearWeights<'a>,
        /// Names of the labels.
        labels: &'a [String],
    },
    /// Numbers for one text or two.
    Regress {
        /// \[outputs, H\], on the pooled `[CLS]`.
        regressor: LinearWeights<'a>,
    },
    /// Start and end of an answer in the second text; the segment table must have two rows.
    Span {
        /// \[2, H\], start and end, on each token.
        spans: LinearWeights<'a>,
    },
    /// A vector for the text.
    Embed {
        /// How the vectors of the tokens become one.
        pooling: Pooling,
    },
    /// Any number of labels for the text, each true or not for itself.
    MultiLabel {
        /// \[labels, H\], on the pooled `[CLS]`.
        classifier: LinearWeights<'a>,
        /// Names of the labels.
        labels: &'a [String],
    },
}

/// The parts of a head: (weights, number of outputs) of each, and the names of its labels and tags.
#[derive(Default)]
pub(super) struct HeadParts<'a> {
    pub class: Option<(LinearWeights<'a>, usize)>,
    pub tag: Option<(LinearWeights<'a>, usize)>,
    pub span: Option<(LinearWeights<'a>, usize)>,
    pub labels: Option<&'a [String]>,
    pub tags: Option<&'a [String]>,
}

impl<'a> HeadWeights<'a> {
    pub(super) fn parts(&self) -> HeadParts<'a> {
        let none = HeadParts::default();
        match *self {
            HeadWeights::Classify { classifier, labels }
            | HeadWeights::PairClassify { classifier, labels }
            | HeadWeights::MultiLabel { classifier, labels } => {
                let class = Some((classifier, labels.len()));
                HeadParts { class, labels: Some(labels), ..none }
            }
            HeadWeights::Tag { tagger, tags } => {
                HeadParts { tag: Some((tagger, tags.len())), tags: Some(tags), ..none }
            }
            HeadWeights::Joint { classifier, labels, tagger, tags } => HeadParts {
                class: Some((classifier, labels.len())),
                tag: Some((tagger, tags.len())),
                labels: Some(labels),
                tags: Some(tags),
                ..none
            },
            HeadWeights::Regress { regressor } => {
                HeadParts { class: Some((regressor, regressor.bias.len())), ..none }
            }
            HeadWeights::Span { spans } => HeadParts { span: Some((spans, 2)), ..none },
            HeadWeights::Embed { .. } => none,
        }
    }
}
