//! BERT's forward pass, layer by layer: int8 matrices, int8 residual stream, f32 between them.
//!
//! x = LN(word + position + segment); in every layer
//! x ← LN(x + W₀·attention(x)), x ← LN(x + W₂·gelu(W₁·x)).
//! Source: Devlin et al., *BERT*, 2018.
//!
//! A *tile* is a few rows that go through the matrices together.

use core::ops::Range;

use super::products::Products;
use super::scratch::{Memory, Tile};
use crate::Error;
use crate::arch::Kernels;
use crate::format::{Layer, Layout, Matrix, Model, QUAD};
use crate::math::{sqrt, tanh};
use crate::ops::{Activations, GROUP, HeadPanels, ROW_ALIGN, Row, SoftmaxScales, Weights, WordRow};

/// Which rows of the last layer are wanted. A row's value does not depend on the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// That of `[CLS]`: enough for a label of the text, and faster.
    First,
    /// Those of all tokens.
    All,
}

/// A model, the kernels that run it and the number of tokens at hand.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'m, 'a> {
    pub model: &'a Model<'m>,
    pub kernels: &'static Kernels,
    pub tokens: usize,
}

impl Pass<'_, '_> {
    /// Runs the ids in `memory`; `segment` gives the segment of a token. Ids and segments were checked
    /// against the tables. [`row`] reads the result.
    pub fn forward(
        &self,
        memory: &mut Memory<'_>,
        segment: impl Fn(usize) -> usize + Send,
        rows: Rows,
    ) -> Result<(), Error> {
        self.forward_to(memory, segment, rows, self.model.config().layers, |_, _| {})
    }

    /// As [`Pass::forward`], up to layer `depth` of 1 … L, whose rows are wanted then; 0 is the
    /// embeddings alone. `after` is called with 0 after the embeddings and with the number of each
    /// layer after it.
    pub fn forward_to(
        &self,
        memory: &mut Memory<'_>,
        segment: impl Fn(usize) -> usize + Send,
        rows: Rows,
        depth: u16,
        after: impl FnMut(u16, &mut Memory<'_>) + Send,
    ) -> Result<(), Error> {
        #[cfg(feature = "threads")]
        if !memory.others.is_empty() {
            // Inside the pool from end to end: to get in costs more than to share out a layer.
            return super::threads::in_pool(|| self.layers(memory, segment, rows, depth, after));
        }
        self.layers(memory, segment, rows, depth, after)
    }

    fn layers(
        &self,
        memory: &mut Memory<'_>,
        segment: impl Fn(usize) -> usize,
        rows: Rows,
        depth: u16,
        mut after: impl FnMut(u16, &mut Memory<'_>),
    ) -> Result<(), Error> {
        self.embed(memory, segment);
        after(0, memory);
        for index in 0..depth {
            let layer = self.model.layer(index)?;
            let last = index + 1 == depth;
            let wanted = if last && rows == Rows::First { 1 } else { self.tokens };
            self.layer(&layer, memory, wanted);
            after(index + 1, memory);
        }
        Ok(())
    }

    /// A layer, of which `wanted` rows are computed to the end.
    fn layer(&self, layer: &Layer<'_>, memory: &mut Memory<'_>, wanted: usize) {
        #[cfg(feature = "threads")]
        if !memory.others.is_empty() {
            return super::threads::layer(self, layer, memory, wanted);
        }
        let (hidden, heads) = (self.hidden(), self.heads());
        let groups = hidden.div_ceil(GROUP);
        let panels = self.panels();
        let (keys, values) = memory.keys_values.split_at_mut(heads * panels.key_bytes());
        let stream = Stream { q: memory.x, scales: memory.x_scales };
        let part = HeadsMut {
            heads: 0..heads,
            keys,
            values,
            key_scales: memory.key_scales,
            value_scales: memory.value_scales,
        };
        self.keys_and_values(layer, stream, part, &mut memory.tile);
        let shared = Heads {
            keys,
            values,
            key_scales: memory.key_scales,
            value_scales: memory.value_scales,
        };
        let (x, scales) =
            (&mut memory.x[..wanted * hidden], &mut memory.x_scales[..wanted * groups]);
        // Where all tokens are one tile, its rows are there already.
        let loaded = self.tokens <= memory.tile.most;
        self.rows(layer, StreamMut { q: x, scales }, shared, &mut memory.tile, loaded);
    }

    pub fn hidden(&self) -> usize {
        self.model.config().hidden as usize
    }

    pub fn heads(&self) -> usize {
        self.model.config().heads as usize
    }

    pub fn panels(&self) -> HeadPanels {
        let width = self.hidden() / self.heads();
        HeadPanels { tokens: self.tokens, width }
    }

    fn embed(&self, memory: &mut Memory<'_>, segment: impl Fn(usize) -> usize) {
        let (model, kernels, hidden) = (self.model, self.kernels, self.hidden());
        for t in 0..self.tokens {
            let word = WordRow(&model.word, memory.ids[t] as usize);
            let (position, segment) = (Row(&model.position, t), Row(&model.segment, segment(t)));
            let x = &mut memory.tile.residual[..hidden];
            kernels.embedding_row(word, position, segment, x);
            kernels.layer_norm_row(x, &model.embedding_norm, model.config().epsilon);
            let (q, scales) = stored(t, hidden);
            kernels.store_row(x, &mut memory.x[q], &mut memory.x_scales[scales]);
        }
    }

    /// Reads rows of the residual stream, as they are and quantized for a matrix.
    fn load(&self, stream: Stream<'_>, range: Range<usize>, tile: &mut Tile<'_>) {
        let hidden = self.hidden();
        let stride = hidden.next_multiple_of(ROW_ALIGN);
        let rows = tile.residual.chunks_exact_mut(hidden).zip(tile.rows.chunks_exact_mut(stride));
        for ((t, (x, q)), scale) in range.zip(rows).zip(tile.row_scales.iter_mut()) {
            let (stored_q, scales) = stored(t, hidden);
            self.kernels.load_row(&stream.q[stored_q], &stream.scales[scales], x);
            *scale = self.kernels.quantize_row(x, q);
        }
    }

    /// Keys and values of all tokens for some heads.
    pub fn keys_and_values(
        &self,
        layer: &Layer<'_>,
        stream: Stream<'_>,
        part: HeadsMut<'_>,
        tile: &mut Tile<'_>,
    ) {
        let (hidden, tokens, kernels) = (self.hidden(), self.tokens, self.kernels);
        let panels = self.panels();
        let channels = part.heads.start * panels.width..part.heads.end * panels.width;
        let width = channels.len();
        let (key, value) = (layer.key.channels(channels.clone()), layer.value.channels(channels));
        for range in tiles(tokens, tile.most) {
            let count = range.len();
            self.load(stream, range.clone(), tile);
            let scales = &tile.row_scales[..count];
            let q = activations(tile.rows, count, hidden);
            let (keys, values) =
                (&mut tile.first[..count * width], &mut tile.second[..count * width]);
            let rows = (&tile.residual[..count * hidden], q);
            let mut keys = Products::new(kernels, &key, rows, scales, keys);
            let mut values = Products::new(kernels, &value, rows, scales, values);
            // Nothing is in the wide rows yet: room for what a head has of each row.
            let room: &mut [i8] = bytemuck::cast_slice_mut(tile.wide);
            let room = &mut room[..count * panels.width];
            let of_head = |head: usize| {
                let columns = head * panels.width..(head + 1) * panels.width;
                (columns, head * tokens + range.start..head * tokens + range.end)
            };
            let places = part.keys.chunks_exact_mut(panels.key_bytes());
            for (head, place) in places.take(part.heads.len()).enumerate() {
                let (columns, scales) = of_head(head);
                let scales = &mut part.key_scales[scales];
                keys.quantize(columns, None, room, panels.width, scales);
                for (t, q) in range.clone().zip(room.chunks_exact(panels.width)) {
                    panels.store_key(q, place, t);
                }
            }
            let places = part.values.chunks_exact_mut(panels.value_bytes());
            for (head, place) in places.take(part.heads.len()).enumerate() {
                let (columns, scales) = of_head(head);
                let scales = &mut part.value_scales[scales];
                values.quantize(columns, None, room, panels.width, scales);
                // A tile begins at a multiple of four, as four tokens do whose values lie together.
                for (t, q) in range.clone().step_by(QUAD).zip(room.chunks(QUAD * panels.width)) {
                    panels.store_values(q, place, t);
                }
            }
        }
    }

    /// Everything else of a layer, for the rows of `stream`: a row is read by itself only, so the
    /// result takes its place. `loaded` says that they are in the tile, where the keys left them.
    pub fn rows(
        &self,
        layer: &Layer<'_>,
        stream: StreamMut<'_>,
        heads: Heads<'_>,
        tile: &mut Tile<'_>,
        loaded: bool,
    ) {
        let hidden = self.hidden();
        for range in tiles(stream.q.len() / hidden, tile.most) {
            if !loaded {
                self.load(Stream { q: stream.q, scales: stream.scales }, range.clone(), tile);
            }
            self.attend(layer, heads, tile, range.len());
            self.feed_forward(layer, tile, range.len());
            for (t, x) in range.zip(tile.second.chunks_exact(hidden)) {
                let (q, scales) = stored(t, hidden);
                self.kernels.store_row(x, &mut stream.q[q], &mut stream.scales[scales]);
            }
        }
    }

    /// The first half of a layer for a tile: first = LN(residual + W₀·attention(residual)).
    fn attend(&self, layer: &Layer<'_>, heads: Heads<'_>, tile: &mut Tile<'_>, count: usize) {
        let (hidden, kernels) = (self.hidden(), self.kernels);
        self.attention(&layer.query, heads, tile, count);
        let context = &tile.second[..count * hidden];
        let scales = &mut tile.row_scales[..count];
        let q = quantize_rows(kernels, context, hidden, tile.rows, scales);
        let first = &mut tile.first[..count * hidden];
        MatrixRows { x: context, q, scales }.times(kernels, &layer.attention_output, first);
        let epsilon = self.model.config().epsilon;
        let rows = first.chunks_exact_mut(hidden).zip(tile.residual.chunks_exact(hidden));
        for (row, x) in rows {
            kernels.add_norm_row(row, x, &layer.attention_norm, epsilon);
        }
    }

    /// second = the context of the queries of `count` rows.
    fn attention(&self, query: &Matrix<'_>, shared: Heads<'_>, tile: &mut Tile<'_>, count: usize) {
        let (hidden, tokens, kernels) = (self.hidden(), self.tokens, self.kernels);
        let panels = self.panels();
        let width = panels.width;
        let stride = width.next_multiple_of(ROW_ALIGN);
        let token_stride = tokens.next_multiple_of(ROW_ALIGN);
        let root = 1.0 / sqrt(width as f32);
        let rows = (&tile.residual[..count * hidden], activations(tile.rows, count, hidden));
        let (scales, queries) = (&tile.row_scales[..count], &mut tile.first[..count * hidden]);
        let mut queries = Products::new(kernels, query, rows, scales, queries);
        for head in 0..self.heads() {
            let columns = head * width..(head + 1) * width;
            let scales = &mut tile.query_scales[..count];
            queries.quantize(
                columns.clone(),
                None,
                &mut tile.rows[..count * stride],
                stride,
                scales,
            );
            scales.iter_mut().for_each(|scale| *scale *= root);
            let q = activations(tile.rows, count, width);
            let keys = Weights {
                values: &shared.keys[head * panels.key_bytes()..][..panels.key_bytes()],
                channels: tokens,
                depth: width,
                layout: Layout::Panels,
            };
            let scores = &mut tile.scores[..count * token_stride];
            kernels.gemm(&q, &keys, bytemuck::cast_slice_mut(scores));

            let of_head = head * tokens..(head + 1) * tokens;
            let scales = SoftmaxScales {
                keys: &shared.key_scales[of_head.clone()],
                values: &shared.value_scales[of_head],
            };
            let digits = &mut tile.digits[..2 * count * token_stride];
            // From here on a scale is the factor of the row's weights.
            kernels.softmax_rows(scores, &scales, &mut tile.query_scales[..count], digits);
            let digits = activations(tile.digits, 2 * count, tokens);
            let values = Weights {
                values: &shared.values[head * panels.value_bytes()..][..panels.value_bytes()],
                channels: width,
                depth: tokens,
                layout: Layout::Panels,
            };
            let sums: &mut [i32] = bytemuck::cast_slice_mut(&mut tile.wide[..2 * count * stride]);
            kernels.gemm(&digits, &values, sums);
            let contexts = tile.second.chunks_exact_mut(hidden);
            let sums = sums.chunks_exact(2 * stride).zip(tile.query_scales.iter());
            for (context, (sums, factor)) in contexts.zip(sums) {
                let (high, low) = sums.split_at(stride);
                kernels.combine_row(high, low, *factor, &mut context[columns.clone()]);
            }
        }
    }

    /// The second half of a layer for a tile: second = LN(first + W₂·gelu(W₁·first)).
    fn feed_forward(&self, layer: &Layer<'_>, tile: &mut Tile<'_>, count: usize) {
        let config = self.model.config();
        let (hidden, kernels) = (self.hidden(), self.kernels);
        let wide_width = config.feed_forward as usize;
        let first = &tile.first[..count * hidden];
        let scales = &mut tile.row_scales[..count];
        let wide = &mut tile.wide[..count * wide_width];
        let q = quantize_rows(kernels, first, hidden, tile.rows, scales);
        let mut products = Products::new(kernels, &layer.feed_forward_in, (first, q), scales, wide);
        let stride = wide_width.next_multiple_of(ROW_ALIGN);
        // There are no queries any more.
        let new_scales = &mut tile.query_scales[..count];
        let rows = &mut tile.rows[..count * stride];
        let all = 0..wide_width;
        products.quantize(all, Some(config.activation), rows, stride, new_scales);
        let (scales, wide) = (&*new_scales, products.rows());
        let q = activations(tile.rows, count, wide_width);
        let second = &mut tile.second[..count * hidden];
        MatrixRows { x: wide, q, scales }.times(kernels, &layer.feed_forward_out, second);
        for (x, first) in second.chunks_exact_mut(hidden).zip(first.chunks_exact(hidden)) {
            kernels.add_norm_row(x, first, &layer.feed_forward_norm, config.epsilon);
        }
    }

    /// Logits of the text (or the numbers of a regression) from row 0: dense layer with tanh where
    /// the model has a pooler, class head.
    pub fn label_logits(&self, memory: &mut Memory<'_>) {
        let Some(head) = &self.model.class_head else {
            return;
        };
        let (hidden, kernels) = (self.hidden(), self.kernels);
        let scales = &mut memory.tile.row_scales[..1];
        let mut x = row(kernels, memory.x, memory.x_scales, 0, memory.tile.residual, hidden);
        let mut q = quantize_rows(kernels, x, hidden, memory.tile.rows, scales);
        if let Some(pooler) = &self.model.pooler {
            let pooled = &mut memory.tile.first[..hidden];
            MatrixRows { x, q, scales }.times(kernels, pooler, pooled);
            for value in pooled.iter_mut() {
                *value = tanh(*value);
            }
            q = quantize_rows(kernels, pooled, hidden, memory.tile.rows, scales);
            x = pooled;
        }
        MatrixRows { x, q, scales }.times(kernels, head, memory.label_logits);
    }
}

/// Rows on their way through a matrix: as they are, and quantized with their scales.
#[derive(Clone, Copy)]
pub(crate) struct MatrixRows<'a> {
    pub x: &'a [f32],
    pub q: Activations<'a>,
    pub scales: &'a [f32],
}

impl MatrixRows<'_> {
    /// Writes their products, as many as there are scales; the matrix says which of the two it takes.
    #[inline(always)]
    pub fn times(&self, kernels: &Kernels, matrix: &Matrix<'_>, out: &mut [f32]) {
        match matrix {
            Matrix::Int8(matrix) => kernels.linear(&self.q, self.scales, matrix, out),
            Matrix::Half(matrix) => kernels.linear_half(self.x, matrix, out),
        }
    }
}

/// Rows of the residual stream, see [`crate::ops::store_row`].
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a> {
    pub q: &'a [i8],
    pub scales: &'a [f32],
}

/// The same, to be replaced.
pub(crate) struct StreamMut<'a> {
    pub q: &'a mut [i8],
    pub scales: &'a mut [f32],
}

/// Keys and values of all heads.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a> {
    pub keys: &'a [i8],
    pub values: &'a [i8],
    pub key_scales: &'a [f32],
    pub value_scales: &'a [f32],
}

/// Those of some heads, to be computed.
pub(crate) struct HeadsMut<'a> {
    pub heads: Range<usize>,
    pub keys: &'a mut [i8],
    pub values: &'a mut [i8],
    pub key_scales: &'a mut [f32],
    pub value_scales: &'a mut [f32],
}

fn tiles(rows: usize, tile: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(tile).map(move |start| start..rows.min(start + tile))
}

/// Where a row of the residual stream and its scales lie.
fn stored(t: usize, hidden: usize) -> (Range<usize>, Range<usize>) {
    let groups = hidden.div_ceil(GROUP);
    (t * hidden..(t + 1) * hidden, t * groups..(t + 1) * groups)
}

/// The first `count` of quantized rows of a width.
fn activations(rows: &[i8], count: usize, width: usize) -> Activations<'_> {
    let stride = width.next_multiple_of(ROW_ALIGN);
    Activations { values: &rows[..count * stride], stride }
}

/// Quantizes rows of `width` values one after the other.
fn quantize_rows<'q>(
    kernels: &Kernels,
    x: &[f32],
    width: usize,
    rows: &'q mut [i8],
    scales: &mut [f32],
) -> Activations<'q> {
    let stride = width.next_multiple_of(ROW_ALIGN);
    let quantized = x.chunks_exact(width).zip(rows.chunks_exact_mut(stride));
    for ((x, q), scale) in quantized.zip(scales.iter_mut()) {
        *scale = kernels.quantize_row(x, q);
    }
    activations(rows, scales.len(), width)
}

/// Row `t` of the residual stream, read into the front of `into`.
pub(crate) fn row<'r>(
    kernels: &Kernels,
    x: &[i8],
    scales: &[f32],
    t: usize,
    into: &'r mut [f32],
    hidden: usize,
) -> &'r [f32] {
    let (q, of_row) = stored(t, hidden);
    let into = &mut into[..hidden];
    kernels.load_row(&x[q], &scales[of_row], into);
    into
}
