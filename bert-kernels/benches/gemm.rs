//! Matrix products at the shapes of a bert-tiny step, and the cost of a launch.
//!
//! `cargo bench -p bert-kernels --features cpu` (or another runtime; the most capable one is
//! taken). Throughput is in multiply-adds a second: FLOP/s is twice that. Every shape's answer is
//! checked against f64 at a few elements before it is timed.

#![allow(missing_docs, clippy::unwrap_used)]

use bert_kernels::ops::{Epilogue, Gemm, Transpose, fill, gemm};
use bert_kernels::{Context, DType};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// (layout, m, n, k): the products of one layer, of its gradients, and of a piece of the decoder.
const SHAPES: &[(Transpose, usize, usize, usize)] = &[
    (Transpose::NT, 2048, 384, 128),
    (Transpose::NT, 2048, 512, 128),
    (Transpose::NT, 2048, 128, 512),
    (Transpose::NN, 2048, 128, 384),
    (Transpose::NN, 2048, 512, 128),
    (Transpose::NN, 2048, 128, 512),
    (Transpose::TN, 384, 128, 2048),
    (Transpose::TN, 512, 128, 2048),
    (Transpose::TN, 128, 512, 2048),
    (Transpose::NT, 300, 8000, 128),
];

/// Values whose sums are exact in f32, so that the check is an equality.
fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 17) as f32 * 0.125 - 1.0).collect()
}

fn products(criterion: &mut Criterion) {
    let ctx = Context::open("auto").unwrap();
    let mut group = criterion.benchmark_group(format!("gemm/{}", ctx.name()));
    group.sample_size(20);
    for &(transpose, m, n, k) in SHAPES {
        let (a_values, b_values) = (values(m * k), values(k * n));
        let a = ctx.upload_f32(&a_values);
        let b = ctx.upload_f32(&b_values);
        let c = ctx.empty(DType::F32, m * n);
        let run = || {
            let args = Gemm {
                a: &a,
                b: &b,
                c: &c,
                m,
                n,
                k,
                transpose,
                accumulate: false,
                epilogue: Epilogue::None,
            };
            gemm(&ctx, args).unwrap();
        };
        run();
        let found = ctx.read_f32(&c).unwrap();
        for (row, column) in [(0, 0), (m - 1, n - 1), (m / 2, n / 3)] {
            let expected: f32 = (0..k)
                .map(|p| {
                    let left = match transpose {
                        Transpose::TN => a_values[p * m + row],
                        _ => a_values[row * k + p],
                    };
                    let right = match transpose {
                        Transpose::NT => b_values[column * k + p],
                        _ => b_values[p * n + column],
                    };
                    left * right
                })
                .sum();
            assert_eq!(found[row * n + column], expected);
        }
        group.throughput(Throughput::Elements((m * n * k) as u64));
        group.bench_function(format!("{transpose:?} {m}x{n}x{k}"), |bencher| {
            bencher.iter(|| {
                run();
                ctx.sync().unwrap();
            });
        });
    }
    group.finish();
}

/// A thousand launches of nearly no work, waiting for the device after every so many.
fn launches(criterion: &mut Criterion) {
    let ctx = Context::open("auto").unwrap();
    let x = ctx.zeros(DType::F32, 16);
    let mut group = criterion.benchmark_group(format!("launch/{}", ctx.name()));
    group.sample_size(10);
    group.throughput(Throughput::Elements(1000));
    for wait_every in [1, 8, 16, 1000] {
        group.bench_function(format!("waiting every {wait_every}"), |bencher| {
            bencher.iter(|| {
                for launch in 1..=1000 {
                    fill(&ctx, &x, 1.0).unwrap();
                    if launch % wait_every == 0 {
                        ctx.sync().unwrap();
                    }
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, products, launches);
criterion_main!(benches);
