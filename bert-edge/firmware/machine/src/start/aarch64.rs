//! 64-bit Arm as a Linux program: the emulator of one process sets up stack and FPU, semihosting
//! stands for the system's calls.
#![allow(unsafe_code)]

use core::arch::global_asm;

use semihosting::process;

// The kernel leaves the stack pointer at a multiple of 16 and no return address.
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "b {main}",
    main = sym main
);

extern "C" fn main() -> ! {
    process::exit(crate::run_program())
}
