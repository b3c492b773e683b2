//! The inner tile on AMD's matrix cores: 16 × 16 × 16 products of a plane, `v_mfma` or `v_wmma`, with
//! fragments that its lanes read from shared memory.
//!
//! A lane holds neighbours along k of one row of A, or column of B. A stage holds 32 steps of k, two
//! products, as it lies in global memory:
//!
//! * neighbours along k. A lane reads whole chunks of its row. MFMA's lanes hold four steps of a product,
//!   half a chunk, so the chunks of a plane are cut in halves, one for each product: the order of k is the
//!   same in both operands, and that is all a sum needs.
//! * neighbours along m (or n). AMD's shared memory has no load that transposes. A lane reads a few
//!   neighbours of each of its steps of k, as many as its plane has fragments, and takes their halves apart:
//!   its fragments are those of neighbouring rows of C (or columns).
//!
//! The indices are plain functions; the tests below run the loads lane by lane and emulate the
//! instructions.
//!
//! Source: AMD matrix instruction calculator (ROCm/amd_matrix_instruction_calculator), register layouts of
//! `v_mfma_f32_16x16x16_bf16` and `v_wmma_f32_16x16x16_bf16`.

use cubecl::prelude::*;

use crate::matrix_core::MatrixCore;
use crate::tensor_tile::{CHUNK, M, Stage, chunk_at};

/// Registers of a chunk.
pub(crate) type Words = Const<4>;
const CHUNK_WORDS: usize = CHUNK / 2;
/// Steps of k of a stage.
pub(crate) const DEPTH: usize = 32;
/// Products along a stage.
pub(crate) const PRODUCTS: usize = DEPTH / M;

impl MatrixCore {
    /// Registers of a lane that hold its part of a 16 × 16 of A or B.
    pub(crate) const fn words(self) -> usize {
        match self {
            Self::Mfma => 2,
            Self::Mma => 4,
            Self::Wmma => 8,
        }
    }

    /// Accumulators of a lane in a 16 × 16 of C.
    pub(crate) const fn sums(self) -> usize {
        M * M / self.lanes()
    }

    /// Lanes from one that holds a row of A to the next that has later steps of k of it; WMMA has none.
    const fn lanes_of_step(self) -> usize {
        match self {
            Self::Mfma => M,
            Self::Mma | Self::Wmma => self.lanes(),
        }
    }
}

/// A plane's part of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Operand {
    pub(crate) stage: Stage,
    /// 16 rows of A or columns of B each; two or more.
    pub(crate) fragments: usize,
    pub(crate) core: MatrixCore,
}

impl Operand {
    /// Places from which everything a lane reads is a constant away.
    pub(crate) fn places(&self) -> usize {
        match (self.core, self.stage.k_contiguous) {
            (MatrixCore::Mfma, _) => 1,
            (_, true) => self.stage.chunks(),
            // Rows whose permutation differs.
            (_, false) => 2,
        }
    }

    /// Rows of A (or columns of B) from one fragment to the next, and from one lane to the next.
    pub(crate) fn strides(&self) -> (usize, usize) {
        if self.stage.k_contiguous { (M, 1) } else { (1, self.fragments) }
    }
}

/// Which chunk of a stage holds chunk `chunk` of row `row`.
///
/// Rows along m (or n) are permuted as for `ldmatrix`. Of rows along k a plane reads two at once, eight
/// apart, 64 bytes of each where it has two fragments: they lie in different halves of the banks.
#[cube]
pub(crate) fn chunk_place(row: usize, chunk: usize, #[comptime] stage: Stage) -> usize {
    if comptime!(stage.k_contiguous) {
        chunk_at(row, chunk, stage) / comptime!(CHUNK)
    } else {
        row * comptime!(stage.chunks()) + (chunk ^ (row / 8 % 2 * 4))
    }
}

/// The `place`th of the places where `lane` reads, in pieces from the stage. `corner` is where along m (or
/// n) the plane's part begins.
#[cube]
pub(crate) fn lane_place(
    lane: usize,
    corner: usize,
    #[comptime] place: usize,
    #[comptime] of: Operand,
) -> usize {
    let outer = lane % comptime!(M);
    let later = lane / comptime!(of.core.lanes_of_step());
    if comptime!(of.stage.k_contiguous) {
        chunk_place(corner + outer, later + place, of.stage)
    } else {
        let column = corner + outer * comptime!(of.fragments);
        let row = (later + place) * 8;
        let chunk = chunk_place(row, column / comptime!(CHUNK), of.stage);
        (chunk * comptime!(CHUNK) + column % comptime!(CHUNK)) / comptime!(of.fragments)
    }
}

/// All places of `lane`.
#[cube]
pub(crate) fn lane_places(lane: usize, corner: usize, #[comptime] of: Operand) -> Array<usize> {
    let count = comptime!(of.places());
    let mut places = Array::<usize>::new(count);
    #[unroll]
    for place in 0..count {
        places[place] = lane_place(lane, corner, place, of);
    }
    places
}

/// Row (or column) of C, from the plane's corner, of what lies `index` rows below the first in fragment
/// `fragment`.
#[cube]
pub(crate) fn outer_of(
    index: usize,
    #[comptime] fragment: usize,
    #[comptime] of: Operand,
) -> usize {
    let (of_fragment, of_lane) = comptime!(of.strides());
    index * of_lane + comptime!(fragment * of_fragment)
}

/// Row of accumulator `sum` of `lane` within its 16 × 16; its column is the lane's modulo 16.
#[cube]
pub(crate) fn sum_row(lane: usize, #[comptime] sum: usize, #[comptime] core: MatrixCore) -> usize {
    let below = lane / comptime!(M);
    if comptime!(core == MatrixCore::Mfma) {
        below * comptime!(core.sums()) + sum
    } else {
        below + comptime!(2 * sum)
    }
}

/// This lane's fragments for product `product` of the stage that begins at chunk `first`.
#[cube]
pub(crate) fn load_fragments<NF: Size>(
    shared: &[Vector<u32, Words>],
    first: usize,
    places: &Array<usize>,
    #[comptime] product: usize,
    #[comptime] of: Operand,
) -> Sequence<Vector<u32, NF>> {
    let words = comptime!(of.core.words());
    if comptime!(of.stage.k_contiguous) {
        let mut fragments = Sequence::<Vector<u32, NF>>::new();
        #[unroll]
        for fragment in 0..of.fragments {
            let below = comptime!(fragment * M * of.stage.chunks());
            let mut held = Vector::<u32, NF>::empty();
            #[unroll]
            for word in 0..words {
                // The compiler makes one load of those of the same chunk.
                let of_lane = comptime!(product * words + word);
                let chunk = shared[first + places[comptime!(of_lane / CHUNK_WORDS)] + below];
                held.insert(word, chunk.extract(comptime!(of_lane % CHUNK_WORDS)));
            }
            fragments.push(held);
        }
        fragments
    } else {
        let size!(NP) = comptime!(of.fragments / 2);
        let pieces = shared.with_vector_size::<NP>();
        let first = first * comptime!(CHUNK / of.fragments);
        let mut steps = Array::<Vector<u32, NP>>::new(comptime!(2 * words));
        #[unroll]
        for step in 0..comptime!(2 * words) {
            let row = comptime!(product * 2 * words + step);
            let place = comptime!(row / 8 % of.places());
            let below = comptime!((row - 8 * place) * of.stage.outer / of.fragments);
            steps[step] = pieces[first + places[place] + below];
        }
        let mut fragments = Sequence::<Vector<u32, NF>>::new();
        #[unroll]
        for fragment in 0..of.fragments {
            fragments.push(fragment_of_steps::<NF, NP>(&steps, fragment, of.core));
        }
        fragments
    }
}

/// The fragment of the `which`th of the neighbours that a lane read of each of its steps of k.
#[cube]
pub(crate) fn fragment_of_steps<NF: Size, NP: Size>(
    steps: &Array<Vector<u32, NP>>,
    #[comptime] which: usize,
    #[comptime] core: MatrixCore,
) -> Vector<u32, NF> {
    let pair = comptime!(which / 2);
    let mut held = Vector::<u32, NF>::empty();
    #[unroll]
    for word in 0..comptime!(core.words()) {
        let earlier = steps[comptime!(2 * word)].extract(pair);
        let later = steps[comptime!(2 * word + 1)].extract(pair);
        let both = if comptime!(which.is_multiple_of(2)) {
            (earlier & 0xffffu32) | (later << 16u32)
        } else {
            (earlier >> 16u32) | (later & 0xffff_0000u32)
        };
        held.insert(word, both);
    }
    held
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const CORES: [MatrixCore; 2] = [MatrixCore::Mfma, MatrixCore::Wmma];

    /// Both operands of both blocks, in either layout, on either core.
    fn operands() -> Vec<Operand> {
        let mut operands = Vec::new();
        for (outer, spans) in [(64, vec![32]), (128, vec![64, 32])] {
            for (span, k_contiguous) in
                spans.into_iter().flat_map(|span| [(span, false), (span, true)])
            {
                for core in CORES {
                    let stage = Stage { outer, depth: DEPTH, k_contiguous };
                    operands.push(Operand { stage, fragments: span / M, core });
                }
            }
        }
        operands
    }

    #[test]
    fn accumulators_are_those_of_the_instruction() {
        for core in CORES {
            let mut seen = [[false; M]; M];
            for lane in 0..core.lanes() {
                for sum in 0..core.sums() {
                    let row = match core {
                        MatrixCore::Mfma => 4 * (lane / 16) + sum,
                        _ => 2 * sum + lane / 16,
                    };
                    assert_eq!(sum_row(lane, sum, core), row);
                    assert!(!std::mem::replace(&mut seen[row][lane % M], true));
                }
            }
        }
    }

    #[test]
    fn rows_of_fragments_fill_the_plane() {
        for of in operands() {
            let mut rows: Vec<usize> = (0..of.fragments)
                .flat_map(|fragment| (0..M).map(move |index| outer_of(index, fragment, of)))
                .collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..of.fragments * M).collect::<Vec<_>>(), "{of:?}");
        }
    }

    /// Lanes that shared memory serves at once in a read of `bytes` each. MI300 reads 16 bytes of eight
    /// lanes in an order of its own (AMD ROCm blogs, "Avoiding LDS Bank Conflicts on AMD GPUs Using
    /// CK-Tile Framework"); otherwise 128 bytes of neighbouring lanes.
    pub(crate) fn served_at_once(core: MatrixCore, bytes: usize) -> Vec<Vec<usize>> {
        if core == MatrixCore::Mfma && bytes == 16 {
            let firsts = [(0, 20), (4, 16), (8, 28), (12, 24)];
            let lanes = |(a, b): (usize, usize), half| {
                (a..a + 4).chain(b..b + 4).map(|lane| lane + half).collect()
            };
            return [0, 32].into_iter().flat_map(|half| firsts.map(|f| lanes(f, half))).collect();
        }
        let lanes: Vec<usize> = (0..core.lanes()).collect();
        lanes.chunks(128 / bytes).map(<[_]>::to_vec).collect()
    }

    #[test]
    fn neither_reads_nor_writes_of_shared_memory_meet_in_a_bank() {
        for of in operands() {
            let stage = of.stage;
            let mut seen = vec![false; stage.elements() / CHUNK];
            for row in 0..stage.rows() {
                for chunk in 0..stage.chunks() {
                    let at = chunk_place(row, chunk, stage);
                    assert!(!std::mem::replace(&mut seen[at], true), "{of:?} {row} {chunk}");
                }
            }
            for first in (0..seen.len()).step_by(8) {
                let banks = (first..first + 8).fold(0u32, |banks, item| {
                    let at = chunk_place(item / stage.chunks(), item % stage.chunks(), stage);
                    banks | 1 << (at % 8)
                });
                assert_eq!(banks, 0xff, "{of:?}: units from {first} on write");
            }
            let piece = if stage.k_contiguous { CHUNK } else { of.fragments };
            for corner in (0..stage.outer).step_by(of.fragments * M) {
                for place in 0..of.places() {
                    for lanes in served_at_once(of.core, 2 * piece) {
                        let mut words = std::collections::BTreeMap::new();
                        for lane in lanes {
                            let first = lane_place(lane, corner, place, of) * piece / 2;
                            for word in first..first + piece / 2 {
                                // Lanes that read the same word share it.
                                let of_bank = words.entry(word % 32).or_insert(word);
                                assert_eq!(*of_bank, word, "{of:?} lane {lane}");
                            }
                        }
                    }
                }
            }
        }
    }

    /// The loads themselves, a lane at a time.
    #[cfg(feature = "cpu")]
    mod loads {
        #![allow(clippy::unwrap_used)]

        use super::*;
        use crate::{Context, DType};

        #[cube(launch)]
        fn read_lanes(
            shared: &[Vector<u32, Words>],
            out: &mut [u32],
            lanes: usize,
            corner: usize,
            #[comptime] of: Operand,
        ) {
            let words = comptime!(of.core.words());
            let size!(NF) = words;
            for lane in 0..lanes {
                let places = lane_places(lane, corner, of);
                #[unroll]
                for product in 0..PRODUCTS {
                    let held = load_fragments::<NF>(shared, 0usize, &places, product, of);
                    #[unroll]
                    for fragment in 0..of.fragments {
                        #[unroll]
                        for word in 0..words {
                            let item = (lane * PRODUCTS + product) * of.fragments + fragment;
                            out[item * words + word] = held[fragment].extract(word);
                        }
                    }
                }
            }
        }

        #[test]
        fn fragments_hold_what_the_instructions_multiply() {
            let ctx = Context::open("cpu").unwrap();
            for of in operands() {
                // Element (outer, k) says where it is from.
                let name = |outer: usize, k: usize| (outer * DEPTH + k) as u32;
                let mut shared = vec![0u32; of.stage.elements() / 2];
                for outer in 0..of.stage.outer {
                    for k in 0..DEPTH {
                        let (row, column) =
                            if of.stage.k_contiguous { (outer, k) } else { (k, outer) };
                        let chunk = chunk_place(row, column / CHUNK, of.stage);
                        let at = chunk * CHUNK + column % CHUNK;
                        shared[at / 2] |= name(outer, k) << (16 * (at % 2));
                    }
                }
                let shared = ctx.upload_u32(&shared);
                let (lanes, words) = (of.core.lanes(), of.core.words());
                for corner in (0..of.stage.outer).step_by(of.fragments * M) {
                    let out = ctx.empty(DType::U32, lanes * PRODUCTS * of.fragments * words);
                    read_lanes::launch(
                        ctx.client(),
                        CubeCount::Static(1, 1, 1),
                        CubeDim::new_1d(1),
                        shared.arg(),
                        out.arg(),
                        lanes,
                        corner,
                        of,
                    );
                    let found = ctx.read_u32(&out).unwrap();
                    for (item, found) in found.iter().enumerate() {
                        let (item, word) = (item / words, item % words);
                        let (item, fragment) = (item / of.fragments, item % of.fragments);
                        let (lane, product) = (item / PRODUCTS, item % PRODUCTS);
                        let outer = corner + outer_of(lane % M, fragment, of);
                        // Lanes of MFMA hold four steps each, which both products take from eight.
                        let k = match of.core {
                            MatrixCore::Mfma => lane / 16 * 8 + product * 4,
                            _ => product * M,
                        } + 2 * word;
                        let expected = name(outer, k) | name(outer, k + 1) << 16;
                        assert_eq!(
                            *found, expected,
                            "{of:?} lane {lane} {product} {fragment} {word}"
                        );
                    }
                }
            }
        }
    }
}
