//! Exact match and F1 of answers to questions, as the evaluation scripts of SQuAD v1.1 (Rajpurkar et
//! al. 2016) and v2.0 (Rajpurkar et al. 2018) compute them.
//!
//! A question scores the best of its predicted answer against each true one.
//! In v2.0 there are questions without an answer; the right prediction for them is the empty text.
//! Scores are in 0..=1, where the scripts print percent.

mod answer;

use answer::token_f1;
pub use answer::{exact_match, normalize_answer};

/// A question's true answers and the predicted one.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The true answers; none if the question has no answer.
    pub gold: &'a [String],
    /// The predicted answer; empty if none was predicted.
    pub predicted: &'a str,
    /// How sure the model is that there is no answer: a probability or a difference of scores.
    /// Only v2.0 uses it; 0 if the model does not tell.
    pub no_answer: f64,
}

/// The means over questions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SquadScores {
    /// How many questions.
    pub questions: usize,
    /// Share of the questions with a predicted answer that [equals](exact_match) a true one.
    pub exact_match: f64,
    /// Mean F1 of the words of predicted and true answer.
    pub f1: f64,
}

/// The scores of v2.0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SquadV2Scores {
    /// Over all questions: `exact` and `f1` of the script.
    pub total: SquadScores,
    /// Over the questions with an answer, `HasAns_`; `None` without any.
    pub has_answer: Option<SquadScores>,
    /// Over the questions without, `NoAns_`; `None` without any.
    pub no_answer: Option<SquadScores>,
    /// `best_exact` and `best_exact_thresh`.
    pub best_exact_match: BestThreshold,
    /// `best_f1` and `best_f1_thresh`.
    pub best_f1: BestThreshold,
}

/// What a threshold found on the very questions would give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestThreshold {
    /// The best score.
    pub score: f64,
    /// The [`Answered::no_answer`] that a question with an answer has at most.
    ///
    /// Two traits of the script are kept. It is 0 if no answer at all is best, whatever the range
    /// of `no_answer`. And among questions of equal `no_answer` it may stop at any, in the order
    /// given, which as a threshold then gives less than the score.
    pub threshold: f64,
}

/// Scores answers by the rules of v1.1; all scores are 0 without questions.
///
/// A question without a true answer, which v1.1 has not, scores 0.
///
/// ```
/// use bert_trainer::metrics::squad::{Answered, scores_v1};
/// let gold = ["the Denver Broncos".to_owned()];
/// let answered = Answered { gold: &gold, predicted: "Denver", no_answer: 0.0 };
/// let scores = scores_v1(&[answered]);
/// assert_eq!((scores.exact_match, scores.f1), (0.0, 2.0 / 3.0));
/// ```
pub fn scores_v1(questions: &[Answered<'_>]) -> SquadScores {
    SquadScores::mean(questions.iter().map(Answered::score_v1))
}

/// Scores answers by the rules of v2.0; all scores are 0 without questions.
///
/// A question whose [`Answered::no_answer`] is above `threshold` counts as predicted to have no
/// answer, whatever its predicted answer.
/// The script's own threshold is 1.
pub fn scores_v2(questions: &[Answered<'_>], threshold: f64) -> SquadV2Scores {
    let raw: Vec<Score> = questions.iter().map(Answered::score_v2).collect();
    let applied = || {
        questions.iter().zip(&raw).map(|(question, raw)| {
            let refused = question.no_answer > threshold;
            let refusal = f64::from(!question.has_answer());
            let score = if refused { Score { exact_match: refusal, f1: refusal } } else { *raw };
            (question.has_answer(), score)
        })
    };
    let split = |has_answer: bool| {
        let split = applied().filter(|(has, _)| *has == has_answer).map(|(_, score)| score);
        let scores = SquadScores::mean(split);
        (scores.questions > 0).then_some(scores)
    };
    SquadV2Scores {
        total: SquadScores::mean(applied().map(|(_, score)| score)),
        has_answer: split(true),
        no_answer: split(false),
        best_exact_match: best_threshold(questions, raw.iter().map(|score| score.exact_match)),
        best_f1: best_threshold(questions, raw.iter().map(|score| score.f1)),
    }
}

/// Tries every threshold, from refusing all questions to refusing none.
fn best_threshold(questions: &[Answered<'_>], scores: impl Iterator<Item = f64>) -> BestThreshold {
    let mut order: Vec<(&Answered<'_>, f64)> = questions.iter().zip(scores).collect();
    order.sort_by(|(one, _), (other, _)| one.no_answer.total_cmp(&other.no_answer));
    // Refusing all is right where there is no answer.
    let mut sum = questions.iter().filter(|question| !question.has_answer()).count() as f64;
    let mut best = BestThreshold { score: sum, threshold: 0.0 };
    for (question, score) in order {
        sum += if question.has_answer() {
            score
        } else if question.predicted.is_empty() {
            0.0
        } else {
            -1.0
        };
        if sum > best.score {
            best = BestThreshold { score: sum, threshold: question.no_answer };
        }
    }
    best.score /= questions.len().max(1) as f64;
    best
}

/// The scores of one question.
#[derive(Clone, Copy, Default)]
struct Score {
    exact_match: f64,
    f1: f64,
}

impl Score {
    /// The best against any true answer; for `wordless` see [`token_f1`].
    fn best(gold: &[&str], predicted: &str, wordless: fn(bool) -> f64) -> Self {
        gold.iter().fold(Self::default(), |best, gold| Self {
            exact_match: best.exact_match.max(f64::from(exact_match(gold, predicted))),
            f1: best.f1.max(token_f1(gold, predicted, wordless)),
        })
    }
}

impl Answered<'_> {
    fn has_answer(&self) -> bool {
        !self.gold.is_empty()
    }

    /// In v1.1 two answers without words share none, though they match exactly.
    fn score_v1(&self) -> Score {
        let gold: Vec<&str> = self.gold.iter().map(String::as_str).collect();
        Score::best(&gold, self.predicted, |_| 0.0)
    }

    /// In v2.0 a true answer without words is no answer, and that is what no answer equals.
    fn score_v2(&self) -> Score {
        let gold = self.gold.iter().map(String::as_str);
        let mut gold: Vec<&str> = gold.filter(|one| !normalize_answer(one).is_empty()).collect();
        if gold.is_empty() {
            gold.push("");
        }
        Score::best(&gold, self.predicted, f64::from)
    }
}

impl SquadScores {
    fn mean(scores: impl Iterator<Item = Score>) -> Self {
        let (mut questions, mut sum) = (0, Score::default());
        for score in scores {
            questions += 1;
            sum.exact_match += score.exact_match;
            sum.f1 += score.f1;
        }
        let mean = |sum: f64| sum / questions.max(1) as f64;
        Self { questions, exact_match: mean(sum.exact_match), f1: mean(sum.f1) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    /// `tests/golden/metrics_squad.json`, made by `make_metrics_squad.py`.
    #[derive(Deserialize)]
    struct Golden {
        questions: Vec<QuestionCase>,
        sets: Vec<SetCase>,
    }

    #[derive(Deserialize)]
    struct QuestionCase {
        gold: Vec<String>,
        predicted: String,
        normalized: String,
        /// Exact match and F1; `null` without a true answer.
        v1: Option<(f64, f64)>,
        v2: (f64, f64),
    }

    /// An evaluation of some of the questions, in percent as the scripts say it.
    #[derive(Deserialize)]
    struct SetCase {
        /// Which question and its `no_answer`.
        questions: Vec<(usize, f64)>,
        threshold: f64,
        /// Of the questions with an answer.
        v1: Option<Percent>,
        total: Percent,
        has_answer: Option<Percent>,
        no_answer: Option<Percent>,
        /// Score and threshold.
        best_exact_match: (f64, f64),
        best_f1: (f64, f64),
    }

    /// Exact match, F1 and number of questions.
    type Percent = (f64, f64, usize);

    /// Percent and shares round differently, over sums of at most a dozen questions.
    const TOLERANCE: f64 = 16.0 * f64::EPSILON;

    fn golden() -> Golden {
        let text = include_str!("../../../../tests/golden/metrics_squad.json");
        serde_json::from_str(text).unwrap()
    }

    fn close(found: f64, percent: f64) -> bool {
        (found - percent / 100.0).abs() <= TOLERANCE
    }

    fn agree(found: Option<SquadScores>, expected: Option<Percent>) -> bool {
        match (found, expected) {
            (Some(found), Some((exact_match, f1, questions))) => {
                close(found.exact_match, exact_match)
                    && close(found.f1, f1)
                    && found.questions == questions
            }
            (None, None) => true,
            _ => false,
        }
    }

    #[test]
    fn answers_score_as_in_the_scripts() {
        let cases = golden().questions;
        assert!(cases.len() >= 200);
        for case in &cases {
            let QuestionCase { gold, predicted, .. } = case;
            assert_eq!(normalize_answer(predicted), case.normalized, "{predicted:?}");
            let question = Answered { gold, predicted, no_answer: 0.0 };
            // Equal to the bit: the best threshold hangs on it.
            let pair = |score: Score| (score.exact_match, score.f1);
            if let Some(v1) = case.v1 {
                assert_eq!(pair(question.score_v1()), v1, "v1.1 {question:?}");
            }
            assert_eq!(pair(question.score_v2()), case.v2, "v2.0 {question:?}");
        }
    }

    #[test]
    fn evaluations_score_as_in_the_scripts() {
        let Golden { questions: pool, sets } = golden();
        assert!(sets.len() >= 200);
        for (index, set) in sets.iter().enumerate() {
            let questions: Vec<Answered<'_>> = set
                .questions
                .iter()
                .map(|&(question, no_answer)| {
                    let QuestionCase { gold, predicted, .. } = &pool[question];
                    Answered { gold, predicted, no_answer }
                })
                .collect();
            let answerable = questions.iter().filter(|one| one.has_answer());
            let answerable: Vec<Answered<'_>> = answerable.copied().collect();
            let v1 = Some(scores_v1(&answerable)).filter(|scores| scores.questions > 0);
            assert!(agree(v1, set.v1), "{index}: v1.1 {v1:?}");
            let v2 = scores_v2(&questions, set.threshold);
            assert!(agree(Some(v2.total), Some(set.total)), "{index}: {v2:?}");
            assert!(agree(v2.has_answer, set.has_answer), "{index}: {v2:?}");
            assert!(agree(v2.no_answer, set.no_answer), "{index}: {v2:?}");
            for (best, (score, threshold)) in
                [(v2.best_exact_match, set.best_exact_match), (v2.best_f1, set.best_f1)]
            {
                assert!(close(best.score, score), "{index}: {v2:?}");
                assert_eq!(best.threshold, threshold, "{index}: {v2:?}");
            }
        }
    }

    #[test]
    fn nothing_to_score_is_zero() {
        assert_eq!(scores_v1(&[]), SquadScores { questions: 0, exact_match: 0.0, f1: 0.0 });
        let scores = scores_v2(&[], 1.0);
        assert_eq!((scores.total.f1, scores.has_answer, scores.no_answer), (0.0, None, None));
        assert_eq!(scores.best_f1, BestThreshold { score: 0.0, threshold: 0.0 });
    }
}
