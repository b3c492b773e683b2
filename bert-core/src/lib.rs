//! Quantized BERT without an operating system: a model file in, answers out.
//!
//! `no_std`, no heap, no `unsafe`. The caller gives the bytes of a model file (in flash, mapped, or in
//! a buffer) and scratch memory; the same text then gives the same output bits on every machine.
//!
//! ```no_run
//! use bert_core::{Error, Model, Scratch, Session};
//!
//! fn answer(file: &[u8]) -> Result<(), Error> {
//!     let model = Model::parse(file)?; // checks every byte, copies none
//!     let mut scratch = Scratch::<{ 80 * 1024 }>::new();
//!     let mut session = Session::new(&model, &mut scratch)?; // or: how much is missing
//!     session.self_test()?; // the bits the file promises
//!
//!     let answer = session.classify("turn on the light in the kitchen")?;
//!     let (_label, _probability) = (answer.name(), answer.probability());
//!
//!     for tag in session.tag("turn on the light in the kitchen")? {
//!         let _ = (tag.start, tag.end, tag.name, tag.probability);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Each head has its question: [`Session::classify`], [`Session::tag`], [`Session::joint`],
//! [`Session::classify_pair`], [`Session::classify_labels`], [`Session::regress`],
//! [`Session::answer`]; [`Session::embed`] is for all of them.
//!
//! The flow through the modules: [`tokenizer`] turns text into ids, [`mod@format`] is the model file
//! (written by [`format::ModelBuilder`] with feature `std`), [`engine`] runs it, layer by layer, out of
//! the operations in [`ops`], which are defined by the float functions in [`math`].
//!
//! Weights are int8 with a scale per output channel (those of parts that a file keeps so are f16), activations int8 with a scale per token, found
//! as they come; sums are i32; the residual stream, norms, softmax and GELU are f32 in a defined
//! order of IEEE operations.
#![cfg_attr(not(feature = "std"), no_std)]

pub mod arch;
pub mod checksum;
pub mod engine;
mod error;
pub mod format;
pub mod math;
pub mod ops;
pub mod tokenizer;

#[cfg(feature = "threads")]
pub use engine::threaded_scratch_bytes;
pub use engine::{
    Answer, AnswerOptions, AnswerSearch, Answers, Classification, EmbedOptions, Embedding, Joint,
    Label, Layers, MultiLabel, Output, Regression, Rows, SCRATCH_ALIGN, Scratch, ScratchPart,
    Session, Shape, Span, SpanWindow, Spans, Tag, Tags, fast_scratch_bytes, longest_first,
    scratch_bytes, scratch_parts, window_overlap,
};
#[cfg(feature = "std")]
pub use engine::{ScratchVec, Sessions};
pub use error::Error;
pub use format::{Activation, Config, Head, Model, Pooling, scratch_bytes_of};
pub use ops::ARITHMETIC;

/// The example of the README is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
