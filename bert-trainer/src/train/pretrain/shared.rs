//! How the ranks of a run share a step.

use std::ops::Range;

use anyhow::ensure;
use bert_kernels::Context;

use super::PretrainPlan;
use crate::config::Config;
use crate::data::{PretrainBatch, cut};
use crate::train::collective::{CollectiveError, Communicator};

/// Whether every rank has a part of every pass, and every element of a pass a dropout mask of its own.
pub(super) fn check_shares(
    config: &Config,
    plan: &PretrainPlan,
    world_size: usize,
) -> anyhow::Result<()> {
    let ranks = match world_size {
        1 => String::new(),
        ranks => format!(" divided by {ranks} processes"),
    };
    ensure!(
        plan.accumulate >= 1 && world_size <= (plan.batch_size / plan.accumulate) as usize,
        "--accumulate {}: expected at least 1 and at most the {} sequences of --batch-size{ranks}",
        plan.accumulate,
        plan.batch_size
    );
    // Masks are found by the 32-bit place of an element among those of the whole pass.
    let sequences = u64::from(plan.batch_size.div_ceil(plan.accumulate));
    let elements = sequences * u64::from(plan.max_length) * config.hidden_size as u64;
    ensure!(
        world_size == 1 || elements < 1 << 32,
        "--accumulate {}: expected passes of fewer than 2^32 hidden values in all processes, found          {elements} ({sequences} sequences of {} tokens and width {}); take more passes",
        plan.accumulate,
        plan.max_length,
        config.hidden_size
    );
    Ok(())
}

/// The sequences of each pass of a step that a rank computes: every pass is shared by all ranks.
pub(super) fn slices(plan: &PretrainPlan, rank: usize, world_size: usize) -> Vec<Range<usize>> {
    let passes = plan.accumulate as usize;
    (0..passes)
        .map(|pass| cut(0..plan.batch_size as usize, pass, passes))
        .map(|pass| cut(pass, rank, world_size))
        .collect()
}

/// Fails unless all ranks have devices on which sums run in one order: with another number of units, a
/// rank would clip its gradients by a norm that is rounded otherwise, and its weights would drift away.
pub(super) fn expect_like_devices(
    ctx: &Context,
    communicator: &dyn Communicator,
) -> Result<(), CollectiveError> {
    let shape = ctx.shape();
    let words = [
        u64::from(shape.max_units_per_cube),
        u64::from(shape.plane_size),
        shape.shared_memory_bytes as u64,
        u64::from(shape.load_width_bits),
        u64::from(shape.plane_ops),
    ];
    let ranks = communicator.all_gather(&words)?;
    let Some((rank, other)) = (0..).zip(&ranks).find(|(_, other)| **other != ranks[0]) else {
        return Ok(());
    };
    let say = |words: &[u64]| format!("{} units in planes of {}", words[0], words[1]);
    Err(CollectiveError::Differs {
        rank,
        expected: format!("a device like that of rank 0, with {}", say(&ranks[0])),
        found: format!("one with {}: give all ranks as many cores or GPUs of one kind", say(other)),
    })
}

/// Fails unless all ranks are at one step of one run.
pub(super) fn agree(
    communicator: &dyn Communicator,
    step: u64,
    fingerprint: &str,
) -> Result<(), CollectiveError> {
    let words: Vec<u64> = fingerprint
        .as_bytes()
        .chunks(8)
        .map(|bytes| bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)))
        .chain([step])
        .collect();
    let ranks = communicator.all_gather(&words)?;
    match (0..).zip(&ranks).find(|(_, other)| **other != ranks[0]) {
        None => Ok(()),
        Some((rank, other)) => {
            let (expected, found) = (ranks[0].last(), other.last());
            let say = |step: Option<&u64>| format!("step {} of", step.copied().unwrap_or_default());
            Err(CollectiveError::Differs {
                rank,
                expected: format!("{} the run that rank 0 has", say(expected)),
                found: format!(
                    "{} another: all ranks need the same options, data and --output",
                    say(found)
                ),
            })
        }
    }
}

/// What a step has in all, and where this rank's slice of each pass begins.
pub(super) struct Counts {
    pub tokens: u64,
    pub masked: u64,
    pub first_token: Vec<u64>,
}

impl Counts {
    /// Shares the counts of this rank's slices with all others.
    pub fn share(
        communicator: &dyn Communicator,
        passes: &[PretrainBatch],
    ) -> Result<Self, CollectiveError> {
        let masked: usize = passes.iter().map(|part| part.masked_index.len()).sum();
        let tokens = passes.iter().map(|part| part.tokens.tokens() as u64);
        let words: Vec<u64> = tokens.chain([masked as u64]).collect();
        let ranks = communicator.all_gather(&words)?;
        let before = &ranks[..communicator.rank()];
        let first = |pass: usize| before.iter().map(|words| words[pass]).sum();
        Ok(Self {
            tokens: ranks.iter().flat_map(|words| &words[..passes.len()]).sum(),
            masked: ranks.iter().map(|words| words[passes.len()]).sum(),
            first_token: (0..passes.len()).map(first).collect(),
        })
    }
}
