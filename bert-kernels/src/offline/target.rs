//! The GPUs we compile for, and what a driver would say about them.

use cubecl_core::cmma::{MatrixIdent, MatrixType};
use cubecl_core::ir::amd::GfxArch;
use cubecl_core::ir::features::{AtomicUsage, Features, MmaConfig, Plane, TypeUsage};
use cubecl_core::ir::interfaces::TypedExt;
use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::ir::prelude::TypedHandle;
use cubecl_core::ir::{
    AddressType, ContiguousElements, DeviceIdentity, DeviceProperties, ElemType, FloatKind,
    HardwareProperties, IntKind, MemoryDeviceProperties, TargetProperties, Type, UIntKind,
    VectorSize,
};
use cubecl_core::profile::TimingMethod;
use cubecl_llvm::nvptx::ptx_version::PtxVersion;
use cubecl_llvm::{LlvmTarget, PlironOptions};

/// A GPU architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// NVIDIA Ampere (A100).
    Sm80,
    /// NVIDIA Hopper (H100, H200).
    Sm90,
    /// AMD CDNA3 (MI300), planes of 64.
    Gfx942,
    /// AMD RDNA3 (Radeon RX 7900).
    Gfx1100,
}

/// The CUDA release whose PTX we write: 12.8, so that a driver of early 2025 loads it.
const CUDA_RELEASE: i32 = 12_080;

impl Target {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sm80, Self::Sm90, Self::Gfx942, Self::Gfx1100];

    /// As the vendor's compilers spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sm80 => "sm_80",
            Self::Sm90 => "sm_90",
            Self::Gfx942 => "gfx942",
            Self::Gfx1100 => "gfx1100",
        }
    }

    /// The target of that [`name`](Self::name).
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// Whether its code is PTX.
    pub const fn is_nvidia(self) -> bool {
        matches!(self, Self::Sm80 | Self::Sm90)
    }

    /// Units of a plane.
    pub const fn plane_size(self) -> u32 {
        match self {
            Self::Gfx942 => 64,
            Self::Sm80 | Self::Sm90 | Self::Gfx1100 => 32,
        }
    }

    /// Bytes of shared memory that one cube may ask for, as the drivers report it: CUDA programming
    /// guide, table of compute capabilities; 64 KiB of LDS on both AMD lines.
    pub const fn shared_memory_bytes(self) -> usize {
        match self {
            Self::Sm80 => 163 * 1024,
            Self::Sm90 => 227 * 1024,
            Self::Gfx942 | Self::Gfx1100 => 64 * 1024,
        }
    }

    /// Most units of a cube, on every GPU.
    pub const MAX_UNITS: u32 = 1024;

    pub(super) fn compiler(self) -> (LlvmTarget, PlironOptions) {
        let nvidia = |version| {
            let options = PlironOptions {
                sm_arch: Some(SmArch::new(version, true)),
                ptx_version: PtxVersion::for_driver(CUDA_RELEASE),
                // As CubeCL's CUDA runtime has it from Volta on.
                grid_constants: true,
                ..PlironOptions::default()
            };
            (LlvmTarget::Nvptx, options)
        };
        let amd = |name| {
            let options =
                PlironOptions { arch: Some(GfxArch::parse(name)), ..PlironOptions::default() };
            (LlvmTarget::AmdGpu, options)
        };
        match self {
            Self::Sm80 => nvidia(80),
            Self::Sm90 => nvidia(90),
            Self::Gfx942 | Self::Gfx1100 => amd(self.name()),
        }
    }

    /// How fragments of a matrix lie in registers, as CubeCL's CUDA runtime has it.
    pub(super) fn of_matrices(self) -> TargetProperties {
        let contiguous = |ctx: &_, ident, matrix: TypedHandle<MatrixType>| match ident {
            MatrixIdent::A | MatrixIdent::B => 32 / matrix.deref(ctx).elem_ty.size_bits(ctx),
            MatrixIdent::Accumulator => 2,
        };
        let mut properties = TargetProperties::default();
        properties.mma.contiguous_elements = ContiguousElements::new(contiguous);
        properties
    }

    /// What CubeCL's CUDA and HIP runtimes advertise for such a device; of the matrix instructions
    /// only those that a kernel asks for, NVIDIA's. LLVM's back end has no asynchronous copies of
    /// CubeCL's.
    pub(super) fn properties(self) -> DeviceProperties {
        let hardware = HardwareProperties {
            load_width: 128,
            vector_register_count: None,
            plane_size_min: self.plane_size(),
            plane_size_max: self.plane_size(),
            max_bindings: 1024,
            max_shared_memory_size: self.shared_memory_bytes(),
            max_cube_count: (i32::MAX as u32, u32::from(u16::MAX), u32::from(u16::MAX)),
            max_units_per_cube: Self::MAX_UNITS,
            max_cube_dim: (Self::MAX_UNITS, Self::MAX_UNITS, 64),
            num_streaming_multiprocessors: Some(match self {
                Self::Sm80 => 108,
                Self::Sm90 => 132,
                Self::Gfx942 => 304,
                Self::Gfx1100 => 96,
            }),
            num_tensor_cores: None,
            min_tensor_cores_dim: None,
            num_cpu_cores: None,
            last_level_cache_size: None,
            max_vector_size: VectorSize::MAX,
            cube_mma_reserved_shared_memory: 0,
        };
        let mut properties = DeviceProperties::new(
            Features::default(),
            MemoryDeviceProperties::new(1 << 40, super::server::ALIGN_BYTES as u64),
            hardware,
            TimingMethod::Device,
            DeviceIdentity {
                name: format!("offline {}", self.name()),
                fingerprint: format!("offline_{}", self.name()),
                physical: None,
            },
        );
        properties.register_address_type(AddressType::U32);
        properties.register_address_type(AddressType::U64);
        let types = [
            ElemType::Index,
            ElemType::UInt(UIntKind::U8),
            ElemType::UInt(UIntKind::U16),
            ElemType::UInt(UIntKind::U32),
            ElemType::UInt(UIntKind::U64),
            ElemType::Int(IntKind::I8),
            ElemType::Int(IntKind::I16),
            ElemType::Int(IntKind::I32),
            ElemType::Int(IntKind::I64),
            ElemType::Float(FloatKind::BF16),
            ElemType::Float(FloatKind::F16),
            ElemType::Float(FloatKind::F32),
            ElemType::Float(FloatKind::F64),
            ElemType::Bool,
        ];
        for kind in types {
            properties.register_type_usage(kind, TypeUsage::all());
        }
        for kind in [IntKind::I32, IntKind::I64] {
            let kind = Type::atomic(ElemType::Int(kind));
            properties.register_atomic_type_usage(kind, AtomicUsage::all());
        }
        for kind in [UIntKind::U32, UIntKind::U64] {
            let kind = Type::atomic(ElemType::UInt(kind));
            properties.register_atomic_type_usage(kind, AtomicUsage::all());
        }
        if self.is_nvidia() {
            let matmul = &mut properties.features.matmul;
            let cd_type = ElemType::Float(FloatKind::F32);
            for kind in [FloatKind::BF16, FloatKind::F16] {
                let narrow = ElemType::Float(kind);
                matmul.mma.insert(MmaConfig {
                    a_type: narrow,
                    b_type: narrow,
                    cd_type,
                    m: 16,
                    n: 8,
                    k: 16,
                });
                matmul.ldmatrix.insert(narrow);
            }
        }
        let features = &mut properties.features;
        features.memory_reinterpret = true;
        features.alignment = true;
        features.device_memory_scope = true;
        features.plane.insert(Plane::Ops);
        features.plane.insert(Plane::NonUniformControlFlow);
        if self.is_nvidia() {
            features.plane.insert(Plane::Sync);
        }
        properties
    }
}
