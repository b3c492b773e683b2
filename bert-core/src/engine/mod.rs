//! The forward pass over the caller's memory, and sessions that answer questions with it.
//!
//! ```text
//! text ─► read ─► forward ─► classify · multi_label · tags, spans · regress · answer, search · embed
//! ```

mod answer;
mod classify;
mod embed;
mod forward;
mod multi_label;
mod products;
mod read;
mod regress;
mod rows;
mod scratch;
mod search;
mod self_test;
mod session;
#[cfg(feature = "std")]
mod sessions;
mod spans;
mod tags;
#[cfg(feature = "threads")]
mod threads;

pub use answer::{AnswerOptions, window_overlap};
pub use classify::{Classification, Label};
pub use embed::{EmbedOptions, Embedding, Layers};
pub use forward::Rows;
pub use multi_label::MultiLabel;
pub use read::longest_first;
pub use regress::Regression;
#[cfg(feature = "std")]
pub use scratch::ScratchVec;
#[cfg(feature = "threads")]
pub use scratch::threaded_scratch_bytes;
pub use scratch::{
    SCRATCH_ALIGN, Scratch, ScratchPart, Shape, fast_scratch_bytes, scratch_bytes, scratch_parts,
};
pub use search::{Answer, AnswerSearch, Answers, SpanWindow};
pub use session::{Output, Session};
#[cfg(feature = "std")]
pub use sessions::Sessions;
pub use spans::{Span, Spans};
pub use tags::{Joint, Tag, Tags};
