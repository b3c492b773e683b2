//! The power of two that GPUs have an instruction for: NVIDIA's `ex2.approx`, AMD's `v_exp_f32`.
//!
//! CubeCL's own ends in the vendor's math library, which a machine with only a driver lacks; a polynomial
//! takes a dozen instructions. This is an operation of our own in CubeCL's language, as in
//! [`async_copy`](crate::async_copy), for kernels that only GPUs with matrix cores run.
//!
//! Source: PTX ISA, "Floating Point Instructions: ex2"; RDNA3 Instruction Set Architecture, "V_EXP_F32".

// The macro makes accessors that nobody calls.
#![allow(dead_code)]

use cubecl::intrinsic;
use cubecl::ir::attributes::BoolAttr;
use cubecl::ir::prelude::*;
use cubecl::ir::{CanMaterialize, Pure};
use cubecl::prelude::*;

use crate::MatrixCore;

/// 2 to the power of `x`.
#[cube_op(name = "bert.exp2_approx")]
#[result_ty(same_as = x)]
#[op_traits(Pure, CanMaterialize)]
struct Exp2Op {
    x: Value,
    /// AMD's instruction, else NVIDIA's.
    amd: BoolAttr,
}

/// 2ˣ to two units in the last place; results below f32's normal numbers are zero.
#[cube]
pub(crate) fn exp2_approx(x: f32, #[comptime] core: MatrixCore) -> f32 {
    intrinsic!(|scope| {
        let x = x.read_value(scope);
        let op = Exp2Op::new(scope.ctx_mut(), x, core != MatrixCore::Mma);
        scope.register_with_result(&op).into()
    })
}

/// What LLVM makes of it.
#[cfg(any(feature = "cuda", feature = "hip", feature = "offline"))]
mod lowering {
    use cubecl_llvm::shared::to_llvm::prelude::*;

    use super::Exp2Op;

    #[op_interface_impl]
    impl ToLLVMDialect for Exp2Op {
        fn rewrite(
            &self,
            ctx: &mut Context,
            rewriter: &mut DialectConversionRewriter,
            _operands_info: &OperandsInfo,
        ) -> Result<()> {
            let x = self.x(ctx);
            let ty = x.get_type(ctx);
            let name = match self.amd(ctx).0 {
                true => "llvm.amdgcn.exp2.f32",
                false => "llvm.nvvm.ex2.approx.ftz.f32",
            };
            let call = call_op(ctx, name, ty, vec![x]);
            rewriter.insert_op(ctx, &call);
            rewriter.replace_operation(ctx, self.get_operation(), call.get_operation());
            Ok(())
        }
    }
}
