//! Passes of pre-training that a device keeps and runs at one request.
//!
//! The launches of a pass cost the host a few microseconds each, which a small model's kernels do not
//! last. A device that can record ([`Context::can_record`]) gets the launches of a pass once and replays
//! them on the next batch of the same shape. Shapes are few because batches are filled up a little: at
//! most one part in [`PARTS`] of the largest batch's tokens.
//!
//! Buffers of a pass are parts of one [`Arena`], whose size the first pass of the largest shape so far
//! decides; no pass allocates. The first pass of a shape is launched as ever, the second also records, and
//! from the third on it is replayed.

use std::collections::HashMap;

use bert_kernels::{Arena, Buffer, Context, KernelError, Recording};

use crate::data::PretrainBatch;
use crate::model::{Losses, Model, PassInputs, PassShape, PassSize, Shares};

/// Batches are filled up to a multiple of the largest batch divided by this.
const PARTS: usize = 64;
/// Tokens are filled up to a multiple of this at least, which whole tiles of products are.
const LEAST_STEP: usize = 32;
/// Shapes that are kept. One more is launched as ever.
const MOST_SHAPES: usize = 64;

/// The passes of a model that were recorded so far.
pub struct RecordedPasses {
    rounding: Rounding,
    arena: Arena,
    /// Where recorded launches read what changes from pass to pass.
    inputs: Option<Buffer>,
    passes: HashMap<Key, State>,
    replays: u64,
    /// Why nothing is recorded any more.
    refused: Option<String>,
}

/// What the launches of a pass have in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    shape: PassShape,
    /// Bits of the scale of the loss, and of the share of its step that a pass's sentence pairs are.
    scale: u32,
    share: u32,
}

enum State {
    /// Its buffers have places in the arena.
    Planned,
    /// With the losses of a replay, in the arena.
    Recorded(Box<(Recording, Losses)>),
}

impl RecordedPasses {
    /// For passes of at most this size with sequences of at most `max_length` tokens.
    pub fn new(ctx: &Context, largest: PassSize, max_length: usize) -> Self {
        Self {
            rounding: Rounding::new(largest, max_length),
            arena: Arena::new(ctx),
            inputs: None,
            passes: HashMap::new(),
            replays: 0,
            refused: None,
        }
    }

    /// Passes that were replayed.
    pub fn replays(&self) -> u64 {
        self.replays
    }

    /// Bytes of the memory between launches.
    pub fn arena_bytes(&self) -> u64 {
        self.arena.bytes()
    }

    /// Why the device does not record, if it should have and did not.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// What [`Model::accumulate_gradients`] does, for a batch that is `shares` of its step. `draws` is the
    /// seed and the number of the pass, for dropout.
    ///
    /// # Errors
    ///
    /// What an operation or the device reports.
    pub fn accumulate_gradients(
        &mut self,
        model: &Model,
        batch: &PretrainBatch,
        shares: Shares,
        draws: (u64, u64),
        scale: f32,
    ) -> Result<Losses, KernelError> {
        let (ctx, config) = (model.context(), model.config());
        let shape = self.rounding.round(PassShape::of(batch));
        let inputs = PassInputs::new(config, batch, &shape, shares, draws);
        let buffer = self.write(ctx, &inputs)?;
        let (device_batch, targets, dropout) = inputs.on(config, &buffer, 0);
        let pass = || model.accumulate_gradients(&device_batch, &targets, &dropout, scale);
        let copied = |losses: Losses| losses.copied(ctx);

        let key = Key { shape, scale: scale.to_bits(), share: shares.sequence.to_bits() };
        match self.passes.get(&key) {
            Some(State::Recorded(kept)) => {
                let (recording, losses) = &**kept;
                recording.replay()?;
                self.replays += 1;
                losses.clone().of_masked(batch.masked_index.len()).copied(ctx)
            }
            Some(State::Planned) if self.refused.is_none() => {
                let (losses, recorded) = ctx.run_and_record(&self.arena, pass, copied)?;
                match recorded {
                    Ok((of_replay, recording)) => {
                        let kept = Box::new((recording, of_replay.released()));
                        self.passes.insert(key, State::Recorded(kept));
                    }
                    Err(error) => {
                        // Slower, not wrong: the run goes on, and says so once.
                        eprintln!("passes are launched kernel by kernel: {error}");
                        self.refused = Some(error.to_string());
                    }
                }
                Ok(losses)
            }
            known => {
                let is_new = known.is_none() && self.passes.len() < MOST_SHAPES;
                let losses = ctx.within(&self.arena, pass).and_then(copied)?;
                if is_new {
                    self.passes.insert(key, State::Planned);
                }
                if !self.arena.holds_all() {
                    // What was recorded is in memory that is too small, and goes with it.
                    self.passes.retain(|_, state| matches!(state, State::Planned));
                    self.arena.allocate(ctx)?;
                }
                Ok(losses)
            }
        }
    }

    /// Copies inputs to where recorded launches read them.
    fn write(&mut self, ctx: &Context, inputs: &PassInputs) -> Result<Buffer, KernelError> {
        match &self.inputs {
            Some(room) if room.len() >= inputs.len() => {
                let buffer = room.slice(0..inputs.len());
                ctx.write_u32(&buffer, inputs.words().to_vec())?;
                Ok(buffer)
            }
            _ => {
                // What was recorded reads elsewhere.
                self.passes.retain(|_, state| matches!(state, State::Planned));
                let buffer = inputs.upload(ctx);
                self.inputs = Some(buffer.clone());
                Ok(buffer)
            }
        }
    }
}

/// How shapes become few.
#[derive(Debug, Clone, Copy)]
struct Rounding {
    /// Tokens are a multiple of this.
    tokens: usize,
    max_length: usize,
    /// Share of the tokens that is masked.
    masked: f64,
}

impl Rounding {
    fn new(largest: PassSize, max_length: usize) -> Self {
        Self {
            tokens: largest.tokens.div_ceil(PARTS).next_multiple_of(LEAST_STEP),
            max_length,
            masked: largest.masked as f64 / largest.tokens.max(1) as f64,
        }
    }

    fn round(&self, exact: PassShape) -> PassShape {
        let tokens = exact.tokens.next_multiple_of(self.tokens);
        let max_length = self.max_length.max(exact.max_length).min(tokens);
        // Each sequence has a whole number of masked tokens; what that rounds away or adds is a sum of
        // as many small numbers, which deviates by their root.
        let expected = tokens as f64 * self.masked + (exact.sequences as f64).sqrt();
        let step = (self.tokens as f64 * self.masked) as usize + 1;
        let masked = expected as usize;
        let beyond = exact.masked.saturating_sub(masked);
        PassShape {
            tokens,
            fill: (self.tokens - 1).div_ceil(max_length),
            max_length,
            masked: (masked + beyond.next_multiple_of(step)).next_multiple_of(LEAST_STEP / 2),
            ..exact
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_few_and_hold_their_batches() {
        let largest = PassSize { tokens: 256 * 128, sequences: 256, masked: 256 * 19 };
        let rounding = Rounding::new(largest, 128);
        let mut shapes = std::collections::HashSet::new();
        for tokens in 20_000..24_000 {
            let masked = tokens * 19 / 128 - 20 + tokens % 40;
            let exact = PassShape {
                tokens,
                sequences: 256,
                fill: 0,
                max_length: 100 + tokens % 29,
                masked,
            };
            let shape = rounding.round(exact);
            assert!(shape.tokens >= tokens && shape.tokens < tokens + 512);
            assert!(shape.fill * shape.max_length >= shape.tokens - tokens);
            assert!(shape.masked >= masked && shape.masked < masked + 512);
            shapes.insert(shape);
        }
        // Nine numbers of tokens, each with two of masked ones at most.
        assert!(shapes.len() <= 2 * 9, "{}", shapes.len());
    }
}
