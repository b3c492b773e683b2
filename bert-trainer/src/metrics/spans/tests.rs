#![allow(clippy::unwrap_used)]
use serde::Deserialize;

use super::*;

/// `tests/golden/metrics_spans.json`, made by `make_metrics_spans.py` with `seqeval`.
#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// In which `strict` reads.
    scheme: String,
    /// What `seqeval` takes all tags for, if for anything.
    detected: Option<String>,
    /// The tags of each sequence with spaces between.
    gold: Vec<String>,
    found: Vec<String>,
    entities: Vec<Vec<(String, usize, usize)>>,
    micro: (f64, f64, f64),
    by_class: BTreeMap<String, (f64, f64, f64, usize)>,
    /// Nothing where `seqeval` refuses.
    strict: Option<Strict>,
}

#[derive(Deserialize)]
struct Strict {
    entities: Vec<Vec<(String, usize, usize)>>,
    micro: (f64, f64, f64),
}

/// The golden figures have twelve digits.
const TOLERANCE: f64 = 1e-12;

fn cases() -> Vec<Case> {
    let text = include_str!("../../../../tests/golden/metrics_spans.json");
    serde_json::from_str::<Golden>(text).unwrap().cases
}

fn tags(sequences: &[String]) -> Vec<Vec<&str>> {
    sequences.iter().map(|tags| tags.split_whitespace().collect()).collect()
}

fn slices<'a, 'b>(sequences: &'a [Vec<&'b str>]) -> Vec<&'a [&'b str]> {
    sequences.iter().map(Vec::as_slice).collect()
}

fn as_golden(spans: &[Span<'_>]) -> Vec<(String, usize, usize)> {
    spans.iter().map(|s| (s.class.to_owned(), s.first, s.last)).collect()
}

fn is_close(counts: &Counts, (precision, recall, f1): (f64, f64, f64)) -> bool {
    (counts.precision() - precision).abs() <= TOLERANCE
        && (counts.recall() - recall).abs() <= TOLERANCE
        && (counts.f1() - f1).abs() <= TOLERANCE
}

#[test]
fn scores_are_seqevals() {
    for case in cases() {
        let name = &case.name;
        let (gold, found) = (tags(&case.gold), tags(&case.found));
        let (gold, found) = (slices(&gold), slices(&found));
        let entities: Vec<_> = found.iter().map(|tags| as_golden(&spans(tags))).collect();
        assert_eq!(entities, case.entities, "{name}");
        let scores = span_scores(&gold, &found);
        assert!(is_close(&scores.total, case.micro), "{name}: {scores:?}");
        assert_eq!(span_f1(&gold, &found), scores.total.f1());
        assert!(scores.by_class.keys().eq(case.by_class.keys()), "{name}: {scores:?}");
        for (class, counts) in &scores.by_class {
            let (precision, recall, f1, support) = case.by_class[class];
            assert!(is_close(counts, (precision, recall, f1)), "{name}: {class} {counts:?}");
            assert_eq!(counts.gold, support, "{name}: {class}");
        }
    }
}

#[test]
fn strict_scores_are_seqevals() {
    let (mut counted, mut refused, mut differ) = (BTreeMap::new(), 0, 0);
    for case in cases() {
        let name = &case.name;
        let (gold, found) = (tags(&case.gold), tags(&case.found));
        let (gold, found) = (slices(&gold), slices(&found));
        let scheme = [Scheme::Io, Scheme::Bio, Scheme::Bioes]
            .into_iter()
            .find(|scheme| scheme.name() == case.scheme)
            .unwrap();
        let scores = strict_span_scores(scheme, &gold, &found);
        let Some(strict) = case.strict else {
            assert!(scores.is_err(), "{name}: {scores:?}");
            refused += 1;
            continue;
        };
        let read = |tags: &&[&str]| as_golden(&scheme.spans(tags).unwrap());
        let entities: Vec<_> = found.iter().map(read).collect();
        assert_eq!(entities, strict.entities, "{name}");
        assert!(is_close(&scores.as_ref().unwrap().total, strict.micro), "{name}: {scores:?}");
        *counted.entry(scheme).or_insert(0) += 1;
        differ += usize::from(entities != case.entities);
    }
    // The cases can tell the readings apart, and every scheme has its share of them.
    assert!(counted.len() == 3 && counted.values().all(|&count| count >= 200), "{counted:?}");
    assert!(refused >= 2 && differ >= 200, "{refused} refused, {differ} differ");
}

#[test]
fn schemes_are_detected() {
    for case in cases() {
        let sequences: Vec<&str> =
            case.gold.iter().chain(&case.found).flat_map(|tags| tags.split_whitespace()).collect();
        let scheme = Scheme::detect(&sequences).unwrap();
        match case.detected.as_deref() {
            Some("IOB2") => assert_eq!(scheme, Scheme::Bio, "{}", case.name),
            Some("IOBES") => assert_eq!(scheme, Scheme::Bioes, "{}", case.name),
            // `seqeval` refuses some sets of prefixes, as S with O alone, and has names for more.
            _ => {}
        }
        assert!(Scheme::Bioes.spans(&sequences).is_ok());
    }
    assert_eq!(Scheme::detect::<&str>([]), Some(Scheme::Io));
    assert_eq!(Scheme::detect(["O", "I-a"]), Some(Scheme::Io));
    for strange in ["", "-", "OTHER", "O-a", "Ba", "L-a", "b-a", "é-a", "NOUN"] {
        assert_eq!(Scheme::detect(["O", "B-a", strange]), None, "{strange:?}");
        let error = Scheme::Bioes.spans(&["B-a", strange]).unwrap_err();
        assert_eq!((error.tag.as_str(), error.scheme), (strange, Scheme::Bioes));
    }
    let error = Scheme::Bio.spans(&["S-a"]).unwrap_err().to_string();
    assert_eq!(error, "expected a tag of the scheme BIO, found \"S-a\"");
}

/// A device reads tags as the metric does.
#[test]
fn bert_core_joins_the_same_spans() {
    for case in cases() {
        for sequence in tags(&case.found) {
            // The device wants a class.
            if sequence.iter().any(|tag| *tag != "O" && !tag.contains('-')) {
                continue;
            }
            let words = sequence.iter().enumerate().map(|(word, name)| bert_core::Tag {
                word: word as u32,
                start: word as u32,
                end: word as u32,
                tag: 0,
                name,
                probability: 1.0,
            });
            let joined: Vec<_> = bert_core::Spans::new(words)
                .map(|s| (s.name.to_owned(), s.start as usize, s.end as usize))
                .collect();
            assert_eq!(joined, as_golden(&spans(&sequence)), "{}", case.name);
        }
    }
}

/// An invariant: swapping truth and prediction swaps precision and recall.
#[test]
fn truth_and_prediction_are_symmetric() {
    let gold: &[&[&str]] = &[&["B-a", "I-a", "O", "B-b"], &["O"]];
    let found: &[&[&str]] = &[&["B-a", "I-a", "B-b", "I-b"], &["S-c"]];
    let (one, other) = (span_scores(gold, found).total, span_scores(found, gold).total);
    assert_eq!((one.precision(), one.recall()), (other.recall(), other.precision()));
    assert_eq!((one.gold, one.found, one.right), (2, 3, 1));
    assert_eq!(one.f1(), other.f1());
}
