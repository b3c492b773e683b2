//! How long a product takes with each block, and which block that is an argument for.

use std::time::Instant;

use super::tuning::{GemmBlock, GemmTuning};
use crate::{Context, KernelError};

/// Repetitions that the median of a block is of, in turns with the other blocks.
const ROUNDS: usize = 5;
/// Time of a repetition: long beside a wait for the device.
const ROUND_SECONDS: f64 = 0.004;
/// Launches of a repetition at most: each is timed by itself where the device has a clock.
const MOST_LAUNCHES: f64 = 32.0;
/// A block must be this much faster than the one that follows from the sizes to take its place; less is
/// within what two measurements of one block differ by.
const LEAST_GAIN: f64 = 0.02;

/// Microseconds of what `launch` launches with each of `blocks`, the median of several repetitions.
///
/// `launch` gets a context in which products take the block, and launches once. The device's own clock
/// counts where it has one, otherwise the host's.
///
/// # Errors
///
/// Those of `launch`, and [`KernelError::Runtime`] if something queued failed.
pub fn time_blocks(
    ctx: &Context,
    blocks: &[GemmBlock],
    launch: &dyn Fn(&Context) -> Result<(), KernelError>,
) -> Result<Vec<f64>, KernelError> {
    let mut counted = Vec::with_capacity(blocks.len());
    for &block in blocks {
        let ctx = ctx.clone().with_gemm_tuning(GemmTuning::always(block));
        // The first launch compiles.
        seconds(&ctx, 1, launch)?;
        let once = seconds(&ctx, 1, launch)?;
        let count = (ROUND_SECONDS / once.max(1e-9)).ceil().clamp(1.0, MOST_LAUNCHES) as usize;
        counted.push((ctx, count));
    }
    medians(blocks.len(), &mut |block| {
        let (ctx, count) = &counted[block];
        Ok(seconds(ctx, *count, launch)? * 1e6)
    })
}

/// Index of the block to take, given the microseconds of each: `default` unless another one is clearly
/// faster. A block without a finite time is not taken.
pub fn fastest_block(us: &[f64], default: usize) -> usize {
    let finite = us.iter().enumerate().filter(|(_, us)| us.is_finite());
    match (finite.min_by(|a, b| a.1.total_cmp(b.1)), us.get(default)) {
        (Some((best, fastest)), Some(of_default))
            if *fastest < of_default * (1.0 - LEAST_GAIN) || !of_default.is_finite() =>
        {
            best
        }
        _ => default,
    }
}

/// The median time of each block. Blocks take turns, so that a device that slows down slows all of them.
fn medians(
    blocks: usize,
    timer: &mut dyn FnMut(usize) -> Result<f64, KernelError>,
) -> Result<Vec<f64>, KernelError> {
    let mut times = vec![Vec::with_capacity(ROUNDS); blocks];
    for _ in 0..ROUNDS {
        for (block, times) in times.iter_mut().enumerate() {
            times.push(timer(block)?);
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    };
    Ok(times.into_iter().map(median).collect())
}

/// Mean of `count` launches.
fn seconds(
    ctx: &Context,
    count: usize,
    launch: &dyn Fn(&Context) -> Result<(), KernelError>,
) -> Result<f64, KernelError> {
    ctx.sync()?;
    let start = Instant::now();
    let (launched, profile) = ctx.profile(|| (0..count).try_for_each(|_| launch(ctx)))?;
    launched?;
    let all = if profile.device_clock && profile.untimed == 0 {
        profile.seconds()
    } else {
        start.elapsed().as_secs_f64()
    };
    Ok(all / count as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_a_clearly_faster_block_takes_the_place_of_the_default() {
        assert_eq!(fastest_block(&[10.0, 9.0, 9.5], 0), 1);
        assert_eq!(fastest_block(&[10.0, 9.9, 10.5], 0), 0);
        assert_eq!(fastest_block(&[9.9, 10.5, 10.0], 2), 2);
        assert_eq!(fastest_block(&[10.0], 0), 0);
        // Of equals the first, so that a measurement repeated says the same.
        assert_eq!(fastest_block(&[10.0, 5.0, 5.0], 0), 1);
        assert_eq!(fastest_block(&[f64::NAN, 5.0], 0), 1);
        assert_eq!(fastest_block(&[5.0, f64::NAN, f64::INFINITY], 0), 0);
        assert_eq!(fastest_block(&[], 0), 0);
    }

    /// A fake clock: block 1 is the fastest, but for outliers, and the device slows down meanwhile.
    #[test]
    fn outliers_and_a_device_that_slows_down_do_not_count() {
        let mut asked = Vec::new();
        let times = medians(3, &mut |block| {
            let drift = 1.0 + asked.len() as f64 * 0.01;
            asked.push(block);
            let outlier = if asked.len() == 2 || asked.len() == 5 { 10.0 } else { 1.0 };
            Ok([8.0, 6.0, 7.0][block] * drift * outlier)
        })
        .unwrap();
        assert_eq!(asked.len(), 3 * ROUNDS);
        assert_eq!(asked[..6], [0, 1, 2, 0, 1, 2]);
        assert_eq!(fastest_block(&times, 0), 1);
        let failed = medians(2, &mut |block| match block {
            0 => Ok(1.0),
            _ => Err(KernelError::Runtime("no".into())),
        });
        assert_eq!(failed, Err(KernelError::Runtime("no".into())));
    }
}

/// On the device at hand.
#[cfg(all(test, any(feature = "cpu", feature = "wgpu")))]
mod device_tests {
    #![allow(clippy::unwrap_used)]

    use std::cell::RefCell;

    use super::*;
    use crate::DType;
    use crate::ops::{Epilogue, Gemm, Transpose, gemm, gemm_block, gemm_blocks};

    #[test]
    fn every_block_of_the_device_is_launched_and_timed() {
        let ctx = Context::open("auto").unwrap();
        let (m, n, k) = (150, 140, 70);
        let [a, b, c] = [m * k, n * k, m * n].map(|len| ctx.zeros(DType::F32, len));
        let blocks = gemm_blocks(&ctx, DType::F32);
        assert_eq!(blocks.len() > 1, !ctx.shape().is_cpu());
        let seen = RefCell::new(Vec::new());
        let launch = |ctx: &Context| {
            let transpose = Transpose::NT;
            let (accumulate, epilogue) = (false, Epilogue::None);
            let args = Gemm { a: &a, b: &b, c: &c, m, n, k, transpose, accumulate, epilogue };
            seen.borrow_mut().push(gemm_block(ctx, &args));
            gemm(ctx, args)
        };
        let times = time_blocks(&ctx, &blocks, &launch).unwrap();
        assert_eq!(times.len(), blocks.len());
        assert!(times.iter().all(|us| us.is_finite() && *us > 0.0), "{times:?}");
        for block in &blocks {
            assert!(seen.borrow().iter().filter(|&seen| seen == block).count() >= ROUNDS + 2);
        }
        assert!(blocks.contains(&blocks[fastest_block(&times, 0)]));
    }
}
