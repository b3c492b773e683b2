//! Copies from global to shared memory that run while a unit computes: NVIDIA's `cp.async`.
//!
//! CubeCL has such a copy but lowers it in its C++ back end only. These are operations of our own
//! in CubeCL's language, which its LLVM back end, the one that the CUDA runtime and the offline
//! compiler use, turns into LLVM's intrinsics.
//!
//! Source: PTX ISA, "Data Movement and Conversion Instructions: Asynchronous copy".

// The macros make accessors that nobody calls, and pointers come out of slices in an unsafe block.
#![allow(dead_code, unsafe_code)]

use cubecl::intrinsic;
use cubecl::ir::attributes::IndexAttr;
use cubecl::ir::interfaces::side_effects::{MemoryEffect, MemoryEffectsOp};
use cubecl::ir::prelude::*;
use cubecl::ir::{AddressSpace, CanMaterialize, HasSideEffects};
use cubecl::prelude::*;

/// Copies `len` bytes (4, 8 or 16), of which those past the first `valid` become zeros.
#[cube_op(name = "bert.copy_async")]
#[result_ty(none)]
#[op_traits(CanMaterialize, HasSideEffects)]
struct CopyOp {
    source: Value,
    destination: Value,
    valid: Value,
    len: IndexAttr,
}

/// Closes the group of all copies since the last one was closed.
#[cube_op(name = "bert.commit_copies")]
#[result_ty(none)]
#[op_traits(CanMaterialize, HasSideEffects)]
struct CommitOp {}

/// Waits until at most `under_way` groups of this unit's copies are not there yet.
#[cube_op(name = "bert.wait_copies")]
#[result_ty(none)]
#[op_traits(CanMaterialize, HasSideEffects)]
struct WaitOp {
    under_way: IndexAttr,
}

#[op_interface_impl]
impl MemoryEffectsOp for CopyOp {
    fn memory_effects(&self, ctx: &Context) -> Vec<MemoryEffect> {
        vec![MemoryEffect::Read(self.source(ctx)), MemoryEffect::Write(self.destination(ctx))]
    }
}

#[op_interface_impl]
impl MemoryEffectsOp for CommitOp {
    fn memory_effects(&self, _ctx: &Context) -> Vec<MemoryEffect> {
        vec![]
    }
}

#[op_interface_impl]
impl MemoryEffectsOp for WaitOp {
    fn memory_effects(&self, _ctx: &Context) -> Vec<MemoryEffect> {
        // What was copied appears now.
        vec![MemoryEffect::WriteAllInSpace(AddressSpace::Shared)]
    }
}

/// Starts copying `len` bytes (4, 8 or 16) from global to shared memory; bytes past the first `valid`
/// become zeros and are not read.
///
/// Both slices begin at a multiple of `len` bytes. The copy is there after [`wait_copies`], for other
/// units after a barrier too.
#[cube]
pub(crate) fn copy_async<S: CubePrimitive, D: CubePrimitive>(
    source: &[S],
    destination: &mut [D],
    valid: u32,
    #[comptime] len: usize,
) {
    intrinsic!(|scope| {
        // SAFETY: the pointers are values of the kernel under construction; nothing is read here.
        let source = unsafe { *source.__expand_as_ptr_method(scope) }.value(scope);
        // SAFETY: as above.
        let destination = unsafe { *destination.__expand_as_mut_ptr_method(scope) }.value(scope);
        let valid = valid.read_value(scope);
        scope.register(&CopyOp::new(scope.ctx_mut(), source, destination, valid, len));
    })
}

/// Closes the group of all copies that this unit started since it closed the last one.
#[cube]
pub(crate) fn commit_copies() {
    intrinsic!(|scope| {
        scope.register(&CommitOp::new(scope.ctx_mut()));
    })
}

/// Waits until at most `under_way` of this unit's groups of copies are not there yet.
#[cube]
pub(crate) fn wait_copies(#[comptime] under_way: usize) {
    intrinsic!(|scope| {
        scope.register(&WaitOp::new(scope.ctx_mut(), under_way));
    })
}

/// What LLVM makes of them.
#[cfg(any(feature = "cuda", feature = "offline"))]
mod lowering {
    use cubecl_llvm::shared::to_llvm::prelude::*;

    use super::{CommitOp, CopyOp, WaitOp};

    const GLOBAL: u32 = 1;
    const SHARED: u32 = 3;

    fn in_space(
        ctx: &mut Context,
        rewriter: &mut DialectConversionRewriter,
        pointer: Value,
        space: u32,
    ) -> Value {
        let ty: TypeHandle = LlvmPointerType::get(ctx, space).into();
        if pointer.get_type(ctx) == ty {
            return pointer;
        }
        let cast = llvm::AddrSpaceCastOp::new(ctx, pointer, ty);
        insert(ctx, rewriter, &cast)
    }

    fn replace_by_call(
        op: Ptr<Operation>,
        ctx: &mut Context,
        rewriter: &mut DialectConversionRewriter,
        name: &str,
        args: Vec<Value>,
    ) {
        let void = VoidType::get(ctx).into();
        let call = call_op(ctx, name, void, args);
        rewriter.insert_op(ctx, &call);
        rewriter.erase_operation(ctx, op);
    }

    #[op_interface_impl]
    impl ToLLVMDialect for CopyOp {
        fn rewrite(
            &self,
            ctx: &mut Context,
            rewriter: &mut DialectConversionRewriter,
            _operands_info: &OperandsInfo,
        ) -> Result<()> {
            let (source, destination) = (self.source(ctx), self.destination(ctx));
            let valid = self.valid(ctx);
            let name = match self.len(ctx).0 {
                // Past the first-level cache, where nobody reads it again.
                16 => "llvm.nvvm.cp.async.cg.shared.global.16.s".into(),
                len => format!("llvm.nvvm.cp.async.ca.shared.global.{len}.s"),
            };
            let source = in_space(ctx, rewriter, source, GLOBAL);
            let destination = in_space(ctx, rewriter, destination, SHARED);
            let args = vec![destination, source, valid];
            replace_by_call(self.get_operation(), ctx, rewriter, &name, args);
            Ok(())
        }
    }

    #[op_interface_impl]
    impl ToLLVMDialect for CommitOp {
        fn rewrite(
            &self,
            ctx: &mut Context,
            rewriter: &mut DialectConversionRewriter,
            _operands_info: &OperandsInfo,
        ) -> Result<()> {
            let name = "llvm.nvvm.cp.async.commit.group";
            replace_by_call(self.get_operation(), ctx, rewriter, name, vec![]);
            Ok(())
        }
    }

    #[op_interface_impl]
    impl ToLLVMDialect for WaitOp {
        fn rewrite(
            &self,
            ctx: &mut Context,
            rewriter: &mut DialectConversionRewriter,
            _operands_info: &OperandsInfo,
        ) -> Result<()> {
            let under_way = self.under_way(ctx).0 as i32;
            let under_way = insert_i32_const(ctx, rewriter, under_way);
            let name = "llvm.nvvm.cp.async.wait.group";
            replace_by_call(self.get_operation(), ctx, rewriter, name, vec![under_way]);
            Ok(())
        }
    }
}
