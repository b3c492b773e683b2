//! Logits of all training examples, as many rows an example as it has outputs.

/// Rows of one width, example by example.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Kept {
    width: usize,
    values: Vec<f32>,
    /// Where the values of each example end.
    ends: Vec<usize>,
}

impl Kept {
    /// Adds the rows `logits: [R, columns]` of some examples, `counts` of each, with their columns in
    /// the order `columns`.
    pub fn add(
        &mut self,
        logits: &[f32],
        columns: &[usize],
        counts: impl IntoIterator<Item = usize>,
    ) {
        self.width = columns.len();
        let mut rows = logits.chunks_exact(self.width.max(1));
        for count in counts {
            for row in rows.by_ref().take(count) {
                self.values.extend(columns.iter().map(|&column| row[column]));
            }
            self.ends.push(self.values.len());
        }
    }

    /// The rows of some examples one behind the other, `[R, W]`.
    pub fn rows(&self, examples: &[u32]) -> Vec<f32> {
        let mut rows = Vec::new();
        for &example in examples {
            let example = example as usize;
            let start = example.checked_sub(1).map_or(0, |before| self.ends[before]);
            rows.extend_from_slice(&self.values[start..self.ends[example]]);
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_any_order_with_their_columns_exchanged() {
        let mut kept = Kept::default();
        kept.add(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1, 0], [2, 0, 1]);
        kept.add(&[7.0, 8.0], &[1, 0], [1]);
        assert_eq!(kept.rows(&[0, 3]), [2.0, 1.0, 4.0, 3.0, 8.0, 7.0]);
        assert_eq!(kept.rows(&[2, 1]), [6.0, 5.0]);
        assert!(kept.rows(&[1]).is_empty());
    }
}
