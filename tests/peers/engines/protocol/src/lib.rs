//! What a worker and the benchmark say to each other, a line at a time.
//!
//! | from | line | |
//! |---|---|---|
//! | worker | `ready WORDS…` | once; the words say what it found out about the machine |
//! | bench | `run IDS COUNT` | IDS is a file of token ids, separated by white space |
//! | worker | `NS NS NS …` | nanoseconds of each of COUNT inferences |
//! | bench | `rows IDS OUTPUT` | |
//! | worker | `done VALUES` | the last layer's rows \[T, H\] are in OUTPUT, as little-endian f32 |
//!
//! A worker ends when its input does. What goes wrong is on stderr, and the exit code is not 0.

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Answers requests until the input ends.
///
/// `infer` gets the ids of one sentence and leaves the last layer's rows \[T, H\] in the vector, which
/// comes empty. What it takes, that copy included, is the time of an inference.
///
/// # Errors
/// What `infer` reports, a request that cannot be understood, a file that cannot be read or written.
pub fn serve(
    detail: &str,
    mut infer: impl FnMut(&[u32], &mut Vec<f32>) -> Result<()>,
) -> Result<()> {
    println!("ready {detail}");
    let mut rows = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words[..] {
            ["run", ids, count] => {
                let ids = read_ids(ids)?;
                let count = count.parse().with_context(|| format!("`{line}`: no count"))?;
                let mut times = Vec::with_capacity(count);
                for _ in 0..count {
                    let start = Instant::now();
                    rows.clear();
                    infer(&ids, &mut rows)?;
                    times.push(start.elapsed().as_nanos().to_string());
                }
                times.join(" ")
            }
            ["rows", ids, output] => {
                rows.clear();
                infer(&read_ids(ids)?, &mut rows)?;
                let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
                std::fs::write(output, bytes).with_context(|| format!("cannot write {output}"))?;
                format!("done {}", rows.len())
            }
            _ => bail!("expected `run IDS COUNT` or `rows IDS OUTPUT`, found `{line}`"),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn read_ids(path: &str) -> Result<Vec<u32>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    text.split_whitespace()
        .map(|word| word.parse().with_context(|| format!("{path}: `{word}` is no token id")))
        .collect()
}

/// The n-th argument of the command line, from 1.
///
/// # Errors
/// If there are fewer; the message names it as `name`.
pub fn argument(n: usize, name: &str) -> Result<String> {
    std::env::args().nth(n).with_context(|| format!("argument {n} is missing: {name}"))
}
