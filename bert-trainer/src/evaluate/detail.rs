//! Predictions against what the examples say in detail: confusion, scores of each label, and the
//! examples that are most wrong.

use super::Prediction;
use crate::data::tasks::{Labels, RawExample, TaskKind, TaskLabels};
use crate::metrics::{MultiLabel, squad};
use crate::report::{ClassScores, EvaluationRecord, WorstExample};

/// A record for each thing the task predicts: two of `joint`, one of all others. `labels` are those of
/// the model; what an example says beyond them counts for the examples, not in the confusion.
pub fn detail(
    task: TaskKind,
    labels: &TaskLabels,
    examples: &[RawExample],
    predicted: &[Prediction],
) -> Vec<EvaluationRecord> {
    let pairs = Pairs { examples, predicted };
    match task {
        TaskKind::Classify | TaskKind::Pair => vec![pairs.classes("label", &labels.classes)],
        TaskKind::MultiLabel => vec![pairs.label_sets(&labels.classes)],
        TaskKind::Regress => vec![pairs.numbers()],
        TaskKind::Tag => vec![pairs.tags("tag", &labels.tags)],
        TaskKind::Joint => {
            vec![pairs.classes("intent", &labels.classes), pairs.tags("slot", &labels.tags)]
        }
        TaskKind::Span => vec![pairs.answers()],
    }
}

/// Examples and what was predicted for each.
struct Pairs<'a> {
    examples: &'a [RawExample],
    predicted: &'a [Prediction],
}

impl<'a> Pairs<'a> {
    fn iter(&self) -> impl Iterator<Item = (&'a RawExample, &'a Prediction)> {
        self.examples.iter().zip(self.predicted)
    }

    fn classes(&self, part: &str, labels: &Option<Labels>) -> EvaluationRecord {
        let Some(labels) = labels else {
            return EvaluationRecord::default();
        };
        let id = |name: Option<&str>| Some(labels.id(name?)? as usize);
        let known = |(gold, found): (&RawExample, &Prediction)| {
            Some((id(gold.label())?, id(found.label.as_deref())?))
        };
        let (gold, found): (Vec<usize>, Vec<usize>) = self.iter().filter_map(known).unzip();
        let wrong = |(gold, found): (&RawExample, &Prediction)| {
            let probability = |name| found.probabilities.get(id(name)?).copied();
            let (gold_name, found_name) = (gold.label(), found.label.as_deref());
            // A probability that rounds to 0 has no logarithm.
            let loss = |share: f32| -f64::from(share.max(f32::MIN_POSITIVE)).ln();
            (gold_name != found_name).then(|| WorstExample {
                loss: probability(gold_name).map(loss),
                confidence: probability(found_name).map(f64::from),
                ..worst(gold, gold_name.unwrap_or_default(), found_name.unwrap_or_default())
            })
        };
        EvaluationRecord::from_labels(part, labels.names(), &gold, &found)
            .with_worst(self.iter().filter_map(wrong).collect())
    }

    /// Several labels a text are not confused with each other: there is no matrix.
    fn label_sets(&self, labels: &Option<Labels>) -> EvaluationRecord {
        let Some(labels) = labels else {
            return EvaluationRecord::default();
        };
        let row = |names: &[String]| -> Vec<bool> {
            labels.names().iter().map(|label| names.contains(label)).collect()
        };
        let sets: Vec<(Vec<bool>, Vec<bool>)> =
            self.iter().map(|(gold, found)| (row(gold.labels()), row(&found.labels))).collect();
        let rows = sets.iter().map(|(gold, found)| (gold.as_slice(), found.as_slice()));
        let counted = MultiLabel::from_rows(labels.len(), rows);
        let scores = |(index, label): (usize, &String)| {
            let counts = counted.label(index);
            (counts.gold + counts.found > 0).then(|| ClassScores {
                label: label.clone(),
                precision: counts.precision(),
                recall: counts.recall(),
                f1: counts.f1(),
                support: counts.gold as u64,
            })
        };
        let wrong = |((gold, found), (gold_row, found_row)): (_, &(Vec<bool>, Vec<bool>))| {
            let (gold, found): (&RawExample, &Prediction) = (gold, found);
            (gold_row != found_row).then(|| WorstExample {
                loss: mean_binary_loss(gold_row, &found.probabilities),
                ..worst(gold, gold.labels().join("|"), found.labels.join("|"))
            })
        };
        let per_class = labels.names().iter().enumerate().filter_map(scores).collect();
        let examples = self.iter().zip(&sets).filter_map(wrong).collect();
        EvaluationRecord { part: "labels".into(), per_class, ..EvaluationRecord::default() }
            .with_worst(examples)
    }

    fn numbers(&self) -> EvaluationRecord {
        let wrong = |(gold, found): (&RawExample, &Prediction)| {
            let (value, said) = (gold.value()?, found.value?);
            let loss = (value - said).powi(2);
            // A number that is not finite cannot be written down.
            (loss > 0.0 && loss.is_finite()).then(|| WorstExample {
                loss: Some(loss),
                ..worst(gold, value.to_string(), format!("{said:.4}"))
            })
        };
        EvaluationRecord { part: "value".into(), ..EvaluationRecord::default() }
            .with_worst(self.iter().filter_map(wrong).collect())
    }

    /// The sentences with the most wrong words come first: tags have no probabilities here.
    fn tags(&self, part: &str, labels: &Option<Labels>) -> EvaluationRecord {
        let Some(labels) = labels else {
            return EvaluationRecord::default();
        };
        let words = self.iter().flat_map(|(gold, found)| gold.tags.iter().zip(&found.tags));
        let (gold, found): (Vec<usize>, Vec<usize>) = words
            .filter_map(|(gold, found)| {
                Some((labels.id(gold)? as usize, labels.id(found)? as usize))
            })
            .unzip();
        let mut wrong: Vec<(usize, WorstExample)> = self
            .iter()
            .filter_map(|(gold, found)| {
                let tags = gold.tags.iter().zip(&found.tags).enumerate();
                let words: Vec<usize> =
                    tags.filter(|(_, (a, b))| a != b).map(|(word, _)| word).collect();
                let shown = |tags: &[String]| {
                    let one = |&word: &usize| format!("{} {}", gold.word(word), tags[word]);
                    words.iter().map(one).collect::<Vec<_>>().join(", ")
                };
                let count = words.len();
                (count > 0).then(|| (count, worst(gold, shown(&gold.tags), shown(&found.tags))))
            })
            .collect();
        wrong.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        EvaluationRecord::from_labels(part, labels.names(), &gold, &found)
            .with_worst(wrong.into_iter().map(|(_, example)| example).collect())
    }

    fn answers(&self) -> EvaluationRecord {
        const NONE: &str = "(no answer)";
        let named = |text: &str| if text.is_empty() { NONE.to_owned() } else { text.to_owned() };
        let wrong = |(gold, found): (&RawExample, &Prediction)| {
            let said = found.answer();
            let mut right = gold.answers().iter().map(|answer| answer.text.as_str()).peekable();
            let is_right = match right.peek() {
                None => said.is_empty(),
                Some(_) => right.clone().any(|text| squad::exact_match(text, said)),
            };
            let texts: Vec<&str> = right.collect();
            let best = found.answers.first().filter(|_| found.has_answer);
            (!is_right).then(|| WorstExample {
                text: gold.second.clone().unwrap_or_default(),
                second: Some(gold.text.clone()),
                confidence: best.map(|answer| f64::from(answer.probability)),
                ..worst(gold, named(&texts.join(" | ")), named(said))
            })
        };
        EvaluationRecord { part: "answer".into(), ..EvaluationRecord::default() }
            .with_worst(self.iter().filter_map(wrong).collect())
    }
}

/// An example with what it is and what was said.
fn worst(example: &RawExample, gold: impl Into<String>, found: impl Into<String>) -> WorstExample {
    WorstExample {
        line: example.line,
        text: example.text.clone(),
        second: example.second.clone(),
        gold: gold.into(),
        found: found.into(),
        ..WorstExample::default()
    }
}

/// Mean over the labels of −ln of the probability that each is as it truly is.
fn mean_binary_loss(gold: &[bool], probabilities: &[f32]) -> Option<f64> {
    let loss = |(&gold, &p): (&bool, &f32)| {
        let share = if gold { p } else { 1.0 - p };
        -f64::from(share.max(f32::MIN_POSITIVE)).ln()
    };
    let losses = gold.iter().zip(probabilities).map(loss);
    (!gold.is_empty()).then(|| losses.sum::<f64>() / gold.len() as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::tasks::{Gold, GoldAnswer};
    use crate::evaluate::FoundAnswer;

    fn labels(names: [&str; 2]) -> Option<Labels> {
        Some(Labels::new(names))
    }

    fn of(gold: Gold, line: u64) -> RawExample {
        RawExample { gold, ..RawExample::new("some text", line) }
    }

    fn said(label: &str, probabilities: [f32; 2]) -> Prediction {
        let (label, probabilities) = (Some(label.to_owned()), probabilities.to_vec());
        Prediction { label, probabilities, ..Prediction::default() }
    }

    #[test]
    fn the_least_probable_label_is_the_worst_example() {
        let label = |name: &str, line| of(Gold::Label(name.into()), line);
        let examples = [label("a", 1), label("b", 2), label("b", 3)];
        let predicted = [said("a", [0.9, 0.1]), said("a", [0.75, 0.25]), said("a", [1.0, 0.0])];
        let known = TaskLabels { classes: labels(["a", "b"]), tags: None };
        let [record] = &detail(TaskKind::Pair, &known, &examples, &predicted)[..] else { panic!() };
        assert_eq!(record.confusion, [[1, 0], [2, 0]]);
        let lines: Vec<u64> = record.worst.iter().map(|one| one.line).collect();
        assert_eq!(lines, [3, 2]);
        let last = &record.worst[1];
        assert!((last.loss.unwrap() - 4f64.ln()).abs() < 1e-6);
        assert_eq!(
            (last.confidence, last.gold.as_str(), last.found.as_str()),
            (Some(0.75), "b", "a")
        );
        assert!(record.worst[0].loss.unwrap().is_finite());
    }

    #[test]
    fn sets_of_labels_have_scores_and_no_matrix() {
        let examples = [of(Gold::Labels(vec!["a".into(), "b".into()]), 1)];
        let predicted = [Prediction {
            labels: vec!["b".into()],
            probabilities: vec![0.25, 0.5],
            ..Prediction::default()
        }];
        let known = TaskLabels { classes: labels(["a", "b"]), tags: None };
        let [record] = &detail(TaskKind::MultiLabel, &known, &examples, &predicted)[..] else {
            panic!()
        };
        assert!(record.labels.is_empty() && record.confusion.is_empty());
        assert_eq!((record.per_class[0].f1, record.per_class[1].f1), (0.0, 1.0));
        assert_eq!((record.worst[0].gold.as_str(), record.worst[0].found.as_str()), ("a|b", "b"));
        // (ln 4 + ln 2) / 2
        assert!((record.worst[0].loss.unwrap() - 1.5 * 2f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn numbers_are_wrong_by_their_square() {
        let examples = [of(Gold::Value(1.0), 1), of(Gold::Value(2.0), 2), of(Gold::Value(3.0), 3)];
        let predicted = [1.0, 2.5, f64::NAN]
            .map(|value| Prediction { value: Some(value), ..Prediction::default() });
        let known = TaskLabels::default();
        let [record] = &detail(TaskKind::Regress, &known, &examples, &predicted)[..] else {
            panic!()
        };
        assert_eq!(record.worst.len(), 1);
        assert_eq!((record.worst[0].line, record.worst[0].loss), (2, Some(0.25)));
    }

    #[test]
    fn sentences_with_the_most_wrong_words_come_first() {
        let sentence = |tags: [&str; 2], line| {
            let mut example = RawExample::new("", line);
            for (word, tag) in ["red", "lamp"].into_iter().zip(tags) {
                let start = example.text.len() as u32;
                example.text.push_str(word);
                example.words.push((start, example.text.len() as u32));
                example.text.push(' ');
                example.tags.push(tag.into());
            }
            example
        };
        let tagged = |tags: [&str; 2]| Prediction {
            tags: tags.map(str::to_owned).to_vec(),
            ..Prediction::default()
        };
        let examples = [sentence(["O", "B-x"], 1), sentence(["B-x", "B-x"], 3)];
        let predicted = [tagged(["O", "O"]), tagged(["O", "O"])];
        let known = TaskLabels { classes: None, tags: labels(["O", "B-x"]) };
        let [record] = &detail(TaskKind::Tag, &known, &examples, &predicted)[..] else { panic!() };
        assert_eq!((record.part.as_str(), record.total()), ("tag", 4));
        assert_eq!(record.worst.iter().map(|one| one.line).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(record.worst[0].gold, "red B-x, lamp B-x");
        assert_eq!(record.worst[1].found, "lamp O");
    }

    #[test]
    fn answers_are_right_as_squad_has_it() {
        let question = |answers: &[&str], line| RawExample {
            second: Some("The lamp, a red one.".into()),
            gold: Gold::Answers(
                answers.iter().map(|&text| GoldAnswer { text: text.into(), start: None }).collect(),
            ),
            ..RawExample::new("which?", line)
        };
        let answered = |text: &str| Prediction {
            answers: vec![FoundAnswer {
                text: text.into(),
                start: 0,
                end: text.len() as u32,
                score: 1.0,
                probability: 0.5,
            }],
            has_answer: true,
            ..Prediction::default()
        };
        let examples = [
            question(&["red one"], 1),
            question(&["red one"], 2),
            question(&[], 3),
            question(&[], 4),
        ];
        let predicted =
            [answered("a Red one."), answered("lamp"), answered("lamp"), Prediction::default()];
        let known = TaskLabels::default();
        let [record] = &detail(TaskKind::Span, &known, &examples, &predicted)[..] else { panic!() };
        assert_eq!(record.worst.iter().map(|one| one.line).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(
            (record.worst[1].gold.as_str(), record.worst[1].found.as_str()),
            ("(no answer)", "lamp")
        );
        assert_eq!(record.worst[0].second.as_deref(), Some("which?"));
    }
}
