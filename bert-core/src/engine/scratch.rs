//! Scratch memory: how much a model needs, and how it is divided.
//!
//! Its growth is linear in the tokens T: the residual stream (f32), keys and values of one layer
//! (int8) and one row of attention scores. There is no T × T buffer.

use core::ops::{Deref, DerefMut};

use crate::Error;

/// Alignment of scratch memory in bytes.
pub const SCRATCH_ALIGN: usize = 16;

/// Rows that go through a matrix together, so that weights are read once for all of them.
pub(crate) const TILE: usize = 4;

/// `N` bytes of aligned scratch memory, for a `static` or the stack.
///
/// ```
/// use bert_core::{Scratch, Shape, scratch_bytes};
/// const TINY: Shape = Shape { hidden: 128, heads: 2, feed_forward: 512, labels: 7, tags: 0 };
/// let mut scratch = Scratch::<{ scratch_bytes(&TINY, 64) }>::new();
/// assert!(scratch.len() <= 96 * 1024);
/// # scratch[0] = 1;
/// ```
#[repr(C, align(16))]
pub struct Scratch<const N: usize>([u8; N]);

impl<const N: usize> Scratch<N> {
    /// Zeroed memory.
    #[must_use]
    pub const fn new() -> Self {
        Scratch([0; N])
    }
}

impl<const N: usize> Default for Scratch<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Deref for Scratch<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> DerefMut for Scratch<N> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Aligned scratch memory of a length known at run time, on the heap of a host.
#[cfg(feature = "std")]
pub struct ScratchVec {
    blocks: Vec<u128>,
    bytes: usize,
}

#[cfg(feature = "std")]
impl ScratchVec {
    /// Zeroed memory of exactly `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        ScratchVec { blocks: vec![0; bytes.div_ceil(size_of::<u128>())], bytes }
    }

    /// As much as `model` needs for texts of its `max_length`.
    #[must_use]
    pub fn of(model: &crate::Model<'_>) -> Self {
        Self::new(model.scratch_bytes(model.config().max_length as usize))
    }
}

#[cfg(feature = "std")]
impl Deref for ScratchVec {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[..self.bytes]
    }
}

#[cfg(feature = "std")]
impl DerefMut for ScratchVec {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.blocks)[..self.bytes]
    }
}

/// What decides the scratch memory of a model. All fields are counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// H, width of the residual stream.
    pub hidden: usize,
    /// A, attention heads.
    pub heads: usize,
    /// F, feed-forward width.
    pub feed_forward: usize,
    /// Labels of the text or numbers of a regression, 0 without.
    pub labels: usize,
    /// Tags of a word, 0 without.
    pub tags: usize,
}

/// Lengths of the parts, in elements.
struct Plan {
    tokens: u64,
    rows: u64,
    head_rows: u64,
    narrow: u64,
    wide: u64,
    widest: u64,
}

impl Plan {
    const fn new(shape: &Shape, tokens: usize) -> Self {
        let (hidden, wide) = (shape.hidden as u64, shape.feed_forward as u64);
        let tile = TILE as u64;
        let two = 2 * hidden;
        Plan {
            tokens: tokens as u64,
            rows: tokens as u64 * hidden,
            head_rows: tokens as u64 * shape.heads as u64,
            narrow: tile * hidden,
            wide: tile * if two > wide { two } else { wide },
            widest: tile * if hidden > wide { hidden } else { wide },
        }
    }

    /// Parts in the order of [`Memory::divide`]: length and bytes of an element.
    const fn parts(&self, shape: &Shape) -> [(u64, u64); 18] {
        [
            (self.rows, 4),
            (self.head_rows, 4),
            (self.head_rows, 4),
            (self.narrow, 4),
            (self.narrow, 4),
            (self.wide, 4),
            (TILE as u64, 4),
            (shape.heads as u64, 4),
            (self.tokens, 4),
            (shape.labels as u64, 4),
            (shape.tags as u64, 4),
            (self.tokens, 4),
            (self.tokens, 4),
            (self.tokens, 4),
            (self.tokens, 4),
            (self.rows, 1),
            (self.rows, 1),
            (self.widest, 1),
        ]
    }
}

/// Bytes of scratch memory for a model of this shape and inputs of up to `tokens` tokens
/// (`[CLS]` and `[SEP]` included), exactly; `usize::MAX` if it does not fit 32 bits.
#[must_use]
pub const fn scratch_bytes(shape: &Shape, tokens: usize) -> usize {
    let parts = Plan::new(shape, tokens).parts(shape);
    let mut total = 0u64;
    let mut i = 0;
    while i < parts.len() {
        total += (parts[i].0 * parts[i].1).next_multiple_of(SCRATCH_ALIGN as u64);
        i += 1;
    }
    if total > u32::MAX as u64 { usize::MAX } else { total as usize }
}

/// The scratch memory, divided.
pub(crate) struct Memory<'s> {
    /// Residual stream \[T, H\].
    pub x: &'s mut [f32],
    /// Scales of keys and values \[T, A\].
    pub key_scales: &'s mut [f32],
    pub value_scales: &'s mut [f32],
    /// Rows in flight \[TILE, H\].
    pub first: &'s mut [f32],
    pub second: &'s mut [f32],
    /// Rows in flight \[TILE, max(2H, F)\].
    pub wide: &'s mut [f32],
    /// Scales of quantized rows \[TILE\].
    pub row_scales: &'s mut [f32],
    /// Scales of one query row \[A\].
    pub query_scales: &'s mut [f32],
    /// One row of attention scores \[T\].
    pub scores: &'s mut [f32],
    /// Logits of `[CLS]` \[labels or outputs\] and of one word \[tags\].
    pub label_logits: &'s mut [f32],
    pub tag_logits: &'s mut [f32],
    /// Token ids \[T\].
    pub ids: &'s mut [u32],
    /// Word number of a word's first token, [`NOT_FIRST`] elsewhere \[T\]; its span in the text.
    pub words: &'s mut [u32],
    pub starts: &'s mut [u32],
    pub ends: &'s mut [u32],
    /// Keys and values \[T, H\].
    pub keys: &'s mut [i8],
    pub values: &'s mut [i8],
    /// Quantized rows \[TILE, max(H, F)\].
    pub rows: &'s mut [i8],
}

/// Mark of a token that does not begin a word.
pub(crate) const NOT_FIRST: u32 = u32::MAX;

impl<'s> Memory<'s> {
    /// Divides the first [`scratch_bytes`] bytes of `bytes`.
    pub(crate) fn divide(bytes: &'s mut [u8], shape: &Shape, tokens: usize) -> Result<Self, Error> {
        let needed = scratch_bytes(shape, tokens);
        if bytes.len() < needed || needed == usize::MAX {
            let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            return Err(Error::Scratch { needed: clip(needed), found: clip(bytes.len()) });
        }
        if !(bytes.as_ptr() as usize).is_multiple_of(SCRATCH_ALIGN) {
            return Err(Error::ScratchAlignment);
        }
        let parts = Plan::new(shape, tokens).parts(shape);
        let mut rest = bytes;
        let mut part = 0;
        let mut take = || {
            let (length, size) = parts[part];
            part += 1;
            let used = (length * size) as usize;
            let all = core::mem::take(&mut rest);
            let (head, tail) = all.split_at_mut(used.next_multiple_of(SCRATCH_ALIGN));
            rest = tail;
            &mut head[..used]
        };
        // Every part starts at a multiple of SCRATCH_ALIGN, so the casts cannot fail.
        Ok(Memory {
            x: bytemuck::cast_slice_mut(take()),
            key_scales: bytemuck::cast_slice_mut(take()),
            value_scales: bytemuck::cast_slice_mut(take()),
            first: bytemuck::cast_slice_mut(take()),
            second: bytemuck::cast_slice_mut(take()),
            wide: bytemuck::cast_slice_mut(take()),
            row_scales: bytemuck::cast_slice_mut(take()),
            query_scales: bytemuck::cast_slice_mut(take()),
            scores: bytemuck::cast_slice_mut(take()),
            label_logits: bytemuck::cast_slice_mut(take()),
            tag_logits: bytemuck::cast_slice_mut(take()),
            ids: bytemuck::cast_slice_mut(take()),
            words: bytemuck::cast_slice_mut(take()),
            starts: bytemuck::cast_slice_mut(take()),
            ends: bytemuck::cast_slice_mut(take()),
            keys: bytemuck::cast_slice_mut(take()),
            values: bytemuck::cast_slice_mut(take()),
            rows: bytemuck::cast_slice_mut(take()),
        })
    }
}
