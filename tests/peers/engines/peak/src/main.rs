//! `worker-peak vector|matrix`: how many int8 products a second one core can do, by its dot product
//! instruction on independent registers and nothing else.
//!
//! It speaks the protocol of the engines, so that it is measured between them. What it is asked for
//! are ids, which it does not look at: an inference is a fixed number of products, which stands
//! behind the instruction's name in `ready NAME PRODUCTS`.

mod x86;

use anyhow::{Result, bail};

/// A loop over dot products.
pub struct Peak {
    /// The instruction and its width.
    pub name: &'static str,
    /// Products (multiply and add) of one round of the loop.
    pub products: u64,
    /// Runs that many rounds.
    pub run: fn(u64),
}

/// Rounds of an inference: 0.1 to 1 ms.
const ROUNDS: u64 = 20_000;

fn main() -> Result<()> {
    let kind = protocol::argument(1, "vector or matrix")?;
    let peak = match kind.as_str() {
        "vector" => x86::vector()?,
        "matrix" => x86::matrix()?,
        _ => bail!("expected vector or matrix, found {kind}"),
    };
    let detail = format!("{} {}", peak.name, peak.products * ROUNDS);
    protocol::serve(&detail, |_, _| {
        (peak.run)(ROUNDS);
        Ok(())
    })
}
