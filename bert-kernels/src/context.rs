//! The device that operations run on.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cubecl::bytes::Bytes;
use cubecl::client::Client;
use cubecl::future::reader::read_sync;
use cubecl::{Device, MemoryScope};
use half::{bf16, f16};

use crate::arena::{Arena, Recording};
use crate::ops::GemmTuning;
use crate::{Buffer, DType, KernelError, MatrixCore};

/// A device with its queue, and what kernels adapt to.
///
/// Operations are queued in the order they are called and run asynchronously. A failure surfaces at
/// the next [`read_f32`](Self::read_f32) (or another read) or [`sync`](Self::sync).
#[derive(Clone)]
pub struct Context {
    client: Client,
    name: &'static str,
    shape: DeviceShape,
    queue: Arc<Queue>,
    /// Where buffers come from, while that is not the allocator.
    arena: Arc<Mutex<Option<Arena>>>,
    gemm_tuning: Arc<GemmTuning>,
}

/// A recording with what its run gave, or why there is none.
pub type Recorded<T> = Result<(T, Recording), KernelError>;

/// Device memory while something ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryPeak {
    /// Most bytes in buffers at once, whoever made them.
    pub in_use_bytes: u64,
    /// Bytes that the allocator holds afterwards, to use them again.
    pub reserved_bytes: u64,
}

/// What keeps the host from running too far ahead of the CPU runtime.
#[derive(Default)]
struct Queue {
    launches: AtomicU32,
    /// The peak so far, while someone wants to know.
    peak: Mutex<Option<MemoryPeak>>,
    watched: AtomicBool,
    /// A failure that a wait met, for the next call that can return it.
    failure: Mutex<Option<KernelError>>,
}

/// Launches after which the host waits for the CPU runtime. Its queue holds 32
/// messages, of which a launch with its scratch takes some, and a host that meets a full one spins on
/// a core that the kernels need: 290 µs a launch on two cores, against 10 µs when it waits in time.
const CPU_LAUNCHES_AHEAD: u32 = 8;

/// What kernels read from the device to choose their blocking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceShape {
    /// Units of a plane (warp, wavefront) that run in lockstep: 1 on a CPU, 32 or 64 on a GPU.
    pub plane_size: u32,
    /// Units that a cube may have: the number of cores on a CPU, hundreds on a GPU.
    pub max_units_per_cube: u32,
    /// Bytes of shared memory of a cube.
    pub shared_memory_bytes: usize,
    /// Bits of the widest efficient load of one unit.
    pub load_width_bits: u32,
    /// Whether planes are of one size and can exchange values without shared memory.
    pub plane_ops: bool,
    /// Whether a plane has a barrier of its own, and needs it: its units may part.
    pub plane_sync: bool,
    /// The matrix instructions of a plane, if it has some that our kernels know.
    pub matrix_core: Option<MatrixCore>,
}

impl DeviceShape {
    /// Whether cubes run one after another on few strong cores, each with wide vectors.
    pub fn is_cpu(&self) -> bool {
        self.plane_size == 1
    }
}

impl Context {
    /// Opens a device by name: `cpu`, `cuda`, `hip`, `wgpu`, with an optional index (`cuda:1`), or
    /// `auto` for the most capable one in the build.
    ///
    /// # Errors
    ///
    /// [`KernelError::Device`] if the name is unknown, the runtime is not in the build, or the
    /// machine has no such device.
    pub fn open(device: &str) -> Result<Self, KernelError> {
        let refused = |reason: String| KernelError::Device { device: device.into(), reason };
        let (kind, index) = match device.split_once(':') {
            Some((kind, index)) => {
                let index = index
                    .parse::<usize>()
                    .map_err(|_| refused(format!("`{index}` is not a device index")))?;
                (kind, index)
            }
            None => (device, 0),
        };
        if kind == "auto" {
            return ["cuda", "hip", "wgpu", "cpu"]
                .iter()
                .find_map(|kind| Self::open(kind).ok())
                .ok_or_else(|| refused("no runtime of this build finds a device".into()));
        }
        let (found, name) = match kind {
            "cpu" => {
                crate::narrow::keep();
                (Device::cpu(), "cpu")
            }
            "cuda" => {
                #[cfg(feature = "cuda")]
                if !cuda_driver_present() {
                    return Err(refused(
                        "the NVIDIA driver (libcuda.so) is not on this machine".into(),
                    ));
                }
                (Device::cuda(index), "cuda")
            }
            "hip" => (Device::rocm(index), "hip"),
            "wgpu" => (Device::wgpu(Default::default()), "wgpu"),
            _ => {
                return Err(refused(
                    "expected one of auto, cpu, cuda, hip, wgpu, with an optional index as in \
                     cuda:1"
                        .into(),
                ));
            }
        };
        let found = found.map_err(|error| match error {
            cubecl::device::DeviceUnavailable::NotLinked(_) => {
                refused(format!("not in this build: compile with `--features {name}`"))
            }
            other => refused(other.to_string()),
        })?;
        Ok(Self::from_client(found.client(), name))
    }

    /// Wraps a client of any runtime.
    pub fn from_client(client: Client, name: &'static str) -> Self {
        let hardware = &client.properties().hardware;
        let shape = DeviceShape {
            plane_size: hardware.plane_size_max.max(1),
            max_units_per_cube: hardware.max_units_per_cube,
            shared_memory_bytes: hardware.max_shared_memory_size,
            load_width_bits: hardware.load_width,
            plane_ops: client.features().plane.contains(cubecl::features::Plane::Ops)
                && hardware.plane_size_min == hardware.plane_size_max,
            plane_sync: client.features().plane.contains(cubecl::features::Plane::Sync),
            matrix_core: MatrixCore::of(client.properties()),
        };
        Self {
            client,
            name,
            shape,
            queue: Arc::default(),
            arena: Arc::default(),
            gemm_tuning: Arc::default(),
        }
    }

    /// The runtime's name: `cpu`, `cuda`, `hip` or `wgpu`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The device as its maker calls it; two of a kind have one name.
    pub fn device_name(&self) -> &str {
        &self.client.properties().identity.name
    }

    /// The same device and queue, with products that take the blocks of a measurement. No bit of a result
    /// depends on it.
    pub fn with_gemm_tuning(self, tuning: GemmTuning) -> Self {
        Self { gemm_tuning: Arc::new(tuning), ..self }
    }

    pub(crate) fn gemm_tuning(&self) -> &GemmTuning {
        &self.gemm_tuning
    }

    /// What kernels adapt to.
    pub fn shape(&self) -> DeviceShape {
        self.shape
    }

    /// The client that kernels are launched on; to be asked for once a launch.
    ///
    /// On a CPU it first waits for what is queued if that is much.
    pub fn client(&self) -> &Client {
        if self.queue.watched.load(Ordering::Relaxed) {
            self.look_at_memory();
        }
        if self.shape.is_cpu() {
            let before = self.queue.launches.fetch_add(1, Ordering::Relaxed);
            if before % CPU_LAUNCHES_AHEAD == CPU_LAUNCHES_AHEAD - 1
                && let Err(error) = self.wait()
            {
                let mut failure = self.failure();
                failure.get_or_insert(error);
            }
        }
        &self.client
    }

    /// Runs `work` and tells how much memory there was in buffers at most, looking before every launch,
    /// when all its operands are there. Looking waits for what was launched before, so `work` is slower,
    /// and nothing is counted that only a launch under way still holds.
    ///
    /// Buffers of this thread's stream count; those that were there before do too.
    pub fn watch_memory<T>(&self, work: impl FnOnce() -> T) -> (T, MemoryPeak) {
        *self.peak() = Some(MemoryPeak::default());
        self.queue.watched.store(true, Ordering::Relaxed);
        let result = work();
        self.queue.watched.store(false, Ordering::Relaxed);
        self.look_at_memory();
        (result, self.peak().take().unwrap_or_default())
    }

    fn look_at_memory(&self) {
        if let Err(error) = self.wait() {
            self.failure().get_or_insert(error);
        }
        let usage = self.client.memory_report(MemoryScope::CurrentStream).usage();
        if let Some(peak) = self.peak().as_mut() {
            peak.in_use_bytes = peak.in_use_bytes.max(usage.bytes_in_use);
            peak.reserved_bytes = usage.bytes_reserved;
        }
    }

    fn peak(&self) -> std::sync::MutexGuard<'_, Option<MemoryPeak>> {
        self.queue.peak.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> Result<(), KernelError> {
        read_sync(self.client.sync()).map_err(runtime_error)
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<KernelError>> {
        self.queue.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A failure met while waiting, if any; it is returned once.
    fn met_failure(&self) -> Result<(), KernelError> {
        self.failure().take().map_or(Ok(()), Err)
    }

    /// Memory for `len` elements, with unspecified contents.
    pub fn empty(&self, dtype: DType, len: usize) -> Buffer {
        // Zero bytes cannot be bound, so an empty buffer owns one element that nobody reads.
        let bytes = len.max(1) * dtype.size_bytes();
        let arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(arena) = arena else {
            return Buffer::new(self.allocate(bytes), dtype, len);
        };
        let (lease, memory) = arena.take(bytes);
        Buffer::leased(memory.unwrap_or_else(|| self.allocate(bytes)), dtype, len, lease)
    }

    pub(crate) fn allocate(&self, bytes: usize) -> cubecl::server::Handle {
        self.client.empty(bytes)
    }

    /// Bytes of the largest buffer.
    pub(crate) fn largest_allocation_bytes(&self) -> u64 {
        self.client.properties().memory.max_page_size
    }

    /// Gives memory that nothing is in back to the device.
    pub(crate) fn release_unused(&self) -> Result<(), KernelError> {
        self.sync()?;
        self.client.memory_cleanup().map_err(runtime_error)
    }

    /// Runs work whose buffers ([`empty`](Self::empty)) are parts of `arena`; those for which it has no
    /// memory are allocated. What is uploaded is no part of it.
    pub fn within<T>(&self, arena: &Arena, work: impl FnOnce() -> T) -> T {
        struct Restore<'a>(&'a Mutex<Option<Arena>>, Option<Arena>);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = self.1.take();
            }
        }
        let before =
            self.arena.lock().unwrap_or_else(PoisonError::into_inner).replace(arena.clone());
        let _restore = Restore(&self.arena, before);
        work()
    }

    /// Whether the device can keep launches to run them again.
    pub fn can_record(&self) -> bool {
        self.name != "cpu"
    }

    /// Runs work twice within `arena`: first as ever, then without running any of its launches, which the
    /// device keeps. `keep` takes what the first run gave out of the arena.
    ///
    /// The second run's result is in buffers that are filled by a [replay](Recording::replay) and hold
    /// it until other work is done in the arena. Both runs must launch the same; what changes from one
    /// replay to the next is in buffers that were there before.
    ///
    /// # Errors
    ///
    /// What the first run reports. Why nothing could be recorded is a result beside the first run's, which
    /// counts all the same.
    pub fn run_and_record<T, U>(
        &self,
        arena: &Arena,
        work: impl Fn() -> Result<T, KernelError>,
        keep: impl FnOnce(T) -> Result<U, KernelError>,
    ) -> Result<(U, Recorded<T>), KernelError> {
        // Devices that record want to know of the run before.
        let prepared = self.client.graph_prepare().map_err(runtime_error);
        let kept = self.within(arena, &work).and_then(keep);
        if let Err(error) = prepared {
            return Ok((kept?, Err(error)));
        }
        let started = match &kept {
            Ok(_) if arena.holds_all() => self.client.start_capture().map_err(runtime_error),
            _ => Err(KernelError::Runtime("the arena has no memory for the work".into())),
        };
        let second = started.and_then(|()| self.within(arena, &work));
        // Whatever happened: a device that was prepared records until it is told to stop.
        let graph = self.client.stop_capture().map_err(runtime_error);
        let recorded =
            second.and_then(|result| Ok((result, Recording::new(graph?, arena.clone()))));
        Ok((kept?, recorded))
    }

    /// Memory for `len` elements, all zero.
    pub fn zeros(&self, dtype: DType, len: usize) -> Buffer {
        let bytes = vec![0u8; len.max(1) * dtype.size_bytes()];
        Buffer::new(self.client.create_from_slice(&bytes), dtype, len)
    }

    /// Copies `values` to the device.
    pub fn upload_f32(&self, values: &[f32]) -> Buffer {
        self.upload_bytes(bytemuck::cast_slice(values), DType::F32, values.len())
    }

    /// Rounds `values` to bfloat16 and copies them to the device.
    pub fn upload_bf16(&self, values: &[f32]) -> Buffer {
        let rounded: Vec<bf16> = values.iter().map(|&value| bf16::from_f32(value)).collect();
        self.upload_bytes(bytemuck::cast_slice(&rounded), DType::Bf16, values.len())
    }

    /// Rounds `values` to half precision and copies them to the device; past 65,504 they are infinite.
    pub fn upload_f16(&self, values: &[f32]) -> Buffer {
        let rounded: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
        self.upload_bytes(bytemuck::cast_slice(&rounded), DType::F16, values.len())
    }

    /// Copies `values` to the device.
    pub fn upload_u32(&self, values: &[u32]) -> Buffer {
        self.upload_bytes(bytemuck::cast_slice(values), DType::U32, values.len())
    }

    fn upload_bytes(&self, bytes: &[u8], dtype: DType, len: usize) -> Buffer {
        if len == 0 {
            return self.zeros(dtype, 0);
        }
        Buffer::new(self.client.create_from_slice(bytes), dtype, len)
    }

    /// Copies `values` into a buffer that is there.
    ///
    /// # Errors
    ///
    /// [`KernelError::DType`] or [`KernelError::Length`] if they do not fit.
    pub fn write_u32(&self, buffer: &Buffer, values: Vec<u32>) -> Result<(), KernelError> {
        buffer.expect_dtype("write_u32", "buffer", DType::U32)?;
        buffer.expect_len("write_u32", "buffer", values.len())?;
        if !values.is_empty() {
            self.client.write(&buffer.handle(), Bytes::from_elems(values));
        }
        Ok(())
    }

    /// Copies `values` into a buffer that is there.
    ///
    /// # Errors
    ///
    /// [`KernelError::DType`] or [`KernelError::Length`] if they do not fit.
    pub fn write_f32(&self, buffer: &Buffer, values: Vec<f32>) -> Result<(), KernelError> {
        buffer.expect_dtype("write_f32", "buffer", DType::F32)?;
        buffer.expect_len("write_f32", "buffer", values.len())?;
        if !values.is_empty() {
            self.client.write(&buffer.handle(), Bytes::from_elems(values));
        }
        Ok(())
    }

    /// Copies a floating-point buffer to the host, widening bf16 and f16.
    ///
    /// # Errors
    ///
    /// [`KernelError::DType`] for integers, [`KernelError::Runtime`] if something queued failed.
    pub fn read_f32(&self, buffer: &Buffer) -> Result<Vec<f32>, KernelError> {
        let bytes = self.read_bytes(buffer)?;
        match buffer.dtype() {
            DType::F32 => Ok(bytemuck::pod_collect_to_vec(&bytes)),
            DType::Bf16 => {
                let values: Vec<bf16> = bytemuck::pod_collect_to_vec(&bytes);
                Ok(values.into_iter().map(bf16::to_f32).collect())
            }
            DType::F16 => {
                let values: Vec<f16> = bytemuck::pod_collect_to_vec(&bytes);
                Ok(values.into_iter().map(f16::to_f32).collect())
            }
            found => Err(KernelError::DType {
                op: "read_f32",
                operand: "buffer",
                expected: "f32, bf16 or f16",
                found,
            }),
        }
    }

    /// Copies an integer buffer to the host.
    ///
    /// # Errors
    ///
    /// [`KernelError::DType`] for other types, [`KernelError::Runtime`] if something queued failed.
    pub fn read_u32(&self, buffer: &Buffer) -> Result<Vec<u32>, KernelError> {
        buffer.expect_dtype("read_u32", "buffer", DType::U32)?;
        Ok(bytemuck::pod_collect_to_vec(&self.read_bytes(buffer)?))
    }

    fn read_bytes(&self, buffer: &Buffer) -> Result<Vec<u8>, KernelError> {
        if buffer.is_empty() {
            return Ok(Vec::new());
        }
        self.met_failure()?;
        let bytes = self
            .client
            .read_one(buffer.handle())
            .map_err(|error| KernelError::Runtime(format!("{error:?}")))?;
        Ok(bytes[..buffer.len() * buffer.dtype().size_bytes()].to_vec())
    }

    /// Waits until everything queued has run.
    ///
    /// # Errors
    ///
    /// [`KernelError::Runtime`] if something queued failed.
    pub fn sync(&self) -> Result<(), KernelError> {
        self.met_failure()?;
        self.wait()
    }
}

fn runtime_error(error: impl std::fmt::Debug) -> KernelError {
    KernelError::Runtime(format!("{error:?}"))
}

/// A client on a machine without the driver panics inside the runtime, so look first.
#[cfg(feature = "cuda")]
fn cuda_driver_present() -> bool {
    // SAFETY: it only tries to open the shared library.
    #[allow(unsafe_code)]
    unsafe {
        cudarc::driver::sys::is_culib_present()
    }
}
