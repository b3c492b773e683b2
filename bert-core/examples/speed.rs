//! Median and least microseconds of a forward pass of a random model, for each instruction set of this
//! machine: `cargo run --release --features threads --example speed [tiny|mini|small|minilm|base [TOKENS [NAME]]]`.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use bert_core::{Model, Rows, ScratchVec, Session, arch};
use common::{FloatModel, HeadKind, Sizes};

fn main() {
    let name = std::env::args().nth(1).unwrap_or_else(|| "tiny".into());
    let (layers, hidden, heads) = match name.as_str() {
        "tiny" => (2, 128, 2),
        "mini" => (4, 256, 4),
        "small" => (4, 512, 8),
        "minilm" => (6, 384, 12),
        "base" => (12, 768, 12),
        other => panic!("{other}: tiny, mini, small, minilm or base was expected"),
    };
    let sizes = Sizes {
        layers,
        hidden,
        heads,
        feed_forward: 4 * hidden,
        max_length: 512,
        head: HeadKind::Classify,
        ..Sizes::BERT_TINY
    };
    // In memory that begins with a cache line, as a file that is mapped does.
    let built = FloatModel::random(sizes, 1).build();
    let mut file = ScratchVec::new(built.len());
    file.copy_from_slice(&built);
    drop(built);
    let start = Instant::now();
    let model = Model::parse(&file).unwrap();
    println!("{name}: file {} bytes, parsed in {:?}", file.len(), start.elapsed());
    for tokens in [16, 32, 128, 512] {
        let small = model.scratch_bytes(tokens);
        println!("scratch at {tokens} tokens: at least {small} bytes");
    }
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let only: Option<u32> = std::env::args().nth(2).map(|n| n.parse().unwrap());
    let named = std::env::args().nth(3);
    let mut two = ScratchVec::for_threads(&model, 2);
    let mut threaded = Session::with_threads(&model, &mut two, 2).unwrap();
    for tokens in [16, 32, 128, 512].into_iter().filter(|n| only.is_none_or(|only| only == *n)) {
        let ids: Vec<u32> = (0..tokens).map(|i| (i * 131 + 7) % 8000).collect();
        let wanted = |k: &&arch::Kernels| named.as_ref().is_none_or(|name| name == k.name());
        for kernels in arch::available().filter(wanted) {
            session.use_kernels(kernels);
            threaded.use_kernels(kernels);
            for (threads, session) in [(1, &mut session), (2, &mut threaded)] {
                let mut times = Vec::new();
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(500) || times.len() < 3 {
                    let start = Instant::now();
                    std::hint::black_box(
                        session.run(&ids, &[], Rows::All).unwrap().row(0).is_some(),
                    );
                    times.push(start.elapsed().as_secs_f64() * 1e6);
                }
                times.sort_by(f64::total_cmp);
                let (median, least) = (times[times.len() / 2], times[0]);
                println!(
                    "{tokens:>4} tokens, {:<12} {threads} threads: median {median:>9.1} µs, least {least:>9.1} µs",
                    kernels.name()
                );
            }
        }
    }
}
