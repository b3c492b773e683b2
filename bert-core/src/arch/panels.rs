//! The loop around the sums of a panel, for the instruction sets whose tile is a whole panel wide.
//!
//! An instruction set gives the sums of a few rows and the sixteen channels of a panel. Panels are the
//! outer loop: one stays in the first-level cache while all rows pass by, and weights are read once.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use crate::format::{Int8Matrix, Layout, PANEL, QUAD};
use crate::ops::{self, Activations, Weights};

/// Products of a tile: rows times the channels of a panel.
pub(super) trait Tile {
    /// Most rows of a tile, at most eight.
    const ROWS: usize;
    /// Where the weights have to lie: at multiples of so many bytes. A file may lie anywhere; for weights
    /// that do not fit the definition serves.
    const ALIGN: usize = 1;

    /// Writes all sums over `quads` quads of M ≤ `ROWS` rows. Not returned: that may be a copy.
    ///
    /// # Safety
    /// M rows of 4 · `quads` inputs, `stride` bytes apart, and as many quads of a panel are readable;
    /// the machine has the instructions of the tile.
    unsafe fn sums<const M: usize>(
        inputs: *const i8,
        stride: usize,
        panel: *const i8,
        quads: usize,
        out: &mut MaybeUninit<[[i32; PANEL]; M]>,
    );

    /// As [`ops::linear`] of a row and the channels of a panel.
    #[inline(always)]
    fn scale(
        out: &mut [f32; PANEL],
        sums: &[i32; PANEL],
        scale: f32,
        scales: &[[u8; 4]; PANEL],
        biases: &[[u8; 4]; PANEL],
    ) {
        put_scaled(out, sums, scale, scales, biases);
    }
}

/// As [`ops::gemm`].
///
/// # Safety
/// The machine has the instructions of `T`.
#[inline(always)]
pub(super) unsafe fn gemm<T: Tile>(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    if !fits::<T>(w) {
        return gemm_of_any(a, w, out);
    }
    let width = w.channels.next_multiple_of(PANEL);
    // SAFETY: as the caller says.
    unsafe { tiles::<T>(a, w, &mut Exact { out, width }) }
}

/// As [`ops::linear`].
///
/// # Safety
/// The machine has the instructions of `T`.
#[inline(always)]
pub(super) unsafe fn linear<T: Tile>(
    q: &Activations<'_>,
    scales: &[f32],
    matrix: &Int8Matrix<'_>,
    out: &mut [f32],
) {
    if !fits::<T>(&matrix.operand()) {
        return linear_of_any(q, scales, matrix, out);
    }
    let mut sink = Scaled::<T> {
        out,
        row_scales: scales,
        scales: matrix.scales.bytes(),
        biases: matrix.biases.bytes(),
        tile: PhantomData,
    };
    // SAFETY: as the caller says.
    unsafe { tiles::<T>(q, &matrix.operand(), &mut sink) }
}

/// The definition, for weights that a tile cannot be of. Apart, because there are few.
#[cold]
#[inline(never)]
fn gemm_of_any(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    ops::gemm(a, w, out);
}

/// As [`gemm_of_any`].
#[cold]
#[inline(never)]
fn linear_of_any(q: &Activations<'_>, scales: &[f32], matrix: &Int8Matrix<'_>, out: &mut [f32]) {
    ops::linear(q, scales, matrix, out);
}

/// Whether a tile can be of these weights.
#[inline(always)]
fn fits<T: Tile>(w: &Weights<'_>) -> bool {
    w.layout == Layout::Panels && (w.values.as_ptr() as usize).is_multiple_of(T::ALIGN)
}

/// Where sums go. A trait, because closures cannot be told to be inlined, and code that is not
/// inlined into a function with the instructions of a tile cannot use them.
trait Sink {
    /// Takes the sums of a row and the panel that begins with channel `n`.
    fn put(&mut self, row: usize, n: usize, sums: &[i32; PANEL]);
}

/// To i32 \[R, width\].
struct Exact<'a> {
    out: &'a mut [i32],
    width: usize,
}

impl Sink for Exact<'_> {
    #[inline(always)]
    fn put(&mut self, row: usize, n: usize, sums: &[i32; PANEL]) {
        let at = row * self.width + n;
        self.out[at..at + PANEL].copy_from_slice(sums);
    }
}

/// To f32 \[R, N\], scaled and with a bias.
struct Scaled<'a, T> {
    out: &'a mut [f32],
    row_scales: &'a [f32],
    /// Of each channel, as little-endian bytes.
    scales: &'a [[u8; 4]],
    biases: &'a [[u8; 4]],
    tile: PhantomData<T>,
}

impl<T: Tile> Sink for Scaled<'_, T> {
    #[inline(always)]
    fn put(&mut self, row: usize, n: usize, sums: &[i32; PANEL]) {
        let channels = self.scales.len();
        let (scales, biases) = (&self.scales[n..], &self.biases[n..channels]);
        let out = &mut self.out[row * channels + n..(row + 1) * channels];
        let scale = self.row_scales[row];
        // A count that is known becomes vector instructions.
        let whole = (out.first_chunk_mut(), scales.first_chunk(), biases.first_chunk());
        if let (Some(out), Some(scales), Some(biases)) = whole {
            T::scale(out, sums, scale, scales, biases);
        } else {
            put_scaled(out, sums, scale, scales, biases);
        }
    }
}

/// As [`ops::linear`] of a row's channels, as many as `out` has.
#[inline(always)]
pub(super) fn put_scaled(
    out: &mut [f32],
    sums: &[i32],
    scale: f32,
    scales: &[[u8; 4]],
    biases: &[[u8; 4]],
) {
    for (((out, sum), t), b) in out.iter_mut().zip(sums).zip(scales).zip(biases) {
        *out = *sum as f32 * (scale * f32::from_le_bytes(*t)) + f32::from_le_bytes(*b);
    }
}

/// Puts the sums of every row and panel into the sink.
#[inline(always)]
unsafe fn tiles<T: Tile>(a: &Activations<'_>, w: &Weights<'_>, sink: &mut impl Sink) {
    let quads = w.depth.div_ceil(QUAD);
    let panels = w.channels.div_ceil(PANEL);
    let rows = a.rows();
    assert!(w.values.len() >= panels * quads * QUAD * PANEL && a.stride >= quads * QUAD);
    for panel in 0..panels {
        let mut block = Block {
            inputs: a.values.as_ptr(),
            stride: a.stride,
            panel: w.values.as_ptr().wrapping_add(panel * quads * QUAD * PANEL),
            quads,
            row: 0,
            channel: panel * PANEL,
        };
        while block.row < rows {
            let left = rows - block.row;
            let here = if left < T::ROWS { left } else { T::ROWS };
            // SAFETY: `here` rows from this one on have `a.stride` bytes, and the panel is whole.
            // A tile has instructions for as many rows as it takes, no more.
            unsafe {
                match here {
                    8 if T::ROWS >= 8 => block.run::<T, 8>(sink),
                    7 if T::ROWS >= 7 => block.run::<T, 7>(sink),
                    6 if T::ROWS >= 6 => block.run::<T, 6>(sink),
                    5 if T::ROWS >= 5 => block.run::<T, 5>(sink),
                    4 if T::ROWS >= 4 => block.run::<T, 4>(sink),
                    3 if T::ROWS >= 3 => block.run::<T, 3>(sink),
                    2 if T::ROWS >= 2 => block.run::<T, 2>(sink),
                    _ => block.run::<T, 1>(sink),
                }
            }
        }
    }
}

/// Rows and a panel to be multiplied, the next ones first.
struct Block {
    inputs: *const i8,
    stride: usize,
    panel: *const i8,
    quads: usize,
    row: usize,
    channel: usize,
}

impl Block {
    /// Multiplies the next M rows.
    ///
    /// # Safety
    /// There are as many, as [`Tile::sums`] asks.
    #[inline(always)]
    unsafe fn run<T: Tile, const M: usize>(&mut self, sink: &mut impl Sink) {
        let mut sums = MaybeUninit::uninit();
        // SAFETY: as the caller says; all sums are written.
        let sums: &[[i32; PANEL]; M] = unsafe {
            T::sums::<M>(self.inputs, self.stride, self.panel, self.quads, &mut sums);
            sums.assume_init_ref()
        };
        for (m, sums) in sums.iter().enumerate() {
            sink.put(self.row + m, self.channel, sums);
        }
        self.inputs = self.inputs.wrapping_add(M * self.stride);
        self.row += M;
    }
}
