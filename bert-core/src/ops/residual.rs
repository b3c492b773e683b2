//! The residual stream between two layers: int8 with a scale for each group of 32 values of a row.
//!
//! x ≈ s\[g\] · q with s = max|x| / 127 over the group, so a value far out costs its own group
//! precision and no other. A row takes a byte and an eighth a value where f32 takes four: 512 tokens
//! of BERT-tiny fit in 256 KB of memory with this, and cannot without.

use super::quantize_row;

/// Values of a group.
pub const GROUP: usize = 32;

/// Stores a row `x` \[H\] in `q` \[H\] and its groups' `scales`.
#[inline(always)]
pub fn store_row(x: &[f32], q: &mut [i8], scales: &mut [f32]) {
    let groups = x.chunks(GROUP).zip(q.chunks_mut(GROUP));
    for ((x, q), scale) in groups.zip(scales) {
        *scale = quantize_row(x, q);
    }
}

/// Reads a row back into `x` \[H\].
#[inline(always)]
pub fn load_row(q: &[i8], scales: &[f32], x: &mut [f32]) {
    let groups = x.chunks_mut(GROUP).zip(q.chunks(GROUP));
    for ((x, q), scale) in groups.zip(scales) {
        for (x, &q) in x.iter_mut().zip(q) {
            *x = q as f32 * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_keeps_its_precision_beside_one_with_a_large_value() {
        for n in [1, 31, 32, 33, 96, 100] {
            let mut x: Vec<f32> = (0..n).map(|i| ((i * 71 + 13) % 97) as f32 * 0.01).collect();
            x[0] = 1000.0;
            let (mut q, mut scales) = (vec![0; n], vec![0.0; n.div_ceil(GROUP)]);
            let mut back = vec![0.0; n];
            store_row(&x, &mut q, &mut scales);
            load_row(&q, &scales, &mut back);
            for (i, (x, back)) in x.iter().zip(&back).enumerate() {
                let step = if i < GROUP { 1000.0 / 127.0 } else { 0.97 / 127.0 };
                assert!((x - back).abs() <= 0.5001 * step, "{i}: {x} {back}");
            }
        }
    }
}
