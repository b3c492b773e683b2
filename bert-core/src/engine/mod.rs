//! The forward pass over the caller's memory, and sessions that answer questions with it.

mod forward;
mod scratch;
mod session;
mod spans;
mod tags;

pub use forward::Rows;
#[cfg(feature = "std")]
pub use scratch::ScratchVec;
pub use scratch::{SCRATCH_ALIGN, Scratch, Shape, scratch_bytes};
pub use session::{Classification, Joint, Label, Output, Session};
pub use spans::{Span, Spans};
pub use tags::{Tag, Tags};
