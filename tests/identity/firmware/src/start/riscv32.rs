//! RISC-V of 32 bits: riscv-rt sets up memory.
#![allow(unsafe_code)]

use semihosting::{eprintln, process};

/// Exit code of a trap; 101 is that of a panic.
const TRAP: i32 = 102;

#[riscv_rt::entry]
fn main() -> ! {
    // SAFETY: `main` runs once.
    process::exit(unsafe { crate::program::run() })
}

/// What riscv-rt calls for an exception, by this name.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
extern "C" fn ExceptionHandler(frame: &riscv_rt::TrapFrame) -> ! {
    eprintln!("firmware: exception, called from {:#010x}", frame.ra);
    process::exit(TRAP)
}
