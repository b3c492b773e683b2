//! Rows of `ops/gemm/`.

use super::{
    Bound, Case, CaseFailure, Random, check_gradient, compare, epsilon, expect, upload, widen,
};
use crate::ops::gemm::reference;
use crate::ops::{self, Activation, Epilogue, Gemm, Transpose};
use crate::{Context, DType};

/// A chain of k fused multiply-adds rounds k times at most half an ulp (2⁻²⁴) of a partial sum.
/// With operands in [-1, 1) the largest result of some hundred is above √k/2 and partial sums stay
/// below 4√k, and roundings of either sign add up like √k: 8 · √k · 2⁻²⁴, with a factor 2 of room.
fn gemm_sum_error(k: usize) -> f64 {
    16.0 * (k as f64).sqrt().max(1.0) * epsilon(DType::F32)
}
/// erf's own 1.5e-7, times |x|/2 ≤ half the largest value, and a few roundings.
const GEMM_ACTIVATION_ERROR: f64 = 4e-7;

/// Below, at, above and no multiple of each tile: 4 × 64 on a CPU, 64 × 64 and 128 × 128 on a GPU,
/// 64 × 64 × 32 on tensor cores;
/// and shapes of the model.
const SIZES: &[(usize, usize, usize)] = &[
    (1, 1, 1),
    (3, 5, 7),
    (8, 32, 16),
    (9, 33, 17),
    (64, 64, 64),
    (65, 68, 130),
    (130, 129, 33),
    (200, 2, 128),
    (40, 384, 128),
    (128, 256, 300),
];

const TRANSPOSES: [Transpose; 3] = [Transpose::NN, Transpose::NT, Transpose::TN];

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for &size @ (m, n, k) in SIZES {
            for transpose in TRANSPOSES {
                for (accumulate, c_dtype) in [(false, dtype), (true, DType::F32)] {
                    let how = if accumulate { "+= f32" } else { "=" };
                    rows.push(Case::new(
                        "gemm",
                        format!("{transpose:?} {m}x{n}x{k} {how}"),
                        dtype,
                        move |ctx| product(ctx, size, transpose, dtype, c_dtype, accumulate),
                    ));
                }
            }
        }
        for size @ (m, n, k) in [(9, 33, 17), (65, 68, 130)] {
            for activation in [
                None,
                Some(Activation::Gelu),
                Some(Activation::GeluTanh),
                Some(Activation::Tanh),
                Some(Activation::Relu),
            ] {
                let name = format!("NT {m}x{n}x{k} bias {activation:?}");
                rows.push(Case::new("gemm", name, dtype, move |ctx| {
                    with_epilogue(ctx, size, activation, dtype)
                }));
            }
        }
    }
    // Many blocks of rows and columns, where a GPU takes its large block.
    rows.push(Case::new("gemm", "NN 1500x1400x24 =", DType::F32, |ctx| {
        product(ctx, (1500, 1400, 24), Transpose::NN, DType::F32, DType::F32, false)
    }));
    // The same for tensor cores, with copies of 16, 8, 4 and 2 bytes.
    for (m, n, k) in [(1536, 1400, 72), (1412, 1500, 44), (1402, 1398, 38), (1401, 1403, 35)] {
        for transpose in TRANSPOSES {
            let name = format!("{transpose:?} {m}x{n}x{k} =");
            rows.push(Case::new("gemm", name, DType::Bf16, move |ctx| {
                product(ctx, (m, n, k), transpose, DType::Bf16, DType::Bf16, false)
            }));
        }
    }
    // A gradient long enough to be split along k on tensor cores, with a last part that is shorter.
    for (dtype, (m, n, k)) in [(DType::Bf16, (70, 72, 2100)), (DType::F16, (65, 33, 1093))] {
        rows.push(Case::new("gemm", format!("TN {m}x{n}x{k} += f32"), dtype, move |ctx| {
            product(ctx, (m, n, k), Transpose::TN, dtype, DType::F32, true)
        }));
    }
    rows.extend(rows_of_blocks());
    rows.push(Case::new("gemm", "gradients", DType::F32, |_| gradients()));
    rows
}

/// Products in every block that the device has: the three passes of a linear layer as a training step has
/// them, with the widest copies and stores, and one at odd sizes. All end within a block.
fn rows_of_blocks() -> Vec<Case> {
    let size = (264, 280, 104);
    let row = |dtype, pass: Pass, size @ (m, n, k): (usize, usize, usize)| {
        let name = format!("{:?} {m}x{n}x{k} {} in every block", pass.transpose(), pass.suffix());
        Case::new("gemm", name, dtype, move |ctx| in_every_block(ctx, size, pass, dtype))
    };
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16] {
        for pass in [Pass::Forward, Pass::OfInput, Pass::OfWeight] {
            rows.push(row(dtype, pass, size));
        }
        rows.push(row(dtype, Pass::OfInput, (261, 259, 101)));
    }
    rows.push(row(DType::F16, Pass::Forward, size));
    // In parts along k on tensor cores, whatever the block.
    rows.push(row(DType::Bf16, Pass::OfWeight, (264, 136, 1096)));
    rows
}

/// A pass of a linear layer.
#[derive(Debug, Clone, Copy)]
enum Pass {
    /// With bias and GELU, which keeps what was before.
    Forward,
    /// The gradient of the input.
    OfInput,
    /// The gradient of the weight, in f32 and added to.
    OfWeight,
}

impl Pass {
    fn transpose(self) -> Transpose {
        match self {
            Self::Forward => Transpose::NT,
            Self::OfInput => Transpose::NN,
            Self::OfWeight => Transpose::TN,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Forward => "bias Gelu",
            Self::OfInput => "=",
            Self::OfWeight => "+= f32",
        }
    }
}

fn product(
    ctx: &Context,
    (m, n, k): (usize, usize, usize),
    transpose: Transpose,
    dtype: DType,
    c_dtype: DType,
    accumulate: bool,
) -> Result<(), CaseFailure> {
    let mut random = Random::new((m * 31 + n * 17 + k) as u64);
    let a = random.values(m * k, 1.0, dtype);
    let b = random.values(k * n, 1.0, dtype);
    let before = random.values(m * n, 1.0, c_dtype);
    let c = upload(ctx, &before, c_dtype);
    ops::gemm(
        ctx,
        Gemm {
            a: &upload(ctx, &a, dtype),
            b: &upload(ctx, &b, dtype),
            c: &c,
            m,
            n,
            k,
            transpose,
            accumulate,
            epilogue: Epilogue::None,
        },
    )?;
    let found = ctx.read_f32(&c)?;
    let mut expected = reference::product(&widen(&a), &widen(&b), (m, n, k), transpose);
    if accumulate {
        for (expected, before) in expected.iter_mut().zip(&before) {
            *expected += f64::from(*before);
        }
    }
    let bound = Bound::of_max("gemm_sum_error", gemm_sum_error(k)).stored_as(c_dtype);
    compare("c", &found, &expected, bound)
}

fn with_epilogue(
    ctx: &Context,
    (m, n, k): (usize, usize, usize),
    activation: Option<Activation>,
    dtype: DType,
) -> Result<(), CaseFailure> {
    let mut random = Random::new((m + n + k) as u64);
    let a = random.values(m * k, 0.3, dtype);
    let b = random.values(k * n, 1.0, dtype);
    let bias = random.values(n, 1.0, DType::F32);
    let c = ctx.empty(dtype, m * n);
    let pre = ctx.empty(dtype, m * n);
    let bias_buffer = ctx.upload_f32(&bias);
    let epilogue = match activation {
        None => Epilogue::Bias(&bias_buffer),
        Some(activation) => Epilogue::BiasActivation { bias: &bias_buffer, activation, pre: &pre },
    };
    ops::gemm(
        ctx,
        Gemm {
            a: &upload(ctx, &a, dtype),
            b: &upload(ctx, &b, dtype),
            c: &c,
            m,
            n,
            k,
            transpose: Transpose::NT,
            accumulate: false,
            epilogue,
        },
    )?;
    let found = ctx.read_f32(&c)?;
    let product = reference::product(&widen(&a), &widen(&b), (m, n, k), Transpose::NT);
    let (expected_pre, expected) = reference::epilogue(&product, &widen(&bias), activation);
    let error = gemm_sum_error(k) + GEMM_ACTIVATION_ERROR;
    let bound = Bound::of_max("gemm_sum_error + GEMM_ACTIVATION_ERROR", error).stored_as(dtype);
    compare("c", &found, &expected, bound)?;
    if activation.is_some() {
        let bound = Bound::of_max("gemm_sum_error", gemm_sum_error(k)).stored_as(dtype);
        compare("pre", &ctx.read_f32(&pre)?, &expected_pre, bound)?;
    }
    Ok(())
}

/// Every block is right, and has the bits of every other.
fn in_every_block(
    ctx: &Context,
    (m, n, k): (usize, usize, usize),
    pass: Pass,
    dtype: DType,
) -> Result<(), CaseFailure> {
    let mut random = Random::new((m * 37 + n * 11 + k) as u64);
    let a = random.values(m * k, 0.3, dtype);
    let b = random.values(k * n, 1.0, dtype);
    let bias = random.values(n, 1.0, DType::F32);
    let accumulate = matches!(pass, Pass::OfWeight);
    let c_dtype = if accumulate { DType::F32 } else { dtype };
    let before = random.values(m * n, 1.0, c_dtype);
    let (of_a, of_b) = (upload(ctx, &a, dtype), upload(ctx, &b, dtype));
    let of_bias = ctx.upload_f32(&bias);
    let mut results = Vec::new();
    for block in ops::gemm_blocks(ctx, dtype) {
        let (c, pre) = (upload(ctx, &before, c_dtype), ctx.zeros(c_dtype, m * n));
        let epilogue = match pass {
            Pass::Forward => {
                let activation = Activation::Gelu;
                Epilogue::BiasActivation { bias: &of_bias, activation, pre: &pre }
            }
            _ => Epilogue::None,
        };
        let transpose = pass.transpose();
        let args = Gemm { a: &of_a, b: &of_b, c: &c, m, n, k, transpose, accumulate, epilogue };
        let ctx = ctx.clone().with_gemm_tuning(ops::GemmTuning::always(block));
        ops::gemm(&ctx, args)?;
        expect(ops::gemm_block(&ctx, &args) == block, || format!("{block} was not taken"))?;
        results.push((block, c, pre));
    }
    let mut expected = reference::product(&widen(&a), &widen(&b), (m, n, k), pass.transpose());
    let mut error = gemm_sum_error(k);
    match pass {
        Pass::Forward => {
            let gelu = Some(Activation::Gelu);
            expected = reference::epilogue(&expected, &widen(&bias), gelu).1;
            error += GEMM_ACTIVATION_ERROR;
        }
        Pass::OfInput => {}
        Pass::OfWeight => expected.iter_mut().zip(&before).for_each(|(c, b)| *c += f64::from(*b)),
    }
    let bound = Bound::of_max("gemm_sum_error + GEMM_ACTIVATION_ERROR", error).stored_as(c_dtype);
    let mut first: Option<[Vec<u32>; 2]> = None;
    for (block, c, pre) in &results {
        let (c, pre) = (ctx.read_f32(c)?, ctx.read_f32(pre)?);
        compare(&format!("c in {block}"), &c, &expected, bound)?;
        let bits = [c, pre].map(|values| values.iter().map(|value| value.to_bits()).collect());
        let first = first.get_or_insert_with(|| bits.clone());
        expect(*first == bits, || format!("{block} has other bits than {}", results[0].0))?;
    }
    Ok(())
}

/// The backward passes of a linear layer are the other two layouts: dX = dY W and dW = dYᵀ X.
fn gradients() -> Result<(), CaseFailure> {
    let (rows, outputs, inputs) = (5, 4, 6);
    let mut random = Random::new(3);
    let x = widen(&random.values(rows * inputs, 1.0, DType::F32));
    let w = widen(&random.values(outputs * inputs, 1.0, DType::F32));
    let d_y = widen(&random.values(rows * outputs, 1.0, DType::F32));
    let loss = |x: &[f64], w: &[f64]| -> f64 {
        let y = reference::product(x, w, (rows, outputs, inputs), Transpose::NT);
        y.iter().zip(&d_y).map(|(y, d)| y * d).sum()
    };
    let d_x = reference::product(&d_y, &w, (rows, inputs, outputs), Transpose::NN);
    check_gradient("d_x", |x| loss(x, &w), &x, &d_x)?;
    let d_w = reference::product(&d_y, &x, (outputs, inputs, rows), Transpose::TN);
    check_gradient("d_w", |w| loss(&x, w), &w, &d_w)
}
