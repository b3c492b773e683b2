//! Rows of `ops/optimizer/`.

use super::{Bound, Case, CaseFailure, Random, compare, expect, round_to, widen};
use crate::ops::optimizer::reference::{self, Step};
use crate::ops::{self, AdamW, BLOCK, GlobalNorm, Lamb, global_norm_workspace_len};
use crate::{Buffer, Context, DType};

/// Two chains, of 64 and of n / (64 · lanes · units) ≤ 200 positive terms: at most half an ulp each,
/// halved by the root.
const GLOBAL_NORM_ERROR: f64 = 132.0 * 6e-8;
/// Three steps of a handful of roundings each; the norm's error where it clips.
const MOMENT_ERROR: f64 = 2e-5;
/// An update is lr · m / √v with a dozen roundings, plus half an ulp of a parameter up to 1 each
/// step.
const PARAMETER_ERROR: f64 = 3e-7;

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for len in [1, 3, 128, 4096, 100_001, 300_032] {
        let name = format!("global_norm n={len}");
        rows.push(Case::new("optimizer", name, DType::F32, move |ctx| global_norm(ctx, len)));
    }
    for (blocks, max_norm, low) in [
        (1, 0.0, None),
        (5, 1.0, Some(DType::Bf16)),
        (300, 1e6, Some(DType::Bf16)),
        (5, 1.0, Some(DType::F16)),
    ] {
        for (lamb, rated) in [(false, false), (true, false), (false, true), (true, true)] {
            let op = if lamb { "lamb" } else { "adamw" };
            let dtype = low.unwrap_or(DType::F32);
            let how = if rated { " rates" } else { "" };
            let name = format!("{op} blocks={blocks} clip={max_norm}{how}");
            rows.push(Case::new("optimizer", name, dtype, move |ctx| {
                steps(ctx, blocks, max_norm, low, lamb, rated)
            }));
        }
    }
    rows
}

fn norm_of(ctx: &Context, x: &Buffer) -> Result<Buffer, CaseFailure> {
    let norm = ctx.empty(DType::F32, 1);
    let workspace = ctx.empty(DType::F32, global_norm_workspace_len(ctx, x.len()));
    ops::global_norm(ctx, GlobalNorm { x, norm: &norm, workspace: &workspace })?;
    Ok(norm)
}

fn global_norm(ctx: &Context, len: usize) -> Result<(), CaseFailure> {
    let x = Random::new(len as u64).values(len, 2.0, DType::F32);
    let norm = norm_of(ctx, &ctx.upload_f32(&x))?;
    let again = norm_of(ctx, &ctx.upload_f32(&x))?;
    let found = ctx.read_f32(&norm)?;
    let expected = [reference::norm(&widen(&x))];
    let bound = Bound::relative("GLOBAL_NORM_ERROR", GLOBAL_NORM_ERROR);
    compare("norm", &found, &expected, bound)?;
    expect(ctx.read_f32(&again)? == found, || "the same input gave another norm".into())
}

/// Three steps against the reference, which takes the same three.
fn steps(
    ctx: &Context,
    blocks: usize,
    max_norm: f32,
    low: Option<DType>,
    lamb: bool,
    rated: bool,
) -> Result<(), CaseFailure> {
    let n = blocks * BLOCK;
    let mut random = Random::new(n as u64);
    let mut param = random.values(n, 1.0, DType::F32);
    // A step of nothing must not lose the sign.
    param.iter_mut().step_by(7).for_each(|p| *p = -0.0);
    let decay: Vec<f32> = (0..blocks).map(|block| (block % 2) as f32).collect();
    // Every third block is frozen, the first among them.
    let rates: Vec<f32> =
        (0..blocks).map(|block| if rated { (block % 3) as f32 * 0.75 } else { 1.0 }).collect();
    // Tensors of one, two, three … blocks.
    let mut tensors = vec![0u32];
    while (tensors[tensors.len() - 1] as usize) < blocks {
        let next = tensors[tensors.len() - 1] as usize + tensors.len();
        tensors.push(next.min(blocks) as u32);
    }
    let tensor_of_block: Vec<u32> = (0..blocks as u32)
        .map(|block| tensors.partition_point(|&first| first <= block) as u32 - 1)
        .collect();
    let (learning_rate, weight_decay, grad_scale) = (1e-2, 0.01, 0.5);
    let param_buffer = ctx.upload_f32(&param);
    let m = ctx.zeros(DType::F32, n);
    let v = ctx.zeros(DType::F32, n);
    let decay_buffer = ctx.upload_f32(&decay);
    let rates_buffer = rated.then(|| ctx.upload_f32(&rates));
    let tensors_buffer = ctx.upload_u32(&tensors);
    let tensor_of_block = ctx.upload_u32(&tensor_of_block);
    let ratios = ctx.empty(DType::F32, tensors.len() - 1);
    let low_buffer = low.map(|dtype| ctx.empty(dtype, n));

    let mut expected = widen(&param);
    let (mut expected_m, mut expected_v) = (vec![0.0; n], vec![0.0; n]);
    for step in 1..=3u32 {
        let grad = random.values(n, 1.0, DType::F32);
        let grad_buffer = ctx.upload_f32(&grad);
        let norm = norm_of(ctx, &grad_buffer)?;
        let numbers = Step {
            max_norm: f64::from(max_norm),
            grad_scale: f64::from(grad_scale),
            learning_rate: f64::from(learning_rate as f32),
            beta1: f64::from(0.9f32),
            beta2: f64::from(0.999f32),
            epsilon: f64::from(1e-6f32),
            weight_decay: f64::from(weight_decay as f32),
            step: step as i32,
        };
        let wide = widen(&grad);
        if lamb {
            ops::lamb(
                ctx,
                Lamb {
                    param: &param_buffer,
                    grad: &grad_buffer,
                    m: &m,
                    v: &v,
                    norm: &norm,
                    max_norm,
                    grad_scale,
                    decay: &decay_buffer,
                    rate: rates_buffer.as_ref(),
                    tensors: &tensors_buffer,
                    tensor_of_block: &tensor_of_block,
                    ratios: &ratios,
                    learning_rate: learning_rate as f32,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-6,
                    weight_decay: weight_decay as f32,
                    step,
                    low: low_buffer.as_ref(),
                },
            )?;
            reference::lamb(
                &mut expected,
                &wide,
                &mut expected_m,
                &mut expected_v,
                &decay,
                &rates,
                &tensors,
                &numbers,
            );
        } else {
            ops::adamw(
                ctx,
                AdamW {
                    param: &param_buffer,
                    grad: &grad_buffer,
                    m: &m,
                    v: &v,
                    norm: &norm,
                    max_norm,
                    grad_scale,
                    decay: &decay_buffer,
                    rate: rates_buffer.as_ref(),
                    learning_rate: learning_rate as f32,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-6,
                    weight_decay: weight_decay as f32,
                    step,
                    low: low_buffer.as_ref(),
                },
            )?;
            reference::adamw(
                &mut expected,
                &wide,
                &mut expected_m,
                &mut expected_v,
                &decay,
                &rates,
                &numbers,
            );
        }
    }
    let found = ctx.read_f32(&param_buffer)?;
    let bound = Bound::of_max("MOMENT_ERROR", MOMENT_ERROR);
    compare("m", &ctx.read_f32(&m)?, &expected_m, bound)?;
    compare("v", &ctx.read_f32(&v)?, &expected_v, bound)?;
    // The errors of m and √v weigh with the learning rate.
    let bound = Bound::of_max(
        "PARAMETER_ERROR + lr · MOMENT_ERROR",
        PARAMETER_ERROR + learning_rate * MOMENT_ERROR,
    );
    compare("param", &found, &expected, bound)?;
    for (at, (found, before)) in found.iter().zip(&param).enumerate() {
        expect(rates[at / BLOCK] != 0.0 || found.to_bits() == before.to_bits(), || {
            format!("the frozen parameter {at} went from {before:e} to {found:e}")
        })?;
    }
    if let Some(low) = low_buffer {
        let rounded: Vec<f64> =
            found.iter().map(|&p| f64::from(round_to(p, low.dtype()))).collect();
        compare("low", &ctx.read_f32(&low)?, &rounded, Bound::EXACT)?;
    }
    Ok(())
}
