//! `bert-edge serve` from outside: answers, refusals, limits, reloads, its end, hostile clients.
#![cfg(all(target_os = "linux", feature = "serve"))]
#![allow(clippy::unwrap_used, missing_docs)]

mod answers;
mod client;
#[path = "../command/mod.rs"]
mod command;
mod hostile;
mod life;
mod refusals;
