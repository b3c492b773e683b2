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
        let lane = token % PANEL;
        let panel = &mut keys[Layout::Panels.place(self.width, token - lane, 0)..];
        let places = panel.as_chunks_mut::<QUAD>().0.as_chunks_mut::<PANEL>().0;
        // Whole quads as what they are, one word: a copy of any length would be a call.
        let (whole, rest) = q[..self.width].as_chunks::<QUAD>();
        for (q, quad) in whole.iter().zip(places.iter_mut()) {
            quad[lane] = *q;
        }
        if let Some(quad) = places.get_mut(whole.len()) {
            quad[lane].iter_mut().zip(rest).for_each(|(place, q)| *place = *q);
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
            let channels = p * PANEL..self.width.min((p + 1) * PANEL);
            let places = panel[start..].as_chunks_mut::<QUAD>().0;
            let whole = rows.map(|row| row.get(channels.clone())?.first_chunk::<PANEL>());
            match (whole, places.first_chunk_mut::<PANEL>()) {
                // A panel of whole quads in a loop of known length, for which there are instructions.
                ([Some(a), Some(b), Some(c), Some(d)], Some(places)) => {
                    for i in 0..PANEL {
                        places[i] = [a[i], b[i], c[i], d[i]];
                    }
                }
                _ => {
                    for (channel, place) in channels.zip(places.iter_mut()) {
                        for (place, row) in place.iter_mut().zip(rows) {
                            *place = row.get(channel).copied().unwrap_or(0);
                        }
                    }
                }
            }
        }
    }
}
