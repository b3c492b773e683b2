//! y\[r, n\] = Σₖ a\[r, k\] · w\[n, k\]: int8 rows times int8 weights, exact in i32.
//!
//! Both a and w may be any i8 but a is never −128. The sum is exact for K ≤ 2¹⁷, which the limits of
//! the model file keep, so its order is free: every instruction set adds as it likes.

use crate::format::{Layout, PANEL, QUAD};

/// Rows of int8 values start at multiples of this many bytes and are filled with zeros up to the next.
pub const ROW_ALIGN: usize = 16;

/// Int8 rows \[R, K\], each `stride` bytes after the one before, zeros from K to `stride`.
#[derive(Clone, Copy)]
pub struct Activations<'a> {
    /// R · stride values; never −128.
    pub values: &'a [i8],
    /// K rounded up to a multiple of [`ROW_ALIGN`], at least.
    pub stride: usize,
}

impl Activations<'_> {
    /// R.
    #[inline(always)]
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len() / self.stride
    }
}

/// Int8 weights \[N, K\].
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// As [`Layout::place`] says.
    pub values: &'a [i8],
    /// N.
    pub channels: usize,
    /// K.
    pub depth: usize,
    /// How they lie.
    pub layout: Layout,
}

/// Writes y \[R, N rounded up to 16\]; what lies beyond N is of no meaning.
#[inline(always)]
pub fn gemm(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    gemm_at::<()>(a, w, out);
}

/// As [`gemm`], compiled in the crate that `Place` is a type of: functions that are not inlined, too.
#[inline(always)]
pub(crate) fn gemm_at<Place>(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    let width = w.channels.next_multiple_of(PANEL);
    multiply::<Place>(a, w, |r, n, sum| out[r * width + n] = sum);
}

/// Gives the sum of every row r and channel n < N to `put` as (r, n, sum).
#[inline(always)]
pub(super) fn multiply<Place>(
    a: &Activations<'_>,
    w: &Weights<'_>,
    put: impl FnMut(usize, usize, i32),
) {
    match w.layout {
        Layout::Rows => multiply_rows(a, w, put),
        Layout::Panels => multiply_panels::<Place>(a, w, put),
    }
}

#[inline(always)]
fn multiply_rows(a: &Activations<'_>, w: &Weights<'_>, mut put: impl FnMut(usize, usize, i32)) {
    for (r, row) in a.values.chunks_exact(a.stride).enumerate() {
        for (n, weights) in w.values.chunks_exact(w.depth).enumerate() {
            put(r, n, dot(&row[..w.depth], weights));
        }
    }
}

/// Rows of a tile.
const TILE_ROWS: usize = 2;
/// Channels of a tile: with two rows their sums, inputs and weights are registers of every machine.
const TILE: usize = 2;

/// Four weights of each channel of a panel, tile by tile: \[tile\]\[channel\]\[input\].
type PanelQuad = [[[i8; QUAD]; TILE]; PANEL / TILE];

/// In tiles, so that a value that is loaded is multiplied twice; all rows pass by a panel, then by
/// the next, since weights are further away than inputs.
#[inline(always)]
fn multiply_panels<Place>(
    a: &Activations<'_>,
    w: &Weights<'_>,
    mut put: impl FnMut(usize, usize, i32),
) {
    let quads = w.depth.div_ceil(QUAD);
    for (p, panel) in w.values.chunks_exact(quads * QUAD * PANEL).enumerate() {
        let (panel, _) = panel.as_chunks::<QUAD>().0.as_chunks::<TILE>().0.as_chunks();
        let tiles = (p * PANEL..w.channels).step_by(TILE).take(PANEL / TILE);
        let mut r = 0;
        for rows in a.values.chunks(TILE_ROWS * a.stride) {
            let (first, second) = rows.split_at(a.stride);
            let [first, second] = [first, second].map(|row| row.as_chunks::<QUAD>().0);
            for (tile, n) in tiles.clone().enumerate() {
                let (sums, count) = match second {
                    [] => {
                        let [sums] = tile_sums::<Place, 1>([first], panel, tile);
                        ([sums, [0; TILE]], 1)
                    }
                    _ => (tile_sums::<Place, 2>([first, second], panel, tile), 2),
                };
                // One place where sums are put, for one copy of its code.
                for (r, sums) in (r..).zip(sums).take(count) {
                    for (n, sum) in (n..w.channels).zip(sums) {
                        put(r, n, sum);
                    }
                }
            }
            r += TILE_ROWS;
        }
    }
}

/// The sums of R rows and the channels of one tile.
///
/// Not inlined: on machines of few registers, what surrounds it would take them.
#[allow(clippy::extra_unused_type_parameters, reason = "it says where this is compiled")]
#[inline(never)]
fn tile_sums<Place, const R: usize>(
    rows: [&[[i8; QUAD]]; R],
    panel: &[PanelQuad],
    tile: usize,
) -> [[i32; TILE]; R] {
    let quads = panel.len();
    let rows = rows.map(|row| &row[..quads]);
    let mut sums = [[0i32; TILE]; R];
    for quad in 0..quads {
        let weights = &panel[quad][tile];
        for r in 0..R {
            for c in 0..TILE {
                for k in 0..QUAD {
                    sums[r][c] += rows[r][quad][k] as i32 * weights[c][k] as i32;
                }
            }
        }
    }
    sums
}

/// Values multiplied at once by [`dot`].
const STEP: usize = 16;

/// Σ aᵢ bᵢ in i32.
///
/// Products of two i8 fit i16 (|p| ≤ 2¹⁴); the two halves of a step are added in i32 lane by lane,
/// a form that compilers turn into pair-wise multiply-add instructions, but only in a function of
/// its own: inlined into other loops, LLVM leaves it scalar. Helium's instruction adds all products to
/// one sum, which compilers see in the plain form.
#[inline(never)]
fn dot(a: &[i8], b: &[i8]) -> i32 {
    if cfg!(cortex_m_helium) {
        return a.iter().zip(b).map(|(&a, &b)| a as i32 * b as i32).sum();
    }
    const HALF: usize = STEP / 2;
    let mut lanes = [0i32; HALF];
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<STEP>(), b.as_chunks::<STEP>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..HALF {
            let low = (a[i] as i16 * b[i] as i16) as i32;
            let high = (a[i + HALF] as i16 * b[i + HALF] as i16) as i32;
            lanes[i] += low + high;
        }
    }
    let tail = a_tail.iter().zip(b_tail).map(|(&a, &b)| a as i32 * b as i32);
    lanes.iter().sum::<i32>() + tail.sum::<i32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_is_exact_for_every_length_and_the_extremes() {
        for n in [0, 1, 7, 15, 16, 17, 31, 32, 33, 128, 131] {
            for value in [-128i32, -127, -1, 0, 1, 127] {
                let a: Vec<i8> = (0..n).map(|i| (i * 73 % 256 - 128) as i8).collect();
                let b = vec![value as i8; n as usize];
                let exact: i64 = a.iter().map(|&a| a as i64 * value as i64).sum();
                assert_eq!(dot(&a, &b) as i64, exact, "{n} {value}");
                assert_eq!(dot(&b, &b) as i64, n as i64 * (value * value) as i64);
            }
        }
    }
}
