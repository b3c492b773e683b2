//! What a firmware does with a model, on every chip and on this machine.
//!
//! ```text
//! model in flash ─► start: parse, self-test ─► answer: text ─► lines ─► a checksum of all outputs
//! ```
//!
//! `bert-edge/firmware/cortex-m` and `riscv` run it in emulators, `boards` on real ones, and the
//! program of this crate on the machine that builds them, to compare with.
#![cfg_attr(not(feature = "std"), no_std)]

mod answer;
#[cfg(feature = "std")]
mod measure;
mod print;
mod program;
#[cfg(feature = "std")]
mod random;

pub use answer::answer;
/// For [`image!`], so that a firmware names the model once.
#[doc(hidden)]
pub use bert_core;
#[cfg(feature = "std")]
pub use measure::{Measured, macs, measured_texts};
pub use print::{Print, number};
pub use program::{Failure, Marks, run, start};
#[cfg(feature = "std")]
pub use random::random_model;

/// A model file in an image, where weights can be read fast.
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized>(pub T);

/// Puts the model file at `$path` and its scratch memory into a program: a module `image` with
/// `model() -> &'static [u8]` and `scratch() -> Option<&'static mut [u8]>`, which gives the memory to
/// the first who asks; `HEADS` is for [`start`] and [`answer`](answer()), the set of the model's head.
///
/// The memory has exactly the size that the file asks for, found when the program is compiled. The
/// linker puts the file beside the constants, or where its script has `$section`, and says so where
/// there is no room.
#[macro_export]
macro_rules! image {
    ($path:expr $(, $section:literal)?) => {
        mod image {
            use core::sync::atomic::{AtomicBool, Ordering};

            use $crate::bert_core::{Scratch, scratch_bytes_of};

            const FILE: &[u8] = include_bytes!($path);

            pub const HEADS: u16 = $crate::bert_core::format::heads::of(FILE);

            // SAFETY: the linker script places the section in memory that holds nothing else.
            $(#[unsafe(link_section = $section)])?
            static MODEL: $crate::Aligned<[u8; FILE.len()]> = {
                let mut copy = [0; FILE.len()];
                copy.copy_from_slice(FILE);
                $crate::Aligned(copy)
            };

            static mut SCRATCH: Scratch<{ scratch_bytes_of(FILE) }> = Scratch::new();
            static TAKEN: AtomicBool = AtomicBool::new(false);

            pub fn model() -> &'static [u8] {
                &MODEL.0
            }

            pub fn scratch() -> Option<&'static mut [u8]> {
                // Load and store, not a swap: the smallest chips have no other atomics.
                if TAKEN.load(Ordering::Relaxed) {
                    return None;
                }
                TAKEN.store(true, Ordering::Relaxed);
                let scratch = &raw mut SCRATCH;
                // SAFETY: there is one thread, and it comes here once.
                Some(unsafe { &mut *scratch })
            }
        }
    };
}
