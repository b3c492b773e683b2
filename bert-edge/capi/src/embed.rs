//! A text as a vector.

use core::ffi::c_char;

use bert_core::{Embedding, Head};

use crate::memory::{self, Outcome};
use crate::session::ask;
use crate::{Session, Status};

/// How the rows of the tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Pooling {
    /// Their mean.
    Mean = 0,
    /// The row of `[CLS]`.
    First = 1,
}

/// Layers that a vector comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Layers {
    /// The last.
    Last = 0,
    /// Layer `layer` of the options; 0 is what the embedding tables give.
    One = 1,
    /// The sum of the last four.
    SumLastFour = 2,
    /// The last four one after another: four times as many numbers.
    ConcatLastFour = 3,
}

/// Which vector; a null pointer stands for the pooling that the model says, of its last layer, not
/// normalized.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EmbedOptions {
    /// A `bert_pooling`.
    pub pooling: i32,
    /// A `bert_layers`.
    pub layers: i32,
    /// The layer, with `BERT_LAYERS_ONE`.
    pub layer: u32,
    /// Not 0 to divide the vector by its length, so that the product of two vectors is their cosine.
    pub normalize: i32,
}

/// The vector of a text, from a model of any head. `capacity` is how many numbers `vector` has room
/// for: `hidden` of `bert_info`, or four times as many with `BERT_LAYERS_CONCAT_LAST_FOUR`.
///
/// Errors: as `bert_classify`, without `BERT_ERROR_HEAD`; `BERT_ERROR_CAPACITY` if there is less room,
/// and nothing is written; `BERT_ERROR_ARGUMENT` for an option without a meaning; `BERT_ERROR_LAYERS`
/// if the model has not those layers.
///
/// # Safety
/// As `bert_classify`, with `vector` for `labels`; `options` is null or points to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_embed(
    session: *mut Session,
    text: *const c_char,
    length: usize,
    options: *const EmbedOptions,
    vector: *mut f32,
    capacity: usize,
    outcome: *mut Outcome,
) -> Status {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        ask(session, outcome, capacity, |asked| {
            let text = asked.text(text, length)?;
            let config = asked.session.model().config();
            let pooling = match config.head {
                Head::Embed { pooling: bert_core::Pooling::First } => Pooling::First,
                _ => Pooling::Mean,
            };
            let defaults = EmbedOptions {
                pooling: pooling as i32,
                layers: Layers::Last as i32,
                layer: 0,
                normalize: 0,
            };
            let given = memory::options(options, defaults)?;
            let options = given.of_core()?;
            options.range(config.layers)?;
            let count = options.out_len(config.hidden.into());
            asked.array(vector, capacity)?;
            if capacity < count {
                return Ok(Outcome::read(count, 0, false));
            }
            let mut room = asked.array(vector, count)?;
            let mut found = asked.session.embed(text, options, room.zeroed())?;
            if given.normalize != 0 {
                found.normalize();
            }
            let Embedding { tokens, truncated, .. } = found;
            Ok(Outcome::read(count, tokens, truncated))
        })
    }
}

impl EmbedOptions {
    fn of_core(self) -> Result<bert_core::EmbedOptions, Status> {
        let pooling = match self.pooling {
            n if n == Pooling::Mean as i32 => bert_core::Pooling::Mean,
            n if n == Pooling::First as i32 => bert_core::Pooling::First,
            _ => return Err(Status::ErrorArgument),
        };
        let layers = match self.layers {
            n if n == Layers::Last as i32 => bert_core::Layers::Last,
            n if n == Layers::One as i32 => {
                let layer = u16::try_from(self.layer).map_err(|_| Status::ErrorLayers)?;
                bert_core::Layers::One(layer)
            }
            n if n == Layers::SumLastFour as i32 => bert_core::Layers::SumLastFour,
            n if n == Layers::ConcatLastFour as i32 => bert_core::Layers::ConcatLastFour,
            _ => return Err(Status::ErrorArgument),
        };
        Ok(bert_core::EmbedOptions { pooling, layers })
    }
}
