//! One file a command; each prints to standard output and returns its errors.

mod bench;
pub mod classify;
mod embed;
pub mod inspect;
mod regress;
mod selftest;
pub mod span;
pub mod tag;

pub use bench::bench;
pub use classify::classify;
pub use embed::embed;
pub use inspect::inspect;
pub use regress::regress;
pub use selftest::selftest;
pub use span::span;
pub use tag::tag;

use std::io::{self, StdoutLock, Write};

use anyhow::Result;
use serde_json::Value;

/// Standard output; a line goes out when it is whole, so answers to piped lines come at once.
fn output() -> StdoutLock<'static> {
    io::stdout().lock()
}

/// Prints one JSON object.
fn print_json(value: &Value) -> Result<()> {
    writeln!(output(), "{value}")?;
    Ok(())
}

/// A probability as a JSON number without the digits that f32 does not have.
fn number(probability: f32) -> Value {
    let rounded = (probability as f64 * 1e6).round() / 1e6;
    serde_json::json!(rounded)
}

/// A number of any size as a JSON number of the fewest digits that give its bits back.
pub fn exact(value: f32) -> Value {
    // The digits of a finite f32 are a number, and every number of a model is finite.
    value.to_string().parse::<f64>().map_or(Value::Null, |value| serde_json::json!(value))
}
