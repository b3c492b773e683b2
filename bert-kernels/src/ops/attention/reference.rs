//! Both passes in f64, with the whole matrix of probabilities.

use super::super::dropout::{Dropout, reference::factor};

/// A batch of packed sequences.
pub(crate) struct Batch<'a> {
    pub(crate) cu_seqlens: &'a [u32],
    pub(crate) heads: usize,
    pub(crate) head_width: usize,
    pub(crate) dropout: Option<Dropout>,
}

/// What the forward pass writes.
pub(crate) struct Forward {
    pub(crate) out: Vec<f64>,
    pub(crate) lse: Vec<f64>,
}

impl Batch<'_> {
    fn hidden(&self) -> usize {
        self.heads * self.head_width
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head_width as f64).sqrt()
    }

    /// Index of the first of D columns in qkv: part 0 is q, 1 is k, 2 is v.
    fn at(&self, token: usize, part: usize, head: usize) -> usize {
        (token * 3 + part) * self.hidden() + head * self.head_width
    }

    fn dot(&self, a: &[f64], b: &[f64], a_at: usize, b_at: usize) -> f64 {
        (0..self.head_width).map(|d| a[a_at + d] * b[b_at + d]).sum()
    }

    /// Calls `visit(query, head, range of its keys)` for every query and head.
    fn each_query(&self, mut visit: impl FnMut(usize, usize, std::ops::Range<usize>)) {
        for bounds in self.cu_seqlens.windows(2) {
            let keys = bounds[0] as usize..bounds[1] as usize;
            for query in keys.clone() {
                for head in 0..self.heads {
                    visit(query, head, keys.clone());
                }
            }
        }
    }

    fn drop_factor(&self, query: usize, head: usize, key: usize) -> f64 {
        let row = (query * self.heads + head) as u64;
        factor(self.dropout, (row << 32) + key as u64)
    }

    fn scores(
        &self,
        qkv: &[f64],
        query: usize,
        head: usize,
        keys: std::ops::Range<usize>,
    ) -> Vec<f64> {
        keys.map(|key| {
            self.scale() * self.dot(qkv, qkv, self.at(query, 0, head), self.at(key, 1, head))
        })
        .collect()
    }

    pub(crate) fn forward(&self, qkv: &[f64]) -> Forward {
        let tokens = qkv.len() / (3 * self.hidden());
        let mut result =
            Forward { out: vec![0.0; tokens * self.hidden()], lse: vec![0.0; tokens * self.heads] };
        self.each_query(|query, head, keys| {
            let scores = self.scores(qkv, query, head, keys.clone());
            let peak = scores.iter().fold(f64::MIN, |a, &b| a.max(b));
            let total: f64 = scores.iter().map(|s| (s - peak).exp()).sum();
            let lse = peak + total.ln();
            result.lse[query * self.heads + head] = lse;
            let out_at = query * self.hidden() + head * self.head_width;
            for (j, score) in scores.iter().enumerate() {
                let weight = (score - lse).exp() * self.drop_factor(query, head, j);
                for d in 0..self.head_width {
                    result.out[out_at + d] += weight * qkv[self.at(keys.start + j, 2, head) + d];
                }
            }
        });
        result
    }

    /// Gradient of qkv for the gradient `d_out`; `out` is the result as it was stored.
    pub(crate) fn backward(&self, qkv: &[f64], out: &[f64], d_out: &[f64]) -> Vec<f64> {
        let forward = self.forward(qkv);
        let mut d_qkv = vec![0.0; qkv.len()];
        self.each_query(|query, head, keys| {
            let scores = self.scores(qkv, query, head, keys.clone());
            let lse = forward.lse[query * self.heads + head];
            let out_at = query * self.hidden() + head * self.head_width;
            let delta = self.dot(out, d_out, out_at, out_at);
            for (j, score) in scores.iter().enumerate() {
                let key = keys.start + j;
                let probability = (score - lse).exp();
                let drop = self.drop_factor(query, head, j);
                let value_at = self.at(key, 2, head);
                let d_probability = self.dot(d_out, qkv, out_at, value_at) * drop;
                let d_score = probability * (d_probability - delta) * self.scale();
                let (query_at, key_at) = (self.at(query, 0, head), self.at(key, 1, head));
                for d in 0..self.head_width {
                    d_qkv[value_at + d] += probability * drop * d_out[out_at + d];
                    d_qkv[query_at + d] += d_score * qkv[key_at + d];
                    d_qkv[key_at + d] += d_score * qkv[query_at + d];
                }
            }
        });
        d_qkv
    }
}
