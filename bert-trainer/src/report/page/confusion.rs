//! The confusion matrix as a heat map, and the pairs confused most often.

use maud::{Markup, html};

use crate::log::grouped;
use crate::report::EvaluationRecord;

/// Labels a matrix shows at most.
const SHOWN: usize = 25;
/// Pairs listed.
const PAIRS: usize = 20;

/// Matrix and list.
pub(super) fn confusion(evaluation: &EvaluationRecord) -> Markup {
    let pairs = evaluation.confusions();
    let wrong: u64 = pairs.iter().fold(0, |sum, (_, _, count)| sum.saturating_add(*count));
    let labels = evaluation.labels.len();
    html! {
        h3 { "Confusion" }
        p.quiet {
            @if labels > SHOWN {
                "The " (SHOWN) " most confused of " (labels) " labels. "
            }
            "Rows are the true labels, columns what the model said; shades are shares of a row. "
            (grouped(wrong)) " of " (grouped(evaluation.total())) " are wrong."
        }
        div.wide { (matrix(evaluation, &evaluation.most_confused(SHOWN))) }
        @if !pairs.is_empty() {
            h4 { "Confused most often" }
            div.wide { (list(evaluation, &pairs[..pairs.len().min(PAIRS)])) }
        }
    }
}

fn matrix(evaluation: &EvaluationRecord, classes: &[usize]) -> Markup {
    html! {
        table.confusion {
            thead {
                tr {
                    td {}
                    @for &class in classes { th scope="col" { span { (evaluation.labels[class]) } } }
                }
            }
            tbody {
                @for &gold in classes {
                    tr {
                        th scope="row" { (evaluation.labels[gold]) }
                        @for &found in classes { (cell(evaluation, gold, found)) }
                    }
                }
            }
        }
    }
}

fn cell(evaluation: &EvaluationRecord, gold: usize, found: usize) -> Markup {
    let row = &evaluation.confusion[gold];
    let count = row[found];
    let all: f64 = row.iter().map(|&count| count as f64).sum();
    let share = if all > 0.0 { count as f64 / all } else { 0.0 };
    // Mistakes are few: the root lets a share of 1 % be seen.
    let heat = if gold == found { share } else { share.sqrt() };
    let labels = &evaluation.labels;
    let said = format!(
        "{} taken for {}: {count} of {all} ({:.1} %)",
        labels[gold],
        labels[found],
        share * 100.0
    );
    html! {
        td.right[gold == found].zero[count == 0] style={ "--p: " (format!("{:.0}", heat * 100.0)) "%" }
            title=(said) {
            @if count > 0 { (count) }
        }
    }
}

fn list(evaluation: &EvaluationRecord, pairs: &[(usize, usize, u64)]) -> Markup {
    let row_sum = |gold: usize| evaluation.confusion[gold].iter().map(|&n| n as f64).sum::<f64>();
    html! {
        table {
            thead { tr {
                th { "true" } th { "taken for" }
                th.number { "times" } th.number { "share of the true label" }
            } }
            tbody {
                @for &(gold, found, count) in pairs {
                    tr {
                        td { (evaluation.labels[gold]) } td { (evaluation.labels[found]) }
                        td.number { (grouped(count)) }
                        td.number { (format!("{:.1} %", 100.0 * count as f64 / row_sum(gold))) }
                    }
                }
            }
        }
    }
}
