//! The corpus in the image, and memory for the models.
#![allow(unsafe_code)]

use bert_core::Scratch;

/// Room for all models of the corpus at once.
const SCRATCH_BYTES: usize = 768 * 1024;

/// Weights lie in flash at multiples of 64 bytes.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

const BYTES: &[u8] = include_bytes!(env!("BERT_CORPUS", "`cargo xtask identity` sets it"));

// SAFETY: the linker script places the section in memory that holds nothing else.
#[cfg_attr(any(target_arch = "arm", target_arch = "riscv32"), unsafe(link_section = ".model"))]
static CORPUS: Aligned<[u8; BYTES.len()]> = {
    let mut copy = [0; BYTES.len()];
    copy.copy_from_slice(BYTES);
    Aligned(copy)
};

static mut SCRATCH: Scratch<SCRATCH_BYTES> = Scratch::new();

/// The bytes of the corpus.
pub fn bytes() -> &'static [u8] {
    &CORPUS.0
}

/// The memory.
///
/// # Safety
///
/// Once in the life of the program.
pub unsafe fn scratch() -> &'static mut [u8] {
    let scratch = &raw mut SCRATCH;
    // SAFETY: by the condition above there is no other reference.
    unsafe { &mut *scratch }
}
