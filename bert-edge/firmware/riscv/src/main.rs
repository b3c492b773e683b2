//! A model in flash answers the texts that are given as arguments.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

// Linked by name only: the compiler calls it for floats.
use bert_soft_float as _;

#[path = "../../program.rs"]
mod program;

bert_machine::program!(program::run);
