//! BERT, forward and backward, written out layer by layer.
//!
//! Exactly BERT (Devlin et al. 2018): post-layer-norm, learned positions, segment embeddings, pooler,
//! MLM decoder tied to the word embeddings. Sequences are packed: T tokens of B sequences one behind
//! the other, with `cu_seqlens` telling where each begins, so no padding is ever computed.

mod batch;
mod dropout;
mod encoder;
mod flat;
mod footprint;
mod heads;
mod init;
mod layer;
mod load;
mod modules;
mod parameters;
mod rounding;
mod shares;
mod targets;

use bert_kernels::{Buffer, Context, KernelError, ops};

pub use batch::{DeviceBatch, PassInputs, PassShape};
pub use dropout::DropoutPlan;
pub use flat::Precision;
pub use footprint::{Footprint, PassSize};
pub use heads::{Head, Imitation, Shaping, Tally, Teaching, Term};
pub use init::{fill as fill_initial, initial_values};
pub use load::{
    LoadedCheckpoint, architecture, checkpoint_config, head_of, name_task, task_of_config,
    write_checkpoint,
};
pub use parameters::{PROJECTION, PROJECTIONS, Parameter, ParameterTable, depth_of};
pub use shares::Shares;
pub use targets::{Logits, Losses, MaskedTargets, Targets};

use crate::config::{Config, HiddenAct};
use dropout::Place;
use encoder::{Encoder, EncoderActivations};
use flat::FlatBuffers;
use heads::imitation::{HiddenImitated, HiddenImitation};
use heads::masked_lm::{MaskedActivations, MaskedLm};
use heads::sequence::{Classified, Classifier, Pooled, Pooler};
use heads::span::{SpanHead, Spanned, Spans};
use heads::token::{TokenClassifier, Words};
use heads::{Goal, Imitated, Loss};

/// A model on a device with its gradients.
pub struct Model {
    ctx: Context,
    config: Config,
    head: Head,
    precision: Precision,
    recompute: bool,
    flat: FlatBuffers,
    encoder: Encoder,
    pooler: Option<Pooler>,
    masked_lm: Option<MaskedLm>,
    sequence: Option<Classifier>,
    token: Option<TokenClassifier>,
    span: Option<SpanHead>,
    imitation: HiddenImitation,
}

/// What a training adds to a model; nothing of it is in a checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Additions {
    /// Width of a teacher's hidden states, to which a [`PROJECTION`] leads those of the model.
    pub projection: Option<usize>,
    /// Round what a device rounds to int8, with straight-through gradients. In f32 only.
    pub quantize_aware: bool,
}

/// Who is told, during a backward pass, from which element of the flat buffer on all gradients are
/// there. It falls from layer to layer; the embeddings and what is tied to them come last, untold.
pub type Ready<'a> = dyn FnMut(usize) -> Result<(), KernelError> + 'a;

/// Everything a forward pass keeps.
struct Pass {
    encoder: EncoderActivations,
    pooled: Option<Pooled>,
    masked: Option<MaskedActivations>,
    sequence: Option<Classified>,
    words: Option<Classified>,
    spans: Option<Spanned>,
    imitation: Option<HiddenImitated>,
}

impl Pass {
    fn losses(&self) -> Losses {
        let term = |kept: &Classified| kept.scored.term.clone();
        let distance = |kept: &Classified| kept.scored.imitation.clone();
        Losses {
            masked: self.masked.as_ref().map(|kept| kept.term.clone()),
            sequence: self.sequence.as_ref().map(term),
            words: self.words.as_ref().map(term),
            spans: self.spans.as_ref().map(|kept| kept.term.clone()),
            imitation: Imitation {
                sequence: self.sequence.as_ref().and_then(distance),
                words: self.words.as_ref().and_then(distance),
                spans: self.spans.as_ref().and_then(|kept| kept.imitation.clone()),
                hidden: self.imitation.as_ref().map(|kept| kept.term.clone()),
            },
        }
    }
}

impl Model {
    /// A model with these parameter values, one a place of [`ParameterTable::new`]'s layout.
    ///
    /// # Errors
    ///
    /// What the device reports.
    ///
    /// # Panics
    ///
    /// If `values` has another length than the table.
    pub fn new(
        ctx: &Context,
        config: &Config,
        head: Head,
        precision: Precision,
        values: &[f32],
    ) -> Result<Self, KernelError> {
        Self::with_additions(ctx, config, head, precision, values, Additions::default())
    }

    /// The same with what a training adds to a model; the layout is then that of
    /// [`ParameterTable::with_projection`].
    ///
    /// # Errors
    ///
    /// What the device reports.
    ///
    /// # Panics
    ///
    /// If `values` has another length than the table, or if 16-bit floats should be rounded to int8.
    pub fn with_additions(
        ctx: &Context,
        config: &Config,
        head: Head,
        precision: Precision,
        values: &[f32],
        additions: Additions,
    ) -> Result<Self, KernelError> {
        let Additions { projection, quantize_aware } = additions;
        let table = ParameterTable::with_projection(config, &head, projection);
        assert_eq!(values.len(), table.len(), "values do not match the parameter table");
        assert!(!quantize_aware || precision == Precision::F32, "int8 values need f32");
        let flat = FlatBuffers::new(ctx, table, values, precision, quantize_aware)?;
        let hidden = config.hidden_size;
        let classifier = |name, labels| Classifier::new(&flat, name, labels, hidden);
        let words = |name, labels| TokenClassifier::new(&flat, name, labels, hidden);
        let (sequence, token) = match head {
            Head::Pretraining => (Some(classifier("cls.seq_relationship", 2)), None),
            Head::Classify { labels: outputs }
            | Head::MultiLabel { labels: outputs }
            | Head::Regress { outputs } => (Some(classifier("classifier", outputs)), None),
            Head::Span | Head::Encoder => (None, None),
            Head::Tag { labels } => (None, Some(words("classifier", labels))),
            Head::Joint { intents, slots } => (
                Some(classifier("intent_classifier", intents)),
                Some(words("slot_classifier", slots)),
            ),
        };
        Ok(Self {
            ctx: ctx.clone(),
            config: config.clone(),
            head,
            precision,
            recompute: false,
            encoder: Encoder::new(&flat, config),
            pooler: head.has_pooler().then(|| Pooler::new(&flat, config)),
            masked_lm: (head == Head::Pretraining).then(|| MaskedLm::new(&flat, config)),
            sequence,
            token,
            span: (head == Head::Span).then(|| SpanHead::new(&flat, hidden)),
            imitation: HiddenImitation::new(&flat, projection, hidden),
            flat,
        })
    }

    /// Whether training keeps of each layer only its input and runs the layer again in the backward
    /// pass: a third more arithmetic for a fraction of the memory, and the same bits.
    #[must_use]
    pub fn with_recompute(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// The device.
    pub fn context(&self) -> &Context {
        &self.ctx
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The head.
    pub fn head(&self) -> Head {
        self.head
    }

    /// In which type products are computed.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Where each tensor lies.
    pub fn table(&self) -> &ParameterTable {
        &self.flat.table
    }

    /// All parameters, f32, with the table's layout.
    pub fn parameters(&self) -> &Buffer {
        &self.flat.param
    }

    /// All gradients, f32, with the table's layout.
    pub fn gradients(&self) -> &Buffer {
        &self.flat.grad
    }

    /// The 16-bit copy of the parameters that an optimizer step must refresh, if there is one.
    pub fn low_precision(&self) -> Option<&Buffer> {
        self.flat.low.as_ref()
    }

    /// Leaves the embeddings and the lowest `layers` layers out of the backward pass from now on: it
    /// ends above them, and their gradients stay what they are.
    ///
    /// For the model of a task: a masked language model has another way to the word embeddings.
    pub fn freeze(&mut self, layers: usize) {
        self.encoder.frozen = Some(layers);
    }

    /// Rounds the parameters anew after they changed, in a quantization-aware training.
    ///
    /// # Errors
    ///
    /// What the device reports.
    pub fn refresh_rounded(&self) -> Result<(), KernelError> {
        self.flat.refresh(&self.ctx)
    }

    /// Sets all gradients to zero.
    ///
    /// # Errors
    ///
    /// What the device reports.
    pub fn zero_gradients(&self) -> Result<(), KernelError> {
        ops::fill(&self.ctx, &self.flat.grad, 0.0)
    }

    /// Forward and backward: adds the gradient of `scale` times the sum of the mean losses, each times
    /// its share of the step, and gives the losses.
    ///
    /// # Errors
    ///
    /// What an operation or the device reports.
    pub fn accumulate_gradients(
        &self,
        batch: &DeviceBatch,
        targets: &Targets,
        dropout: &DropoutPlan,
        scale: f32,
    ) -> Result<Losses, KernelError> {
        self.last_gradients(batch, targets, dropout, scale, &mut |_| Ok(()))
    }

    /// The same for the last pass of a step, which tells `ready` which gradients are those of the step.
    ///
    /// # Errors
    ///
    /// What an operation, the device or `ready` reports.
    pub fn last_gradients(
        &self,
        batch: &DeviceBatch,
        targets: &Targets,
        dropout: &DropoutPlan,
        scale: f32,
        ready: &mut Ready<'_>,
    ) -> Result<Losses, KernelError> {
        let pass = self.forward(batch, targets, dropout, self.recompute)?;
        self.backward(batch, targets, &pass, dropout, scale, ready)?;
        Ok(pass.losses())
    }

    /// Losses without gradients or dropout.
    ///
    /// # Errors
    ///
    /// What an operation or the device reports.
    pub fn evaluate(
        &self,
        batch: &DeviceBatch,
        targets: &Targets,
    ) -> Result<(Losses, Logits), KernelError> {
        // Nothing goes back through this pass.
        let pass = self.forward(batch, targets, &DropoutPlan::OFF, true)?;
        let logits = Logits {
            sequence: pass.sequence.as_ref().map(|kept| kept.scored.logits.clone()),
            words: pass.words.as_ref().map(|kept| kept.scored.logits.clone()),
            spans: pass.spans.as_ref().map(|kept| kept.logits.clone()),
            hidden: pass.encoder.all_hidden(),
            pooled: pass.pooled.as_ref().map(|kept| kept.out.clone()),
        };
        Ok((pass.losses(), logits))
    }

    /// Vocabulary scores of the masked positions, `[M, V]`, f32.
    ///
    /// # Errors
    ///
    /// What an operation or the device reports.
    pub fn masked_logits(
        &self,
        batch: &DeviceBatch,
        targets: &Targets,
    ) -> Result<Option<Buffer>, KernelError> {
        let pass = self.forward(batch, targets, &DropoutPlan::OFF, true)?;
        let (word, _) = self.encoder.word_embeddings();
        match (&self.masked_lm, &pass.masked) {
            (Some(head), Some(kept)) => head.logits(&self.ctx, kept, word).map(Some),
            _ => Ok(None),
        }
    }

    fn forward(
        &self,
        batch: &DeviceBatch,
        targets: &Targets,
        dropout: &DropoutPlan,
        lean: bool,
    ) -> Result<Pass, KernelError> {
        let ctx = &self.ctx;
        let encoder = self.encoder.forward(ctx, batch, dropout, lean)?;
        let hidden = encoder.hidden();
        let (word, _) = self.encoder.word_embeddings();

        let masked = match (&self.masked_lm, masked_of(targets)) {
            (Some(head), Some(masked)) => Some(head.forward(ctx, hidden, word, masked)?),
            _ => None,
        };
        let (mut pooled, mut sequence) = (None, None);
        if let (Some(pooler), Some(head), Some(goal)) =
            (&self.pooler, &self.sequence, self.goal(targets))
        {
            let kept = pooler.forward(ctx, batch, hidden)?;
            let place = self.head_dropout(dropout);
            sequence = Some(head.forward(ctx, &kept.out, batch.sequences, &goal, place)?);
            pooled = Some(kept);
        }
        let words = match (&self.token, words_of(targets)) {
            (Some(head), Some(words)) => {
                let place = dropout.at(1, Place::Classifier);
                Some(head.forward(ctx, hidden, &words, place)?)
            }
            _ => None,
        };
        let spans = match (&self.span, spans_of(targets)) {
            (Some(head), Some(spans)) => Some(head.forward(ctx, batch, hidden, &spans)?),
            _ => None,
        };
        let imitation = match hidden_of(targets) {
            Some(taught) => Some(self.imitation.forward(ctx, hidden, batch.tokens, &taught)?),
            None => None,
        };
        Ok(Pass { encoder, pooled, masked, sequence, words, spans, imitation })
    }

    fn backward(
        &self,
        batch: &DeviceBatch,
        targets: &Targets,
        pass: &Pass,
        dropout: &DropoutPlan,
        scale: f32,
        ready: &mut Ready<'_>,
    ) -> Result<(), KernelError> {
        let ctx = &self.ctx;
        let hidden = pass.encoder.hidden();
        let d_hidden = ctx.empty(hidden.dtype(), hidden.len());
        ops::fill(ctx, &d_hidden, 0.0)?;

        if let (Some(head), Some(kept), Some(masked)) =
            (&self.masked_lm, &pass.masked, masked_of(targets))
        {
            let tied = self.encoder.word_embeddings();
            head.backward(ctx, kept, tied, masked, scale, &d_hidden)?;
        }
        if let (Some(pooler), Some(head), Some(pooled), Some(kept), Some(goal)) =
            (&self.pooler, &self.sequence, &pass.pooled, &pass.sequence, self.goal(targets))
        {
            let d_pooled = head.backward(ctx, kept, &goal, scale * targets.shares.sequence)?;
            pooler.backward(ctx, batch, pooled, &d_pooled, &d_hidden)?;
        }
        if let (Some(head), Some(kept), Some(words)) = (&self.token, &pass.words, words_of(targets))
        {
            head.backward(ctx, kept, &words, scale * targets.shares.words, &d_hidden)?;
        }
        if let (Some(head), Some(kept), Some(spans)) = (&self.span, &pass.spans, spans_of(targets))
        {
            let scale = scale * targets.shares.spans;
            let d_rows = head.backward(ctx, batch, kept, hidden, &spans, scale)?;
            ops::add_assign(ctx, &d_hidden, &d_rows)?;
        }
        if let (Some(kept), Some(taught)) = (&pass.imitation, hidden_of(targets)) {
            let (tokens, scale) = (batch.tokens, scale * targets.shares.tokens);
            let d_rows = self.imitation.backward(ctx, kept, hidden, tokens, &taught, scale)?;
            ops::add_assign(ctx, &d_hidden, &d_rows)?;
        }
        self.encoder.backward(ctx, batch, &pass.encoder, d_hidden, dropout, ready)
    }

    /// What the pooler's classifier should give.
    fn goal<'a>(&self, targets: &'a Targets) -> Option<Goal<'a>> {
        let loss = match self.head {
            Head::MultiLabel { .. } => Loss::BinaryCrossEntropy,
            Head::Regress { .. } => Loss::SquaredError,
            _ => Loss::CrossEntropy,
        };
        let targets_of = |sequence| Goal {
            loss,
            targets: sequence,
            shaping: &targets.shaping,
            teacher: targets.teaching.of(&targets.teaching.sequence),
        };
        targets.sequence.as_ref().map(targets_of)
    }

    /// Next sentence prediction reads the pooler's output as it is; a task's classifier drops first.
    fn head_dropout(&self, dropout: &DropoutPlan) -> Option<ops::DeviceDropout> {
        match self.head {
            Head::Pretraining => None,
            _ => dropout.at(0, Place::Classifier),
        }
    }
}

fn masked_of(targets: &Targets) -> Option<&MaskedTargets> {
    targets.masked.as_ref().filter(|masked| !masked.index.is_empty())
}

fn words_of(targets: &Targets) -> Option<Words<'_>> {
    let (index, target) = targets.words.as_ref()?;
    let teacher = targets.teaching.of(&targets.teaching.words);
    (!index.is_empty()).then_some(Words { index, target, teacher })
}

fn spans_of(targets: &Targets) -> Option<Spans<'_>> {
    let teacher = targets.teaching.of(&targets.teaching.spans);
    targets.spans.as_ref().map(|spans| Spans { targets: spans, teacher })
}

fn hidden_of(targets: &Targets) -> Option<Imitated<'_>> {
    targets.teaching.of(&targets.teaching.hidden)
}

fn activation_of(config: &Config) -> ops::Activation {
    match config.hidden_act {
        HiddenAct::Relu => ops::Activation::Relu,
        act if act.is_tanh_form() => ops::Activation::GeluTanh,
        _ => ops::Activation::Gelu,
    }
}
