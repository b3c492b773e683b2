//! Batches for pre-training, each a function of (data, options, step).

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::masking::{MaskOptions, mask};
use super::nsp::{Pair, PairOptions, SPECIAL_PIECES_OF_A_PAIR, epoch_pairs, truncate};
use super::rng::{Draws, Stream, permutation};
use super::shards::Shards;
use super::{DataError, PackedBatch, PretrainBatch, TextTokenizer};

/// How batches are made; the defaults are google-research/bert's, at its shorter length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PretrainOptions {
    /// Seed of all draws.
    pub seed: u64,
    /// Longest pair in tokens, special pieces included; 5 to 65,535.
    pub max_length: usize,
    /// B, pairs in a batch.
    pub batch_size: usize,
    /// Probability that a document is cut into pairs of a random, shorter length.
    pub short_sequence_probability: f64,
    /// Share of the tokens that is predicted.
    pub mask_probability: f64,
    /// Mask all pieces of a word or none.
    pub whole_word: bool,
}

impl Default for PretrainOptions {
    fn default() -> Self {
        PretrainOptions {
            seed: 0,
            max_length: 128,
            batch_size: 256,
            short_sequence_probability: 0.1,
            mask_probability: 0.15,
            whole_word: false,
        }
    }
}

/// The seed of [`PretrainData::evaluation`], whatever the seed of the run: figures of different runs
/// are about the same pairs and masks.
pub const EVALUATION_SEED: u64 = 0xe7a1;

/// Prepared data as batches of sentence pairs.
///
/// A step needs nothing of the steps before it, so a run resumes anywhere, in the middle of an epoch
/// too; the first batch of an epoch takes a pass over the sentence lengths of the corpus.
/// It may be shared between threads.
pub struct PretrainData {
    shards: Shards,
    tokenizer: TextTokenizer,
    options: PretrainOptions,
    steps_per_epoch: u64,
    /// The epochs that were used last.
    recent: Mutex<Vec<Arc<Epoch>>>,
}

struct Epoch {
    number: u64,
    pairs: Vec<Pair>,
    order: Vec<u32>,
}

impl PretrainData {
    /// Opens a directory that `prepare` wrote.
    ///
    /// # Errors
    /// [`DataError`] if the directory is damaged (see [`Shards::open`]) or an option is out of its
    /// range.
    pub fn open(dir: &Path, options: PretrainOptions) -> Result<Self, DataError> {
        check(&options)?;
        let shards = Shards::open(dir)?;
        let tokenizer = TextTokenizer::open(dir)?;
        let (expected, found) = (&shards.manifest().tokenizer_sha256, tokenizer.hash());
        if *expected != found {
            let expected = format!("the tokenizer of the shards, SHA-256 {expected}");
            return Err(DataError::file(dir, expected, found));
        }
        let mut data = PretrainData {
            shards,
            tokenizer,
            options,
            steps_per_epoch: 1,
            recent: Mutex::new(Vec::new()),
        };
        let pairs = data.epoch(0)?.pairs.len();
        data.steps_per_epoch = (pairs / options.batch_size).max(1) as u64;
        Ok(data)
    }

    /// Steps of an epoch: the pairs of epoch 0 divided by the batch size, rounded down, at least 1.
    ///
    /// It is the same for all epochs, so that a step's epoch is known at once, although the draws of
    /// an epoch decide how many pairs it has.
    /// An epoch with a few pairs more leaves out the last ones of its random order; one with fewer
    /// goes back to the start of the order, with other masks.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// The batch of a step, counted from 0 through all epochs; always B pairs.
    ///
    /// # Errors
    /// [`DataError::Option`] if an epoch has 2³² pairs or more.
    pub fn batch(&self, step: u64) -> Result<PretrainBatch, DataError> {
        self.slice(step, 0..self.options.batch_size)
    }

    /// The pairs `part` of the B pairs of a step, as a batch of their own; the others are not made.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    pub fn slice(&self, step: u64, part: Range<usize>) -> Result<PretrainBatch, DataError> {
        let epoch = self.epoch(step / self.steps_per_epoch)?;
        let first = (step % self.steps_per_epoch) * self.options.batch_size as u64;
        let mut batch = empty_batch();
        for position in first + part.start as u64..first + part.end as u64 {
            let place = epoch.order[(position % epoch.order.len() as u64) as usize];
            let pair = epoch.pairs[place as usize];
            self.push(pair, self.options.seed, epoch.number, position, &mut batch);
        }
        Ok(batch)
    }

    /// All pairs of the corpus once, in its order, with draws of [`EVALUATION_SEED`]; the last batch
    /// may be smaller.
    ///
    /// # Errors
    /// [`DataError::Option`] if the corpus makes 2³² pairs or more.
    pub fn evaluation(&self) -> Result<impl Iterator<Item = PretrainBatch> + '_, DataError> {
        let pairs = self.pairs(EVALUATION_SEED, 0)?;
        let size = self.options.batch_size;
        Ok((0..pairs.len().div_ceil(size)).map(move |number| {
            let mut batch = empty_batch();
            let range = number * size..((number + 1) * size).min(pairs.len());
            for (position, &pair) in range.clone().zip(&pairs[range]) {
                self.push(pair, EVALUATION_SEED, 0, position as u64, &mut batch);
            }
            batch
        }))
    }

    /// The shards and their manifest.
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// The tokenizer of the data.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// The options.
    pub fn options(&self) -> &PretrainOptions {
        &self.options
    }

    fn pairs(&self, seed: u64, epoch: u64) -> Result<Vec<Pair>, DataError> {
        let options = PairOptions {
            max_length: self.options.max_length,
            short_sequence_probability: self.options.short_sequence_probability,
            seed,
        };
        let pairs = epoch_pairs(&self.shards, options, epoch);
        if u32::try_from(pairs.len()).is_err() {
            let expected = "a length that makes fewer than 2^32 pairs of this corpus";
            return Err(DataError::option("max-length", expected, self.options.max_length));
        }
        Ok(pairs)
    }

    fn epoch(&self, number: u64) -> Result<Arc<Epoch>, DataError> {
        // A thread that panicked here left at worst an epoch out of the list.
        let mut recent = self.recent.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(epoch) = recent.iter().find(|epoch| epoch.number == number) {
            return Ok(epoch.clone());
        }
        let pairs = self.pairs(self.options.seed, number)?;
        let order = permutation(self.options.seed, Stream::PairOrder, number, pairs.len() as u32);
        let epoch = Arc::new(Epoch { number, pairs, order });
        // Prefetching threads cross from one epoch to the next; two are enough.
        if recent.len() == 2 {
            recent.remove(0);
        }
        recent.push(epoch.clone());
        Ok(epoch)
    }

    /// Appends a pair: looked up, cut to length, masked.
    fn push(&self, pair: Pair, seed: u64, epoch: u64, position: u64, batch: &mut PretrainBatch) {
        let special = self.tokenizer.special();
        let mut a = Vec::new();
        pair.a().for_each(|sentence| self.shards.append_sentence(sentence, &mut a));
        let mut b = Vec::new();
        pair.b().for_each(|sentence| self.shards.append_sentence(sentence, &mut b));
        let room = self.options.max_length - SPECIAL_PIECES_OF_A_PAIR;
        let mut draws = Draws::new(seed, Stream::Truncation, epoch, position);
        let (a_kept, b_kept) = truncate(a.len(), b.len(), room, &mut draws);

        let mut ids = Vec::with_capacity(self.options.max_length);
        ids.push(special.cls);
        ids.extend_from_slice(&a[a_kept]);
        ids.push(special.sep);
        let mut segments = vec![0; ids.len()];
        ids.extend_from_slice(&b[b_kept]);
        ids.push(special.sep);
        segments.resize(ids.len(), 1);

        let options = MaskOptions {
            probability: self.options.mask_probability,
            whole_word: self.options.whole_word,
        };
        let mut draws = Draws::new(seed, Stream::Masks, epoch, position);
        let mut masked = Vec::new();
        mask(&mut ids, &self.tokenizer, options, &mut draws, &mut masked);
        let start = batch.tokens.push(&ids, &segments);
        for (index, target) in masked {
            batch.masked_index.push(start + index);
            batch.masked_target.push(target);
        }
        batch.nsp_label.push(u32::from(pair.random));
    }
}

fn empty_batch() -> PretrainBatch {
    PretrainBatch { tokens: PackedBatch::new(), ..Default::default() }
}

fn check(options: &PretrainOptions) -> Result<(), DataError> {
    let share = |option, value: f64, zero: bool| {
        if value <= 1.0 && (value > 0.0 || zero && value == 0.0) {
            return Ok(());
        }
        let expected = if zero { "0 to 1" } else { "above 0 and at most 1" };
        Err(DataError::option(option, expected, value))
    };
    if !(5..=usize::from(u16::MAX)).contains(&options.max_length) {
        return Err(DataError::option("max-length", "5 to 65535 tokens", options.max_length));
    }
    if options.batch_size == 0 {
        return Err(DataError::option("batch-size", "1 or more", 0));
    }
    share("short-sequence-probability", options.short_sequence_probability, true)?;
    share("mask-probability", options.mask_probability, false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::cut;
    use super::super::shards::tests::Prepared;
    use super::*;

    const OPTIONS: PretrainOptions = PretrainOptions {
        seed: 3,
        max_length: 48,
        batch_size: 16,
        short_sequence_probability: 0.1,
        mask_probability: 0.15,
        whole_word: false,
    };

    fn check_batch(data: &PretrainData, batch: &PretrainBatch) {
        let special = data.tokenizer().special();
        let tokens = &batch.tokens;
        assert_eq!(batch.nsp_label.len(), tokens.sequences());
        assert_eq!(batch.masked_index.len(), batch.masked_target.len());
        assert!(batch.masked_index.is_sorted_by(|a, b| a < b));
        assert!(tokens.ids.iter().all(|&id| id < data.tokenizer().vocabulary_size()));
        // The pieces as they were before masking.
        let mut ids = tokens.ids.clone();
        for (&index, &target) in batch.masked_index.iter().zip(&batch.masked_target) {
            ids[index as usize] = target;
        }
        for ends in tokens.cu_seqlens.windows(2) {
            let range = ends[0] as usize..ends[1] as usize;
            let (pair, segments) = (&ids[range.clone()], &tokens.segments[range.clone()]);
            assert!(pair.len() <= data.options().max_length);
            let separators: Vec<usize> =
                (0..pair.len()).filter(|&at| pair[at] == special.sep).collect();
            assert_eq!((pair[0], separators.len()), (special.cls, 2));
            let [first, last] = separators[..] else { unreachable!() };
            assert!(first > 1 && last > first + 1 && last == pair.len() - 1);
            assert!(segments[..=first].iter().all(|&s| s == 0));
            assert!(segments[first + 1..].iter().all(|&s| s == 1));
            let wanted = (pair.len() as f64 * data.options().mask_probability).round().max(1.0);
            let masked = batch
                .masked_index
                .iter()
                .filter(|&&index| range.contains(&(index as usize)))
                .count();
            assert!(masked as f64 == wanted || data.options().whole_word && masked > 0);
        }
    }

    #[test]
    fn a_batch_is_a_function_of_data_options_and_step() {
        let prepared = Prepared::new(60);
        let open = |options| PretrainData::open(&prepared.path("data"), options).unwrap();
        let data = open(OPTIONS);
        let steps = data.steps_per_epoch();
        assert!(steps > 5);
        let batches: Vec<PretrainBatch> =
            (0..3 * steps).map(|step| data.batch(step).unwrap()).collect();
        for batch in &batches {
            check_batch(&data, batch);
            assert_eq!(batch.tokens.sequences(), OPTIONS.batch_size);
        }
        // Another reader, backwards and from two threads, as a resumed run might ask.
        let again = open(OPTIONS);
        std::thread::scope(|scope| {
            for offset in 0..2 {
                let (again, batches) = (&again, &batches);
                scope.spawn(move || {
                    for step in (offset..batches.len()).rev().step_by(2) {
                        assert_eq!(again.batch(step as u64).unwrap(), batches[step]);
                    }
                });
            }
        });
        assert_ne!(batches[0], batches[steps as usize]);
        // Slices of a step are the parts of its batch.
        for parts in [1, 3, 16] {
            let slice = |part| data.slice(2, cut(0..OPTIONS.batch_size, part, parts)).unwrap();
            assert!(batches[2].split(parts).into_iter().eq((0..parts).map(slice)));
        }
        let other = open(PretrainOptions { seed: 4, ..OPTIONS });
        assert_ne!(other.batch(0).unwrap(), batches[0]);
    }

    #[test]
    fn pairs_are_real_or_random_and_truncated() {
        let prepared = Prepared::new(60);
        for (max_length, whole_word) in [(5, false), (12, true), (512, false)] {
            let options = PretrainOptions { max_length, whole_word, ..OPTIONS };
            let data = PretrainData::open(&prepared.path("data"), options).unwrap();
            let mut labels = [0; 2];
            for step in 0..data.steps_per_epoch() {
                let batch = data.batch(step).unwrap();
                check_batch(&data, &batch);
                batch.nsp_label.iter().for_each(|&label| labels[label as usize] += 1);
            }
            assert!(labels[1] > 0 && labels[0] > 0 || max_length == 5, "{labels:?}");
        }
    }

    #[test]
    fn evaluation_sees_every_pair_once_and_ignores_the_seed() {
        let prepared = Prepared::new(30);
        let open = |options| PretrainData::open(&prepared.path("data"), options).unwrap();
        let data = open(OPTIONS);
        let batches: Vec<PretrainBatch> = data.evaluation().unwrap().collect();
        batches.iter().for_each(|batch| check_batch(&data, batch));
        let sequences: usize = batches.iter().map(|batch| batch.tokens.sequences()).sum();
        assert_eq!(sequences, data.pairs(EVALUATION_SEED, 0).unwrap().len());
        let other = open(PretrainOptions { seed: 99, ..OPTIONS });
        assert!(other.evaluation().unwrap().eq(batches));
    }

    #[test]
    fn a_corpus_smaller_than_a_batch_fills_it_with_other_masks() {
        let prepared = Prepared::new(1);
        let options = PretrainOptions { batch_size: 64, max_length: 24, ..OPTIONS };
        let data = PretrainData::open(&prepared.path("data"), options).unwrap();
        assert_eq!(data.steps_per_epoch(), 1);
        let batch = data.batch(0).unwrap();
        check_batch(&data, &batch);
        assert_eq!(batch.tokens.sequences(), 64);
    }

    #[test]
    fn wrong_options_and_an_edited_tokenizer_are_errors() {
        let prepared = Prepared::new(2);
        let open = |options| PretrainData::open(&prepared.path("data"), options).err();
        let wrong = [
            (PretrainOptions { max_length: 4, ..OPTIONS }, "max-length: expected 5 to 65535"),
            (PretrainOptions { max_length: 65_536, ..OPTIONS }, "max-length"),
            (PretrainOptions { batch_size: 0, ..OPTIONS }, "batch-size: expected 1 or more"),
            (PretrainOptions { mask_probability: 0.0, ..OPTIONS }, "mask-probability"),
            (PretrainOptions { mask_probability: f64::NAN, ..OPTIONS }, "mask-probability"),
            (PretrainOptions { short_sequence_probability: -0.1, ..OPTIONS }, "short-sequence"),
        ];
        for (options, expected) in wrong {
            let error = open(options).unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let vocab = prepared.path("data").join("vocab.txt");
        let text = std::fs::read_to_string(&vocab).unwrap();
        std::fs::write(&vocab, text.replace("w7\n", "w777\n")).unwrap();
        let error = open(OPTIONS).unwrap().to_string();
        assert!(error.contains("expected the tokenizer of the shards"), "{error}");
    }
}
