//! Matrix products with fused epilogues: C = epilogue(op(A) · op(B) (+ C)).
//!
//! The three layouts are the passes of a linear layer y = x Wᵀ + b with W stored [out, in]:
//! forward is [`NT`](Transpose::NT), the gradient of x is [`NN`](Transpose::NN) (dY · W), the
//! gradient of W is [`TN`](Transpose::TN) (dYᵀ · x). Row-major and contiguous; inputs f32, bf16 or
//! f16, accumulation in f32, C in f32 or the inputs' type.
//!
//! One blocking: a unit owns a register tile of C (`tile_register`) and walks k, taking
//! operands from a staged, k-major copy. On a CPU the staging is a panel of B in memory and each
//! core walks its own tiles (`panel`); on a GPU it is a pair of tiles in shared memory, filled by
//! all units of a cube between barriers (`staged`). The sum over k is one sequential chain of
//! fused multiply-adds an element, in ascending k, on every device: results are deterministic.
//!
//! Where planes have matrix instructions for 16-bit floats, NVIDIA's or AMD's, they take the place of the
//! register tile (`tensor`, `tensor_block` for the sizes, `crate::tensor_tile` and `crate::amd_tile`): the
//! chain then runs along k in steps of 16, whose sums the instruction makes.

mod epilogue;
mod panel;
#[cfg(feature = "cases")]
pub(crate) mod reference;
mod staged;
mod staged_block;
mod tensor;
mod tensor_block;
mod tile_register;
mod tune;
mod tuning;

use cubecl::prelude::*;
use half::{bf16, f16};

pub use super::activation::Activation;
use super::dropout::expect_act;
use crate::column_sums::add_rows;
use crate::lanes::{expect_u32, with_act};
use crate::{Buffer, Context, DType, KernelError, MatrixCore};
use epilogue::Finish;
use staged_block::GPU_LANES;
use tensor_block::{Layout, TensorBlock, layout_for};
use tile_register::Tile;

pub use tune::{fastest_block, time_blocks};
pub use tuning::{GemmBlock, GemmExtents, GemmTuning, gemm_block, gemm_blocks};

/// Which operands are stored transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transpose {
    /// A `[m, k]` · B `[k, n]`.
    NN,
    /// A `[m, k]` · B `[n, k]`ᵀ.
    NT,
    /// A `[k, m]`ᵀ · B `[k, n]`.
    TN,
}

/// What happens to the product before it is stored.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue<'a> {
    /// Nothing.
    None,
    /// Adds a bias `[n]`, f32, to every row.
    Bias(&'a Buffer),
    /// Adds a bias, keeps the sum, and applies an activation.
    BiasActivation {
        /// `[n]`, f32.
        bias: &'a Buffer,
        /// The nonlinearity.
        activation: Activation,
        /// `[m, n]` like C, out: the value before the activation, which the backward pass needs.
        pre: &'a Buffer,
    },
}

/// Operands of [`gemm`].
#[derive(Debug, Clone, Copy)]
pub struct Gemm<'a> {
    /// `[m, k]` or `[k, m]`, f32, bf16 or f16.
    pub a: &'a Buffer,
    /// `[k, n]` or `[n, k]`, like `a`.
    pub b: &'a Buffer,
    /// `[m, n]`, out: f32 or like `a`.
    pub c: &'a Buffer,
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Layout of A and B.
    pub transpose: Transpose,
    /// Whether the product is added to what C holds, before the epilogue.
    pub accumulate: bool,
    /// The last step.
    pub epilogue: Epilogue<'a>,
}

/// C = epilogue(op(A) · op(B) (+ C)).
///
/// # Errors
///
/// Operands whose lengths or types do not fit the sizes, or sizes past 2³² elements.
pub fn gemm(ctx: &Context, args: Gemm<'_>) -> Result<(), KernelError> {
    const OP: &str = "gemm";
    let Gemm { a, b, c, m, n, k, .. } = args;
    expect_act(OP, "a", a)?;
    a.expect_len(OP, "a", m * k)?;
    b.expect_len(OP, "b", k * n)?;
    b.expect_dtype(OP, "b", a.dtype())?;
    c.expect_len(OP, "c", m * n)?;
    if c.dtype() != DType::F32 {
        c.expect_dtype(OP, "c", a.dtype())?;
    }
    for (what, found) in [("m·k", m * k), ("k·n", k * n), ("m·n", m * n)] {
        expect_u32(OP, what, found)?;
    }
    match args.epilogue {
        Epilogue::None => {}
        Epilogue::Bias(bias) => {
            bias.expect_dtype(OP, "bias", DType::F32)?;
            bias.expect_len(OP, "bias", n)?;
        }
        Epilogue::BiasActivation { bias, pre, .. } => {
            bias.expect_dtype(OP, "bias", DType::F32)?;
            bias.expect_len(OP, "bias", n)?;
            pre.expect_dtype(OP, "pre", c.dtype())?;
            pre.expect_len(OP, "pre", m * n)?;
        }
    }
    if m * n == 0 {
        return Ok(());
    }
    let a_stride = if args.transpose == Transpose::TN { m } else { k };
    multiply(ctx, &args, a_stride, n);
    Ok(())
}

/// [`gemm`] without its checks, with the distances between the rows of A as it is stored and between
/// those of C; operands may be parts of wider matrices.
pub(crate) fn multiply(ctx: &Context, args: &Gemm<'_>, a_stride: usize, c_stride: usize) {
    let strides = Strides { a_stride, c_stride };
    let (narrow, of_c) = (args.a.dtype(), args.c.dtype());
    if let Some(core) = ctx.shape().matrix_core.filter(|_| narrow != DType::F32) {
        match (narrow, of_c) {
            (DType::Bf16, DType::F32) => by_tensor_cores::<bf16, f32>(ctx, args, strides, core),
            (DType::Bf16, _) => by_tensor_cores::<bf16, bf16>(ctx, args, strides, core),
            (_, DType::F32) => by_tensor_cores::<f16, f32>(ctx, args, strides, core),
            _ => by_tensor_cores::<f16, f16>(ctx, args, strides, core),
        }
    } else if ctx.shape().is_cpu() {
        with_act!(args.a.dtype(), E => match of_c {
            DType::F32 => by_panels::<E, E, f32>(ctx, args, strides),
            _ => by_panels::<E, E, E>(ctx, args, strides),
        });
    } else {
        with_act!(args.a.dtype(), E => match of_c {
            DType::F32 => by_staging::<E, E, f32>(ctx, args, strides),
            _ => by_staging::<E, E, E>(ctx, args, strides),
        });
    }
}

struct Strides {
    a_stride: usize,
    c_stride: usize,
}

fn finish_of(args: &Gemm<'_>) -> Finish {
    Finish {
        accumulate: args.accumulate,
        activation: match args.epilogue {
            Epilogue::BiasActivation { activation, .. } => Some(activation),
            _ => None,
        },
    }
}

type Optional<T> = ComptimeOptionArgs<Box<[T]>>;

/// Bias and pre-activation as kernel arguments.
#[allow(clippy::type_complexity)]
fn epilogue_args<EC: Float, NC: Size>(
    epilogue: Epilogue<'_>,
) -> (Optional<Vector<f32, NC>>, Optional<Vector<EC, NC>>) {
    let (bias, pre) = match epilogue {
        Epilogue::None => (None, None),
        Epilogue::Bias(bias) => (Some(bias.arg()), None),
        Epilogue::BiasActivation { bias, pre, .. } => (Some(bias.arg()), Some(pre.arg())),
    };
    (bias.into(), pre.into())
}

/// Lanes with which the rows of C can be stored.
fn c_lanes(lanes: usize, n: usize, c_stride: usize) -> usize {
    if n.is_multiple_of(lanes) && c_stride.is_multiple_of(lanes) { lanes } else { 1 }
}

/// Accumulators of a CPU unit: 16 of the 32 vector registers. Measured against 6 × 4, 8 × 2, 8 × 3
/// and 12 × 2, which are slower.
const CPU_TILE: Tile = Tile { rows: 4, vectors: 4 };

/// Lanes of a CPU unit: its widest load of f32.
fn cpu_lanes(ctx: &Context) -> usize {
    (ctx.shape().load_width_bits as usize / 32).max(1)
}

/// Elements of f32 that [`gemm`] allocates while it runs: on a CPU B packed into panels, and an A that is
/// stored transposed packed into tiles, on tensor cores the parts of a gradient that is split along k.
/// `dtype` is that of A and B.
pub fn gemm_scratch_len(
    ctx: &Context,
    dtype: DType,
    transpose: Transpose,
    m: usize,
    n: usize,
    k: usize,
) -> usize {
    if ctx.shape().is_cpu() {
        return panels_len(ctx, n, k)
            + if transpose == Transpose::TN { tiles_len(m, k) } else { 0 };
    }
    let may_split = transpose == Transpose::TN;
    match layout_for(m, n, k, may_split).parts {
        parts if parts > 1 && ctx.shape().matrix_core.is_some() && dtype != DType::F32 => {
            parts * m * n
        }
        _ => 0,
    }
}

fn panels_len(ctx: &Context, n: usize, k: usize) -> usize {
    n.next_multiple_of(CPU_TILE.vectors * cpu_lanes(ctx)) * k
}

fn tiles_len(m: usize, k: usize) -> usize {
    m.next_multiple_of(CPU_TILE.rows) * k
}

#[allow(unsafe_code)]
fn by_panels<EA, EB, EC>(ctx: &Context, args: &Gemm<'_>, strides: Strides)
where
    EA: Float + CubeElement,
    EB: Float + CubeElement,
    EC: Float + CubeElement,
{
    let &Gemm { a, b, m, n, k, .. } = args;
    let lanes = cpu_lanes(ctx);
    let (count, dim) = cpu_cube(ctx);
    let panels = ctx.empty(DType::F32, panels_len(ctx, n, k));
    let b_transposed = args.transpose == Transpose::NT;
    let b_lanes = if !b_transposed && n.is_multiple_of(lanes) { lanes } else { 1 };
    // SAFETY: items are within the panels, and columns of B are clamped.
    unsafe {
        panel::pack_panels::launch_unchecked::<EB>(
            ctx.client(),
            count.clone(),
            dim,
            lanes,
            b_lanes,
            b.arg(),
            panels.arg(),
            n,
            k,
            CPU_TILE.vectors,
            b_transposed,
        );
    }
    if args.transpose != Transpose::TN {
        return multiply_panels::<EA, EC>(ctx, args, a, &panels, strides, false);
    }
    let (rows, stride) = (CPU_TILE.rows, strides.a_stride);
    let tiles = ctx.empty(DType::F32, tiles_len(m, k));
    let whole = m.is_multiple_of(rows) && stride.is_multiple_of(rows);
    // SAFETY: tiles are within their room, and rows of A are clamped.
    unsafe {
        panel::pack_tiles::launch_unchecked::<EA>(
            ctx.client(),
            count,
            dim,
            rows,
            if whole { rows } else { 1 },
            a.arg(),
            tiles.arg(),
            m,
            k,
            stride,
        );
    }
    multiply_panels::<f32, EC>(ctx, args, &tiles, &panels, strides, true);
}

/// One cube of all cores.
fn cpu_cube(ctx: &Context) -> (CubeCount, CubeDim) {
    (CubeCount::Static(1, 1, 1), CubeDim::new_1d(ctx.shape().max_units_per_cube))
}

#[allow(unsafe_code)]
fn multiply_panels<EA, EC>(
    ctx: &Context,
    args: &Gemm<'_>,
    a: &Buffer,
    panels: &Buffer,
    Strides { a_stride, c_stride }: Strides,
    a_packed: bool,
) where
    EA: Float + CubeElement,
    EC: Float + CubeElement,
{
    let &Gemm { c, m, n, k, .. } = args;
    let lanes = cpu_lanes(ctx);
    let (count, dim) = cpu_cube(ctx);
    let (bias, pre) = epilogue_args(args.epilogue);
    // SAFETY: rows and columns are clamped on load and checked on store.
    unsafe {
        panel::gemm_panels::launch_unchecked::<EA, EC>(
            ctx.client(),
            count,
            dim,
            lanes,
            c_lanes(lanes, n, c_stride),
            a.arg(),
            panels.arg(),
            c.arg(),
            bias,
            pre,
            m,
            n,
            k,
            a_stride,
            c_stride,
            CPU_TILE,
            a_packed,
            finish_of(args),
        );
    }
}

/// Most cubes along y that every runtime takes.
const MAX_ROW_BLOCKS: usize = 65_535;

#[allow(unsafe_code)]
fn by_staging<EA, EB, EC>(ctx: &Context, args: &Gemm<'_>, Strides { a_stride, c_stride }: Strides)
where
    EA: Float + CubeElement,
    EB: Float + CubeElement,
    EC: Float + CubeElement,
{
    let &Gemm { a, b, c, m, n, k, .. } = args;
    let block = tuning::staged_block(ctx, args);
    let lanes = GPU_LANES;
    let b_transposed = args.transpose == Transpose::NT;
    let b_lanes = if !b_transposed && n.is_multiple_of(lanes) { lanes } else { 1 };
    let columns = n.div_ceil(block.vectors() * lanes) as u32;
    let rows = m.div_ceil(block.rows()).min(MAX_ROW_BLOCKS) as u32;
    let (bias, pre) = epilogue_args(args.epilogue);
    // SAFETY: elements past an edge are not loaded and not stored.
    unsafe {
        staged::gemm_staged::launch_unchecked::<EA, EB, EC>(
            ctx.client(),
            CubeCount::Static(columns, rows, 1),
            CubeDim::new_1d(block.threads() as u32),
            lanes,
            b_lanes,
            c_lanes(lanes, n, c_stride),
            a.arg(),
            b.arg(),
            c.arg(),
            bias,
            pre,
            m,
            n,
            k,
            a_stride,
            c_stride,
            block,
            args.transpose == Transpose::TN,
            b_transposed,
            finish_of(args),
        );
    }
}

/// Widest power of two of elements that divides both distances and is at most 16 bytes.
fn wide_lanes(dtype: DType, row: usize, stride: usize) -> usize {
    1 << (row | stride).trailing_zeros().min((16 / dtype.size_bytes()).trailing_zeros())
}

fn by_tensor_cores<E, EC>(
    ctx: &Context,
    args: &Gemm<'_>,
    Strides { a_stride, c_stride }: Strides,
    core: MatrixCore,
) where
    E: Float + CubeElement,
    EC: Float + CubeElement,
{
    let &Gemm { c, m, n, k, .. } = args;
    let Layout { block, parts, part } = tuning::tensor_layout(ctx, args, c_stride, core);
    if parts > 1 {
        let sums = ctx.empty(DType::F32, parts * m * n);
        let alone = Gemm { c: &sums, accumulate: false, ..*args };
        launch_tensor::<E, f32>(ctx, &alone, Strides { a_stride, c_stride }, block, parts, part);
        return add_rows(ctx, &sums, c, parts, m * n);
    }
    launch_tensor::<E, EC>(ctx, args, Strides { a_stride, c_stride }, block, 1, k);
}

/// Whether parts of the product may be summed up in C one after another: a gradient's may.
fn may_split(args: &Gemm<'_>, c_stride: usize) -> bool {
    args.accumulate
        && args.c.dtype() == DType::F32
        && matches!(args.epilogue, Epilogue::None)
        && c_stride == args.n
}

#[allow(unsafe_code)]
fn launch_tensor<E, EC>(
    ctx: &Context,
    args: &Gemm<'_>,
    Strides { a_stride, c_stride }: Strides,
    block: TensorBlock,
    parts: usize,
    part: usize,
) where
    E: Float + CubeElement,
    EC: Float + CubeElement,
{
    let &Gemm { a, b, c, m, n, k, transpose, .. } = args;
    let b_stride = if transpose == Transpose::NT { k } else { n };
    let a_row = if transpose == Transpose::TN { m } else { k };
    // NVIDIA's copies end with the row; AMD's loads are within it or past it.
    let row_in_pieces = |row, stride| if block.core == MatrixCore::Mma { stride } else { row };
    let tiles = m.div_ceil(block.rows) * n.div_ceil(block.columns);
    let (bias, pre) = epilogue_args(args.epilogue);
    // SAFETY: elements past an edge are not read and not stored; a copy begins at a multiple of its
    // width because rows do.
    unsafe {
        tensor::gemm_tensor::launch_unchecked::<E, EC>(
            ctx.client(),
            CubeCount::Static(tiles as u32, parts as u32, 1),
            CubeDim::new_1d(block.units() as u32),
            wide_lanes(a.dtype(), row_in_pieces(a_row, a_stride), a_stride),
            wide_lanes(b.dtype(), b_stride, b_stride),
            wide_lanes(c.dtype(), n, c_stride),
            a.arg(),
            b.arg(),
            c.arg(),
            bias,
            pre,
            m,
            n,
            k,
            part,
            a_stride,
            b_stride,
            c_stride,
            block,
            block.a_stage(transpose != Transpose::TN),
            block.b_stage(transpose == Transpose::NT),
            finish_of(args),
        );
    }
}
