//! From reset to a program, on the machines that QEMU emulates.
//!
//! ```text
//! machines/*.x  memory of each machine      start/  reset ─► program ─► exit code
//! semihosting   arguments, output, the end  stack   how much of it was used
//! ```
//!
//! A program is a function that gives an exit code, named with [`program!`]; its build script asks
//! for the linker script `link.x`. Firmware and the test of the same bits on every machine share
//! this crate; a product on a board has its own in its place.
#![no_std]

mod marks;
mod output;
#[cfg(not(feature = "messages"))]
mod panic;
mod start {
    #[cfg(target_arch = "aarch64")]
    mod aarch64;
    #[cfg(target_arch = "arm")]
    mod cortex_m;
    #[cfg(target_arch = "riscv32")]
    mod riscv32;
    #[cfg(target_arch = "riscv32")]
    mod saved;
}
#[cfg(any(target_arch = "arm", target_arch = "riscv32"))]
mod memory;

pub use marks::MARKS;
pub use output::{Errors, Out, arguments};
/// Prints a line to standard error.
pub use semihosting::eprintln;

#[cfg(any(target_arch = "arm", target_arch = "riscv32"))]
pub use memory::{Memory, stack_bytes};

/// Exit codes.
pub mod exit {
    /// All went well.
    pub const DONE: i32 = 0;
    /// Something failed.
    pub const FAILED: i32 = 1;
    /// The arguments are wrong.
    pub const USAGE: i32 = 2;
    /// A panic.
    pub const PANIC: i32 = 101;
    /// A fault or trap of the processor.
    pub const FAULT: i32 = 102;
}

/// Names the function that runs after reset. It runs once, and what it gives is the exit code.
#[macro_export]
macro_rules! program {
    ($run:path) => {
        // SAFETY: nothing else has the name, and the start code declares it so.
        #[unsafe(no_mangle)]
        extern "Rust" fn bert_machine_program() -> i32 {
            $run()
        }
    };
}

/// Runs the program.
#[allow(unsafe_code)]
fn run_program() -> i32 {
    unsafe extern "Rust" {
        fn bert_machine_program() -> i32;
    }
    // SAFETY: `program!` defines it with this signature.
    unsafe { bert_machine_program() }
}
