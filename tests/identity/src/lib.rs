//! One corpus, one hash: whether `bert-core` gives the same output bytes on every machine.
//!
//! ```text
//! host:     models ─┐
//!           texts ──┼─► corpus.bin ──► every machine: outputs ─► SHA-256, and a CRC-32 a text
//!           cases ──┘                                 measure ─► instructions of an inference
//! ```
//!
//! The corpus is drawn from counters, without data and without float functions, so every checkout
//! makes the same one. `models`, `texts` and `cases` need feature `std` and run on the host;
//! `corpus`, `outputs` and `measure` are what the machine under test runs, without heap.
//!
//! `cargo xtask identity` builds the runners, runs them, and compares them with what
//! `tests/golden/identity.json` records.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
mod cases;
pub mod corpus;
#[cfg(feature = "std")]
mod lexicon;
pub mod measure;
#[cfg(feature = "std")]
mod models;
mod outputs;
#[cfg(feature = "std")]
mod random;
pub mod report;
#[cfg(feature = "std")]
mod texts;

#[cfg(feature = "std")]
pub use texts::TEXTS;

/// The corpus that every machine is asked about, as [`corpus::Corpus::parse`] reads it.
///
/// # Panics
///
/// If a model cannot be built, which is a defect of this crate.
#[cfg(feature = "std")]
#[must_use]
pub fn corpus_bytes() -> Vec<u8> {
    corpus::write(&models::build_all(), &texts::all(), &cases::all())
}
