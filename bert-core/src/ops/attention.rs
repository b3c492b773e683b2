//! Attention of some rows over all T tokens, one head at a time:
//! oₕ = Σⱼ softmax(qₕ·kⱼₕ / √D)ⱼ vⱼₕ.
//!
//! q, k and v are int8 with a scale per token and head, the weights of the softmax two digits of int8:
//! both products are exact, see [`super::gemm`] and [`super::softmax_row`]. Keys and values lie in
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

    /// Puts the value `q` \[D\] of a token among those of its head.
    #[inline(always)]
    pub fn store_value(&self, q: &[i8], values: &mut [i8], token: usize) {
        let panel_bytes = PANEL * self.tokens.next_multiple_of(QUAD);
        let start = Layout::Panels.place(self.tokens, 0, token);
        let panels = values.chunks_exact_mut(panel_bytes);
        for (q, panel) in q[..self.width].chunks(PANEL).zip(panels) {
            for (q, place) in q.iter().zip(panel[start..].iter_mut().step_by(QUAD)) {
                *place = *q;
            }
        }
    }
}
