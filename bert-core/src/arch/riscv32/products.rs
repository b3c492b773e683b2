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
use crate::ops::{self, Activations, Weights};

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

/// A quad of inputs of P pairs of rows.
type Packed<const P: usize> = [[u32; P]; QUAD];
/// Four weights of each channel of a panel, tile by tile: \[tile\]\[channel\]\[input\].
type PanelQuad = [[[i8; QUAD]; TILE]; PANEL / TILE];

/// As [`ops::gemm`].
pub(super) fn gemm(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    if w.layout == Layout::Panels {
        // Weights of a softmax may all be large.
        products(a, w, out, w.channels.next_multiple_of(PANEL), false);
    } else {
        ops::gemm(a, w, out);
    }
}

/// Writes y \[R, N\], rows of `out` being `width` long, of weights in panels. `small` says that four
/// inputs mostly fit together.
pub(super) fn products(
    a: &Activations<'_>,
    w: &Weights<'_>,
    out: &mut [i32],
    width: usize,
    small: bool,
) {
    out.fill(0);
    let rows = a.values.chunks(ROWS * a.stride).zip(out.chunks_mut(ROWS * width));
    for (inputs, out) in rows {
        if inputs.len() > 2 * a.stride {
            tile_rows::<2>(inputs, a.stride, w, out, width, small);
        } else {
            tile_rows::<1>(inputs, a.stride, w, out, width, false);
        }
    }
}

/// Adds the products of at most 2 P rows.
#[inline(never)]
fn tile_rows<const P: usize>(
    inputs: &[i8],
    stride: usize,
    w: &Weights<'_>,
    out: &mut [i32],
    width: usize,
    small: bool,
) {
    let quads = w.depth.div_ceil(QUAD);
    let mut room = [const { MaybeUninit::<Packed<P>>::uninit() }; PIECE];
    for first in (0..quads).step_by(PIECE) {
        let room = &mut room[..PIECE.min(quads - first)];
        for pair in 0..P {
            let [low, high] = [2 * pair, 2 * pair + 1].map(|r| {
                let row = inputs.get(r * stride + first * QUAD..);
                row.map_or(&[][..], |row| row.as_chunks::<QUAD>().0)
            });
            // Zeros are multiplied where there is no row.
            let mut high = high.iter();
            for (quad, (packed, low)) in room.iter_mut().zip(low).enumerate() {
                let mut low = low.map(i32::from);
                let mut high = high.next().map_or([0; QUAD], |high| high.map(i32::from));
                if small && !(fit(&low) && fit(&high)) {
                    let outs = out[2 * pair * width..].chunks_mut(width);
                    for (inputs, out) in [&mut low, &mut high].into_iter().zip(outs) {
                        take_away(inputs, w, first + quad, out);
                    }
                }
                let packed = packed.as_mut_ptr().cast::<[u32; P]>();
                for k in 0..QUAD {
                    let word = (low[k] as u32).wrapping_add((high[k] as u32) << 16);
                    // SAFETY: the quad has as many words for each of its inputs.
                    unsafe { (*packed.add(k))[pair] = word };
                }
            }
        }
        // SAFETY: the first row of every pair is there, and reaches as far as the weights do.
        let packed = unsafe { &*(&raw const *room as *const [Packed<P>]) };
        for (panel, n) in w.values.chunks_exact(quads * QUAD * PANEL).zip((0..).step_by(PANEL)) {
            let panel = panel.as_chunks::<QUAD>().0.as_chunks::<TILE>().0.as_chunks().0;
            let panel: &[PanelQuad] = &panel[first..first + packed.len()];
            let count = w.channels.saturating_sub(n).min(PANEL);
            if small {
                panel_sums::<P, 1>(packed, panel, &mut out[n..], width, count);
            } else {
                panel_sums::<P, 2>(packed, panel, &mut out[n..], width, count);
            }
        }
    }
}

/// Whether four inputs fit together; not all that do.
#[inline(always)]
fn fit(inputs: &[i32; QUAD]) -> bool {
    // The magnitude of what is negative, less one.
    inputs.iter().map(|a| a ^ (a >> 31)).sum::<i32>() <= MOST - QUAD as i32
}

/// Leaves as much of four inputs as fits together, and adds the products of the rest to the row `out`.
#[cold]
#[inline(never)]
fn take_away(inputs: &mut [i32; QUAD], w: &Weights<'_>, quad: usize, out: &mut [i32]) {
    let mut fits = MOST;
    for (k, input) in inputs.iter_mut().enumerate() {
        let kept = (*input).clamp(-fits, fits);
        let rest = *input - kept;
        fits -= kept.abs();
        *input = kept;
        if rest == 0 {
            continue;
        }
        let panels = w.values.chunks_exact(w.depth.div_ceil(QUAD) * QUAD * PANEL);
        for (panel, out) in panels.zip(out[..w.channels].chunks_mut(PANEL)) {
            let weights = panel[quad * QUAD * PANEL..].as_chunks::<QUAD>().0;
            for (out, weights) in out.iter_mut().zip(weights) {
                *out += rest * weights[k] as i32;
            }
        }
    }
}

/// Adds the sums of two rows of each of P pairs and the first `count` channels of a panel, where words
/// of QUAD / G inputs fit together.
#[inline(always)]
fn panel_sums<const P: usize, const G: usize>(
    packed: &[Packed<P>],
    panel: &[PanelQuad],
    out: &mut [i32],
    width: usize,
    count: usize,
) {
    for (tile, n) in (0..count).step_by(TILE).take(PANEL / TILE).enumerate() {
        if count - n >= TILE {
            tile_sums::<P, G>(packed, panel, tile, &mut out[n..], width);
            continue;
        }
        // What would be beyond the last channel is left out.
        let mut room = [[0; TILE]; ROWS];
        tile_sums::<P, G>(packed, panel, tile, room.as_flattened_mut(), TILE);
        for (out, sums) in out[n..].chunks_mut(width).zip(room) {
            out.iter_mut().zip(&sums[..count - n]).for_each(|(out, sum)| *out += sum);
        }
    }
}

/// Adds the sums of two rows of each of P pairs and the channels of one tile, for the rows of `out`.
///
/// Not inlined: what surrounds it would take its registers.
#[inline(never)]
fn tile_sums<const P: usize, const G: usize>(
    packed: &[Packed<P>],
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

    /// Sizes around tiles, panels and pieces, with bytes that are often extreme.
    #[test]
    fn products_are_exact_at_every_size() {
        let mut state = 7u32;
        let mut byte = |least: i32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match state >> 29 {
                0 => 127,
                1 => least as i8,
                _ => ((state >> 8) % 255) as i8,
            }
        };
        let depths = [1, 2, 3, 4, 5, 15, 16, 17, 64, 128, 511, 512, 513, 1100];
        for depth in depths {
            for channels in [1, 2, 15, 16, 17, 33, 48] {
                for rows in [1usize, 2, 3, 4, 5, 9] {
                    let stride = usize::next_multiple_of(depth, ops::ROW_ALIGN);
                    let mut values = vec![0i8; rows * stride];
                    for row in values.chunks_exact_mut(stride) {
                        row[..depth].iter_mut().for_each(|a| *a = byte(-127));
                    }
                    let layout = Layout::Panels;
                    let mut weights = vec![0i8; layout.bytes(channels, depth) as usize];
                    weights.iter_mut().for_each(|w| *w = byte(-128));
                    let a = Activations { values: &values, stride };
                    let w = Weights { values: &weights, channels, depth, layout };
                    let width = channels.next_multiple_of(PANEL);
                    let mut out = vec![7; rows * width];
                    for small in [false, true] {
                        products(&a, &w, &mut out, width, small);
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
