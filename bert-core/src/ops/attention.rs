//! Attention of some rows over all T tokens, one head at a time:
//! oₕ = Σⱼ softmax(qₕ·kⱼₕ / √D)ⱼ vⱼₕ.
//!
//! q, k and v are int8 with a scale per token and head, the weights of the softmax two digits of int8:
//! both products are exact, see [`super::gemm`] and [`super::softmax_rows`]. Keys and values lie in
//! panels, as weights do: of a head, the keys are a matrix \[T, D\] and the values, transposed,
//! \[D, T\]. Source: Vaswani et al., *Attention Is All You Need*, 2017.

use crate::format::{Layout, PANEL, QUAD};

/// Where the keys and values of T tokens lie, for A heads of width D.
#[derive(Clone, Copy)]
pub struct HeadPanels {
    /// T.
    pub tokens: usize,
    /// D.
    pub width: usize,
}

impl HeadPanels {
    /// Bytes of the keys of one head.
    #[inline(always)]
    #[must_use]
    pub const fn key_bytes(&self) -> usize {
        self.tokens.next_multiple_of(PANEL) * self.width.next_multiple_of(QUAD)
    }

    /// Bytes of the values of one head.
    #[inline(always)]
    #[must_use]
    pub const fn value_bytes(&self) -> usize {
        self.width.next_multiple_of(PANEL) * self.tokens.next_multiple_of(QUAD)
    }

    /// Puts the key `q` \[D\] of a token among those of its head.
    #[inline(always)]
    pub fn store_key(&self, q: &[i8], keys: &mut [i8], token: usize) {
        let start = Layout::Panels.place(self.width, token, 0);
        let mut quads = keys[start..].chunks_mut(PANEL * QUAD);
        // Whole quads as what they are, one word: a copy of any length would be a call.
        let (whole, rest) = q[..self.width].as_chunks::<QUAD>();
        for (q, quad) in whole.iter().zip(&mut quads) {
            if let Some(place) = quad.first_chunk_mut() {
                *place = *q;
            }
        }
        if let Some(quad) = quads.next() {
            quad.iter_mut().zip(rest).for_each(|(place, q)| *place = *q);
        }
    }

    /// Puts the values `q` \[R, D\] of R ≤ [`QUAD`] tokens among those of their head; the first token is
    /// a multiple of [`QUAD`].
    #[inline(always)]
    pub fn store_values(&self, q: &[i8], values: &mut [i8], token: usize) {
        let panel_bytes = PANEL * self.tokens.next_multiple_of(QUAD);
        let start = Layout::Panels.place(self.tokens, 0, token);
        let mut rows = q.chunks_exact(self.width);
        let row = |_| rows.next().unwrap_or(&[]);
        let rows: [&[i8]; QUAD] = core::array::from_fn(row);
        for (p, panel) in values.chunks_exact_mut(panel_bytes).enumerate() {
            let places = panel[start..].as_chunks_mut::<QUAD>().0.iter_mut().take(PANEL);
            let channels = p * PANEL..self.width.min((p + 1) * PANEL);
            // Whole quads as what they are, one word.
            match rows.map(|row| row.get(channels.clone())) {
                [Some(a), Some(b), Some(c), Some(d)] => {
                    let quads = a.iter().zip(b).zip(c.iter().zip(d));
                    for (place, ((a, b), (c, d))) in places.zip(quads) {
                        *place = [*a, *b, *c, *d];
                    }
                }
                some => {
                    for (channel, place) in places.take(channels.len()).enumerate() {
                        for (place, row) in place.iter_mut().zip(some) {
                            *place = row.map_or(0, |row| row[channel]);
                        }
                    }
                }
            }
        }
    }
}
