//! Ranks that `mpirun` started. Sums go through the host, so any device will do.

use bert_kernels::{Buffer, Context, KernelError};
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _};

use super::{CollectiveError, Communicator, Launch, sum_by_pieces};

/// The world of MPI; dropping it takes leave of the others.
pub(super) struct Mpi {
    world: SimpleCommunicator,
    _universe: Universe,
}

impl Mpi {
    /// Joins the world of as many processes as the one who started them says. It must be the one that
    /// `launch` tells of, if there is one.
    pub fn join(world_size: usize, launch: Option<&Launch>) -> Result<Self, CollectiveError> {
        // Only the thread that trains calls MPI, beside those that prepare batches.
        let (universe, _) =
            mpi::initialize_with_threading(mpi::Threading::Funneled).expect("a process joins once");
        let world = universe.world();
        let found = Self { world, _universe: universe };
        if found.world_size() != world_size {
            // They would all be rank 0 of one, and write over each other.
            let reason = format!(
                "MPI knows of {}; expected a start by the `mpirun` of the MPI that this build was \
                 made with, or by `srun` with its `--mpi`",
                found.world_size()
            );
            return Err(CollectiveError::NoTransport { world_size, reason });
        }
        if let Some(launch) = launch {
            let agrees = |variable, asked: usize, found: usize| {
                if asked == found {
                    return Ok(());
                }
                let expected = format!("{found}, as mpirun says");
                Err(CollectiveError::Environment { variable, expected, found: asked.to_string() })
            };
            agrees("WORLD_SIZE", launch.world_size, found.world_size())?;
            agrees("RANK", launch.rank, found.rank())?;
        }
        Ok(found)
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        // Taking leave waits for the others, and they wait for what this rank will not do any more.
        if std::thread::panicking() {
            self.world.abort(1);
        }
    }
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn world_size(&self) -> usize {
        self.world.size() as usize
    }

    fn all_gather(&self, words: &[u64]) -> Result<Vec<Vec<u64>>, CollectiveError> {
        if words.is_empty() {
            self.world.barrier();
            return Ok(vec![Vec::new(); self.world_size()]);
        }
        let mut all = vec![0; words.len() * self.world_size()];
        self.world.all_gather_into(words, &mut all[..]);
        Ok(all.chunks_exact(words.len()).map(<[u64]>::to_vec).collect())
    }

    fn all_reduce(&self, ctx: &Context, values: &Buffer) -> Result<(), KernelError> {
        let sums = sum_by_pieces(
            &ctx.read_f32(values)?,
            self.world_size(),
            |pieces| {
                let mut theirs = vec![0.0; pieces.len()];
                self.world.all_to_all_into(pieces, &mut theirs[..]);
                theirs
            },
            |piece| {
                let mut all = vec![0.0; piece.len() * self.world_size()];
                self.world.all_gather_into(piece, &mut all[..]);
                all
            },
        );
        ctx.write_f32(values, sums)
    }

    fn finish(&self) -> Result<(), KernelError> {
        Ok(())
    }

    /// Prints the message, since `mpirun` ends all processes here, this one too.
    fn fail(&self, message: &str) {
        eprintln!("error: {message}");
        self.world.abort(1);
    }
}
