//! How long an operation takes on a device.

use std::time::Instant;

use bert_kernels::{Context, KernelError};

use super::Launch;

/// Repetitions that the median is of.
const REPETITIONS: usize = 7;
/// Time of a repetition: long beside a wait for the device, short enough for a hundred cases.
const REPETITION_SECONDS: f64 = 0.02;
/// Bytes that rotating operands come to together: more than the cache of any GPU.
const ROTATED_BYTES: f64 = 256e6;
/// Most sets of operands.
const MAX_SETS: f64 = 8.0;

/// Microseconds of one launch of an operation.
pub(super) struct Timing {
    /// Median of the repetitions, each a mean over its launches, by the host's clock.
    pub median_us: f64,
    /// The fastest repetition.
    pub min_us: f64,
    /// The operation's kernels alone, by the device's clock where it has one: less than the median
    /// where the host cannot queue as fast as the device runs.
    pub kernels_us: f64,
}

/// How many sets of operands of `bytes` take turns.
pub(in crate::cli) fn operand_sets(ctx: &Context, bytes: f64) -> usize {
    if ctx.shape().is_cpu() {
        return 1;
    }
    (ROTATED_BYTES / bytes).ceil().clamp(1.0, MAX_SETS) as usize
}

/// Times what `prepare` makes, whose operands are `bytes` together.
pub(super) fn time(
    ctx: &Context,
    bytes: f64,
    prepare: &dyn Fn(&Context) -> Launch,
) -> Result<Timing, KernelError> {
    let sets = operand_sets(ctx, bytes);
    let launches: Vec<Launch> = (0..sets).map(|_| prepare(ctx)).collect();
    let run = |count: usize| -> Result<f64, KernelError> {
        ctx.sync()?;
        let start = Instant::now();
        for launch in launches.iter().cycle().take(count) {
            launch(ctx)?;
        }
        ctx.sync()?;
        Ok(start.elapsed().as_secs_f64())
    };
    // Compiles the kernels.
    run(1)?;
    run(sets)?;
    let once = run(sets)? / sets as f64;
    let count = (REPETITION_SECONDS / once).ceil().clamp(1.0, 2000.0) as usize;
    let mut seconds = Vec::with_capacity(REPETITIONS);
    for _ in 0..REPETITIONS {
        seconds.push(run(count)? / count as f64);
    }
    seconds.sort_by(f64::total_cmp);
    let profiled = count.min(20);
    let (result, profile) = ctx.profile(|| run(profiled))?;
    result?;
    Ok(Timing {
        median_us: seconds[REPETITIONS / 2] * 1e6,
        min_us: seconds[0] * 1e6,
        kernels_us: profile.seconds() / profiled as f64 * 1e6,
    })
}
