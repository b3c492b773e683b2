//! Which block a product is laid out with: what was measured on a device, else a rule from the sizes.
//!
//! The blocks of each path are a closed list, so that every one is compiled, tested and measured. An
//! element of C is the same sum in the same order in all of them, so the choice changes no bit. What would
//! change bits, the parts along k, follows from the sizes alone.

use std::fmt;
use std::ops::RangeInclusive;

use super::staged_block::{self, Block};
use super::tensor_block::{self, Layout, TensorBlock, layout_for};
use super::{CPU_TILE, Gemm, Transpose, cpu_lanes, may_split};
use crate::{Context, DType, DeviceShape, MatrixCore};

/// A block of C that a cube, or on a CPU a core, computes at once: one of [`gemm_blocks`].
///
/// Its name is `rows x columns` of C and how it is computed: `128x256-p8-s4` by 8 planes with 4 stages in
/// shared memory, `128x64-t8x4` by units with tiles of 8 × 4, `4x64` by a core of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GemmBlock(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// The one tile of a CPU with so many lanes.
    Panel {
        lanes: usize,
    },
    Staged(Block),
    Tensor(TensorBlock),
}

impl GemmBlock {
    fn fits(&self, shape: DeviceShape) -> bool {
        match self.0 {
            Kind::Panel { .. } => true,
            Kind::Staged(block) => block.fits(shape),
            Kind::Tensor(block) => block.fits(shape),
        }
    }
}

impl fmt::Display for GemmBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            Kind::Panel { lanes } => format!("{}x{}", CPU_TILE.rows, CPU_TILE.vectors * lanes),
            Kind::Staged(block) => {
                let columns = block.tile.vectors * staged_block::GPU_LANES;
                format!("{}x{}-t{}x{columns}", block.rows(), block.columns(), block.tile.rows)
            }
            Kind::Tensor(block) => {
                let TensorBlock { rows, columns, stages, .. } = block;
                format!("{rows}x{columns}-p{}-s{stages}", block.plane_count())
            }
        };
        // As text, so that a table can give it a width.
        f.pad(&name)
    }
}

/// Every block that products of `dtype` can have on this device; a CPU has one.
pub fn gemm_blocks(ctx: &Context, dtype: DType) -> Vec<GemmBlock> {
    let shape = ctx.shape();
    let core = shape.matrix_core.filter(|_| dtype != DType::F32);
    let kinds: Vec<Kind> = if let Some(core) = core {
        tensor_block::blocks_on(core).into_iter().map(Kind::Tensor).collect()
    } else if shape.is_cpu() {
        vec![Kind::Panel { lanes: cpu_lanes(ctx) }]
    } else {
        staged_block::BLOCKS.map(Kind::Staged).into()
    };
    kinds.into_iter().map(GemmBlock).filter(|block| block.fits(shape)).collect()
}

/// The block that [`gemm`](super::gemm) takes for these operands on this device.
pub fn gemm_block(ctx: &Context, args: &Gemm<'_>) -> GemmBlock {
    let shape = ctx.shape();
    let core = shape.matrix_core.filter(|_| args.a.dtype() != DType::F32);
    GemmBlock(if let Some(core) = core {
        Kind::Tensor(tensor_layout(ctx, args, args.n, core).block)
    } else if shape.is_cpu() {
        Kind::Panel { lanes: cpu_lanes(ctx) }
    } else {
        Kind::Staged(staged_block(ctx, args))
    })
}

/// Sizes of products that one measurement stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GemmExtents {
    /// Rows of C.
    pub m: RangeInclusive<usize>,
    /// Columns of C.
    pub n: RangeInclusive<usize>,
    /// Length of the sums.
    pub k: RangeInclusive<usize>,
}

/// Blocks for products, as measurements on a device say; see [`Context::with_gemm_tuning`].
///
/// What it does not know keeps the block that follows from its sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GemmTuning {
    always: Option<GemmBlock>,
    entries: Vec<(DType, Transpose, GemmExtents, GemmBlock)>,
}

impl GemmTuning {
    /// One block for all products of the path that it belongs to: for measuring it.
    pub fn always(block: GemmBlock) -> Self {
        Self { always: Some(block), entries: Vec::new() }
    }

    /// Products of `dtype` in this layout and of these sizes take `block`; where several entries hold a
    /// product, the first counts.
    pub fn insert(
        &mut self,
        dtype: DType,
        transpose: Transpose,
        sizes: GemmExtents,
        block: GemmBlock,
    ) {
        self.entries.push((dtype, transpose, sizes, block));
    }

    fn block_of(&self, args: &Gemm<'_>) -> Option<GemmBlock> {
        let of_sizes = || {
            let holds = |(dtype, transpose, sizes, _): &&(DType, Transpose, GemmExtents, _)| {
                (*dtype, *transpose) == (args.a.dtype(), args.transpose)
                    && sizes.m.contains(&args.m)
                    && sizes.n.contains(&args.n)
                    && sizes.k.contains(&args.k)
            };
            self.entries.iter().find(holds).map(|(.., block)| *block)
        };
        self.always.or_else(of_sizes)
    }
}

/// What was measured for a product, if its device runs it.
fn measured(ctx: &Context, args: &Gemm<'_>) -> Option<Kind> {
    let block = ctx.gemm_tuning().block_of(args)?;
    block.fits(ctx.shape()).then_some(block.0)
}

/// The block of the register-tiled path.
pub(super) fn staged_block(ctx: &Context, args: &Gemm<'_>) -> Block {
    match measured(ctx, args) {
        Some(Kind::Staged(block)) => block,
        _ => staged_block::block_for(ctx.shape(), args.m, args.n),
    }
}

/// The layout of the tensor-core path.
pub(super) fn tensor_layout(
    ctx: &Context,
    args: &Gemm<'_>,
    c_stride: usize,
    core: MatrixCore,
) -> Layout {
    let layout = layout_for(args.m, args.n, args.k, may_split(args, c_stride));
    match measured(ctx, args) {
        Some(Kind::Tensor(block)) if block.core == core => Layout { block, ..layout },
        _ => Layout { block: layout.block.on(core), ..layout },
    }
}

#[cfg(all(test, feature = "offline"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use super::*;
    use crate::Buffer;
    use crate::offline::{Device, Target};
    use crate::ops::Epilogue;

    /// Runs `work` on a device that is not there.
    fn on(target: Target, work: impl FnOnce(&Context)) {
        Device::new(target).unwrap().compiled_for("tuning", work).unwrap();
    }

    /// A product whose operands nobody reads.
    fn product<'a>(buffer: &'a Buffer, sizes: (usize, usize, usize)) -> Gemm<'a> {
        let (m, n, k) = sizes;
        Gemm {
            a: buffer,
            b: buffer,
            c: buffer,
            m,
            n,
            k,
            transpose: Transpose::NT,
            accumulate: false,
            epilogue: Epilogue::None,
        }
    }

    fn named(ctx: &Context, name: &str) -> GemmBlock {
        let blocks = gemm_blocks(ctx, DType::Bf16);
        *blocks.iter().find(|block| block.to_string() == name).unwrap()
    }

    #[test]
    fn blocks_have_names_of_their_own_and_fit_their_device() {
        for (target, dtype, least) in [
            (Target::Sm80, DType::Bf16, tensor_block::BLOCKS.len()),
            (Target::Sm90, DType::F16, tensor_block::BLOCKS.len()),
            (Target::Sm90, DType::F32, staged_block::BLOCKS.len()),
            (Target::Gfx942, DType::F32, staged_block::BLOCKS.len()),
            (Target::Gfx942, DType::Bf16, 2),
            (Target::Gfx1100, DType::F16, 2),
        ] {
            on(target, |ctx| {
                let blocks = gemm_blocks(ctx, dtype);
                let names: HashSet<String> = blocks.iter().map(ToString::to_string).collect();
                assert_eq!((blocks.len(), names.len()), (least, least), "{target:?}");
                assert!(blocks.iter().all(|block| block.fits(ctx.shape())));
                let small = DeviceShape { shared_memory_bytes: 48 * 1024, ..ctx.shape() };
                let tiny = DeviceShape { max_units_per_cube: 64, ..ctx.shape() };
                assert!(blocks.iter().any(|block| block.fits(small)));
                assert!(blocks.iter().any(|block| !block.fits(tiny)));
            });
        }
    }

    #[test]
    fn a_product_takes_the_first_entry_that_holds_its_sizes_or_the_rule() {
        on(Target::Sm90, |ctx| {
            let buffer = ctx.empty(DType::Bf16, 1);
            let (wide, tall) = (named(ctx, "128x256-p8-s4"), named(ctx, "256x128-p8-s4"));
            let mut tuning = GemmTuning::default();
            let sizes = |m| GemmExtents { m, n: 768..=768, k: 3072..=3072 };
            tuning.insert(DType::Bf16, Transpose::NT, sizes(4000..=9000), wide);
            tuning.insert(DType::Bf16, Transpose::NT, sizes(1..=16_000), tall);
            let tuned = ctx.clone().with_gemm_tuning(tuning);
            for (sizes, expected) in [
                ((8192, 768, 3072), wide),
                ((4000, 768, 3072), wide),
                ((3999, 768, 3072), tall),
                ((16_001, 768, 3072), named(ctx, "128x128-p4-s4")),
                ((8192, 769, 3072), named(ctx, "128x128-p4-s4")),
                ((64, 768, 768), named(ctx, "64x64-p4-s4")),
            ] {
                let args = product(&buffer, sizes);
                assert_eq!(gemm_block(&tuned, &args), expected, "{sizes:?}");
                let other = Gemm { transpose: Transpose::NN, ..args };
                assert_eq!(gemm_block(&tuned, &other), gemm_block(ctx, &other), "{sizes:?}");
            }
        });
    }

    /// What a device cannot run is not taken, wherever it was measured.
    #[test]
    fn a_block_of_another_path_is_left_alone() {
        on(Target::Gfx942, |ctx| {
            let buffer = ctx.empty(DType::F32, 1);
            let args = product(&buffer, (8192, 768, 768));
            let block = GemmBlock(Kind::Tensor(tensor_block::BLOCKS[0]));
            let tuned = ctx.clone().with_gemm_tuning(GemmTuning::always(block));
            assert_eq!(gemm_block(&tuned, &args), gemm_block(ctx, &args));
        });
    }

    /// Parts along k change bits, so no measurement may move them.
    #[test]
    fn parts_along_k_are_those_of_the_sizes_in_every_block() {
        on(Target::Sm90, |ctx| {
            let (a, c) = (ctx.empty(DType::Bf16, 1), ctx.empty(DType::F32, 1));
            for sizes @ (m, n, k) in [(768, 768, 16_384), (2304, 768, 8192), (128, 128, 5000)] {
                let plain = product(&a, sizes);
                let gradient = Gemm { c: &c, transpose: Transpose::TN, accumulate: true, ..plain };
                let expected = tensor_layout(ctx, &gradient, n, MatrixCore::Mma);
                assert!(expected.parts > 1, "{m}x{n}x{k}");
                for block in gemm_blocks(ctx, DType::Bf16) {
                    let tuned = ctx.clone().with_gemm_tuning(GemmTuning::always(block));
                    let found = tensor_layout(&tuned, &gradient, n, MatrixCore::Mma);
                    assert_eq!(GemmBlock(Kind::Tensor(found.block)), block);
                    assert_eq!((found.parts, found.part), (expected.parts, expected.part));
                }
            }
        });
    }
}
