//! The device's side: where another server would launch, this one compiles and remembers.

// The trait's `launch` is an unsafe function; this one runs nothing.
#![allow(unsafe_code)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use cubecl_core::bytes::Bytes;
use cubecl_core::device::{DeviceId, DeviceService, ServerUtilitiesHandle, ServiceId};
use cubecl_core::environment::backtrace::BackTrace;
use cubecl_core::environment::future::DynFut;
use cubecl_core::environment::stream::StreamId;
use cubecl_core::profile::ProfileDuration;
use cubecl_core::server::{
    BufferBinding, CopyDescriptor, CubeCount, IoError, KernelArguments, ProfileError,
    ProfilingToken, Server, ServerCommunication, ServerError, ServerStorage, ServerUtilities,
};
use cubecl_core::{Compiler, CubeKernel, StreamMemoryReport, define_kernel};
use cubecl_llvm::{PlironArtifact, PlironCompiler};
use cubecl_server::allocator::ContiguousMemoryLayoutPolicy;
use cubecl_server::dry_run::LaunchMode;
use cubecl_server::id::KernelId;
use cubecl_server::logging::ServerLogger;
use cubecl_server::memory_management::{ManagedMemoryHandle, MemoryAllocationMode};
use cubecl_server::storage::{BytesResource, BytesStorage, ManagedResource};

use super::{Code, Compiled, Log, Target, lock};

/// Where allocations would begin; the same as `SLICE_ALIGN_BYTES`.
pub(super) const ALIGN_BYTES: usize = 256;

#[derive(Debug)]
pub(super) struct CompilingServer {
    target: Target,
    utilities: Arc<ServerUtilities>,
    seen: HashSet<KernelId>,
    log: Arc<Mutex<Log>>,
}

impl CompilingServer {
    pub(super) fn new(id: DeviceId, target: Target, log: Arc<Mutex<Log>>) -> Self {
        let (utilities, _captures) = ServerUtilities::init(
            ServiceId::of::<Self>(id),
            target.name(),
            target.properties(),
            target.of_matrices(),
            Arc::new(ServerLogger::default()),
            ContiguousMemoryLayoutPolicy::new(ALIGN_BYTES),
        );
        Self { target, utilities: Arc::new(utilities), seen: HashSet::new(), log }
    }

    fn compile(&self, kernel: &dyn CubeKernel) -> Result<Code, String> {
        let id = kernel.id();
        let units = id.cube_dim.num_elems();
        if units > Target::MAX_UNITS {
            return Err(format!(
                "asks for a cube of {units} units, of which there are {} at most",
                Target::MAX_UNITS
            ));
        }
        let definition = define_kernel(kernel).map_err(|error| reason(&error, ""))?;
        let (target, options) = self.target.compiler();
        let mut compiler = PlironCompiler { target };
        let name = definition.settings.kernel_name.clone();
        let compiled = compiler.compile(definition, &options);
        let code = match compiled.map_err(|error| reason(&error, &name))? {
            PlironArtifact::NvptxCode(module) => Code {
                // The text ends with a zero byte, which is no part of it.
                bytes: (module.ptx.iter())
                    .map(|&byte| byte as u8)
                    .take_while(|&byte| byte != 0)
                    .collect(),
                assembly: None,
                shared_memory_bytes: module.shared_memory_size,
            },
            PlironArtifact::AmdGpuCode(module) => Code {
                bytes: module.code_object.to_vec(),
                assembly: module.asm,
                shared_memory_bytes: module.shared_memory_size,
            },
            PlironArtifact::Jit(_) => return Err("compiled for the host".into()),
        };
        let most = self.target.shared_memory_bytes();
        if code.shared_memory_bytes > most {
            return Err(format!(
                "asks for {} bytes of shared memory, of which there are {most}",
                code.shared_memory_bytes
            ));
        }
        Ok(code)
    }
}

/// The error's cause in one line, without the variant's own name.
fn reason(error: &cubecl_core::CompilationError, name: &str) -> String {
    let text = error.to_string();
    let cause = text.split("Backtrace").next().unwrap_or_default();
    let cause = cause.split_once("Caused by:").map_or(cause, |(_, cause)| cause);
    let words: Vec<&str> = cause.split_whitespace().collect();
    words.join(" ").replace(&format!("compiling '{name}' for "), "")
}

impl Server for CompilingServer {
    unsafe fn launch(
        &mut self,
        kernel: Box<dyn CubeKernel>,
        _count: CubeCount,
        _bindings: KernelArguments,
        _stream_id: StreamId,
        _launch_mode: LaunchMode,
    ) {
        lock(&self.log).launches += 1;
        let id = kernel.id();
        if !self.seen.insert(id.clone()) {
            return;
        }
        let kernel = &*kernel;
        // A panic of the compiler is a finding about this kernel, not the end of the run.
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.compile(kernel)))
                .unwrap_or_else(|panic| {
                    let text = panic
                        .downcast_ref::<String>()
                        .cloned()
                        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()))
                        .unwrap_or_default();
                    Err(format!("the compiler panicked: {text}"))
                });
        let mut log = lock(&self.log);
        let label = log.label.clone();
        log.compiled.push(Compiled {
            kernel: id.short_name().into(),
            path: id.type_name(),
            id: format!("{:032x}", id.stable_hash()),
            variant: id.stable_format(),
            label,
            units: id.cube_dim.num_elems(),
            outcome,
        });
    }

    fn initialize_memory(
        &mut self,
        _memory: ManagedMemoryHandle,
        _size: u64,
        _stream_id: StreamId,
    ) -> Result<(), ServerError> {
        Ok(())
    }

    fn logger(&self) -> Arc<ServerLogger> {
        self.utilities.logger.clone()
    }

    fn utilities(&self) -> Arc<ServerUtilities> {
        self.utilities.clone()
    }

    fn read(
        &mut self,
        descriptors: Vec<CopyDescriptor>,
        _stream_id: StreamId,
    ) -> DynFut<Result<Vec<Bytes>, ServerError>> {
        let zeros = |descriptor: CopyDescriptor| {
            let elements: usize = descriptor.shape.iter().product();
            Bytes::from_bytes_vec(vec![0; elements * descriptor.elem_size])
        };
        let zeros = descriptors.into_iter().map(zeros).collect();
        Box::pin(std::future::ready(Ok(zeros)))
    }

    fn write(&mut self, _descriptors: Vec<(CopyDescriptor, Bytes)>, _stream_id: StreamId) {}

    fn sync(
        &mut self,
        _handles: Vec<BufferBinding>,
        _stream_id: StreamId,
    ) -> DynFut<Result<(), ServerError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn check(
        &mut self,
        _handles: Vec<BufferBinding>,
        _stream_id: StreamId,
    ) -> Result<(), ServerError> {
        Ok(())
    }

    fn flush(&mut self, _stream_id: StreamId) -> Result<(), ServerError> {
        Ok(())
    }

    fn memory_report(&mut self, _stream_id: StreamId) -> Option<StreamMemoryReport> {
        None
    }

    fn memory_cleanup(&mut self, _stream_id: StreamId) -> Result<(), ServerError> {
        Ok(())
    }

    fn start_profile(&mut self, _stream_id: StreamId) -> Result<ProfilingToken, ServerError> {
        Err(nothing_runs().into())
    }

    fn end_profile(
        &mut self,
        _stream_id: StreamId,
        _token: ProfilingToken,
    ) -> Result<ProfileDuration, ProfileError> {
        Err(ProfileError::NotRegistered { backtrace: BackTrace::capture() })
    }

    fn allocation_mode(&mut self, _mode: MemoryAllocationMode, _stream_id: StreamId) {}
}

fn nothing_runs() -> IoError {
    IoError::UnsupportedIoOperation { backtrace: BackTrace::capture() }
}

impl ServerCommunication for CompilingServer {}

impl ServerStorage for CompilingServer {
    type Storage = BytesStorage;

    fn get_resource(
        &mut self,
        _binding: BufferBinding,
        _stream_id: StreamId,
    ) -> Result<ManagedResource<BytesResource>, ServerError> {
        Err(nothing_runs().into())
    }
}

impl DeviceService for CompilingServer {
    /// CubeCL calls this for a device that nobody registered; ours all are.
    fn init(device_id: DeviceId) -> Self {
        Self::new(device_id, Target::Sm90, Arc::default())
    }

    fn utilities(&self) -> ServerUtilitiesHandle {
        self.utilities.clone()
    }
}
