//! A model bound to scratch memory: text in, answers out.

use super::forward::{Pass, Rows, row};
use super::read::Input;
use super::rows::LastRows;
use super::scratch::{Memory, NOT_FIRST};
use crate::Error;
use crate::arch::{self, Kernels};
use crate::format::{Matrix, Model};
use crate::tokenizer::Tokenizer;

/// A model and its memory, ready to answer. It borrows the file and the scratch memory, not the
/// [`Model`].
///
/// Texts longer than the session's limit are cut after the last token that fits; every answer says
/// so (`truncated`). Only [`Session::answer`] reads a long context to its end.
///
/// ```no_run
/// # fn f(file: &[u8]) -> Result<(), bert_core::Error> {
/// use bert_core::{Model, Scratch, Session};
/// let model = Model::parse(file)?;
/// let mut scratch = Scratch::<{ 96 * 1024 }>::new();
/// let mut session = Session::new(&model, &mut scratch)?;
/// let answer = session.classify("turn on the light")?;
/// let (name, probability) = (answer.name(), answer.probability());
/// # Ok(())
/// # }
/// ```
pub struct Session<'m, 's> {
    pub(super) model: Model<'m>,
    pub(super) tokenizer: Tokenizer<'m>,
    pub(super) memory: Memory<'s>,
    pub(super) limit: usize,
    pub(super) kernels: &'static Kernels,
}

impl<'m, 's> Session<'m, 's> {
    /// A session for texts of the model's `max_length`.
    ///
    /// # Errors
    /// [`Error::Scratch`] if `scratch` is smaller than
    /// [`Model::scratch_bytes`]`(max_length)`, [`Error::ScratchAlignment`] if it does not start at a
    /// multiple of [`crate::SCRATCH_ALIGN`], [`Error::SpecialToken`] if the vocabulary lacks one,
    /// [`Error::UnknownArch`] as [`arch::detect`].
    pub fn new(model: &Model<'m>, scratch: &'s mut [u8]) -> Result<Self, Error> {
        Self::with_limit(model, scratch, model.config().max_length as usize)
    }

    /// A session for texts of at most `limit` tokens (`[CLS]` and `[SEP]` included), to save
    /// memory; at least 3, at most the model's `max_length`.
    ///
    /// # Errors
    /// As [`Session::new`]; [`Error::TooManyTokens`] if `limit` is out of range.
    pub fn with_limit(
        model: &Model<'m>,
        scratch: &'s mut [u8],
        limit: usize,
    ) -> Result<Self, Error> {
        let most = model.config().max_length as usize;
        if limit > most || limit < 3 {
            return Err(Error::too_many_tokens(limit, most));
        }
        let memory = Memory::divide(scratch, &model.config().shape(), limit)?;
        Self::with_memory(model, memory, limit, arch::detect()?)
    }

    /// As [`Session::new`], on these kernels instead of those of [`arch::detect`], which are no part of
    /// the program then; the answers stay the same.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_kernels(
        model: &Model<'m>,
        scratch: &'s mut [u8],
        kernels: &'static Kernels,
    ) -> Result<Self, Error> {
        let limit = model.config().max_length as usize;
        let memory = Memory::divide(scratch, &model.config().shape(), limit)?;
        Self::with_memory(model, memory, limit, kernels)
    }

    fn with_memory(
        model: &Model<'m>,
        memory: Memory<'s>,
        limit: usize,
        kernels: &'static Kernels,
    ) -> Result<Self, Error> {
        let tokenizer = Tokenizer::new(*model.vocabulary(), model.config().tokenizer)?;
        Ok(Session { model: *model, tokenizer, memory, limit, kernels })
    }

    /// A session of several threads, for long texts: one of `threads` for each 32 tokens at most. The
    /// answers stay the same. [`crate::ScratchVec::for_threads`] makes the memory; the threads are those
    /// of rayon's global pool, as many as there are cores if the program says nothing else.
    ///
    /// # Errors
    /// As [`Session::new`]; no thread counts as one.
    #[cfg(feature = "threads")]
    pub fn with_threads(
        model: &Model<'m>,
        scratch: &'s mut [u8],
        threads: usize,
    ) -> Result<Self, Error> {
        let most = model.config().max_length as usize;
        let shape = model.config().shape();
        let memory = Memory::divide_among(scratch, &shape, most, threads.max(1))?;
        Self::with_memory(model, memory, most, arch::detect()?)
    }

    /// Runs on these kernels instead of those of [`arch::detect`]; the answers stay the same.
    pub fn use_kernels(&mut self, kernels: &'static Kernels) {
        self.kernels = kernels;
    }

    /// The kernels the session runs on.
    #[must_use]
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model<'m> {
        &self.model
    }

    /// Runs token ids as they are (`[CLS]` and `[SEP]` are the caller's) with the segment of each
    /// token; an empty `segments` means segment 0 everywhere.
    ///
    /// # Errors
    /// [`Error::NoTokens`], [`Error::TooManyTokens`], or [`Error::TokenRange`] for an id or segment
    /// outside the tables or a number of segments other than that of ids.
    pub fn run(&mut self, ids: &[u32], segments: &[u32], rows: Rows) -> Result<Output<'_>, Error> {
        self.take_ids(ids, segments)?;
        let config = self.model.config();
        let segment = |t: usize| segments.get(t).map_or(0, |&s| s as usize);
        let pass = Pass { model: &self.model, kernels: self.kernels, tokens: ids.len() };
        pass.forward(&mut self.memory, segment, rows)?;
        pass.label_logits(&mut self.memory);
        let tokens = if rows == Rows::First { 1 } else { ids.len() };
        Ok(Output {
            tokens,
            label_logits: self.memory.label_logits,
            tag_head: self.model.tag_head,
            span_head: self.model.span_head,
            tag_logits: self.memory.tag_logits,
            rows: LastRows {
                kernels: self.kernels,
                hidden: config.hidden as usize,
                x: self.memory.x,
                scales: self.memory.x_scales,
                row: self.memory.tile.residual,
                q: self.memory.tile.rows,
            },
        })
    }

    /// As [`Session::run`] for all rows of every layer: `each` is given a layer, 0 … L, a token and the
    /// row \[H\] of the token; layer 0 is what the embedding tables give, behind their layer norm.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_layers(
        &mut self,
        ids: &[u32],
        segments: &[u32],
        mut each: impl FnMut(u16, usize, &[f32]) + Send,
    ) -> Result<(), Error> {
        self.take_ids(ids, segments)?;
        let (kernels, config) = (self.kernels, self.model.config());
        let hidden = config.hidden as usize;
        let after = |layer: u16, memory: &mut Memory<'_>| {
            for token in 0..ids.len() {
                // Between two layers nothing reads the rows in flight.
                let room = &mut *memory.tile.residual;
                each(layer, token, row(kernels, memory.x, memory.x_scales, token, room, hidden));
            }
        };
        let segment = |t: usize| segments.get(t).map_or(0, |&s| s as usize);
        let pass = Pass { model: &self.model, kernels, tokens: ids.len() };
        pass.forward_to(&mut self.memory, segment, Rows::All, config.layers, after)
    }

    /// Checks ids and segments against the tables, and puts the ids in their place.
    fn take_ids(&mut self, ids: &[u32], segments: &[u32]) -> Result<(), Error> {
        let config = self.model.config();
        if ids.is_empty() {
            return Err(Error::NoTokens);
        }
        if ids.len() > self.limit {
            return Err(Error::too_many_tokens(ids.len(), self.limit));
        }
        let in_tables = ids.iter().all(|&id| id < config.vocabulary)
            && segments.iter().all(|&s| s < config.segments as u32)
            && (segments.is_empty() || segments.len() == ids.len());
        if !in_tables {
            return Err(Error::TokenRange);
        }
        self.memory.ids[..ids.len()].copy_from_slice(ids);
        self.memory.words[..ids.len()].fill(NOT_FIRST);
        Ok(())
    }

    /// The forward pass over what was read, and the logits of `[CLS]`.
    pub(super) fn compute(&mut self, input: Input, rows: Rows) -> Result<(), Error> {
        let segment = |t| (t >= input.second) as usize;
        let pass = Pass { model: &self.model, kernels: self.kernels, tokens: input.tokens };
        pass.forward(&mut self.memory, segment, rows)?;
        pass.label_logits(&mut self.memory);
        Ok(())
    }
}

/// Results of [`Session::run`].
pub struct Output<'a> {
    tokens: usize,
    label_logits: &'a [f32],
    tag_head: Option<Matrix<'a>>,
    span_head: Option<Matrix<'a>>,
    tag_logits: &'a mut [f32],
    rows: LastRows<'a>,
}

impl Output<'_> {
    /// Rows of the last layer that were computed: T, or 1 for [`Rows::First`].
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The last layer's row \[H\] of a token; none if it was not computed.
    pub fn row(&mut self, token: usize) -> Option<&[f32]> {
        (token < self.tokens).then(|| self.rows.row(token))
    }

    /// The rows of the last layer that were computed \[T, H\], one after another.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn hidden(&mut self) -> Vec<f32> {
        let mut all = Vec::with_capacity(self.tokens * self.rows.hidden);
        (0..self.tokens).for_each(|token| all.extend_from_slice(self.rows.row(token)));
        all
    }

    /// Logits of the labels, or the numbers of a regression; empty if the head has neither.
    #[must_use]
    pub fn label_logits(&self) -> &[f32] {
        self.label_logits
    }

    /// Logits of a token's tag; none if the head has no tags or the row was not computed.
    pub fn tag_logits(&mut self, token: usize) -> Option<&[f32]> {
        let head = self.tag_head.as_ref().filter(|_| token < self.tokens)?;
        self.rows.logits(token, head, self.tag_logits);
        Some(self.tag_logits)
    }

    /// Logits of an answer that starts and of one that ends at a token; none if the model has no
    /// span head or the row was not computed.
    pub fn span_logits(&mut self, token: usize) -> Option<[f32; 2]> {
        let head = self.span_head.as_ref().filter(|_| token < self.tokens)?;
        let mut logits = [0.0; 2];
        self.rows.logits(token, head, &mut logits);
        Some(logits)
    }
}
