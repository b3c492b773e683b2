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
    let mut fragments = Sequence::<Vector<u32, NF>>::new();
    if comptime!(of.stage.k_contiguous) {
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
        #[unroll]
        for fragment in 0..of.fragments {
            let mut held = Vector::<u32, NF>::empty();
            #[unroll]
            for word in 0..words {
                let pair = comptime!(fragment / 2);
                let earlier = steps[comptime!(2 * word)].extract(pair);
                let later = steps[comptime!(2 * word + 1)].extract(pair);
                let both = if comptime!(fragment % 2 == 0) {
                    (earlier & 0xffffu32) | (later << 16u32)
                } else {
                    (earlier >> 16u32) | (later & 0xffff_0000u32)
                };
                held.insert(word, both);
            }
            fragments.push(held);
        }
    }
    fragments
}
