//! Scores of predicted numbers: correlations as SciPy computes them (`pearsonr`, `spearmanr`) and
//! errors as scikit-learn does.
//!
//! Where a score is undefined it is NaN, as it is if a number is.

/// Mean squared error `Σ (gold - found)² / n`, in 0..; NaN without numbers.
///
/// # Panics
///
/// If there are not as many predicted as true numbers, as everywhere here.
pub fn mean_squared_error(gold: &[f64], found: &[f64]) -> f64 {
    mean_of_pairs(gold, found, |gold, found| (gold - found) * (gold - found))
}

/// Mean absolute error `Σ |gold - found| / n`, in 0..; NaN without numbers.
pub fn mean_absolute_error(gold: &[f64], found: &[f64]) -> f64 {
    mean_of_pairs(gold, found, |gold, found| (gold - found).abs())
}

/// Pearson's correlation coefficient, in -1..=1.
///
/// The covariance over the product of the standard deviations.
/// NaN if either side is constant, as fewer than two numbers are, or has an infinite number.
pub fn pearson(gold: &[f64], found: &[f64]) -> f64 {
    assert_eq!(gold.len(), found.len(), "true and predicted numbers");
    // The mean of equal numbers can be off by a rounding, which would pass for a deviation.
    if is_constant(gold) || is_constant(found) {
        return f64::NAN;
    }
    let (gold, found) = (directions(gold), directions(found));
    let product: f64 = gold.iter().zip(&found).map(|(gold, found)| gold * found).sum();
    product.clamp(-1.0, 1.0)
}

/// Spearman's rank correlation coefficient, in -1..=1: [`pearson`] of the ranks.
///
/// Equal numbers share the mean of their ranks.
/// NaN if either side is constant, as fewer than two numbers are.
pub fn spearman(gold: &[f64], found: &[f64]) -> f64 {
    assert_eq!(gold.len(), found.len(), "true and predicted numbers");
    if gold.iter().chain(found).any(|number| number.is_nan()) {
        return f64::NAN;
    }
    pearson(&ranks(gold), &ranks(found))
}

fn mean_of_pairs(gold: &[f64], found: &[f64], error: impl Fn(f64, f64) -> f64) -> f64 {
    assert_eq!(gold.len(), found.len(), "true and predicted numbers");
    let sum: f64 = gold.iter().zip(found).map(|(&gold, &found)| error(gold, found)).sum();
    sum / gold.len() as f64
}

fn is_constant(numbers: &[f64]) -> bool {
    numbers.iter().all(|&number| number == numbers[0])
}

/// The deviations from the mean, scaled to a vector of length 1.
fn directions(numbers: &[f64]) -> Vec<f64> {
    let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
    let mut deviations: Vec<f64> = numbers.iter().map(|number| number - mean).collect();
    // First to a largest of 1, so that squares neither overflow nor vanish.
    let largest = deviations.iter().fold(0.0f64, |largest, one| largest.max(one.abs()));
    deviations.iter_mut().for_each(|one| *one /= largest);
    let length = deviations.iter().map(|one| one * one).sum::<f64>().sqrt();
    deviations.iter_mut().for_each(|one| *one /= length);
    deviations
}

/// The place of each number in ascending order, from 1.
fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&one, &other| numbers[one].total_cmp(&numbers[other]));
    let mut ranks = vec![0.0; numbers.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&one, &other| numbers[one] == numbers[other]) {
        // The mean of before + 1 ..= before + len.
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|&index| ranks[index] = rank);
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    /// `tests/golden/metrics_regression.json`, made by `make_metrics_regression.py` with SciPy and
    /// scikit-learn.
    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        gold: Vec<f64>,
        found: Vec<f64>,
        /// `null` is NaN.
        pearson: Option<f64>,
        spearman: Option<f64>,
        mean_squared_error: f64,
        mean_absolute_error: f64,
    }

    /// Relative above 1. NumPy sums in another order, and numbers whose spread is a
    /// hundred-thousandth of their mean, the least in the cases, lose five digits of sixteen.
    const TOLERANCE: f64 = 1e-10;

    fn close(found: f64, expected: f64) -> bool {
        (found.is_nan() && expected.is_nan())
            || (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0)
    }

    #[test]
    fn scores_are_scipys_and_scikit_learns() {
        let text = include_str!("../../../tests/golden/metrics_regression.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        assert!(golden.cases.len() >= 200);
        for Case { name, gold, found, .. } in &golden.cases {
            assert_eq!(gold.len(), found.len(), "{name}");
        }
        let mut wrong = Vec::new();
        for case in &golden.cases {
            let (gold, found) = (&case.gold, &case.found);
            for (what, found, expected) in [
                ("Pearson", pearson(gold, found), case.pearson.unwrap_or(f64::NAN)),
                ("Spearman", spearman(gold, found), case.spearman.unwrap_or(f64::NAN)),
                ("MSE", mean_squared_error(gold, found), case.mean_squared_error),
                ("MAE", mean_absolute_error(gold, found), case.mean_absolute_error),
            ] {
                if !close(found, expected) {
                    wrong.push(format!("{}: {what} {found}, not {expected}", case.name));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn the_undefined_is_nan() {
        for (gold, found) in [
            (&[][..], &[][..]),
            (&[1.0], &[2.0]),
            (&[0.1, 0.1, 0.1], &[1.0, 2.0, 3.0]),
            (&[1.0, 2.0, 3.0], &[0.0, -0.0, 0.0]),
            (&[1.0, f64::NAN, 3.0], &[1.0, 2.0, 3.0]),
        ] {
            assert!(pearson(gold, found).is_nan(), "{gold:?}");
            assert!(spearman(gold, found).is_nan(), "{gold:?}");
        }
        assert!(mean_squared_error(&[], &[]).is_nan());
        assert!(mean_absolute_error(&[f64::NAN], &[1.0]).is_nan());
    }

    /// Infinity has a rank but no deviation from a mean.
    #[test]
    fn infinity_is_the_last_rank() {
        let (gold, found) = ([1.0, 2.0, f64::INFINITY], [1.0, 2.0, 3.0]);
        assert!(close(spearman(&gold, &found), 1.0));
        assert!(pearson(&gold, &found).is_nan());
    }

    /// Squares of these deviations overflow, or vanish.
    #[test]
    fn size_does_not_matter_to_a_correlation() {
        for scale in [1e-250, 1e250] {
            let gold = [-5.0, 5.0, 3.0, -3.0].map(|number| number * scale);
            assert!(close(pearson(&gold, &gold), 1.0));
            assert!(close(pearson(&gold, &[-5.0, 5.0, 3.0, -3.0]), 1.0));
        }
    }
}
