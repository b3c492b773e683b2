//! Asks `bert-core` about the corpus on a machine without an operating system.
//!
//! `start/` has the way from reset to `main` for each kind of machine; `program.rs` is what they all
//! do then. Machines with semihosting take arguments and print through it; for WebAssembly the host
//! calls a function.
#![no_std]
#![no_main]

mod corpus;
#[cfg(not(target_arch = "wasm32"))]
mod program;
mod start {
    #[cfg(target_arch = "aarch64")]
    mod aarch64;
    #[cfg(target_arch = "arm")]
    mod cortex_m;
    #[cfg(target_arch = "riscv32")]
    mod riscv32;
    #[cfg(target_arch = "wasm32")]
    mod wasm32;
}
