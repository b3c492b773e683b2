//! A model in flash answers the texts that are given as arguments.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

#[path = "../../program.rs"]
mod program;

bert_machine::program!(program::run);
