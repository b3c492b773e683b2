//! Products of two rows in one multiplication of 32 bits.
//!
//! A word a + 2¹⁶·b has an input of two rows; times a weight w it is aw + 2¹⁶·bw. Sums of a few such
//! products have both parts apart still, as long as each is below 2¹⁵. So two sums over all of them give
//! both rows: S of the words, modulo 2³², and H of their upper halves, rounded, which is Σ bw; then
//! Σ aw = S − 2¹⁶·H modulo 2³², exact since it fits an i32.
//!
//! Of any inputs two products fit, 2 · 127 · 128 < 2¹⁵. Four fit if the magnitudes of the inputs are 255
//! together, which those of a row of a model mostly are; what is more is taken away and multiplied alone.

use core::mem::MaybeUninit;

use crate::format::{Layout, PANEL, QUAD};
use crate::ops::{Activations, Weights};

/// Rows of a tile: two words.
const ROWS: usize = 4;
/// Channels of a tile.
const TILE: usize = 2;
/// Quads of inputs that are packed at a time: 4 KB of stack.
const PIECE: usize = 128;
/// Half of what the upper part of a word counts.
const HALF: u32 = 1 << 15;
/// What the magnitudes of four inputs may be together: 255 · 128 < 2¹⁵.
const MOST: i32 = 255;

/// Pairs of rows of a tile.
const PAIRS: usize = ROWS / 2;
/// A quad of inputs of the pairs of rows.
type Packed = [[u32; PAIRS]; QUAD];
/// Four weights of each channel of a panel, tile by tile: \[tile\]\[channel\]\[input\].
type PanelQuad = [[[i8; QUAD]; TILE]; PANEL / TILE];

/// As [`crate::ops::gemm`].
#[inline]
pub(super) fn gemm<Place>(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    // Weights of a softmax may all be large.
    products::<Place>(a, w, out, w.channels.next_multiple_of(PANEL), false);
}

/// Writes y \[R, N\], rows of `out` being `width` long. `small` says that four inputs mostly fit together.
#[inline]
pub(super) fn products<Place>(
    a: &Activations<'_>,
    w: &Weights<'_>,
    out: &mut [i32],
    width: usize,
    small: bool,
) {
    let tile = Tile {
        pack: pack::<Place>,
        sums: match small {
            false => tile_sums::<Place, 2, 2>,
            true => tile_sums::<Place, 2, 1>,
        },
        pair_sums: tile_sums::<Place, 1, 2>,
        small,
    };
    tile.multiply(a, w, out, width);
}

/// What takes the time, compiled elsewhere than the loops around it.
struct Tile {
    pack: Pack,
    sums: TileSums,
    /// Of one pair.
    pair_sums: TileSums,
    small: bool,
}

type Pack = fn([&[[i8; QUAD]]; 2], &mut [MaybeUninit<Packed>], usize, usize, bool) -> Option<usize>;
type TileSums = fn(&[Packed], &[PanelQuad], usize, &mut [i32], usize);

/// Of weights in rows.
#[cold]
#[inline(never)]
fn by_rows(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32], width: usize) {
    for (row, out) in a.values.chunks_exact(a.stride).zip(out.chunks_mut(width)) {
        for (out, weights) in out.iter_mut().zip(w.values.chunks_exact(w.depth)) {
            *out = row.iter().zip(weights).map(|(&a, &w)| a as i32 * w as i32).sum();
        }
    }
}

impl Tile {
    #[inline(never)]
    fn multiply(&self, a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32], width: usize) {
        if w.layout == Layout::Rows {
            return by_rows(a, w, out, width);
        }
        out.fill(0);
        let rows = a.values.chunks(ROWS * a.stride).zip(out.chunks_mut(ROWS * width));
        for (inputs, out) in rows {
            self.rows(Activations { values: inputs, ..*a }, w, out, width);
        }
    }

    /// Adds the products of at most [`ROWS`] rows.
    fn rows(&self, a: Activations<'_>, w: &Weights<'_>, out: &mut [i32], width: usize) {
        let quads = w.depth.div_ceil(QUAD);
        let tile_sums = if a.values.len() > 2 * a.stride { self.sums } else { self.pair_sums };
        let mut room = [const { MaybeUninit::<Packed>::uninit() }; PIECE];
        for first in (0..quads).step_by(PIECE) {
            let room = &mut room[..PIECE.min(quads - first)];
            for pair in 0..PAIRS {
                let row = |r: usize| {
                    let row = a.values.get(r * a.stride + first * QUAD..);
                    row.unwrap_or(&[]).as_chunks::<QUAD>().0
                };
                let rows = [row(2 * pair), row(2 * pair + 1)];
                let mut from = 0;
                while let Some(quad) = (self.pack)(rows, room, pair, from, self.small) {
                    let outs = out[2 * pair * width..].chunks_mut(width);
                    let mut inputs = rows.map(|row| row.get(quad).copied().unwrap_or_default());
                    for (inputs, out) in inputs.iter_mut().zip(outs) {
                        take_away(inputs, w, first + quad, out);
                    }
                    (self.pack)(
                        [&inputs[..1], &inputs[1..]],
                        &mut room[quad..=quad],
                        pair,
                        0,
                        false,
                    );
                    from = quad + 1;
                }
            }
            // SAFETY: every word of every pair was written.
            let packed = unsafe { room.assume_init_ref() };
            for (panel, n) in w.values.chunks_exact(quads * QUAD * PANEL).zip((0..).step_by(PANEL))
            {
                let panel = panel.as_chunks::<QUAD>().0.as_chunks::<TILE>().0.as_chunks().0;
                let panel: &[PanelQuad] = &panel[first..first + packed.len()];
                for (tile, n) in (n..w.channels).step_by(TILE).take(PANEL / TILE).enumerate() {
                    // What would be beyond the last channel is left out.
                    let count = w.channels - n;
                    if count >= TILE {
                        tile_sums(packed, panel, tile, &mut out[n..], width);
                        continue;
                    }
                    let mut sums = [[0; TILE]; ROWS];
                    tile_sums(packed, panel, tile, sums.as_flattened_mut(), TILE);
                    out[n..].chunks_mut(width).zip(sums).for_each(|(out, sums)| out[0] += sums[0]);
                }
            }
        }
    }
}

/// Writes a pair of rows, zeros where there is none, from one quad on; up to one whose inputs do not fit
/// together, if that matters, which it gives.
#[allow(clippy::extra_unused_type_parameters, reason = "it says where this is compiled")]
#[inline(never)]
fn pack<Place>(
    [low, high]: [&[[i8; QUAD]]; 2],
    room: &mut [MaybeUninit<Packed>],
    pair: usize,
    from: usize,
    small: bool,
) -> Option<usize> {
    let most = if small { MOST - QUAD as i32 } else { i32::MAX };
    for (quad, packed) in room.iter_mut().enumerate().skip(from) {
        let inputs = |row: &[[i8; QUAD]]| row.get(quad).map_or([0; QUAD], |q| q.map(i32::from));
        let (low, high) = (inputs(low), inputs(high));
        if magnitude(&low) > most || magnitude(&high) > most {
            return Some(quad);
        }
        let packed = packed.as_mut_ptr().cast::<[u32; PAIRS]>();
        for k in 0..QUAD {
            let word = (low[k] as u32).wrapping_add((high[k] as u32) << 16);
            // SAFETY: the quad has as many words for each of its inputs.
            unsafe { (*packed.add(k))[pair] = word };
        }
    }
    None
}

/// The magnitudes of four inputs together, those of negative ones less one.
#[inline(always)]
fn magnitude(inputs: &[i32; QUAD]) -> i32 {
    inputs.iter().map(|a| a ^ (a >> 31)).sum()
}

/// Leaves as much of four inputs as fits together, and adds the products of the rest to the row `out`.
#[cold]
#[inline(never)]
fn take_away(inputs: &mut [i8; QUAD], w: &Weights<'_>, quad: usize, out: &mut [i32]) {
    let mut fits = MOST;
    for (k, input) in inputs.iter_mut().enumerate() {
        let kept = (*input as i32).clamp(-fits, fits);
        let rest = *input as i32 - kept;
        fits -= kept.abs();
        *input = kept as i8;
        if rest != 0 {
            multiply_input(rest, w, quad * QUAD + k, &mut out[..w.channels]);
        }
    }
}

/// Adds the products of one input, the k-th, to a row.
#[inline]
fn multiply_input(input: i32, w: &Weights<'_>, k: usize, out: &mut [i32]) {
    let (quad, k) = (k / QUAD * PANEL, k % QUAD);
    let panels = w.values.chunks_exact(w.depth.next_multiple_of(QUAD) * PANEL);
    for (panel, out) in panels.zip(out.chunks_mut(PANEL)) {
        for (out, weights) in out.iter_mut().zip(&panel.as_chunks::<QUAD>().0[quad..]) {
            *out += input * weights[k] as i32;
        }
    }
}

/// Adds the sums of the rows of the first P pairs and the channels of one tile, for the rows of `out`;
/// words of QUAD / G inputs fit together.
///
/// Not inlined: what surrounds it would take its registers. So it is compiled where `Place` is a type of.
#[allow(clippy::extra_unused_type_parameters, reason = "it says where this is compiled")]
#[inline(never)]
fn tile_sums<Place, const P: usize, const G: usize>(
    packed: &[Packed],
    panel: &[PanelQuad],
    tile: usize,
    out: &mut [i32],
    width: usize,
) {
    let (mut words, mut upper) = ([[0u32; TILE]; P], [[0i32; TILE]; P]);
    for (packed, panel) in packed.iter().zip(panel) {
        let weights = &panel[tile];
        for group in 0..G {
            for c in 0..TILE {
                for p in 0..P {
                    let mut word = 0u32;
                    for k in group * (QUAD / G)..(group + 1) * (QUAD / G) {
                        let product = packed[k][p].wrapping_mul(weights[c][k] as u32);
                        word = word.wrapping_add(product);
                    }
                    words[p][c] = words[p][c].wrapping_add(word);
                    upper[p][c] += word.wrapping_add(HALF) as i32 >> 16;
                }
            }
        }
    }
    let mut rows = out.chunks_mut(width);
    for (words, upper) in words.into_iter().zip(upper) {
        let lower: [i32; TILE] =
            core::array::from_fn(|c| words[c].wrapping_sub((upper[c] as u32) << 16) as i32);
        for sums in [lower, upper] {
            if let Some(row) = rows.next().and_then(|row| row.first_chunk_mut::<TILE>()) {
                row.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    /// Sizes around tiles, panels and pieces, with bytes that are often extreme.
    #[test]
    fn products_are_exact_at_every_size() {
        let mut state = 7u32;
        let mut byte = |least: i32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match state >> 29 {
                0 => 127,
                1 => least as i8,
                _ => (((state >> 8) % 255) as i32 - 127) as i8,
            }
        };
        let depths = [1, 2, 3, 4, 5, 15, 16, 17, 64, 128, 511, 512, 513, 1100];
        for depth in depths {
            for channels in [1, 2, 15, 16, 17, 33, 48] {
                for (rows, layout) in [1, 2, 3, 4, 5, 9]
                    .into_iter()
                    .flat_map(|rows: usize| [(rows, Layout::Panels), (rows, Layout::Rows)])
                {
                    let stride = usize::next_multiple_of(depth, ops::ROW_ALIGN);
                    let mut values = vec![0i8; rows * stride];
                    for row in values.chunks_exact_mut(stride) {
                        row[..depth].iter_mut().for_each(|a| *a = byte(-127));
                    }
                    let mut weights = vec![0i8; layout.bytes(channels, depth) as usize];
                    weights.iter_mut().for_each(|w| *w = byte(-128));
                    let a = Activations { values: &values, stride };
                    let w = Weights { values: &weights, channels, depth, layout };
                    let width = channels.next_multiple_of(PANEL);
                    let mut out = vec![7; rows * width];
                    for small in [false, true] {
                        products::<()>(&a, &w, &mut out, width, small);
                        for r in 0..rows {
                            for n in 0..channels {
                                let weight = |k| weights[layout.place(depth, n, k)] as i32;
                                let exact =
                                    (0..depth).map(|k| values[r * stride + k] as i32 * weight(k));
                                let exact: i32 = exact.sum();
                                assert_eq!(out[r * width + n], exact, "{rows} {channels} {depth}");
                            }
                        }
                    }
                }
            }
        }
    }
}
