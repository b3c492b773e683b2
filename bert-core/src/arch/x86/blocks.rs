//! The loop around the dot-product instructions, once for every width of register.
//!
//! A block is up to M rows times two registers of channels, whose sums stay in registers over all of
//! K: of each four inputs it loads two registers of weights, and for each row four bytes, which go to
//! every lane. Channels are the outer loop, so a panel stays in the first-level cache while all rows
//! pass by, and weights are read once. The panels of the next two registers are called into the cache
//! meanwhile: a CPU foresees no more than a page, and weights may lie in memory.

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use crate::format::{Int8Matrix, Layout, PANEL, QUAD};
use crate::ops::{self, Activations, Weights};

/// A register of sums and what is done with it.
pub(super) trait Register: Copy {
    /// Sums of a register.
    const LANES: usize;
    /// Rows of a block: as many as leave registers for the weights.
    const ROWS: usize;
    /// What each sum has to start with, given the sum of a row's inputs.
    fn start(row_sum: i32) -> i32;
    /// Weights made ready for [`Register::add`].
    type Weights: Copy;

    unsafe fn splat(value: i32) -> Self;
    /// Four weights of each channel, 4 · LANES bytes.
    unsafe fn weights(at: *const i8) -> Self::Weights;
    /// Adds the products with four inputs.
    unsafe fn add(self, weights: Self::Weights, inputs: *const i8) -> Self;
    unsafe fn load(from: *const i32) -> Self;
    unsafe fn store(self, to: *mut i32);
    /// Scales and biases of the first `count` lanes.
    type Channels: Copy;
    unsafe fn channels(scales: *const f32, biases: *const f32, count: usize) -> Self::Channels;
    /// Writes sum · (scale · scales) + biases of those lanes.
    unsafe fn store_scaled(self, scale: f32, channels: Self::Channels, to: *mut f32);
}

/// As [`ops::gemm`].
///
/// # Safety
/// The CPU has the instructions of `R`.
#[inline(always)]
pub(super) unsafe fn gemm<R: Register>(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    if w.layout != Layout::Panels {
        return ops::gemm(a, w, out);
    }
    let width = w.channels.next_multiple_of(PANEL);
    assert!(out.len() >= a.rows() * width, "room for the sums");
    // SAFETY: there is room for every row and channel.
    unsafe { blocks::<R>(a, w, &Exact { out: out.as_mut_ptr(), width }) }
}

/// Where sums go. A trait, because closures cannot be told to be inlined, and code that is not
/// inlined into a function with the instructions of `R` cannot use them.
pub(super) trait Sink {
    /// Takes the sums of some rows from channel `n` on, of which some are beyond the last channel.
    unsafe fn put<R: Register, const M: usize>(&self, row: usize, n: usize, sums: [R; M]);

    /// The same for `count` rows, whose sums lie one register after another.
    unsafe fn put_lines<R: Register>(&self, row: usize, n: usize, lines: *const i32, count: usize);
}

/// To i32 \[R, width\].
pub(super) struct Exact {
    pub out: *mut i32,
    pub width: usize,
}

impl Sink for Exact {
    #[inline(always)]
    unsafe fn put<R: Register, const M: usize>(&self, row: usize, n: usize, sums: [R; M]) {
        for (m, sums) in sums.into_iter().enumerate() {
            // SAFETY: as the maker of the sink says; a row has room up to a multiple of the panel.
            unsafe { sums.store(self.out.add((row + m) * self.width + n)) }
        }
    }

    #[inline(always)]
    unsafe fn put_lines<R: Register>(&self, row: usize, n: usize, lines: *const i32, count: usize) {
        for i in 0..count {
            // SAFETY: as the caller says.
            unsafe { self.put(row + i, n, [R::load(lines.add(i * R::LANES))]) }
        }
    }
}

/// To f32 \[R, N\], scaled and with a bias.
pub(super) struct Scaled<'a> {
    out: *mut f32,
    channels: usize,
    row_scales: &'a [f32],
    scales: *const f32,
    biases: *const f32,
}

impl<'a> Scaled<'a> {
    /// Checks that there is a scale, a bias and room for all.
    #[inline(always)]
    pub(super) fn new(
        q: &Activations<'_>,
        row_scales: &'a [f32],
        matrix: &Int8Matrix<'_>,
        out: &mut [f32],
    ) -> Self {
        let (rows, channels) = (q.rows(), matrix.rows);
        let (scales, biases) = (matrix.scales.bytes(), matrix.biases.bytes());
        assert!(row_scales.len() >= rows && out.len() >= rows * channels, "room for the rows");
        assert!(scales.len() >= channels && biases.len() >= channels, "one for each channel");
        // x86 is little-endian as the file is, and its loads need no alignment.
        let (scales, biases) = (scales.as_ptr().cast(), biases.as_ptr().cast());
        Scaled { out: out.as_mut_ptr(), channels, row_scales, scales, biases }
    }
}

impl Scaled<'_> {
    /// Scales and biases of the channels from `n` on.
    #[inline(always)]
    unsafe fn channels<R: Register>(&self, n: usize) -> R::Channels {
        let left = self.channels - n;
        let count = if left < R::LANES { left } else { R::LANES };
        // SAFETY: `count` channels from n on have scales and biases.
        unsafe { R::channels(self.scales.add(n), self.biases.add(n), count) }
    }

    #[inline(always)]
    unsafe fn put_row<R: Register>(&self, row: usize, n: usize, sums: R, channels: R::Channels) {
        // SAFETY: every row has a scale, and every channel room.
        unsafe {
            let to = self.out.add(row * self.channels + n);
            sums.store_scaled(*self.row_scales.as_ptr().add(row), channels, to);
        }
    }
}

impl Sink for Scaled<'_> {
    #[inline(always)]
    unsafe fn put<R: Register, const M: usize>(&self, row: usize, n: usize, sums: [R; M]) {
        // SAFETY: as the caller says.
        unsafe {
            let channels = self.channels::<R>(n);
            for (m, sums) in sums.into_iter().enumerate() {
                self.put_row(row + m, n, sums, channels);
            }
        }
    }

    #[inline(always)]
    unsafe fn put_lines<R: Register>(&self, row: usize, n: usize, lines: *const i32, count: usize) {
        // SAFETY: as the caller says.
        unsafe {
            let channels = self.channels::<R>(n);
            for i in 0..count {
                self.put_row(row + i, n, R::load(lines.add(i * R::LANES)), channels);
            }
        }
    }
}

/// As [`ops::linear`].
///
/// # Safety
/// The CPU has the instructions of `R`.
#[inline(always)]
pub(super) unsafe fn linear<R: Register>(
    q: &Activations<'_>,
    scales: &[f32],
    matrix: &Int8Matrix<'_>,
    out: &mut [f32],
) {
    if matrix.layout != Layout::Panels {
        return ops::linear(q, scales, matrix, out);
    }
    let sink = Scaled::new(q, scales, matrix, out);
    // SAFETY: the sink has checked that there is room for every row and channel.
    unsafe { blocks::<R>(q, &matrix.operand(), &sink) }
}

/// Puts every register of sums that has a channel into the sink.
#[inline(always)]
unsafe fn blocks<R: Register>(a: &Activations<'_>, w: &Weights<'_>, sink: &impl Sink) {
    let quads = w.depth.div_ceil(QUAD);
    let registers = w.channels.div_ceil(R::LANES);
    let panels = w.channels.div_ceil(PANEL);
    assert!(w.values.len() >= panels * quads * QUAD * PANEL && a.stride >= quads * QUAD);
    let per_panel = PANEL / R::LANES;
    let rows = a.rows();
    // Rows in groups, whose starts are computed once.
    const GROUP: usize = 64;
    let mut first = 0;
    while first < rows {
        let count = (rows - first).min(GROUP);
        let group = &a.values[first * a.stride..(first + count) * a.stride];
        let mut starts = [0i32; GROUP];
        for (start, row) in starts.iter_mut().zip(group.chunks_exact(a.stride)) {
            *start = R::start(sum(row));
        }
        let mut i = 0;
        while i < registers {
            // Where the weights of this register and the next begin.
            let pair = i + 1 < registers;
            let next = if pair { i + 1 } else { i };
            let at = [i, next].map(|i| {
                let panel = i / per_panel * quads * QUAD * PANEL;
                w.values.as_ptr().wrapping_add(panel + i % per_panel * QUAD * R::LANES)
            });
            // The weights of the next two registers, one panel or two: a block calls one of them.
            let panels_ahead = 2 / per_panel;
            let after = (i + 2) / per_panel;
            let ahead = |block: usize| {
                let panel = after + block % panels_ahead;
                w.values.as_ptr().wrapping_add(panel * quads * QUAD * PANEL)
            };
            let mut r = 0;
            while r < count {
                let here = if count - r < R::ROWS { count - r } else { R::ROWS };
                let block = r / R::ROWS;
                // One that is alone calls both.
                let other = if count > R::ROWS { block } else { block + 1 };
                let block = Block {
                    inputs: group.as_ptr().wrapping_add(r * a.stride),
                    stride: a.stride,
                    at,
                    ahead: [ahead(block), ahead(other)],
                    quads,
                    starts: starts.as_ptr().wrapping_add(r),
                    row: first + r,
                    channel: i * R::LANES,
                    pair,
                };
                // SAFETY: `here` rows from r are in the group; both places have `quads` quads of
                // weights, 16 · QUAD bytes apart.
                unsafe {
                    match here {
                        1 => block.run::<R, 1>(sink),
                        2 => block.run::<R, 2>(sink),
                        3 => block.run::<R, 3>(sink),
                        4 => block.run::<R, 4>(sink),
                        5 => block.run::<R, 5>(sink),
                        6 => block.run::<R, 6>(sink),
                        7 => block.run::<R, 7>(sink),
                        _ => block.run::<R, 8>(sink),
                    }
                }
                r += here;
            }
            i += 2;
        }
        first += count;
    }
}

/// A loop, since an iterator's `sum` may stay a function without the wide registers.
#[inline(always)]
fn sum(row: &[i8]) -> i32 {
    let mut sum = 0i32;
    for &value in row {
        sum += value as i32;
    }
    sum
}

/// Rows and registers of a block.
struct Block {
    inputs: *const i8,
    stride: usize,
    at: [*const i8; 2],
    /// What other blocks will read, if it is within the weights: of each four inputs a line.
    ahead: [*const i8; 2],
    quads: usize,
    starts: *const i32,
    /// First row and channel, and whether the second register has channels at all.
    row: usize,
    channel: usize,
    pair: bool,
}

impl Block {
    /// # Safety
    /// M rows from `inputs`, M starts, and `quads` quads at both places are readable.
    #[inline(always)]
    unsafe fn run<R: Register, const M: usize>(&self, sink: &impl Sink) {
        // SAFETY: as the caller says.
        unsafe {
            let mut sums = [[R::splat(0); 2]; M];
            for (m, sums) in sums.iter_mut().enumerate() {
                *sums = [R::splat(*self.starts.add(m)); 2];
            }
            for quad in 0..self.quads {
                // An address that is not readable is of no harm here.
                for ahead in &self.ahead[..2 * R::LANES / PANEL] {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(quad * QUAD * PANEL));
                }
                let weights = [
                    R::weights(self.at[0].add(quad * QUAD * PANEL)),
                    R::weights(self.at[1].add(quad * QUAD * PANEL)),
                ];
                for (m, sums) in sums.iter_mut().enumerate() {
                    let inputs = self.inputs.add(m * self.stride + quad * QUAD);
                    *sums = [sums[0].add(weights[0], inputs), sums[1].add(weights[1], inputs)];
                }
            }
            sink.put(self.row, self.channel, sums.map(|[first, _]| first));
            if self.pair {
                sink.put(self.row, self.channel + R::LANES, sums.map(|[_, second]| second));
            }
        }
    }
}
