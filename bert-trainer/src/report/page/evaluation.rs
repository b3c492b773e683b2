//! The evaluation in detail: confusion, scores of each label, worst examples.

use maud::{Markup, html};

use super::confusion::confusion;
use crate::log::grouped;
use crate::report::format::{Unit, number};
use crate::report::{ClassScores, EvaluationRecord, Run, WorstExample};

/// A section for each label the task has.
pub(super) fn sections(run: &Run, prefix: &str) -> Markup {
    html! {
        @for (index, evaluation) in run.record.evaluations.iter().enumerate() {
            section id={ (prefix) "evaluation-" (index) } {
                h2 { "Evaluation: " (evaluation.part) }
                @if !evaluation.labels.is_empty() { (confusion(evaluation)) }
                @if !evaluation.per_class.is_empty() { (per_class(&evaluation.per_class)) }
                @if !evaluation.worst.is_empty() { (worst(evaluation)) }
            }
        }
    }
}

fn per_class(scores: &[ClassScores]) -> Markup {
    let cell = |share: f64| {
        html! {
            td.number data-value=(share) {
                span.bar style={ "--p: " (format!("{:.0}", share.clamp(0.0, 1.0) * 100.0)) "%" } {}
                (Unit::Share.show(share))
            }
        }
    };
    html! {
        h3 { "Labels" }
        div.wide.tall {
            table.sortable {
                thead { tr {
                    th { "label" } th.number { "precision" } th.number { "recall" }
                    th.number { "F1" } th.number { "support" }
                } }
                tbody {
                    @for one in scores {
                        tr {
                            td { (one.label) }
                            (cell(one.precision)) (cell(one.recall)) (cell(one.f1))
                            td.number data-value=(one.support) { (grouped(one.support)) }
                        }
                    }
                }
            }
        }
    }
}

fn worst(evaluation: &EvaluationRecord) -> Markup {
    let worst = &evaluation.worst;
    let has_loss = worst.iter().any(|one| one.loss.is_some());
    let has_confidence = worst.iter().any(|one| one.confidence.is_some());
    let loss = |one: &WorstExample| one.loss.map(number).unwrap_or_default();
    let confidence = |one: &WorstExample| {
        one.confidence.map(|share| Unit::Share.show(share)).unwrap_or_default()
    };
    html! {
        h3 { "Most confidently wrong" }
        div.wide.tall {
            table.examples {
                thead { tr {
                    th.number { "line" } th { "text" } th { "true" } th { "said" }
                    @if has_confidence { th.number { "confidence" } }
                    @if has_loss { th.number { "loss" } }
                } }
                tbody {
                    @for one in worst {
                        tr {
                            td.number { (one.line) }
                            td.text {
                                (one.text)
                                @if let Some(second) = &one.second { br; span.quiet { (second) } }
                            }
                            td.label { (one.gold) } td.label.wrong { (one.found) }
                            @if has_confidence { td.number { (confidence(one)) } }
                            @if has_loss { td.number { (loss(one)) } }
                        }
                    }
                }
            }
        }
    }
}
