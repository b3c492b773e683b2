//! Ranks with a device of NVIDIA each: gradients by NCCL, words of the host by a [`Star`].

use std::sync::Arc;

use bert_kernels::{Buffer, Context, KernelError, NCCL_ID_WORDS, Nccl as Devices};

use super::star::Star;
use super::{CollectiveError, Communicator, Launch};

/// A rank that has met the others.
pub(super) struct Nccl {
    star: Star,
    devices: Devices,
}

impl Nccl {
    /// Meets the other ranks at `host:port`. A rank that is lost from then on ends this process.
    pub fn join(ctx: &Context, launch: &Launch, host: &str, port: u16) -> anyhow::Result<Self> {
        let Launch { rank, world_size, .. } = *launch;
        let end = |message: &str| {
            // The thread that trains may wait for a sum that never comes.
            eprintln!("error: {message}");
            std::process::exit(1);
        };
        let star = Star::meet(rank, world_size, (host, port), Arc::new(end))?;
        let join = || -> anyhow::Result<Devices> {
            // Rank 0 names the group.
            let mine = if rank == 0 { Devices::new_id()? } else { [0; NCCL_ID_WORDS] };
            let mut id = mine;
            id.copy_from_slice(&star.all_gather(&mine)?[0]);
            Ok(Devices::join(ctx, id, rank, world_size)?)
        };
        match join() {
            Ok(devices) => Ok(Self { star, devices }),
            Err(error) => {
                star.fail(&format!("rank {rank} of {world_size}: {error:#}"));
                Err(error)
            }
        }
    }
}

impl Communicator for Nccl {
    fn rank(&self) -> usize {
        self.star.rank
    }

    fn world_size(&self) -> usize {
        self.star.world_size
    }

    fn all_gather(&self, words: &[u64]) -> Result<Vec<Vec<u64>>, CollectiveError> {
        self.star.all_gather(words)
    }

    fn all_reduce(&self, ctx: &Context, values: &Buffer) -> Result<(), KernelError> {
        self.devices.all_reduce(ctx, values)
    }

    fn finish(&self) -> Result<(), KernelError> {
        self.devices.finish()
    }

    fn fail(&self, message: &str) {
        self.star.fail(message);
    }
}
