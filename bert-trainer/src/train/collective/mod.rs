//! Several processes that compute one run together: a [`Communicator`] is what one of them, a rank,
//! knows of the others.
//!
//! Every rank must make the same calls in the same order; a rank that fails ends all.

mod buckets;
mod launch;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
#[cfg(any(test, feature = "nccl"))]
mod star;

use bert_kernels::{Buffer, Context, KernelError};

pub use buckets::GradientSum;
pub use launch::{Launch, alone_or_refused, join};

/// One rank's way to the others.
pub trait Communicator {
    /// Which of the processes this is, from 0.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn world_size(&self) -> usize;

    /// The words of all ranks, in the order of ranks; every rank gives as many.
    ///
    /// # Errors
    ///
    /// A rank is lost.
    fn all_gather(&self, words: &[u64]) -> Result<Vec<Vec<u64>>, CollectiveError>;

    /// Begins to replace f32 `values` by their sums over all ranks, after what is queued on the device.
    /// Every rank gives as many, and leaves them alone until [`finish`](Self::finish).
    ///
    /// The bits of the sums are the same on all ranks, and in every run of as many ranks on one machine.
    ///
    /// # Errors
    ///
    /// What the device reports.
    fn all_reduce(&self, ctx: &Context, values: &Buffer) -> Result<(), KernelError>;

    /// What is queued on the device from now on sees the sums of every [`all_reduce`](Self::all_reduce)
    /// so far.
    ///
    /// # Errors
    ///
    /// What the device reports.
    fn finish(&self) -> Result<(), KernelError>;

    /// Tells the others that this rank failed, which ends them.
    fn fail(&self, message: &str);

    /// The words of rank 0; every rank gives as many.
    ///
    /// # Errors
    ///
    /// As [`all_gather`](Self::all_gather).
    fn broadcast(&self, words: &[u64]) -> Result<Vec<u64>, CollectiveError> {
        Ok(self.all_gather(words)?.swap_remove(0))
    }

    /// Waits until all ranks are here.
    ///
    /// # Errors
    ///
    /// As [`all_gather`](Self::all_gather).
    fn barrier(&self) -> Result<(), CollectiveError> {
        self.all_gather(&[]).map(|_| ())
    }
}

/// The only process of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Communicator for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn all_gather(&self, words: &[u64]) -> Result<Vec<Vec<u64>>, CollectiveError> {
        Ok(vec![words.to_vec()])
    }

    fn all_reduce(&self, _: &Context, _: &Buffer) -> Result<(), KernelError> {
        Ok(())
    }

    fn finish(&self) -> Result<(), KernelError> {
        Ok(())
    }

    fn fail(&self, _: &str) {}
}

/// Why processes do not come together, or do not stay so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollectiveError {
    /// The environment does not say which rank this process is.
    #[error("{variable}: expected {expected}, found {found}")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// There is no way for these processes to reach each other.
    #[error("{world_size} processes: {reason}")]
    NoTransport {
        /// How many there are.
        world_size: usize,
        /// What is missing, and what would do.
        reason: String,
    },
    /// Not all ranks came to where rank 0 waits.
    #[error("{address}: {reason}")]
    Rendezvous {
        /// Where they should have met.
        address: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// A rank answered otherwise than all others.
    #[error("rank {rank}: expected {expected}, found {found}")]
    Differs {
        /// The rank.
        rank: usize,
        /// What rank 0 has.
        expected: String,
        /// What the rank has.
        found: String,
    },
    /// A rank is no longer there.
    #[error("rank {rank} has ended")]
    Lost {
        /// The rank.
        rank: usize,
    },
}

/// The sums over ranks of `mine`, by pieces: each rank adds up one piece in the order of ranks, and
/// every rank gets all pieces. As many values cross the wire as in a ring, and their order is ours.
///
/// `exchange` gives rank r the r-th of equal pieces of every rank, one behind the other; `collect`
/// gives every rank's values to all.
pub fn sum_by_pieces(
    mine: &[f32],
    world_size: usize,
    exchange: impl FnOnce(&[f32]) -> Vec<f32>,
    collect: impl FnOnce(&[f32]) -> Vec<f32>,
) -> Vec<f32> {
    let piece = mine.len().div_ceil(world_size);
    let mut padded = mine.to_vec();
    padded.resize(piece * world_size, 0.0);
    let theirs = exchange(&padded);
    let (first, rest) = theirs.split_at(piece);
    let mut sums = first.to_vec();
    for part in rest.chunks_exact(piece.max(1)) {
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    let mut all = collect(&sums);
    all.truncate(mine.len());
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_process_hears_itself() {
        assert_eq!(Alone.all_gather(&[3, 4]).unwrap(), [[3, 4]]);
        assert_eq!(Alone.broadcast(&[5]).unwrap(), [5]);
        Alone.barrier().unwrap();
    }

    #[test]
    fn pieces_are_added_in_the_order_of_ranks() {
        // In f32, (1e8 + 3) + 3 and 1e8 + (3 + 3) differ; five values do not divide into three.
        let ranks = [[1e8f32, 1.0, 2.0, 3.0, 4.0], [3.0; 5], [3.0; 5]];
        let (piece, world_size) = (2, 3);
        let padded = |rank: usize, at: usize| ranks[rank].get(at).copied().unwrap_or(0.0);
        let of_piece = |number: usize| -> Vec<f32> {
            let at = |rank| (0..piece).map(move |i| padded(rank, number * piece + i));
            (0..world_size).flat_map(at).collect()
        };
        let expected: Vec<f32> =
            (0..5).map(|at| padded(0, at) + padded(1, at) + padded(2, at)).collect();
        assert_ne!(expected[0], 1e8 + (3.0 + 3.0));
        for (rank, mine) in ranks.iter().enumerate() {
            let found = sum_by_pieces(
                mine,
                world_size,
                |sent| {
                    assert_eq!(sent.len(), piece * world_size);
                    of_piece(rank)
                },
                |sums| {
                    let whole: Vec<f32> = (0..piece * world_size)
                        .map(|at| padded(0, at) + padded(1, at) + padded(2, at))
                        .collect();
                    assert_eq!(sums, &whole[rank * piece..(rank + 1) * piece]);
                    whole
                },
            );
            assert_eq!(found, expected);
        }
    }
}
