//! Sentence pairs for next sentence prediction.
//!
//! The walk over a document is that of google-research/bert's `create_pretraining_data.py`: sentences
//! are gathered up to a target length, cut into a and b at a random sentence, and b is replaced by a
//! stretch of another document half of the time; the sentences that b gave up start the next pair.
//! There, ten copies with different draws are made once; here every epoch has draws of its own.

use std::ops::Range;

use super::rng::{Draws, Stream};

/// Pieces that a pair has besides its sentences: `[CLS] a [SEP] b [SEP]`.
pub const SPECIAL_PIECES_OF_A_PAIR: usize = 3;

/// Sentences of documents, both numbered from 0 through the whole corpus.
pub trait Documents {
    /// Number of documents; none of them is empty.
    fn documents(&self) -> u32;
    /// The sentences of a document.
    fn sentences(&self, document: u32) -> Range<u32>;
    /// Length of a sentence in pieces, at least 1.
    fn sentence_length(&self, sentence: u32) -> u32;
}

/// How pairs are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairOptions {
    /// Longest pair in tokens, special pieces included; 5 to 65,535.
    pub max_length: usize,
    /// Probability that a document is cut into pairs of a random, shorter length.
    pub short_sequence_probability: f64,
    /// Seed of all draws.
    pub seed: u64,
}

/// A pair as ranges of sentences; its tokens are looked up when it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    a_first: u32,
    b_first: u32,
    a_sentences: u16,
    b_sentences: u16,
    /// Whether b comes from elsewhere (label 1) instead of following a (label 0).
    pub random: bool,
}

impl Pair {
    /// Sentences of a.
    pub fn a(&self) -> Range<u32> {
        self.a_first..self.a_first + u32::from(self.a_sentences)
    }

    /// Sentences of b.
    pub fn b(&self) -> Range<u32> {
        self.b_first..self.b_first + u32::from(self.b_sentences)
    }
}

/// The pairs of an epoch in the order of the corpus; reads lengths only.
///
/// A single document has no other to take a random b from, so it is taken from the same one.
pub fn epoch_pairs(corpus: &impl Documents, options: PairOptions, epoch: u64) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for document in 0..corpus.documents() {
        let mut draws = Draws::new(options.seed, Stream::Pairs, epoch, u64::from(document));
        document_pairs(corpus, options, document, &mut draws, &mut pairs);
    }
    pairs
}

fn document_pairs(
    corpus: &impl Documents,
    options: PairOptions,
    document: u32,
    draws: &mut Draws,
    pairs: &mut Vec<Pair>,
) {
    let room = options.max_length - SPECIAL_PIECES_OF_A_PAIR;
    let short = draws.unit() < options.short_sequence_probability;
    let target = if short { draws.between(2, room as u64) } else { room as u64 };
    let sentences = corpus.sentences(document);
    let length = |range: Range<u32>| -> u64 {
        range.map(|sentence| u64::from(corpus.sentence_length(sentence))).sum()
    };

    let mut first = sentences.start;
    while first < sentences.end {
        // Gather sentences until they fill the target or the document ends.
        let (mut end, mut gathered) = (first, 0);
        while end < sentences.end && gathered < target {
            gathered += u64::from(corpus.sentence_length(end));
            end += 1;
        }
        let chunk = u64::from(end - first);
        let a_end = if chunk >= 2 { first + draws.between(1, chunk - 1) as u32 } else { end };
        let random = chunk == 1 || draws.unit() < 0.5;
        let b = if random {
            let wanted = target.saturating_sub(length(first..a_end));
            random_stretch(corpus, document, wanted, draws)
        } else {
            a_end..end
        };
        pairs.push(Pair {
            a_first: first,
            b_first: b.start,
            a_sentences: (a_end - first) as u16,
            b_sentences: (b.end - b.start) as u16,
            random,
        });
        // What a random b displaced is used again.
        first = if random { a_end } else { end };
    }
}

/// Sentences of another document, from a random one on, at least `wanted` tokens if there are.
fn random_stretch(
    corpus: &impl Documents,
    document: u32,
    wanted: u64,
    draws: &mut Draws,
) -> Range<u32> {
    let others = u64::from(corpus.documents()) - 1;
    let other = if others == 0 {
        document
    } else {
        let drawn = draws.below(others) as u32;
        drawn + u32::from(drawn >= document)
    };
    let sentences = corpus.sentences(other);
    let start = sentences.start + draws.below(u64::from(sentences.end - sentences.start)) as u32;
    let (mut end, mut gathered) = (start, 0);
    while end < sentences.end && (end == start || gathered < wanted) {
        gathered += u64::from(corpus.sentence_length(end));
        end += 1;
    }
    start..end
}

/// Which tokens of a and b stay if together they may have `room` tokens: as long as they are too
/// many, the longer one (b if equal) loses its first or its last token, at random.
pub fn truncate(
    a: usize,
    b: usize,
    room: usize,
    draws: &mut Draws,
) -> (Range<usize>, Range<usize>) {
    let (mut a, mut b) = (0..a, 0..b);
    while a.len() + b.len() > room {
        let longer = if a.len() > b.len() { &mut a } else { &mut b };
        if draws.unit() < 0.5 {
            longer.start += 1;
        } else {
            longer.end -= 1;
        }
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Toy {
        starts: Vec<u32>,
        lengths: Vec<u32>,
    }

    impl Toy {
        /// `documents` documents of 1 to 40 sentences of 1 to 60 tokens.
        fn new(documents: u32) -> Self {
            let mut draws = Draws::new(5, Stream::Pairs, 77, u64::from(documents));
            let mut toy = Toy { starts: vec![0], lengths: Vec::new() };
            for _ in 0..documents {
                for _ in 0..draws.between(1, 40) {
                    toy.lengths.push(draws.between(1, 60) as u32);
                }
                toy.starts.push(toy.lengths.len() as u32);
            }
            toy
        }

        fn document_of(&self, sentence: u32) -> usize {
            self.starts.partition_point(|&start| start <= sentence) - 1
        }
    }

    impl Documents for Toy {
        fn documents(&self) -> u32 {
            self.starts.len() as u32 - 1
        }
        fn sentences(&self, document: u32) -> Range<u32> {
            self.starts[document as usize]..self.starts[document as usize + 1]
        }
        fn sentence_length(&self, sentence: u32) -> u32 {
            self.lengths[sentence as usize]
        }
    }

    const OPTIONS: PairOptions =
        PairOptions { max_length: 128, short_sequence_probability: 0.1, seed: 11 };

    #[test]
    fn every_sentence_is_used_as_a_or_as_its_continuation() {
        let toy = Toy::new(200);
        let pairs = epoch_pairs(&toy, OPTIONS, 0);
        let mut next = 0;
        for pair in &pairs {
            assert_eq!(pair.a().start, next);
            assert!(!pair.a().is_empty() && !pair.b().is_empty());
            next = if pair.random { pair.a().end } else { pair.b().end };
            if !pair.random {
                assert_eq!(pair.a().end, pair.b().start);
            }
            let home = toy.document_of(pair.a().start);
            assert_eq!(toy.document_of(pair.a().end - 1), home);
            let other = toy.document_of(pair.b().start);
            assert_eq!(toy.document_of(pair.b().end - 1), other);
            assert_eq!(other != home, pair.random, "a random b is from another document");
        }
        assert_eq!(next as usize, toy.lengths.len());
    }

    #[test]
    fn pairs_are_balanced() {
        // Long documents of short sentences: a chunk of a single sentence, which is always followed
        // by a random b, is rare.
        let lengths = vec![8; 50 * 400];
        let toy = Toy { starts: (0..=50).map(|d| d * 400).collect(), lengths };
        let pairs: Vec<Pair> = (0..4).flat_map(|epoch| epoch_pairs(&toy, OPTIONS, epoch)).collect();
        let random = pairs.iter().filter(|pair| pair.random).count() as f64;
        let share = random / pairs.len() as f64;
        // Five standard deviations, and one chunk a document that may be a single sentence.
        let bound = 5.0 * (0.25 / pairs.len() as f64).sqrt() + 200.0 / pairs.len() as f64;
        assert!((share - 0.5).abs() < bound, "{share} of {}", pairs.len());
    }

    #[test]
    fn epochs_and_seeds_differ_and_repeat() {
        let toy = Toy::new(20);
        let first = epoch_pairs(&toy, OPTIONS, 0);
        assert_eq!(first, epoch_pairs(&toy, OPTIONS, 0));
        assert_ne!(first, epoch_pairs(&toy, OPTIONS, 1));
        assert_ne!(first, epoch_pairs(&toy, PairOptions { seed: 12, ..OPTIONS }, 0));
    }

    #[test]
    fn a_single_document_takes_from_itself() {
        let toy = Toy { starts: vec![0, 1], lengths: vec![500] };
        let pairs = epoch_pairs(&toy, OPTIONS, 0);
        assert_eq!(pairs.len(), 1);
        assert!(pairs[0].random && pairs[0].b() == (0..1));
    }

    #[test]
    fn short_pairs_appear_as_often_as_asked() {
        let toy = Toy { starts: (0..=4000).collect(), lengths: vec![200; 4000] };
        for (probability, low, high) in [(0.0, 0, 0), (0.1, 300, 500), (1.0, 4000, 4000)] {
            let options = PairOptions { short_sequence_probability: probability, ..OPTIONS };
            // With sentences of 200 tokens the target shows in nothing but the draws.
            let short = (0..4000u64)
                .filter(|&d| Draws::new(options.seed, Stream::Pairs, 0, d).unit() < probability)
                .count();
            assert!((low..=high).contains(&short), "{short}");
            assert_eq!(epoch_pairs(&toy, options, 0).len(), 4000);
        }
    }

    #[test]
    fn truncation_takes_from_both_ends_of_the_longer() {
        let mut draws = Draws::new(1, Stream::Truncation, 0, 0);
        for (a, b, room) in [(200, 1, 125), (3, 4, 7), (90, 90, 125), (1, 1, 2), (125, 125, 2)] {
            let (a_kept, b_kept) = truncate(a, b, room, &mut draws);
            assert_eq!(a_kept.len() + b_kept.len(), room.min(a + b));
            assert!(!a_kept.is_empty() && !b_kept.is_empty());
            assert!(a_kept.end <= a && b_kept.end <= b);
        }
        let (a, _) = truncate(1125, 1, 126, &mut draws);
        // 1,000 fair draws: 500 from the front, give or take five standard deviations.
        assert!((420..=580).contains(&a.start), "{a:?}");
    }
}
