//! Which matrix instructions a device has, and AMD's: MFMA of CDNA 2 and 3, WMMA of RDNA 3.
//!
//! CubeCL's LLVM back end has WMMA, with fragments that are read an element at a time, and no MFMA.
//! This is an operation of our own in CubeCL's language, as in [`async_copy`](crate::async_copy); its
//! fragments are registers of two elements, which [`amd_tile`](crate::amd_tile) brings from shared
//! memory. NVIDIA's is CubeCL's, see [`tensor_tile`](crate::tensor_tile).
//!
//! Source: AMD Instinct MI300 and RDNA3 Instruction Set Architecture, "Matrix Arithmetic Instructions" and
//! "Wave Matrix Multiply Accumulate".

// The macro makes accessors that nobody calls.
#![allow(dead_code)]

use cubecl::features::MmaConfig;
use cubecl::intrinsic;
use cubecl::ir::attributes::BoolAttr;
use cubecl::ir::interfaces::TypedExt;
use cubecl::ir::interfaces::side_effects::{MemoryEffect, MemoryEffectsOp};
use cubecl::ir::prelude::*;
use cubecl::ir::{CanMaterialize, DeviceProperties, ElemType, FloatKind, HasSideEffects, Pure};
use cubecl::prelude::*;

/// Matrix instructions of a plane that multiply bf16 or f16 into f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatrixCore {
    /// `mma.sync`, with operands that `ldmatrix` and asynchronous copies bring: NVIDIA since Ampere,
    /// through CubeCL's LLVM back end.
    Mma,
    /// `v_mfma`, planes of 64: AMD CDNA 2 and 3 (MI200, MI300).
    Mfma,
    /// `v_wmma`, planes of 32, with operands that both halves of a plane hold: AMD RDNA 3.
    Wmma,
}

impl MatrixCore {
    /// The one that a device has.
    pub(crate) fn of(properties: &DeviceProperties) -> Option<Self> {
        let amd = Self::of_architecture(&properties.identity.fingerprint);
        amd.or_else(|| has_mma(&properties.features).then_some(Self::Mma))
    }

    /// AMD's, by what a runtime compiles for: it ends with the architecture, and features of the chip
    /// after a colon, as in `hip-kernel_gfx942:sramecc+:xnack-`.
    fn of_architecture(compiled_for: &str) -> Option<Self> {
        let name = compiled_for.rsplit('_').next()?.split(':').next()?;
        let is_one_of = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        if is_one_of(&["gfx90a", "gfx94"]) {
            Some(Self::Mfma)
        } else {
            is_one_of(&["gfx110", "gfx115"]).then_some(Self::Wmma)
        }
    }

    /// Units of a plane.
    pub(crate) const fn lanes(self) -> usize {
        match self {
            Self::Mma | Self::Wmma => 32,
            Self::Mfma => 64,
        }
    }
}

fn has_mma(features: &cubecl::features::Features) -> bool {
    let matmul = &features.matmul;
    let multiplies = |kind| {
        let narrow = ElemType::Float(kind);
        let cd_type = ElemType::Float(FloatKind::F32);
        let product = MmaConfig { a_type: narrow, b_type: narrow, cd_type, m: 16, n: 8, k: 16 };
        matmul.mma.contains(&product) && matmul.ldmatrix.contains(&narrow)
    };
    // The C++ back end has CubeCL's own asynchronous copies, and does not know ours.
    multiplies(FloatKind::BF16) && multiplies(FloatKind::F16) && !features.copy_async
}

/// Adds the 16 × 16 × 16 product of two fragments to the accumulators of a plane.
#[cube_op(name = "bert.multiply_fragments")]
#[result_ty(same_as = sums)]
#[op_traits(Pure, CanMaterialize)]
struct MultiplyOp {
    a: Value,
    b: Value,
    sums: Value,
    /// WMMA, else MFMA.
    wmma: BoolAttr,
    /// f16, else bf16.
    half: BoolAttr,
}

/// What comes before stays before, and what comes after stays after.
#[cube_op(name = "bert.keep_order")]
#[result_ty(none)]
#[op_traits(CanMaterialize, HasSideEffects)]
struct KeepOrderOp {}

#[op_interface_impl]
impl MemoryEffectsOp for KeepOrderOp {
    fn memory_effects(&self, _ctx: &Context) -> Vec<MemoryEffect> {
        vec![]
    }
}

/// Keeps AMD's compiler from moving instructions across. It likes to use what was loaded as early as it
/// can, and waits for it where other products could run.
#[cube]
pub(crate) fn keep_order() {
    intrinsic!(|scope| {
        scope.register(&KeepOrderOp::new(scope.ctx_mut()));
    })
}

/// The word of the lane 16 further on or back, in a plane of 32.
#[cube_op(name = "bert.swap_halves")]
#[result_ty(same_as = word)]
#[op_traits(Pure, CanMaterialize)]
struct SwapHalvesOp {
    word: Value,
}

/// What the same lane of the other half of a plane has, on RDNA, in an instruction of its own: a shuffle
/// goes by way of shared memory. All units of the plane take part.
#[cube]
pub(crate) fn swap_halves(word: u32) -> u32 {
    intrinsic!(|scope| {
        let word = word.read_value(scope);
        let op = SwapHalvesOp::new(scope.ctx_mut(), word);
        scope.register_with_result(&op).into()
    })
}

/// `sums` and the product of two fragments of AMD's instructions, whose registers hold two elements of
/// type `E`. All units of the plane take part.
// It tells the instruction.
#[allow(clippy::extra_unused_type_parameters)]
#[cube]
pub(crate) fn multiply_fragments<E: Float, NF: Size, NS: Size>(
    a: Vector<u32, NF>,
    b: Vector<u32, NF>,
    sums: Vector<f32, NS>,
    #[comptime] core: MatrixCore,
) -> Vector<f32, NS> {
    intrinsic!(|scope| {
        let half = E::__expand_as_type(scope).is_float16(scope.ctx());
        let wmma = core == MatrixCore::Wmma;
        let (a, b) = (a.read_value(scope), b.read_value(scope));
        let sums = sums.read_value(scope);
        let op = MultiplyOp::new(scope.ctx_mut(), a, b, sums, wmma, half);
        scope.register_with_result(&op).into()
    })
}

/// What LLVM makes of it.
#[cfg(any(feature = "hip", feature = "offline"))]
mod lowering {
    use cubecl_llvm::shared::to_llvm::prelude::*;

    use super::{KeepOrderOp, MultiplyOp, SwapHalvesOp};

    #[op_interface_impl]
    impl ToLLVMDialect for KeepOrderOp {
        fn rewrite(
            &self,
            ctx: &mut Context,
            rewriter: &mut DialectConversionRewriter,
            _operands_info: &OperandsInfo,
        ) -> Result<()> {
            // No kind of instruction may pass.
            let none = insert_i32_const(ctx, rewriter, 0);
            let void = VoidType::get(ctx).into();
            let call = call_op(ctx, "llvm.amdgcn.sched.barrier", void, vec![none]);
            rewriter.insert_op(ctx, &call);
            rewriter.erase_operation(ctx, self.get_operation());
            Ok(())
        }
    }

    #[op_interface_impl]
    impl ToLLVMDialect for SwapHalvesOp {
        fn rewrite(
            &self,
            ctx: &mut Context,
            rewriter: &mut DialectConversionRewriter,
            _operands_info: &OperandsInfo,
        ) -> Result<()> {
            let word = self.word(ctx);
            // Each lane takes the one of its number among the other sixteen.
            let lower = insert_i32_const(ctx, rewriter, 0x7654_3210);
            let upper = insert_i32_const(ctx, rewriter, 0xfedc_ba98_u32 as i32);
            let no = insert_bool_const(ctx, rewriter, false);
            let args = vec![word, word, lower, upper, no, no];
            let ty = word.get_type(ctx);
            let call = call_op(ctx, "llvm.amdgcn.permlanex16.i32", ty, args);
            rewriter.insert_op(ctx, &call);
            rewriter.replace_operation(ctx, self.get_operation(), call.get_operation());
            Ok(())
        }
    }

    #[op_interface_impl]
    impl ToLLVMDialect for MultiplyOp {
        fn rewrite(
            &self,
            ctx: &mut Context,
            rewriter: &mut DialectConversionRewriter,
            _operands_info: &OperandsInfo,
        ) -> Result<()> {
            let (wmma, half) = (self.wmma(ctx).0, self.half(ctx).0);
            // The intrinsics of bf16 take its bits.
            let element: TypeHandle = match half {
                true => FP16Type::get(ctx).into(),
                false => IntegerType::get(ctx, 16, Signedness::Signless).into(),
            };
            let elements = if wmma { 16 } else { 4 };
            let fragment: TypeHandle =
                LlvmVectorType::get(ctx, element, elements, VectorTypeKind::Fixed).into();
            let mut args = Vec::new();
            for operand in [self.a(ctx), self.b(ctx)] {
                let cast = llvm::BitcastOp::new(ctx, operand, fragment);
                args.push(insert(ctx, rewriter, &cast));
            }
            let sums = self.sums(ctx);
            args.push(sums);
            let name = match (wmma, half) {
                (true, true) => "llvm.amdgcn.wmma.f32.16x16x16.f16.v8f32.v16f16",
                (true, false) => "llvm.amdgcn.wmma.f32.16x16x16.bf16.v8f32.v16i16",
                (false, true) => "llvm.amdgcn.mfma.f32.16x16x16f16",
                (false, false) => "llvm.amdgcn.mfma.f32.16x16x16bf16.1k",
            };
            if !wmma {
                // No lane of A or B is broadcast to others.
                args.extend((0..3).map(|_| insert_i32_const(ctx, rewriter, 0)).collect::<Vec<_>>());
            }
            let ty = sums.get_type(ctx);
            let call = call_op(ctx, name, ty, args);
            rewriter.insert_op(ctx, &call);
            rewriter.replace_operation(ctx, self.get_operation(), call.get_operation());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amd_is_known_by_its_architecture() {
        for (compiled_for, core) in [
            ("hip-kernel_gfx942:sramecc+:xnack-", Some(MatrixCore::Mfma)),
            ("hip-kernel_gfx90a:sramecc+:xnack-", Some(MatrixCore::Mfma)),
            ("hip-kernel_gfx1100", Some(MatrixCore::Wmma)),
            ("hip-kernel_gfx1151", Some(MatrixCore::Wmma)),
            // No bf16 in f32; none; fragments of another shape.
            ("hip-kernel_gfx908:xnack-", None),
            ("hip-kernel_gfx1030", None),
            ("hip-kernel_gfx1201", None),
            ("ptx_sm90", None),
            ("", None),
        ] {
            assert_eq!(MatrixCore::of_architecture(compiled_for), core, "{compiled_for}");
        }
    }
}
