//! What the passes share: how tiles come to shared memory, products of a tile with a plane's own tokens, and
//! how what they sum up is stored.

use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

use super::super::super::tiles::Rows;
use super::super::TensorTiling;
use super::place::{Places, chunk_place, lane_chunk, token_of_step};
use crate::MatrixCore;
use crate::amd_tile::{Words, fragment_of_steps};
use crate::matrix_core::{keep_order, multiply_fragments, swap_halves};
use crate::tensor_tile::{CHUNK, M};

/// Registers of a chunk.
const CHUNK_WORDS: usize = CHUNK / 2;

/// Loads this unit's share of a tile of `tokens`; what is missing of it is from elsewhere.
#[cube]
pub(super) fn fetch<E: Float, L: Size>(
    source: &[Vector<E, L>],
    rows: &Rows,
    held: &mut Array<Vector<E, L>>,
    #[comptime] tokens: usize,
    #[comptime] tiling: TensorTiling,
) {
    let chunks = comptime!(tiling.chunks());
    #[unroll]
    for copy in 0..comptime!(tiling.copies(tokens)) {
        let row = UNIT_POS as usize / chunks + comptime!(copy * tiling.rows_at_once());
        let at = rows.first + row * rows.stride + UNIT_POS as usize % chunks;
        held[copy] = source[select(row < rows.count, at, 0usize.runtime())];
    }
}

/// Puts what [`fetch`] brought to shared memory, from chunk `first` on; what is missing becomes zeros.
#[cube]
pub(super) fn put<E: Float, L: Size>(
    held: &Array<Vector<E, L>>,
    rows: &Rows,
    shared: &mut Shared<[Vector<u32, Words>]>,
    #[comptime] first: usize,
    #[comptime] tokens: usize,
    #[comptime] tiling: TensorTiling,
) {
    let chunks = comptime!(tiling.chunks());
    #[unroll]
    for copy in 0..comptime!(tiling.copies(tokens)) {
        let row = UNIT_POS as usize / chunks + comptime!(copy * tiling.rows_at_once());
        let found = Vector::<u32, Words>::reinterpret(held[copy]);
        let mut words = Vector::<u32, Words>::empty();
        #[unroll]
        for word in 0..CHUNK_WORDS {
            let inside = select(row < rows.count, found.extract(word), 0u32.runtime());
            words.insert(word, inside);
        }
        shared[first + chunk_place(row, UNIT_POS as usize % chunks, tiling)] = words;
    }
}

/// Brings the cube's own tile to shared memory, from chunk `first` on.
#[cube]
pub(super) fn put_own<E: Float, L: Size>(
    source: &[Vector<E, L>],
    rows: &Rows,
    shared: &mut Shared<[Vector<u32, Words>]>,
    #[comptime] first: usize,
    #[comptime] tiling: TensorTiling,
) {
    let tokens = comptime!(tiling.tile);
    let mut held = Array::<Vector<E, L>>::new(comptime!(tiling.copies(tokens)));
    fetch::<E, L>(source, rows, &mut held, tokens, tiling);
    put::<E, L>(&held, rows, shared, first, tokens, tiling);
}

/// This lane's chunks of the plane's own rows, straight from global memory, if they are `kept` in
/// registers, else nothing. A row past the end is the last one: nobody stores what comes of it.
#[cube]
pub(super) fn load_own<E: Float, L: Size>(
    source: &[Vector<E, L>],
    rows: &Rows,
    corner: usize,
    lane: usize,
    #[comptime] kept: bool,
    #[comptime] tiling: TensorTiling,
) -> Array<Vector<u32, Words>> {
    let chunks = comptime!(tiling.lane_chunks());
    let count = comptime!(if kept { tiling.columns() * chunks } else { 1 });
    let mut own = Array::<Vector<u32, Words>>::new(count);
    if comptime!(kept) {
        #[unroll]
        for column in 0..comptime!(tiling.columns()) {
            let row = rows.at(corner + comptime!(M * column) + lane % comptime!(M));
            #[unroll]
            for i in 0..chunks {
                let chunk = source[row + lane_chunk(lane, i, tiling)];
                own[comptime!(column * chunks + i)] = Vector::reinterpret(chunk);
            }
        }
    }
    own
}

/// Products along D of 16 tokens, whose rows begin at chunk `base`, with the plane's own rows, to the
/// accumulators from `at` on, one for each column. Own rows are in registers if they are `kept`, else they
/// are read from chunk `own_base` on anew.
#[cube]
pub(super) fn multiply_rows<E: Float, NF: Size, NS: Size>(
    shared: &[Vector<u32, Words>],
    base: usize,
    own: &Array<Vector<u32, Words>>,
    own_base: usize,
    places: &Places,
    acc: &mut Array<Vector<f32, NS>>,
    #[comptime] at: usize,
    #[comptime] kept: bool,
    #[comptime] tiling: TensorTiling,
) {
    let columns = comptime!(tiling.columns());
    if comptime!(!kept) {
        // Else the compiler keeps own rows for the next group, in registers that are not there.
        sync_plane();
    }
    #[unroll]
    for column in 0..columns {
        acc[comptime!(at + column)] = Vector::new(0.0f32);
    }
    #[unroll]
    for product in 0..comptime!(tiling.steps()) {
        let a = fragment_of_row::<NF>(shared, base, places, product, tiling);
        #[unroll]
        for column in 0..columns {
            let of_column = comptime!(at + column);
            let b = if comptime!(kept) {
                fragment_of_chunks::<NF>(own, column, product, tiling)
            } else {
                let below = comptime!(column * tiling.group_chunks());
                fragment_of_row::<NF>(shared, own_base + below, places, product, tiling)
            };
            acc[of_column] = multiply_fragments::<E, NF, NS>(a, b, acc[of_column], tiling.core);
        }
        if comptime!(!kept || product % 2 == 1) {
            keep_few(tiling);
        }
    }
}

/// This lane's fragment of 16 rows, from chunk `base` on, for product `product` along D.
#[cube]
fn fragment_of_row<NF: Size>(
    shared: &[Vector<u32, Words>],
    base: usize,
    places: &Places,
    #[comptime] product: usize,
    #[comptime] tiling: TensorTiling,
) -> Vector<u32, NF> {
    let words = comptime!(tiling.core.words());
    let mut held = Vector::<u32, NF>::empty();
    #[unroll]
    for word in 0..words {
        // The compiler makes one load of those of the same chunk.
        let of_lane = comptime!(product * words + word);
        let chunk = shared[base + places.along_width[comptime!(of_lane / CHUNK_WORDS)]];
        held.insert(word, chunk.extract(comptime!(of_lane % CHUNK_WORDS)));
    }
    held
}

/// The same of chunks in registers.
#[cube]
fn fragment_of_chunks<NF: Size>(
    chunks: &Array<Vector<u32, Words>>,
    #[comptime] column: usize,
    #[comptime] product: usize,
    #[comptime] tiling: TensorTiling,
) -> Vector<u32, NF> {
    let words = comptime!(tiling.core.words());
    let mut held = Vector::<u32, NF>::empty();
    #[unroll]
    for word in 0..words {
        let of_lane = comptime!(product * words + word);
        let chunk = chunks[comptime!(column * tiling.lane_chunks() + of_lane / CHUNK_WORDS)];
        held.insert(word, chunk.extract(comptime!(of_lane % CHUNK_WORDS)));
    }
    held
}

/// Adds `rowsᵀ · weights` to the plane's sums, for the rows of 16 tokens, from chunk `base` on. The weights
/// are the accumulators from `at` on, one for each column.
#[cube]
pub(super) fn add_weighted<E: Float, NF: Size, NS: Size>(
    weights: &Array<Vector<f32, NS>>,
    shared: &[Vector<u32, Words>],
    base: usize,
    places: &Places,
    sums: &mut Array<Vector<f32, NS>>,
    lane: usize,
    #[comptime] at: usize,
    #[comptime] tiling: TensorTiling,
) {
    let columns = comptime!(tiling.columns());
    let mut rounded = Array::<Vector<u32, NF>>::new(columns);
    #[unroll]
    for column in 0..columns {
        let of_column = weights[comptime!(at + column)];
        rounded[column] = operand_of_sums::<E, NF, NS>(of_column, lane, tiling);
    }
    let neighbours = comptime!(tiling.neighbours());
    let size!(NP) = comptime!(neighbours / 2);
    #[unroll]
    for part in 0..comptime!(tiling.parts()) {
        let steps = load_steps::<NP>(shared, base, places, part, tiling);
        #[unroll]
        for i in 0..neighbours {
            let a = fragment_of_steps::<NF, NP>(&steps, i, tiling.core);
            #[unroll]
            for column in 0..columns {
                let sum = comptime!((part * neighbours + i) * columns + column);
                sums[sum] =
                    multiply_fragments::<E, NF, NS>(a, rounded[column], sums[sum], tiling.core);
            }
            keep_few(tiling);
        }
    }
}

/// This lane's neighbours along D, in part `part` of it, of each of its tokens of a group whose rows begin at
/// chunk `base`.
#[cube]
fn load_steps<NP: Size>(
    shared: &[Vector<u32, Words>],
    base: usize,
    places: &Places,
    #[comptime] part: usize,
    #[comptime] tiling: TensorTiling,
) -> Array<Vector<u32, NP>> {
    let neighbours = comptime!(tiling.neighbours());
    let pieces = shared.with_vector_size::<NP>();
    let base = base * comptime!(CHUNK / neighbours);
    let mut steps = Array::<Vector<u32, NP>>::new(comptime!(tiling.lane_steps()));
    #[unroll]
    for step in 0..comptime!(tiling.lane_steps()) {
        let (place, below) = comptime!(match tiling.core {
            MatrixCore::Mfma => (step, 0),
            _ => (0, token_of_step(step) * tiling.pitch()),
        });
        // A part is a multiple of 128 bytes, which no permutation crosses.
        let beside = comptime!(part * M * neighbours / CHUNK + below);
        let constant = comptime!(beside * CHUNK / neighbours);
        steps[step] = pieces[base + places.along_tokens[place] + constant];
    }
    steps
}

/// Keeps RDNA's compiler from loading more fragments ahead than there are registers.
#[cube]
fn keep_few(#[comptime] tiling: TensorTiling) {
    if comptime!(tiling.core == MatrixCore::Wmma) {
        keep_order();
    }
}

/// Sums for the plane's own tokens, all zero: of neighbouring rows along D in turn, for each column.
#[cube]
pub(super) fn no_sums<NS: Size>(#[comptime] tiling: TensorTiling) -> Array<Vector<f32, NS>> {
    let mut sums = Array::<Vector<f32, NS>>::new(comptime!(tiling.sums()));
    #[unroll]
    for i in 0..comptime!(tiling.sums()) {
        sums[i] = Vector::new(0.0f32);
    }
    sums
}

/// Accumulators as the right operand of a product along their rows, rounded to 16 bits.
#[cube]
fn operand_of_sums<E: Float, NF: Size, NS: Size>(
    sums: Vector<f32, NS>,
    lane: usize,
    #[comptime] tiling: TensorTiling,
) -> Vector<u32, NF> {
    if comptime!(tiling.core == MatrixCore::Mfma) {
        round_pairs::<E, NS, NF>(sums)
    } else {
        // Each half of a plane has what belongs to its rows, and needs all: those of the lower half first.
        let own = round_pairs::<E, NS, Words>(sums);
        let lower = lane < comptime!(M);
        let mut both = Vector::<u32, NF>::empty();
        #[unroll]
        for word in 0..CHUNK_WORDS {
            let mine = own.extract(word);
            let other = swap_halves(mine);
            both.insert(word, select(lower, mine, other));
            both.insert(comptime!(CHUNK_WORDS + word), select(lower, other, mine));
        }
        both
    }
}

/// Values rounded to 16 bits, to nearest, ties to even, in pairs.
#[cube]
fn round_pairs<E: Float, N: Size, NW: Size>(values: Vector<f32, N>) -> Vector<u32, NW> {
    let element = elem_type_of::<E>();
    if comptime!(element == ElemType::Float(FloatKind::F16)) {
        Vector::<u32, NW>::reinterpret(Vector::<E, N>::cast_from(values))
    } else {
        // These cores have no instruction for it, and what LLVM has instead keeps all bits of a NaN.
        let mut words = Vector::<u32, NW>::empty();
        #[unroll]
        for word in 0..NW::value() {
            let low = round_to_bf16(values.extract(comptime!(2 * word)));
            let high = round_to_bf16(values.extract(comptime!(2 * word + 1)));
            words.insert(word, (low >> 16u32) | (high & 0xffff_0000u32));
        }
        words
    }
}

/// bf16 in the upper half; infinities stay, and so do the NaNs that arithmetic gives.
#[cube]
fn round_to_bf16(value: f32) -> u32 {
    let bits = u32::reinterpret(value);
    bits + ((bits >> 16u32) & 1u32) + 0x7fffu32
}

/// Scales the sums of each column by its factor and writes them to rows of a buffer. `corner` is the
/// plane's first row.
#[cube]
pub(super) fn store_rows<E: Float, L: Size, NS: Size>(
    sums: &Array<Vector<f32, NS>>,
    factors: &Array<f32>,
    out: &mut [Vector<E, L>],
    rows: &Rows,
    lane: usize,
    corner: usize,
    #[comptime] tiling: TensorTiling,
) {
    let columns = comptime!(tiling.columns());
    let neighbours = comptime!(tiling.neighbours());
    // A lane's neighbours along D of a part, in chunks.
    let of_lane = comptime!(tiling.core.sums() * neighbours / CHUNK);
    #[unroll]
    for column in 0..columns {
        let row = corner + comptime!(M * column) + lane % comptime!(M);
        if row < rows.count {
            let first = rows.first + row * rows.stride + lane / comptime!(M) * of_lane;
            #[unroll]
            for part in 0..comptime!(tiling.parts()) {
                #[unroll]
                for chunk in 0..of_lane {
                    let mut values = Vector::<f32, Const<8>>::empty();
                    #[unroll]
                    for i in 0..CHUNK {
                        let element = comptime!(chunk * CHUNK + i);
                        let fragment = comptime!(part * neighbours + element % neighbours);
                        let sum = sums[comptime!(fragment * columns + column)];
                        let value = sum.extract(comptime!(element / neighbours));
                        values.insert(i, value * factors[column]);
                    }
                    let words = round_pairs::<E, Const<8>, Words>(values);
                    let at = comptime!(part * M * neighbours / CHUNK + chunk);
                    out[first + at] = Vector::reinterpret(words);
                }
            }
        }
    }
}

/// The same factor for every column.
#[cube]
pub(super) fn factors(factor: f32, #[comptime] tiling: TensorTiling) -> Array<f32> {
    let mut factors = Array::<f32>::new(comptime!(tiling.columns()));
    #[unroll]
    for column in 0..comptime!(tiling.columns()) {
        factors[column] = factor;
    }
    factors
}

/// The loads, a lane at a time.
#[cfg(all(test, feature = "cpu"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::place::places;
    use super::super::place::tests::tilings;
    use super::*;
    use crate::amd_tile::sum_row;
    use crate::{Context, DType};

    /// Fragments of the second group of a tile: those along D, then those along tokens.
    #[cube(launch)]
    fn read_lanes(
        tile: &[Vector<u32, Words>],
        out: &mut [u32],
        lanes: usize,
        #[comptime] tiling: TensorTiling,
    ) {
        let words = comptime!(tiling.core.words());
        let size!(NF) = words;
        let size!(NP) = comptime!(tiling.neighbours() / 2);
        let base = comptime!(tiling.group_chunks()).runtime();
        for lane in 0..lanes {
            let places = places(lane, tiling);
            let first = lane * comptime!(2 * tiling.steps() * words);
            #[unroll]
            for product in 0..comptime!(tiling.steps()) {
                let held = fragment_of_row::<NF>(tile, base, &places, product, tiling);
                #[unroll]
                for word in 0..words {
                    out[first + comptime!(product * words + word)] = held.extract(word);
                }
            }
            #[unroll]
            for part in 0..comptime!(tiling.parts()) {
                let steps = load_steps::<NP>(tile, base, &places, part, tiling);
                #[unroll]
                for i in 0..comptime!(tiling.neighbours()) {
                    let held = fragment_of_steps::<NF, NP>(&steps, i, tiling.core);
                    let fragment = comptime!(tiling.steps() + part * tiling.neighbours() + i);
                    #[unroll]
                    for word in 0..words {
                        out[first + comptime!(fragment * words + word)] = held.extract(word);
                    }
                }
            }
        }
    }

    #[test]
    fn fragments_hold_what_the_instructions_multiply() {
        let ctx = Context::open("cpu").unwrap();
        for tiling in tilings() {
            let (core, width) = (tiling.core, tiling.width);
            // Element d of a token says where it is from.
            let mut tile = vec![0u32; tiling.tile_chunks(2 * M) * CHUNK_WORDS];
            for item in 0..2 * M * width {
                let (token, d) = (item / width, item % width);
                let at = chunk_place(token, d / CHUNK, tiling) * CHUNK + d % CHUNK;
                tile[at / 2] |= (item as u32) << (16 * (at % 2));
            }
            let out = ctx.empty(DType::U32, core.lanes() * 2 * tiling.steps() * core.words());
            read_lanes::launch(
                ctx.client(),
                CubeCount::Static(1, 1, 1),
                CubeDim::new_1d(1),
                ctx.upload_u32(&tile).arg(),
                out.arg(),
                core.lanes(),
                tiling,
            );
            let found = ctx.read_u32(&out).unwrap();
            let steps = 2 * core.words();
            // Token of the group and d of a step of k of a lane's fragment.
            let element = |lane: usize, fragment: usize, step: usize| {
                let word = (lane * 2 * tiling.steps() + fragment) * core.words() + step / 2;
                let item = (found[word] >> (16 * (step % 2)) & 0xffff) as usize;
                (item / width - M, item % width)
            };
            let groups_of_k = if core == MatrixCore::Mfma { core.lanes() / M } else { 1 };
            let mut seen = vec![false; width];
            for (lane, product, step) in (0..core.lanes()).flat_map(|lane| {
                (0..tiling.steps()).flat_map(move |p| (0..steps).map(move |s| (lane, p, s)))
            }) {
                let (token, d) = element(lane, product, step);
                // Rows of a product have the same step of k in the same place.
                let first_row = lane / M % groups_of_k * M;
                assert_eq!((token, d), (lane % M, element(first_row, product, step).1));
                if lane == first_row {
                    assert!(!std::mem::replace(&mut seen[d], true), "{tiling:?} {lane} {d}");
                }
            }
            assert!(seen.iter().all(|seen| *seen), "{tiling:?}");

            // What a lane's accumulators are is what the next product takes from it and what it stores.
            let neighbours = tiling.neighbours();
            for lane in 0..core.lanes() {
                let holder = (0..core.lanes()).find_map(|holder| {
                    let sum = (0..core.sums()).find(|s| sum_row(holder, *s, core) == lane % M);
                    sum.map(|sum| (holder / M, sum))
                });
                let (half, sum) = holder.unwrap();
                for (fragment, step) in
                    (0..tiling.steps()).flat_map(|f| (0..steps).map(move |s| (f, s)))
                {
                    let (part, i) = (fragment / neighbours, fragment % neighbours);
                    let d = (part * M + half * core.sums() + sum) * neighbours + i;
                    let token = match core {
                        MatrixCore::Mfma => sum_row(lane, step, core),
                        _ => sum_row(step / 8 * M, step % 8, core),
                    };
                    let found = element(lane, tiling.steps() + fragment, step);
                    assert_eq!(found, (token, d), "{tiling:?} {lane} {fragment} {step}");
                }
            }
        }
    }
}
