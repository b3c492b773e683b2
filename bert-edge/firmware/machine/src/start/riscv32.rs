//! RISC-V of 32 bits: riscv-rt sets up memory.
#![allow(unsafe_code)]

use core::arch::asm;

use semihosting::process;

use crate::exit::FAULT;
use crate::memory::{PAINT, stack};
use crate::output::fault;

/// Bytes below the stack pointer that the painter may itself be using.
const PAINTER_BYTES: usize = 256;

#[riscv_rt::entry]
fn main() -> ! {
    paint_stack();
    process::exit(crate::run_program())
}

fn paint_stack() {
    let pointer: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mv {}, sp", out(reg) pointer, options(nomem, nostack)) };
    let mut word = stack().0.cast_mut();
    while (word as usize) < pointer - PAINTER_BYTES {
        // SAFETY: from the end of the stack up to what is in use nothing is kept.
        unsafe { word.write_volatile(PAINT) };
        word = word.wrapping_add(1);
    }
}

/// What riscv-rt calls for an exception, by this name.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
extern "C" fn ExceptionHandler(frame: &riscv_rt::TrapFrame) -> ! {
    fault("exception", &[0, frame.ra as u32]);
    process::exit(FAULT)
}
