//! Products in f32 on a CPU beside the crates `gemm` and `matrixmultiply` on the same cores, in turns.
//!
//! `cargo bench -p bert-kernels --features cpu --bench gemm_peers`. Prints billions of operations a
//! second (a multiply-add is two), medians of rounds, and the ratio to the better peer. The answers of
//! all three are compared before they are timed.

#![allow(missing_docs, unsafe_code, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bert_kernels::ops::{Epilogue, Gemm, Transpose, gemm};
use bert_kernels::{Buffer, Context, DType};

/// (layout, m, n, k): the products of a layer of bert-tiny, bert-mini and bert-small with 2,048 tokens, of
/// its gradients, and of a piece of the decoder.
const SHAPES: &[(Transpose, usize, usize, usize)] = &[
    (Transpose::NT, 2048, 384, 128),
    (Transpose::NT, 2048, 512, 128),
    (Transpose::NT, 2048, 128, 512),
    (Transpose::NN, 2048, 512, 128),
    (Transpose::NN, 2048, 128, 512),
    (Transpose::TN, 512, 128, 2048),
    (Transpose::TN, 128, 512, 2048),
    (Transpose::NT, 2048, 1024, 256),
    (Transpose::NT, 2048, 256, 1024),
    (Transpose::NN, 2048, 256, 1024),
    (Transpose::TN, 1024, 256, 2048),
    (Transpose::NT, 2048, 2048, 512),
    (Transpose::NN, 2048, 512, 2048),
    (Transpose::TN, 2048, 512, 2048),
    (Transpose::NT, 300, 8000, 128),
    (Transpose::NN, 300, 128, 8000),
];

const ROUNDS: usize = 15;
/// Of one engine in one round.
const BURST: Duration = Duration::from_millis(20);

struct Shape {
    transpose: Transpose,
    m: usize,
    n: usize,
    k: usize,
}

impl Shape {
    /// Steps of A from row to row and along k, and of B along k and from column to column.
    fn strides(&self) -> [isize; 4] {
        let (m, n, k) = (self.m as isize, self.n as isize, self.k as isize);
        let a = if self.transpose == Transpose::TN { [1, m] } else { [k, 1] };
        let b = if self.transpose == Transpose::NT { [1, k] } else { [n, 1] };
        [a[0], a[1], b[0], b[1]]
    }

    fn ours(&self, ctx: &Context, a: &Buffer, b: &Buffer, c: &Buffer) {
        let &Shape { transpose, m, n, k } = self;
        let (accumulate, epilogue) = (false, Epilogue::None);
        gemm(ctx, Gemm { a, b, c, m, n, k, transpose, accumulate, epilogue }).unwrap();
        ctx.sync().unwrap();
    }

    fn gemm(&self, threads: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
        let &Shape { m, n, k, .. } = self;
        let [a_row, a_k, b_k, b_column] = self.strides();
        // SAFETY: the slices are as long as the sizes and strides say.
        unsafe {
            ::gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                1,
                n as isize,
                false,
                a.as_ptr(),
                a_k,
                a_row,
                b.as_ptr(),
                b_column,
                b_k,
                0.0,
                1.0,
                false,
                false,
                false,
                ::gemm::Parallelism::Rayon(threads),
            );
        }
    }

    fn matrixmultiply(&self, a: &[f32], b: &[f32], c: &mut [f32]) {
        let &Shape { m, n, k, .. } = self;
        let [a_row, a_k, b_k, b_column] = self.strides();
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        // SAFETY: the slices are as long as the sizes and strides say.
        unsafe {
            matrixmultiply::sgemm(
                m, k, n, 1.0, a, a_row, a_k, b, b_k, b_column, 0.0, c, n as isize, 1,
            );
        }
    }
}

/// Values whose sums are exact in f32, so that the check is an equality.
fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 17) as f32 * 0.125 - 1.0).collect()
}

fn seconds(mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut runs = 0;
    while runs == 0 || start.elapsed() < BURST {
        run();
        runs += 1;
    }
    start.elapsed().as_secs_f64() / runs as f64
}

fn main() {
    let threads = std::thread::available_parallelism().unwrap().get();
    // SAFETY: no other thread was started.
    unsafe { std::env::set_var("MATMUL_NUM_THREADS", threads.to_string()) };
    let ctx = Context::open("cpu").unwrap();
    println!("{threads} threads, GFLOP/s");
    println!("{:<20} {:>7} {:>7} {:>15} {:>7}", "", "ours", "gemm", "matrixmultiply", "ratio");
    for &(transpose, m, n, k) in SHAPES {
        let shape = Shape { transpose, m, n, k };
        let (a, b) = (values(m * k), values(k * n));
        let (device_a, device_b) = (ctx.upload_f32(&a), ctx.upload_f32(&b));
        let device_c = ctx.empty(DType::F32, m * n);
        let (mut of_gemm, mut of_matrixmultiply) = (vec![0.0; m * n], vec![0.0; m * n]);
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            times[0].push(seconds(|| shape.ours(&ctx, &device_a, &device_b, &device_c)));
            times[1].push(seconds(|| shape.gemm(threads, &a, &b, &mut of_gemm)));
            times[2].push(seconds(|| shape.matrixmultiply(&a, &b, &mut of_matrixmultiply)));
        }
        let ours = ctx.read_f32(&device_c).unwrap();
        assert!(ours == of_gemm && ours == of_matrixmultiply, "{transpose:?} {m}x{n}x{k} differs");
        let [ours, gemm, matrixmultiply] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            2e-9 * (m * n * k) as f64 / times[ROUNDS / 2]
        });
        let name = format!("{transpose:?} {m}x{n}x{k}");
        let ratio = ours / gemm.max(matrixmultiply);
        println!("{name:<20} {ours:>7.0} {gemm:>7.0} {matrixmultiply:>15.0} {ratio:>7.2}");
    }
}
