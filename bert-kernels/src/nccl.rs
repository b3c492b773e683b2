//! Sums over the devices of several processes by NCCL, on a stream of their own beside the kernels.
//!
//! CubeCL has collectives too, over the devices of one process: which ranks there are is decided inside.
//! So this joins NCCL itself. CubeCL tells where a buffer lies but not on which stream its kernels run;
//! events of the whole context (CUDA 12.5) order the two streams without either host waiting.

use cubecl_cuda::CudaRuntime;
use cubecl_server::runtime::Runtime;
use cudarc::driver::{DriverError, result as driver, sys as cuda};
use cudarc::nccl::{result as nccl, sys};

use crate::{Buffer, Context, DType, KernelError};

/// Words of 64 bits that name a group of ranks.
pub const NCCL_ID_WORDS: usize = size_of::<sys::ncclUniqueId>() / size_of::<u64>();

/// A rank's membership of a group of devices.
pub struct Nccl {
    context: cuda::CUcontext,
    stream: cuda::CUstream,
    event: cuda::CUevent,
    group: sys::ncclComm_t,
}

impl Nccl {
    /// The name of a new group: one rank asks for it, and all join with it.
    ///
    /// # Errors
    ///
    /// [`KernelError::Device`] if NCCL is not on this machine, [`KernelError::Runtime`] if it refuses.
    pub fn new_id() -> Result<[u64; NCCL_ID_WORDS], KernelError> {
        expect_library()?;
        let id = nccl::get_uniqueid().map_err(|error| refused("ncclGetUniqueId", &error))?;
        Ok(bytemuck::cast(id.internal))
    }

    /// Joins the group of this name as `rank` of `world_size`; returns when all have.
    ///
    /// # Errors
    ///
    /// As [`new_id`](Self::new_id); also if `ctx` is no device of CUDA or its driver is older than 12.5.
    #[allow(unsafe_code)]
    pub fn join(
        ctx: &Context,
        id: [u64; NCCL_ID_WORDS],
        rank: usize,
        world_size: usize,
    ) -> Result<Self, KernelError> {
        expect_library()?;
        if ctx.name() != "cuda" {
            let reason = "NCCL sums on devices of cuda only".to_string();
            return Err(KernelError::Device { device: ctx.name().into(), reason });
        }
        expect_driver()?;
        let device = i32::from(ctx.client().service_id().device.index_id);
        let id = sys::ncclUniqueId { internal: bytemuck::cast(id) };
        let mut group = std::ptr::null_mut();
        // SAFETY: the device is the one that CubeCL has opened, so its primary context is there, and
        // retaining it keeps it so for the life of the process. `group` is written before it is read.
        unsafe {
            let context = driver::primary_ctx::retain(driver::device::get(device)?)?;
            driver::ctx::set_current(context)?;
            let stream = driver::stream::create(driver::stream::StreamKind::NonBlocking)?;
            let event = driver::event::create(cuda::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
            nccl::comm_init_rank(&mut group, world_size as i32, id, rank as i32)
                .map_err(|error| refused("ncclCommInitRank", &error))?;
            Ok(Self { context, stream, event, group })
        }
    }

    /// Begins to replace `values`, f32, by their sums over all ranks, after every kernel that was
    /// launched before. They must be left alone until [`finish`](Self::finish), and live until then.
    ///
    /// # Errors
    ///
    /// Another type; what CUDA or NCCL reports.
    #[allow(unsafe_code)]
    pub fn all_reduce(&self, ctx: &Context, values: &Buffer) -> Result<(), KernelError> {
        values.expect_dtype("all_reduce", "values", DType::F32)?;
        // Asking for the address runs behind everything queued, so all launches have reached the device.
        let resource = ctx
            .client()
            .get_resource::<<CudaRuntime as Runtime>::Server>(values.handle())
            .map_err(|error| KernelError::Runtime(format!("{error:?}")))?;
        let address = resource.resource().ptr as *mut std::ffi::c_void;
        // SAFETY: context, stream, event and group are those of `join`, made for one device and never
        // freed. At `address` lie `values.len()` elements of f32, in memory that the caller keeps.
        unsafe {
            driver::ctx::set_current(self.context)?;
            cuda::cuCtxRecordEvent(self.context, self.event).result()?;
            let flags = cuda::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
            driver::stream::wait_event(self.stream, self.event, flags)?;
            nccl::all_reduce(
                address,
                address,
                values.len(),
                sys::ncclDataType_t::ncclFloat32,
                sys::ncclRedOp_t::ncclSum,
                self.group,
                self.stream.cast(),
            )
            .map_err(|error| refused("ncclAllReduce", &error))?;
        }
        Ok(())
    }

    /// Kernels launched from now on see the sums of every [`all_reduce`](Self::all_reduce) so far.
    ///
    /// # Errors
    ///
    /// What CUDA reports, of NCCL's failures too.
    #[allow(unsafe_code)]
    pub fn finish(&self) -> Result<(), KernelError> {
        let mut state = sys::ncclResult_t::ncclSuccess;
        // SAFETY: as in `all_reduce`; `state` outlives the call.
        unsafe {
            sys::ncclCommGetAsyncError(self.group, &mut state)
                .result()
                .and_then(|_| state.result())
                .map_err(|error| refused("an operation under way", &error))?;
            driver::ctx::set_current(self.context)?;
            driver::event::record(self.event, self.stream)?;
            cuda::cuCtxWaitEvent(self.context, self.event).result()?;
        }
        Ok(())
    }
}

/// The loader of cudarc panics without the library, so look first.
#[allow(unsafe_code)]
fn expect_library() -> Result<(), KernelError> {
    // SAFETY: it only tries to open the shared library.
    if unsafe { sys::is_culib_present() } {
        return Ok(());
    }
    Err(KernelError::Device {
        device: "cuda".into(),
        reason: "NCCL is not found: expected `libnccl.so` among the libraries of the loader; where \
                 only `libnccl.so.2` is installed, make a link of the shorter name to it or install \
                 libnccl-dev"
            .into(),
    })
}

/// Events of a whole context are the newest thing asked of the driver.
#[allow(unsafe_code)]
fn expect_driver() -> Result<(), KernelError> {
    const NEEDED: i32 = 12050;
    let mut version = 0;
    // SAFETY: `version` outlives the call.
    unsafe { cuda::cuDriverGetVersion(&mut version) }.result()?;
    if version >= NEEDED {
        return Ok(());
    }
    let reason = format!(
        "sums beside kernels need a driver of CUDA 12.5 or newer, found {}.{}",
        version / 1000,
        version % 1000 / 10
    );
    Err(KernelError::Device { device: "cuda".into(), reason })
}

fn refused(what: &str, error: &nccl::NcclError) -> KernelError {
    KernelError::Runtime(format!("NCCL refused {what}: {:?}", error.0))
}

impl From<DriverError> for KernelError {
    fn from(error: DriverError) -> Self {
        Self::Runtime(format!("CUDA: {error:?}"))
    }
}
