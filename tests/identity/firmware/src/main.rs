//! Asks `bert-core` about the corpus on a machine without an operating system.
//!
//! `bert-machine` has the way from reset to the program for machines with semihosting; they take
//! arguments and print through it. For WebAssembly the host calls a function.
#![no_std]
#![no_main]

// Linked by name only: the compiler calls it for floats.
#[cfg(target_arch = "riscv32")]
use bert_soft_float as _;

mod corpus;
#[cfg(not(target_arch = "wasm32"))]
mod program;
#[cfg(target_arch = "wasm32")]
mod wasm32;
