//! A device that compiles every kernel launched on it for a GPU and runs none: the way to check
//! kernels for NVIDIA and AMD on a machine that has neither.
//!
//! It advertises what the GPU would (plane size, units, shared memory, element types), so kernels
//! choose the blocking they would choose there. Reads give zeros.

mod server;
mod target;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use cubecl::client::Client;
use cubecl_core::device::DeviceId;

pub use target::Target;

use crate::{Context, KernelError};

/// One kernel, as often as its comptime arguments, element types or cube differ.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The kernel function's name, in camel case as CubeCL has it.
    pub kernel: String,
    /// The function's path with its element types.
    pub path: &'static str,
    /// What tells it from the other variants: stable from run to run.
    pub id: String,
    /// The same in words: its comptime arguments.
    pub variant: String,
    /// What [`Device::compiled_for`] was told when it was first launched.
    pub label: String,
    /// Units of a cube.
    pub units: u32,
    /// What the compiler made of it, or why it refused.
    pub outcome: Result<Code, String>,
}

/// A kernel in the GPU's language.
#[derive(Debug, Clone)]
pub struct Code {
    /// PTX text for NVIDIA, an ELF code object for AMD.
    pub bytes: Vec<u8>,
    /// The text that became an AMD code object, where CubeCL keeps it: it does if the process has
    /// `CUBECL_DEBUG_PLIRON` in its environment.
    pub assembly: Option<String>,
    /// Bytes of shared memory of a cube.
    pub shared_memory_bytes: usize,
}

/// What the server on the device thread and we both see.
#[derive(Debug, Default)]
struct Log {
    label: String,
    launches: usize,
    compiled: Vec<Compiled>,
}

/// A GPU that is not there.
pub struct Device {
    context: Context,
    log: Arc<Mutex<Log>>,
}

impl Device {
    /// A device of its own: several may live side by side, also for one target.
    ///
    /// # Errors
    ///
    /// [`KernelError::Device`] if CubeCL refuses another one.
    pub fn new(target: Target) -> Result<Self, KernelError> {
        // The registry of devices is the process's, so each of ours needs its own number.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let id = DeviceId::new(0, NEXT.fetch_add(1, Ordering::Relaxed));
        let log = Arc::new(Mutex::new(Log::default()));
        let server = server::CompilingServer::new(id, target, log.clone());
        let client = Client::try_init(id, server).map_err(|error| KernelError::Device {
            device: target.name().into(),
            reason: format!("{error:?}"),
        })?;
        Ok(Self { context: Context::from_client(client, "offline"), log })
    }

    /// Runs `work`, whose launches compile, and returns how many there were. Kernels it launches
    /// for the first time get `label`.
    ///
    /// # Errors
    ///
    /// Those of `work` do not matter, because it reads zeros; [`KernelError::Runtime`] if the
    /// device's thread died.
    pub fn compiled_for(
        &self,
        label: &str,
        work: impl FnOnce(&Context),
    ) -> Result<usize, KernelError> {
        let before = {
            let mut log = lock(&self.log);
            label.clone_into(&mut log.label);
            log.launches
        };
        work(&self.context);
        // Launches are queued: the label holds until the device's thread has seen them all.
        self.context.sync()?;
        Ok(lock(&self.log).launches - before)
    }

    /// Every kernel launched so far, once, in the order of their first launch.
    pub fn compiled(&self) -> Vec<Compiled> {
        lock(&self.log).compiled.clone()
    }
}

fn lock(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    // A panic while it was held leaves a log that lacks a line at most.
    log.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
