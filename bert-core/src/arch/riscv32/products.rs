//! Products of two rows in one multiplication of 32 bits.
//!
//! A word a + 2¹⁶·b has an input of two rows; times a weight w it is aw + 2¹⁶·bw. The sum of two such
//! products still has both parts apart: with |a|, |b| ≤ 127 and |w| ≤ 128 each is below 2¹⁵. Two sums
//! over all of them give both rows: S of the words, modulo 2³², and H of their upper halves, rounded,
//! which is Σ bw; then Σ aw = S − 2¹⁶·H modulo 2³², exact since it fits an i32.

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

/// A quad of inputs of P pairs of rows.
type Packed<const P: usize> = [[u32; P]; QUAD];
/// Four weights of each channel of a panel, tile by tile: \[tile\]\[channel\]\[input\].
type PanelQuad = [[[i8; QUAD]; TILE]; PANEL / TILE];

/// As [`ops::gemm`].
pub(super) fn gemm(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    if w.layout == Layout::Panels {
        products(a, w, out, w.channels.next_multiple_of(PANEL));
    } else {
        ops::gemm(a, w, out);
    }
}

/// Writes y \[R, N\], rows of `out` being `width` long, of weights in panels.
pub(super) fn products(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32], width: usize) {
    let rows = a.values.chunks(ROWS * a.stride).zip(out.chunks_mut(ROWS * width));
    for (inputs, out) in rows {
        if inputs.len() > 2 * a.stride {
            tile_rows::<2>(inputs, a.stride, w, out, width);
        } else {
            tile_rows::<1>(inputs, a.stride, w, out, width);
        }
    }
}

/// At most 2 P rows.
#[inline(never)]
fn tile_rows<const P: usize>(
    inputs: &[i8],
    stride: usize,
    w: &Weights<'_>,
    out: &mut [i32],
    width: usize,
) {
    let quads = w.depth.div_ceil(QUAD);
    let mut room = [[[0; P]; QUAD]; PIECE];
    let mut sums = [[[0; TILE]; 2]; P];
    for first in (0..quads).step_by(PIECE) {
        let count = PIECE.min(quads - first);
        let packed = &mut room[..count];
        pack(inputs, stride, first * QUAD, packed);
        for (p, panel) in w.values.chunks_exact(quads * QUAD * PANEL).enumerate() {
            let panel = panel.as_chunks::<QUAD>().0.as_chunks::<TILE>().0.as_chunks().0;
            let panel: &[PanelQuad] = &panel[first..first + count];
            for (tile, n) in (p * PANEL..w.channels).step_by(TILE).take(PANEL / TILE).enumerate() {
                tile_sums(packed, panel, tile, &mut sums);
                for (out, sums) in out.chunks_exact_mut(width).zip(sums.as_flattened()) {
                    for (n, sum) in (n..w.channels).zip(sums) {
                        out[n] = if first == 0 { *sum } else { out[n] + sum };
                    }
                }
            }
        }
    }
}

/// Packs inputs of at most 2 P rows from column `first` on; rows that are not there are zeros.
fn pack<const P: usize>(inputs: &[i8], stride: usize, first: usize, packed: &mut [Packed<P>]) {
    for pair in 0..P {
        let row = |r: usize| inputs.get(r * stride + first..).map(|row| row.as_chunks::<QUAD>().0);
        let low = row(2 * pair).unwrap_or(&[]);
        let high = row(2 * pair + 1).unwrap_or(&[]);
        if high.is_empty() {
            for (packed, low) in packed.iter_mut().zip(low) {
                for k in 0..QUAD {
                    packed[k][pair] = low[k] as u32;
                }
            }
            continue;
        }
        for ((packed, low), high) in packed.iter_mut().zip(low).zip(high) {
            for k in 0..QUAD {
                packed[k][pair] = (low[k] as u32).wrapping_add((high[k] as u32) << 16);
            }
        }
    }
}

/// The sums of two rows of each of P pairs and the channels of one tile.
#[inline(never)]
fn tile_sums<const P: usize>(
    packed: &[Packed<P>],
    panel: &[PanelQuad],
    tile: usize,
    sums: &mut [[[i32; TILE]; 2]; P],
) {
    let (mut words, mut upper) = ([[0u32; TILE]; P], [[0i32; TILE]; P]);
    for (packed, panel) in packed.iter().zip(panel) {
        let weights = &panel[tile];
        for k in [0, 2] {
            for c in 0..TILE {
                let [w, v] = [weights[c][k] as u32, weights[c][k + 1] as u32];
                for p in 0..P {
                    let word = packed[k][p].wrapping_mul(w);
                    let word = word.wrapping_add(packed[k + 1][p].wrapping_mul(v));
                    words[p][c] = words[p][c].wrapping_add(word);
                    upper[p][c] += word.wrapping_add(HALF) as i32 >> 16;
                }
            }
        }
    }
    for p in 0..P {
        for c in 0..TILE {
            sums[p][0][c] = words[p][c].wrapping_sub((upper[p][c] as u32) << 16) as i32;
            sums[p][1][c] = upper[p][c];
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
                    gemm(&a, &w, &mut out);
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
