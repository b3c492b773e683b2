//! The forward pass over the caller's memory, and sessions that answer questions with it.

mod forward;
mod scratch;
mod session;
mod tags;

pub use forward::Rows;
#[cfg(feature = "std")]
pub use scratch::ScratchVec;
pub use scratch::{SCRATCH_ALIGN, Scratch, Shape, scratch_bytes};
pub use session::{Classification, Joint, Output, Session};
pub use tags::{Tag, Tags};
