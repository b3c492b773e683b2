//! Dropout with a mask that nobody stores: each decision is a pure function of
//! (seed, stream, element index).
//!
//! `out[i] = keep(i) ? x[i] / (1 − p) : 0`, and the gradient is the same map applied to the
//! gradient, so there is one operation for both passes (Srivastava et al. 2014, "inverted" form).
//!
//! A 64-bit element index is split into a *row* (high half) and a *column* (low half). Host code
//! mixes seed and stream into two 32-bit keys; a kernel mixes the row into them once, and the column
//! once per element, with the 32-bit integer finalizer "lowbias32" (C. Wellons, hash-prospector,
//! public domain): multiplications of 32 bits only, which vectors of every runtime have.
//!
//! Kernels read the keys from memory: launches that were recorded draw anew when those are written anew.

use cubecl::prelude::*;

use crate::lanes::{expect_u32, iota, lanes, my_items, spread, with_act};
use crate::{Buffer, Context, DType, KernelError};

/// Which elements are dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of elements that become zero, in [0, 1). 0 is the identity.
    pub probability: f32,
    /// The run's seed.
    pub seed: u64,
    /// Identifies step, layer and place: two masks of a run never share it.
    pub stream: u64,
    /// Index of the first element, where the operands are a part of what the mask is for: a slice of a
    /// batch that several processes share.
    pub first: u64,
}

impl Dropout {
    /// The mask with keys of its own on the device.
    pub fn on(self, ctx: &Context) -> DeviceDropout {
        let Self { probability, seed, stream, first } = self;
        let keys = ctx.upload_u32(&dropout_keys(seed, stream));
        DeviceDropout { probability, keys, mask: 0, first }
    }
}

/// A [`Dropout`] whose keys are on the device, alone or among those of other masks.
#[derive(Debug, Clone)]
pub struct DeviceDropout {
    /// Share of elements that become zero, in [0, 1). 0 is the identity.
    pub probability: f32,
    /// [`dropout_keys`] of K masks, one behind the other `[2 K]` u32.
    pub keys: Buffer,
    /// Which of them, below K.
    pub mask: usize,
    /// See [`Dropout::first`].
    pub first: u64,
}

/// Operands of [`dropout`].
pub struct DropoutArgs<'a> {
    /// Values, any length below 2³², f32, bf16 or f16.
    pub x: &'a Buffer,
    /// Result, like `x`; may be `x` itself.
    pub out: &'a Buffer,
    /// The mask.
    pub dropout: &'a DeviceDropout,
}

/// `out[i] = keep(i) ? x[i] / (1 − p) : 0`; used for values and for gradients alike.
///
/// # Errors
///
/// Unequal lengths or types, or a probability outside [0, 1).
pub fn dropout(ctx: &Context, args: DropoutArgs<'_>) -> Result<(), KernelError> {
    const OP: &str = "dropout";
    let DropoutArgs { x, out, dropout } = args;
    expect_act(OP, "x", x)?;
    out.expect_dtype(OP, "out", x.dtype())?;
    out.expect_len(OP, "out", x.len())?;
    expect_u32(OP, "elements", x.len())?;
    let mask = Mask::new(OP, Some(dropout), (1, x.len()))?;
    if x.is_empty() {
        return Ok(());
    }
    let width = lanes(ctx, x.dtype(), x.len());
    let vectors = x.len() / width;
    let spread = spread(ctx, vectors);
    let out_arg = if x.is_same(out) { BufferArg::alias(0, out.len()) } else { out.arg() };
    with_act!(x.dtype(), E => dropout_elements::launch::<E>(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        x.arg(),
        out_arg,
        vectors,
        mask.launch(),
        spread.contiguous,
    ));
    Ok(())
}

/// Whether element `index` survives: the definition that kernels follow, for references.
pub fn keep_host(seed: u64, stream: u64, index: u64, probability: f32) -> bool {
    let keys = dropout_keys(seed, stream);
    let row = row_keys_host(keys, (index >> 32) as u32);
    hash_host(index as u32, row) >= drop_below(probability)
}

/// Checks that an operand is f32, bf16 or f16.
pub(crate) fn expect_act(
    op: &'static str,
    operand: &'static str,
    buffer: &Buffer,
) -> Result<(), KernelError> {
    match buffer.dtype() {
        DType::F32 | DType::Bf16 | DType::F16 => Ok(()),
        found => Err(KernelError::DType { op, operand, expected: "f32, bf16 or f16", found }),
    }
}

/// A checked [`DeviceDropout`], as kernels take it.
#[derive(Debug, Clone)]
pub(crate) struct Mask {
    /// The keys, and where those of this mask are among them.
    keys: Option<(Buffer, usize)>,
    drop_below: u32,
    scale: f32,
    first: u64,
}

impl Mask {
    /// A mask of as many rows and columns; `None` and probability 0 keep everything.
    pub(crate) fn new(
        op: &'static str,
        dropout: Option<&DeviceDropout>,
        (rows, columns): (usize, usize),
    ) -> Result<Self, KernelError> {
        let Some(dropout) = dropout else {
            return Ok(Self { keys: None, drop_below: 0, scale: 1.0, first: 0 });
        };
        expect_u32(op, "rows of the mask", (dropout.first >> 32) as usize + rows)?;
        expect_u32(op, "columns of the mask", dropout.first as u32 as usize + columns)?;
        if !(0.0..1.0).contains(&dropout.probability) {
            return Err(KernelError::Value {
                op,
                what: "dropout probability",
                expected: "in [0, 1)",
                found: dropout.probability.to_string(),
            });
        }
        dropout.keys.expect_dtype(op, "keys", DType::U32)?;
        let at = 2 * dropout.mask;
        if at + 2 > dropout.keys.len() {
            return Err(KernelError::Size {
                op,
                what: "number of the mask",
                expected: "below that of the pairs of keys",
                found: dropout.mask,
            });
        }
        let drop_below = drop_below(dropout.probability);
        Ok(Self {
            keys: (drop_below > 0).then(|| (dropout.keys.clone(), at)),
            drop_below,
            scale: 1.0 / (1.0 - dropout.probability),
            first: dropout.first,
        })
    }

    /// Whether anything can be dropped.
    pub(crate) fn drops(&self) -> bool {
        self.drop_below > 0
    }

    /// Whether the columns below `columns` can be drawn with a [`ShortRow`].
    pub(crate) fn is_short(&self, columns: usize) -> bool {
        self.first as u32 == 0 && columns <= SHORT_COLUMNS
    }

    /// The mask as a kernel argument.
    pub(crate) fn launch(&self) -> DropMaskLaunch {
        let (row, column) = ((self.first >> 32) as u32, self.first as u32);
        let at = self.keys.as_ref().map_or(0, |(_, at)| *at);
        let keys = self.keys.as_ref().map(|(keys, _)| keys.arg());
        DropMaskLaunch::new(keys.into(), at, self.drop_below, self.scale, row, column)
    }
}

/// Columns of which the first step of the finalizer leaves the row alone.
const SHORT_COLUMNS: usize = 1 << 16;

/// The share of hashes below this is the probability, to within 2⁻³².
fn drop_below(probability: f32) -> u32 {
    (f64::from(probability) * 2f64.powi(32)) as u32
}

/// Seed and stream mixed into the two keys of a mask by splitmix64's finalizer (Steele et al. 2014).
pub fn dropout_keys(seed: u64, stream: u64) -> [u32; 2] {
    let mix = |value: u64| {
        let z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let mixed = mix(mix(seed) ^ stream);
    [mixed as u32, (mixed >> 32) as u32]
}

const MULTIPLIER_1: u32 = 0x21F0_AAAD;
const MULTIPLIER_2: u32 = 0xD35A_2D97;
const ROW_STEP: u32 = 0x9E37_79B9;

fn row_keys_host(keys: [u32; 2], row: u32) -> [u32; 2] {
    let first = finalize_host(row ^ keys[0], keys[1]);
    [first, finalize_host(first.wrapping_add(ROW_STEP), keys[0])]
}

fn hash_host(column: u32, row: [u32; 2]) -> u32 {
    finalize_host(column ^ row[0], row[1])
}

fn finalize_host(x: u32, key: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(MULTIPLIER_1);
    let x = (x ^ (x >> 15)).wrapping_add(key).wrapping_mul(MULTIPLIER_2);
    x ^ (x >> 15)
}

/// A mask inside a kernel; one that drops nothing has no keys.
#[derive(CubeType, CubeLaunch)]
pub(crate) struct DropMask {
    keys: ComptimeOption<Box<[u32]>>,
    at: usize,
    drop_below: u32,
    scale: f32,
    first_row: u32,
    first_column: u32,
}

/// A mask with a row mixed in: what is left to do per element is one finalizer.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct RowMask {
    key0: u32,
    key1: u32,
    drop_below: u32,
    scale: f32,
    first_column: u32,
}

/// A row for columns below 2¹⁶, with a shorter way to the same hash: two thirds of the instructions.
pub(crate) type ShortRow = Vector<u32, Const<2>>;

#[cube]
impl DropMask {
    /// The decisions of the element indices `first + row · 2³² + column`.
    pub(crate) fn row(&self, row: u32) -> RowMask {
        let row = row + self.first_row;
        let mut key0 = 0u32;
        let mut key1 = 0u32;
        #[comptime]
        if let ComptimeOption::Some(keys) = &self.keys {
            key0 = keys[self.at];
            key1 = keys[self.at + 1];
        }
        let first = finalize::<Const<1>>(Vector::new(row ^ key0), key1).extract(0usize);
        let second = finalize::<Const<1>>(Vector::new(first + ROW_STEP), key0).extract(0usize);
        RowMask {
            key0: first,
            key1: second,
            drop_below: self.drop_below,
            scale: self.scale,
            first_column: self.first_column,
        }
    }

    /// The same decisions as those of [`row`](Self::row), where [`Mask::is_short`].
    pub(crate) fn short_row(&self, row: u32) -> ShortRow {
        let row = self.row(row);
        let mut short = ShortRow::empty();
        // x ^ (x >> 16) of x = column ^ key, whose high half is the key's.
        short.insert(0usize, row.key0 ^ (row.key0 >> 16));
        short.insert(1usize, row.key1 * MULTIPLIER_2);
        short
    }

    /// `1 / (1 − p)` if the element is kept, else zero.
    pub(crate) fn factor(&self, row: ShortRow, column: u32) -> f32 {
        let x = (row.extract(0usize) ^ column) * MULTIPLIER_1;
        let x = (x ^ (x >> 15)) * MULTIPLIER_2 + row.extract(1usize);
        select((x ^ (x >> 15)) >= self.drop_below, self.scale, 0.0f32)
    }
}

#[cube]
impl RowMask {
    /// `x / (1 − p)` in the lanes kept, zero in the others; lane i is column `first + i`.
    pub(crate) fn apply<N: Size>(&self, x: Vector<f32, N>, first: u32) -> Vector<f32, N> {
        x * self.factors::<N>(first)
    }

    /// `1 / (1 − p)` in the lanes kept, zero in the others; lane i is column `first + i`.
    pub(crate) fn factors<N: Size>(&self, first: u32) -> Vector<f32, N> {
        let column = iota::<N>() + Vector::new(first + self.first_column);
        let hash = finalize::<N>(column ^ Vector::new(self.key0), self.key1);
        select_many(
            hash.greater_equal(&Vector::new(self.drop_below)),
            Vector::new(self.scale),
            Vector::new(0.0f32),
        )
    }
}

#[cube]
fn finalize<N: Size>(x: Vector<u32, N>, key: u32) -> Vector<u32, N> {
    let x = (x ^ (x >> Vector::new(16u32))) * Vector::new(MULTIPLIER_1);
    let x = ((x ^ (x >> Vector::new(15u32))) + Vector::new(key)) * Vector::new(MULTIPLIER_2);
    x ^ (x >> Vector::new(15u32))
}

#[cube(launch)]
fn dropout_elements<E: Float, N: Size>(
    x: &[Vector<E, N>],
    out: &mut [Vector<E, N>],
    vectors: usize,
    mask: DropMask,
    #[comptime] contiguous: bool,
) {
    let row = mask.row(0u32.runtime());
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        let value = Vector::<f32, N>::cast_from(x[i]);
        out[i] = Vector::cast_from(row.apply::<N>(value, (i * N::value()) as u32));
        i += items.step;
    }
}

/// The same map in f64.
#[cfg(any(test, feature = "cases"))]
pub(crate) mod reference {
    use super::{Dropout, keep_host};

    /// `1 / (1 − p)` where element `index` is kept, 0 elsewhere.
    pub(crate) fn factor(dropout: Option<Dropout>, index: u64) -> f64 {
        match dropout {
            None => 1.0,
            Some(d) if keep_host(d.seed, d.stream, d.first + index, d.probability) => {
                1.0 / (1.0 - f64::from(d.probability))
            }
            Some(_) => 0.0,
        }
    }

    /// The operation over a buffer.
    pub(crate) fn dropout(x: &[f64], dropout: Dropout) -> Vec<f64> {
        x.iter().enumerate().map(|(index, x)| x * factor(Some(dropout), index as u64)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keep rate of n independent draws lies within 5 standard deviations of 1 − p.
    fn expect_rate(kept: usize, n: usize, p: f64) {
        let deviation = (p * (1.0 - p) / n as f64).sqrt();
        let rate = kept as f64 / n as f64;
        assert!((rate - (1.0 - p)).abs() < 5.0 * deviation, "kept {rate} of {n} draws at p = {p}");
    }

    #[test]
    fn the_keep_rate_is_right_along_columns_rows_and_streams() {
        let n = 100_000u64;
        for p in [0.1f32, 0.5, 0.9] {
            for stride in [1u64, 1 << 32, (1 << 32) + 1, 128] {
                let kept = (0..n).filter(|i| keep_host(7, 3, i * stride, p)).count();
                expect_rate(kept, n as usize, f64::from(p));
            }
            let kept = (0..n).filter(|&s| keep_host(7, s, 5, p)).count();
            expect_rate(kept, n as usize, f64::from(p));
            let kept = (0..n).filter(|&s| keep_host(s, 7, 5, p)).count();
            expect_rate(kept, n as usize, f64::from(p));
        }
    }

    #[cfg(feature = "cpu")]
    #[cube(launch)]
    fn both_ways(out: &mut [f32], rows: usize, columns: usize, step: usize, mask: DropMask) {
        for row in 0..rows {
            let long = mask.row(row as u32);
            let short = mask.short_row(row as u32);
            for i in 0..columns {
                let column = (i * step) as u32;
                let at = 2 * (row * columns + i);
                out[at] = long.factors::<Const<1>>(column).extract(0usize);
                out[at + 1] = mask.factor(short, column);
            }
        }
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn the_shorter_way_draws_the_same() -> Result<(), KernelError> {
        let ctx = Context::open("cpu")?;
        let (rows, columns, step, first) = (5usize, 1_000usize, 65, 37u64);
        let (seed, stream, probability) = (3, 9, 0.3);
        let dropout = Dropout { probability, seed, stream, first: first << 32 };
        let mask = Mask::new("test", Some(&dropout.on(&ctx)), (rows, SHORT_COLUMNS))?;
        assert!(mask.is_short(SHORT_COLUMNS) && columns * step <= SHORT_COLUMNS);
        let out = ctx.empty(DType::F32, 2 * rows * columns);
        both_ways::launch(
            ctx.client(),
            CubeCount::Static(1, 1, 1),
            CubeDim::new_1d(1),
            out.arg(),
            rows,
            columns,
            step,
            mask.launch(),
        );
        for (i, pair) in ctx.read_f32(&out)?.chunks_exact(2).enumerate() {
            let (row, column) = (first + (i / columns) as u64, i % columns * step);
            let kept = keep_host(seed, stream, (row << 32) + column as u64, probability);
            assert_eq!((pair[0], pair[1] > 0.0), (pair[1], kept), "row {row}, column {column}");
        }
        Ok(())
    }

    #[test]
    fn neighbours_and_neighbouring_streams_are_independent() {
        let n = 100_000u64;
        for step in [1u64, 2, 16, 64, 1 << 32] {
            let both = (0..n)
                .filter(|&i| keep_host(1, 2, i, 0.5) && keep_host(1, 2, i + step, 0.5))
                .count();
            expect_rate(both, n as usize, 0.75);
        }
        for (seed, stream) in [(1, 3), (2, 2), (1, 2 + (1 << 32))] {
            let both = (0..n)
                .filter(|&i| keep_host(1, 2, i, 0.5) && keep_host(seed, stream, i, 0.5))
                .count();
            expect_rate(both, n as usize, 0.75);
        }
    }
}
