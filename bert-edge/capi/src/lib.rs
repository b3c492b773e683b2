//! `libbert_edge`: [`bert_core`] for programs in C.
//!
//! `include/bert_edge.h` is the interface, made from this crate by cbindgen; `docs/deploy-c.md` is its
//! guide. All memory is the caller's: the bytes of the model file, the two structs that C sees as words
//! without a meaning, scratch memory, arrays for results. Nothing is allocated and nothing is kept
//! beside them.
//!
//! What a caller can do wrong and a function can notice is a [`Status`], by the checks of `memory.rs`:
//! null pointers, alignment, structs that were not opened, arrays that are too short, a session in use
//! by another thread, scratch memory given twice. Where bert-core would panic, which no input is known
//! to make it do, the program ends: a panic does not leave an `extern "C"` function.
#![cfg_attr(not(feature = "std"), no_std)]
#![allow(unsafe_code, reason = "pointers of C, only here; each is checked in memory.rs")]

// In the order of the header.
mod memory;
#[cfg(all(not(feature = "std"), target_os = "none"))]
mod panic;
mod status;

mod model;
mod session;

mod classify;
mod tags;

mod regress;

mod answer;
mod embed;

pub use answer::{Answer, AnswerOptions, Answers, bert_answer};
pub use classify::{Label, bert_classify, bert_classify_labels, bert_classify_pair};
pub use embed::{EmbedOptions, Layers, Pooling, bert_embed};
pub use memory::{Outcome, Text};
pub use model::{
    Head, Info, Model, bert_label_name, bert_model_info, bert_model_open, bert_scratch_bytes,
    bert_tag_name,
};
pub use regress::{bert_regress, bert_regress_pair};
pub use session::{Session, bert_self_test, bert_session_open};
pub use status::{Status, bert_message};
pub use tags::{Slot, Tag, bert_slots, bert_tag};

#[cfg(all(not(feature = "std"), not(target_os = "none")))]
compile_error!(
    "bert-edge-capi without its feature `std` is for targets without an operating system"
);

/// Version of the interface in this header. It rises when a program has to be compiled again.
pub const ABI_VERSION: u32 = 1;

/// Scratch memory starts at a multiple of so many bytes.
pub const SCRATCH_ALIGN: usize = 16;

/// Version of the interface of the library at hand, to compare with `BERT_ABI_VERSION` where the
/// library is loaded at run time.
#[unsafe(no_mangle)]
pub extern "C" fn bert_abi_version() -> u32 {
    ABI_VERSION
}

/// Version of the library as text, `"0.1.0"`.
#[unsafe(no_mangle)]
pub extern "C" fn bert_version() -> *const core::ffi::c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
