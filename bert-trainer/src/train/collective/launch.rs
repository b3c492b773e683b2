//! How a process learns which rank it is: from `mpirun`, or from the variables that `torchrun` sets.

use bert_kernels::Context;

use super::{Alone, CollectiveError, Communicator};

/// What `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR` and `MASTER_PORT` say, as `torchrun` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// `RANK`: this process among all, from 0.
    pub rank: usize,
    /// `WORLD_SIZE`: how many there are.
    pub world_size: usize,
    /// `LOCAL_RANK`: this process among those of its machine, which is the index of its device.
    pub local_rank: Option<usize>,
    /// `MASTER_ADDR` and `MASTER_PORT`: where rank 0 listens.
    pub master: Option<(String, u16)>,
}

impl Launch {
    /// Reads the variables; `None` if they name no rank and no world.
    ///
    /// # Errors
    ///
    /// [`CollectiveError::Environment`] if one of a pair is missing, is no number, or does not fit the
    /// other.
    pub fn read(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, CollectiveError> {
        let number = |name| number(&variable, name);
        let both = |set, missing| CollectiveError::Environment {
            variable: missing,
            expected: format!("a value, because {set} is set"),
            found: "nothing".into(),
        };
        let (rank, world_size) = match (number("RANK")?, number("WORLD_SIZE")?) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(both("RANK", "WORLD_SIZE")),
            (None, Some(_)) => return Err(both("WORLD_SIZE", "RANK")),
            (Some(rank), Some(world_size)) => (rank, world_size),
        };
        let below = |variable, found: usize| {
            if found < world_size {
                return Ok(());
            }
            let expected = format!("a number below WORLD_SIZE, which is {world_size}");
            Err(CollectiveError::Environment { variable, expected, found: found.to_string() })
        };
        below("RANK", rank)?;
        let local_rank = number("LOCAL_RANK")?;
        local_rank.map_or(Ok(()), |local_rank| below("LOCAL_RANK", local_rank))?;
        let master = match (variable("MASTER_ADDR"), variable("MASTER_PORT")) {
            (None, None) => None,
            (Some(_), None) => return Err(both("MASTER_ADDR", "MASTER_PORT")),
            (None, Some(_)) => return Err(both("MASTER_PORT", "MASTER_ADDR")),
            (Some(address), Some(port)) => {
                let port = port.trim().parse().map_err(|_| CollectiveError::Environment {
                    variable: "MASTER_PORT",
                    expected: "a port, 0 to 65535".into(),
                    found: format!("`{port}`"),
                })?;
                Some((address, port))
            }
        };
        Ok(Some(Self { rank, world_size, local_rank, master }))
    }
}

/// A variable that holds a number.
fn number(
    variable: impl Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Option<usize>, CollectiveError> {
    let Some(text) = variable(name) else {
        return Ok(None);
    };
    text.trim().parse().map(Some).map_err(|_| CollectiveError::Environment {
        variable: name,
        expected: "a whole number".into(),
        found: format!("`{text}`"),
    })
}

/// The variables by which a process that `mpirun` or `srun` started knows how many there are: of Open
/// MPI, of MPICH and its kin, of Slurm.
const MPI_WORLD: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// The processes that MPI started with this one, if it did.
fn mpi_world(variable: impl Fn(&str) -> Option<String>) -> Result<Option<usize>, CollectiveError> {
    for name in MPI_WORLD {
        if let Some(world_size) = number(&variable, name)? {
            return Ok(Some(world_size));
        }
    }
    Ok(None)
}

fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The device that a process of a machine takes: that of its local rank, where the name has no index.
fn device_of(device: &str, local_rank: Option<usize>) -> String {
    match (device, local_rank) {
        ("cuda" | "hip", Some(index)) => format!("{device}:{index}"),
        _ => device.to_string(),
    }
}

fn open(device: &str, local_rank: Option<usize>) -> anyhow::Result<Context> {
    // `auto` is the most capable runtime; if it has a device for each rank, this rank takes its own.
    let kinds: &[&str] = if device == "auto" { &["cuda", "hip"] } else { &[] };
    let own = |kind: &&str| Context::open(&device_of(kind, local_rank)).ok();
    match kinds.iter().find_map(own) {
        Some(ctx) => Ok(ctx),
        None => Ok(Context::open(&device_of(device, local_rank))?),
    }
}

/// Opens this rank's device and joins the others, whoever started them: a process by itself is
/// [`Alone`].
///
/// # Errors
///
/// A device that is not there, an environment that is set by half, or no transport between processes
/// of this kind in the build.
pub fn join(device: &str) -> anyhow::Result<(Context, Box<dyn Communicator>)> {
    let launch = Launch::read(environment)?;
    let under_mpi = mpi_world(environment)?;
    let ctx = open(device, launch.as_ref().and_then(|launch| launch.local_rank))?;
    #[cfg(feature = "nccl")]
    if ctx.name() == "cuda"
        && let Some(launch) = launch.as_ref().filter(|launch| launch.world_size > 1)
        && let Some((host, port)) = &launch.master
    {
        if launch.local_rank.is_none() && !device.contains(':') {
            Err(CollectiveError::Environment {
                variable: "LOCAL_RANK",
                expected: "the index of a GPU that no other process has, or one in --device".into(),
                found: "nothing".into(),
            })?;
        }
        let nccl = super::nccl::Nccl::join(&ctx, launch, host, *port)?;
        return Ok((ctx, Box::new(nccl)));
    }
    #[cfg(feature = "mpi")]
    if let Some(world_size) = under_mpi.filter(|&world_size| world_size > 1) {
        return Ok((ctx, Box::new(super::mpi::Mpi::join(world_size, launch.as_ref())?)));
    }
    let world_size = launch.map_or(1, |launch| launch.world_size).max(under_mpi.unwrap_or(1));
    if world_size > 1 {
        Err(CollectiveError::NoTransport { world_size, reason: no_transport(ctx.name()) })?;
    }
    Ok((ctx, Box::new(Alone)))
}

/// Why there is none, on a device of this runtime.
fn no_transport(device: &str) -> String {
    let features: Vec<&str> = [("mpi", cfg!(feature = "mpi")), ("nccl", cfg!(feature = "nccl"))]
        .into_iter()
        .filter_map(|(name, is_there)| is_there.then_some(name))
        .collect();
    let features = if features.is_empty() { "none".into() } else { features.join(" and ") };
    format!(
        "expected a start by `mpirun` with a build that has the feature mpi, or the device cuda, \
         MASTER_ADDR, MASTER_PORT and the feature nccl; found the device {device} and, of these \
         features, {features}"
    )
}

/// Refuses to be one of several processes, for a command that trains alone.
///
/// # Errors
///
/// [`CollectiveError::NoTransport`] if the environment tells of more than one process.
pub fn alone_or_refused(command: &str) -> Result<(), CollectiveError> {
    let launched = Launch::read(environment)?.map_or(1, |launch| launch.world_size);
    let world_size = launched.max(mpi_world(environment)?.unwrap_or(1));
    if world_size == 1 {
        return Ok(());
    }
    let reason = format!(
        "{command} trains in one process; only pretrain shares its batches. Start it once, without \
         mpirun and with WORLD_SIZE unset"
    );
    Err(CollectiveError::NoTransport { world_size, reason })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Launch>, CollectiveError> {
        Launch::read(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn the_variables_of_torchrun_name_a_rank() {
        assert_eq!(read(&[]), Ok(None));
        // Without a rank the rest means nothing.
        assert_eq!(read(&[("MASTER_PORT", "x"), ("LOCAL_RANK", "0")]), Ok(None));
        let rank = Launch { rank: 1, world_size: 2, local_rank: None, master: None };
        assert_eq!(read(&[("RANK", "1"), ("WORLD_SIZE", "2")]), Ok(Some(rank.clone())));
        let whole = [
            ("RANK", "1"),
            ("WORLD_SIZE", "2"),
            ("LOCAL_RANK", "0"),
            ("MASTER_ADDR", "node-1"),
            ("MASTER_PORT", "29500"),
        ];
        let master = Some(("node-1".to_string(), 29500));
        assert_eq!(read(&whole), Ok(Some(Launch { local_rank: Some(0), master, ..rank })));
    }

    #[test]
    fn half_an_environment_says_which_half_is_missing() {
        for (variables, message) in [
            (
                vec![("RANK", "0")],
                "WORLD_SIZE: expected a value, because RANK is set, found nothing",
            ),
            (vec![("WORLD_SIZE", "2")], "RANK: expected a value"),
            (
                vec![("RANK", "2"), ("WORLD_SIZE", "2")],
                "RANK: expected a number below WORLD_SIZE, which is 2, found 2",
            ),
            (vec![("RANK", "0"), ("WORLD_SIZE", "0")], "RANK: expected a number below WORLD_SIZE"),
            (
                vec![("RANK", "one"), ("WORLD_SIZE", "2")],
                "RANK: expected a whole number, found `one`",
            ),
            (
                vec![("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "2")],
                "LOCAL_RANK: expected a number below",
            ),
            (
                vec![("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a")],
                "MASTER_PORT: expected a value, because MASTER_ADDR is set",
            ),
            (
                vec![("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_PORT", "1")],
                "MASTER_ADDR: expected a value",
            ),
            (
                vec![
                    ("RANK", "0"),
                    ("WORLD_SIZE", "2"),
                    ("MASTER_ADDR", "a"),
                    ("MASTER_PORT", "70000"),
                ],
                "MASTER_PORT: expected a port",
            ),
        ] {
            let error = read(&variables).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_local_rank_picks_the_device_that_no_index_names() {
        assert_eq!(device_of("cuda", Some(3)), "cuda:3");
        assert_eq!(device_of("cuda:1", Some(3)), "cuda:1");
        assert_eq!(device_of("cuda", None), "cuda");
        assert_eq!(device_of("cpu", Some(3)), "cpu");
    }

    #[test]
    fn who_starts_processes_tells_how_many_there_are() {
        let world = |name| mpi_world(|asked| (asked == name).then(|| "4".into()));
        assert_eq!(world("OMPI_COMM_WORLD_SIZE"), Ok(Some(4)));
        assert_eq!(world("PMI_SIZE"), Ok(Some(4)));
        assert_eq!(world("SLURM_STEP_NUM_TASKS"), Ok(Some(4)));
        assert_eq!(world("HOME"), Ok(None));
    }
}
