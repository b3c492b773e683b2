//! The products that both passes are made of, over blocks of one sequence and head.
//!
//! Rows of q, k, v and of gradients lie where the caller has them, `stride` vectors apart; only
//! scores and transposes are copied. A tile of scores is [queries, keys], its vectors run along the
//! keys. Units of a team take register tiles in turn and meet at [`meet`].

use cubecl::prelude::*;

use super::Tiling;

/// Rows of one head in a buffer of packed tokens: row i begins at vector `first + i · stride`, and
/// rows at or past `count` are never touched.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Rows {
    pub(super) first: usize,
    pub(super) stride: usize,
    pub(super) count: usize,
}

#[cube]
impl Rows {
    /// The first vector of row `i`; past the end, of the last row, whose use the caller masks.
    pub(super) fn at(&self, i: usize) -> usize {
        self.first + min(i, self.count - 1) * self.stride
    }

    /// Rows from `start` on, at most `limit`.
    pub(super) fn block(&self, start: usize, limit: usize) -> Rows {
        Rows {
            first: self.first + start * self.stride,
            stride: self.stride,
            count: min(self.count - start, limit),
        }
    }
}

/// One block of one sequence and head.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Owner {
    /// First token of the sequence in the batch.
    pub(super) token: usize,
    /// Tokens of the sequence.
    pub(super) length: usize,
    pub(super) head: usize,
    /// Where the block begins in the sequence; may lie past its end: then there is nothing to do.
    pub(super) start: usize,
}

#[cube]
impl Owner {
    /// The rows of this head in a buffer whose rows hold `parts` times H, in its part `part`.
    pub(super) fn rows(
        &self,
        #[comptime] parts: usize,
        #[comptime] part: usize,
        #[comptime] tiling: Tiling,
    ) -> Rows {
        let vectors = comptime!(tiling.row_vectors());
        let row = comptime!(tiling.heads * vectors);
        Rows {
            first: self.token * comptime!(parts * row)
                + comptime!(part * row)
                + self.head * vectors,
            stride: comptime!(parts * row).runtime(),
            count: self.length,
        }
    }
}

/// Owner number `index` of blocks of `block` tokens.
#[cube]
pub(super) fn owner(
    index: usize,
    blocks: usize,
    cu_seqlens: &[u32],
    #[comptime] block: usize,
    #[comptime] tiling: Tiling,
) -> Owner {
    let of_sequence = index / blocks;
    let sequence = of_sequence / tiling.heads;
    let token = cu_seqlens[sequence] as usize;
    Owner {
        token,
        length: cu_seqlens[sequence + 1] as usize - token,
        head: of_sequence % tiling.heads,
        start: (index % blocks) * block,
    }
}

/// The first owner of this unit's team.
#[cube]
pub(super) fn first_owner(#[comptime] team: usize) -> usize {
    ABSOLUTE_POS / team
}

/// Teams of the launch.
#[cube]
pub(super) fn teams(#[comptime] team: usize) -> usize {
    CUBE_COUNT * CUBE_DIM as usize / team
}

/// This unit's place in its team.
#[cube]
pub(super) fn member(#[comptime] team: usize) -> usize {
    if team == 1 { 0usize.runtime() } else { UNIT_POS as usize }
}

/// Waits for the team, which is one cube.
#[cube]
pub(super) fn meet(#[comptime] team: usize) {
    if team > 1 {
        sync_cube();
    }
}

/// Fills a tile's first `len` vectors with zeros.
#[cube]
pub(super) fn clear<N: Size>(tile: &mut [Vector<f32, N>], len: usize, #[comptime] team: usize) {
    for i in range_stepped(member(team), len, team) {
        tile[i] = Vector::new(0.0f32);
    }
}

/// `tile[d, i] = x[i, d]` for a block of `keys` rows; rows past the end repeat the last one.
///
/// Squares of lanes × lanes are transposed in registers: step s exchanges the lanes whose index has
/// bit s with those of the vector s further on.
#[cube]
pub(super) fn transpose<E: Float, N: Size>(
    x: &[Vector<E, N>],
    rows: &Rows,
    tile: &mut [Vector<f32, N>],
    #[comptime] tiling: Tiling,
) {
    let lanes = tiling.lanes;
    let row_vectors = comptime!(tiling.row_vectors());
    let key_vectors = comptime!(tiling.key_vectors());
    let levels = comptime!(lanes.trailing_zeros() as usize);
    let pairs = comptime!(lanes / 2);
    let squares = rows.count.div_ceil(lanes) * row_vectors;
    for square in range_stepped(member(tiling.team), squares, tiling.team) {
        let column = square / row_vectors;
        let part = square % row_vectors;
        let mut block = Array::<Vector<f32, N>>::new(lanes);
        #[unroll]
        for i in 0..lanes {
            block[i] = Vector::cast_from(x[rows.at(column * lanes + i) + part]);
        }
        #[unroll]
        for level in 0..levels {
            let bit = comptime!(1usize << level);
            #[unroll]
            for pair in 0..pairs {
                // The pair-th index without the bit.
                let upper = comptime!((pair / bit) * 2 * bit + pair % bit);
                let lower = comptime!(upper + bit);
                let a = block[upper];
                let b = block[lower];
                let mut first = a;
                let mut second = b;
                #[unroll]
                for place in 0..pairs {
                    let without = comptime!((place / bit) * 2 * bit + place % bit);
                    let with = comptime!(without + bit);
                    first.insert(with, b.extract(without));
                    second.insert(without, a.extract(with));
                }
                block[upper] = first;
                block[lower] = second;
            }
        }
        #[unroll]
        for i in 0..lanes {
            tile[(part * lanes + i) * key_vectors + column] = block[i];
        }
    }
}

/// `scores[i, j] = Σ_d x[i, d] · transposed[d, j]` for the rows of a stripe and `columns` vectors of
/// keys.
#[cube]
pub(super) fn score<E: Float, N: Size>(
    x: &[Vector<E, N>],
    rows: &Rows,
    transposed: &[Vector<f32, N>],
    columns: usize,
    scores: &mut [Vector<f32, N>],
    #[comptime] tiling: Tiling,
) {
    let lanes = tiling.lanes;
    let height = tiling.tile_rows;
    let breadth = tiling.tile_keys;
    let row_vectors = comptime!(tiling.row_vectors());
    let key_vectors = comptime!(tiling.key_vectors());
    let panels = columns.div_ceil(breadth);
    let tiles = rows.count.div_ceil(height) * panels;
    for index in range_stepped(member(tiling.team), tiles, tiling.team) {
        let top = (index / panels) * height;
        let left = (index % panels) * breadth;
        let mut sums = Array::<Vector<f32, N>>::new(comptime!(height * breadth));
        #[unroll]
        for i in 0..height * breadth {
            sums[i] = Vector::new(0.0f32);
        }
        for part in 0..row_vectors {
            let mut left_operands = Array::<Vector<f32, N>>::new(height);
            #[unroll]
            for i in 0..height {
                left_operands[i] = Vector::cast_from(x[rows.at(top + i) + part]);
            }
            #[unroll]
            for lane in 0..lanes {
                #[unroll]
                for j in 0..breadth {
                    let right = transposed[(part * lanes + lane) * key_vectors + left + j];
                    #[unroll]
                    for i in 0..height {
                        let at = comptime!(i * breadth + j);
                        let value = Vector::new(left_operands[i].extract(lane));
                        sums[at] = fma(value, right, sums[at]);
                    }
                }
            }
        }
        #[unroll]
        for i in 0..height {
            #[unroll]
            for j in 0..breadth {
                scores[(top + i) * key_vectors + left + j] = sums[comptime!(i * breadth + j)];
            }
        }
    }
}

/// `into[first + i] = into[first + i] · scale[first + i] + Σ_j weights[i, j] · x[j]` for the rows of
/// a stripe; weights past the end of the keys must be zero in `columns` whole vectors.
#[cube]
pub(super) fn add_weighted<E: Float, N: Size>(
    weights: &[Vector<f32, N>],
    queries: usize,
    columns: usize,
    x: &[Vector<E, N>],
    keys: &Rows,
    into: &mut [Vector<f32, N>],
    first: usize,
    scale: &[f32],
    #[comptime] scaled: bool,
    #[comptime] tiling: Tiling,
) {
    let lanes = tiling.lanes;
    let height = tiling.tile_rows;
    let breadth = tiling.tile_width;
    let row_vectors = comptime!(tiling.row_vectors());
    let key_vectors = comptime!(tiling.key_vectors());
    let panels = comptime!(row_vectors / breadth);
    let tiles = queries.div_ceil(height) * panels;
    for index in range_stepped(member(tiling.team), tiles, tiling.team) {
        let top = (index / panels) * height;
        let left = (index % panels) * breadth;
        let mut sums = Array::<Vector<f32, N>>::new(comptime!(height * breadth));
        #[unroll]
        for i in 0..height {
            let row = first + top + i;
            #[unroll]
            for j in 0..breadth {
                let before = into[row * row_vectors + left + j];
                let at = comptime!(i * breadth + j);
                if scaled {
                    sums[at] = before * Vector::new(scale[row]);
                } else {
                    sums[at] = before;
                }
            }
        }
        for column in 0..columns {
            let mut left_operands = Array::<Vector<f32, N>>::new(height);
            #[unroll]
            for i in 0..height {
                left_operands[i] = weights[(top + i) * key_vectors + column];
            }
            #[unroll]
            for lane in 0..lanes {
                let row = keys.at(column * lanes + lane) + left;
                #[unroll]
                for j in 0..breadth {
                    let right = Vector::<f32, N>::cast_from(x[row + j]);
                    #[unroll]
                    for i in 0..height {
                        let at = comptime!(i * breadth + j);
                        let value = Vector::new(left_operands[i].extract(lane));
                        sums[at] = fma(value, right, sums[at]);
                    }
                }
            }
        }
        #[unroll]
        for i in 0..height {
            #[unroll]
            for j in 0..breadth {
                into[(first + top + i) * row_vectors + left + j] = sums[comptime!(i * breadth + j)];
            }
        }
    }
}

/// `into[j] += Σ_i weights[i, j] · x[i]` for `columns` vectors of keys and the rows of a stripe.
#[cube]
pub(super) fn add_weighted_transposed<E: Float, N: Size>(
    weights: &[Vector<f32, N>],
    columns: usize,
    x: &[Vector<E, N>],
    queries: &Rows,
    into: &mut [Vector<f32, N>],
    #[comptime] tiling: Tiling,
) {
    let lanes = tiling.lanes;
    let height = comptime!(tiling.tile_rows.min(lanes));
    let groups = comptime!(lanes / height);
    let breadth = tiling.tile_width;
    let row_vectors = comptime!(tiling.row_vectors());
    let key_vectors = comptime!(tiling.key_vectors());
    let panels = comptime!(row_vectors / breadth);
    let tiles = columns * panels;
    for index in range_stepped(member(tiling.team), tiles, tiling.team) {
        let column = index / panels;
        let left = (index % panels) * breadth;
        #[unroll]
        for group in 0..groups {
            let top = column * lanes + group * height;
            let mut sums = Array::<Vector<f32, N>>::new(comptime!(height * breadth));
            #[unroll]
            for i in 0..height {
                #[unroll]
                for j in 0..breadth {
                    sums[comptime!(i * breadth + j)] = into[(top + i) * row_vectors + left + j];
                }
            }
            for query in 0..queries.count {
                let weight = weights[query * key_vectors + column];
                let row = queries.first + query * queries.stride + left;
                #[unroll]
                for j in 0..breadth {
                    let right = Vector::<f32, N>::cast_from(x[row + j]);
                    #[unroll]
                    for i in 0..height {
                        let at = comptime!(i * breadth + j);
                        let value = Vector::new(weight.extract(comptime!(group * height + i)));
                        sums[at] = fma(value, right, sums[at]);
                    }
                }
            }
            #[unroll]
            for i in 0..height {
                #[unroll]
                for j in 0..breadth {
                    into[(top + i) * row_vectors + left + j] = sums[comptime!(i * breadth + j)];
                }
            }
        }
    }
}

/// Writes `rows.count` rows of a tile to a buffer.
#[cube]
pub(super) fn store<E: Float, N: Size>(
    tile: &[Vector<f32, N>],
    out: &mut [Vector<E, N>],
    rows: &Rows,
    #[comptime] tiling: Tiling,
) {
    let row_vectors = comptime!(tiling.row_vectors());
    for index in range_stepped(member(tiling.team), rows.count * row_vectors, tiling.team) {
        let at = rows.first + (index / row_vectors) * rows.stride + index % row_vectors;
        out[at] = Vector::cast_from(tile[index]);
    }
}
