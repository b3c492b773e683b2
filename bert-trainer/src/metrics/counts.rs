//! What is counted of a class, and the precision, recall and F1 that follow from it.

/// The things of a class, counted: spans, texts or labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those in the truth.
    pub gold: usize,
    /// Those predicted.
    pub found: usize,
    /// Those in both.
    pub right: usize,
}

impl Counts {
    /// Share of the predicted things that are right; 0 if none was predicted.
    pub fn precision(&self) -> f64 {
        ratio(self.right, self.found)
    }

    /// Share of the true things that were predicted; 0 if there are none.
    pub fn recall(&self) -> f64 {
        ratio(self.right, self.gold)
    }

    /// Harmonic mean of precision and recall; 0 if both are.
    pub fn f1(&self) -> f64 {
        ratio(2 * self.right, self.gold + self.found)
    }

    pub(super) fn add(&mut self, more: Counts) {
        self.gold += more.gold;
        self.found += more.found;
        self.right += more.right;
    }

    /// Whether truth or prediction has any.
    pub(super) fn occurs(&self) -> bool {
        self.gold + self.found > 0
    }
}

/// Precision, recall and F1, each a mean over classes or examples and in 0..=1.
///
/// The F1 is the mean of F1s, not the F1 of the mean precision and recall.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Averages {
    /// Mean precision.
    pub precision: f64,
    /// Mean recall.
    pub recall: f64,
    /// Mean F1.
    pub f1: f64,
}

impl Averages {
    /// The mean of counts, each with its weight; 0 if nothing weighs anything.
    pub(super) fn weighted(counts: impl IntoIterator<Item = (Counts, usize)>) -> Self {
        let (mut sum, mut weights) = (Self::default(), 0);
        for (counts, weight) in counts {
            sum.precision += counts.precision() * weight as f64;
            sum.recall += counts.recall() * weight as f64;
            sum.f1 += counts.f1() * weight as f64;
            weights += weight;
        }
        let mean = |sum: f64| if weights == 0 { 0.0 } else { sum / weights as f64 };
        Self { precision: mean(sum.precision), recall: mean(sum.recall), f1: mean(sum.f1) }
    }
}

/// A share of counted things; 0 of nothing.
pub(super) fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
