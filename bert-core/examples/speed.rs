//! Median and least microseconds per sentence of a random bert-tiny: `cargo run --release --example speed`.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use bert_core::{Model, Rows, ScratchVec, Session};
use common::{FloatModel, Sizes};

fn main() {
    let file = FloatModel::random(Sizes::BERT_TINY, 1).build();
    let start = Instant::now();
    let model = Model::parse(&file).unwrap();
    println!("file {} bytes, parsed in {:?}", file.len(), start.elapsed());
    let mut memory = ScratchVec::of(&model);
    println!("scratch at 64 tokens: {} bytes", memory.len());
    let mut session = Session::new(&model, &mut memory).unwrap();
    for tokens in [16, 32, 64] {
        let ids: Vec<u32> = (0..tokens).map(|i| (i * 131 + 7) % 8000).collect();
        for rows in [Rows::First, Rows::All] {
            let mut times: Vec<f64> = (0..401)
                .map(|_| {
                    let start = Instant::now();
                    std::hint::black_box(session.run(&ids, &[], rows).unwrap().hidden()[0]);
                    start.elapsed().as_secs_f64() * 1e6
                })
                .collect();
            times.sort_by(f64::total_cmp);
            let (median, least) = (times[times.len() / 2], times[0]);
            println!("{tokens} tokens, {rows:?}: median {median:.0} µs, least {least:.0} µs");
        }
    }
}
