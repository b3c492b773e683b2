//! The operations that take the time of an inference, in a crate of their own: a firmware compiles it
//! for speed and all else, `bert-core` too, for size.
#![no_std]
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "a table of kernels is made of unsafe functions")]

bert_core::quick_kernels! {
    /// The kernels of the chip that the firmware is for.
    pub static KERNELS
}
