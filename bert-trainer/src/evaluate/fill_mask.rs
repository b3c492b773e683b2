//! Pieces for `[MASK]`: what the masked language model was trained for (Devlin et al. 2018, 3.1).
//!
//! Each `[MASK]` of a text gets a softmax over the vocabulary, all of them in one pass, so the answers
//! do not know of each other.

use std::cmp::Ordering;

use anyhow::{anyhow, ensure};

use crate::data::{PackedBatch, TextTokenizer};
use crate::model::{DeviceBatch, MaskedTargets, Model, Targets};

/// What stands in a text where a piece is asked for.
pub const MASK: &str = "[MASK]";

/// Texts of a batch. A row of logits is as wide as the vocabulary, and texts have few of them.
const BATCH: usize = 16;

/// A text with its masks filled.
#[derive(Debug, Clone, PartialEq)]
pub struct FilledText {
    /// The text with the best piece in the place of each mask.
    pub text: String,
    /// The masks in the order of the text.
    pub masks: Vec<FilledMask>,
}

/// One `[MASK]`.
#[derive(Debug, Clone, PartialEq)]
pub struct FilledMask {
    /// First byte in the text as it was given.
    pub start: usize,
    /// Byte after the last one.
    pub end: usize,
    /// The most probable pieces, the best first; of equal ones the lower id.
    pub candidates: Vec<Candidate>,
}

/// A piece and how probable it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The piece as in `vocab.txt`.
    pub piece: String,
    /// Its id.
    pub id: u32,
    /// Its share of the softmax over the vocabulary, in [0, 1].
    pub probability: f64,
}

/// The `top` most probable pieces for each `[MASK]` of each text; `max_length` is in tokens, `[CLS]`
/// and `[SEP]` included. Longer texts lose their end.
///
/// # Errors
///
/// A text without a mask, or with one beyond `max_length`, named by its number from 1; a model without
/// the head; what the device reports.
pub fn fill_masks(
    model: &Model,
    tokenizer: &TextTokenizer,
    texts: &[String],
    top: usize,
    max_length: usize,
) -> anyhow::Result<Vec<FilledText>> {
    let mut filled = Vec::with_capacity(texts.len());
    for (number, texts) in texts.chunks(BATCH).enumerate() {
        let mut batch = PackedBatch::new();
        let mut masked = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let (ids, masks) = encode(text, tokenizer, max_length)
                .map_err(|reason| anyhow!("text {}: {reason}", number * BATCH + index + 1))?;
            let start = batch.push(&ids, &vec![0; ids.len()]);
            masked.extend(masks.into_iter().map(|position| start + position));
        }
        let logits = logits(model, &batch, &masked)?;
        let width = model.config().vocab_size;
        let mut rows = logits.chunks_exact(width);
        for text in texts {
            let masks = text.match_indices(MASK).zip(rows.by_ref()).map(|((start, _), row)| {
                let candidates = best(row, tokenizer.pieces(), top);
                FilledMask { start, end: start + MASK.len(), candidates }
            });
            let masks: Vec<FilledMask> = masks.collect();
            filled.push(FilledText { text: fill(text, &masks), masks });
        }
    }
    Ok(filled)
}

/// Ids of `[CLS] text [SEP]`, and the positions of the masks in it.
fn encode(
    text: &str,
    tokenizer: &TextTokenizer,
    max_length: usize,
) -> Result<(Vec<u32>, Vec<u32>), String> {
    let special = tokenizer.special();
    let mut ids = vec![special.cls];
    let mut masks = Vec::new();
    for (index, part) in text.split(MASK).enumerate() {
        if index > 0 {
            masks.push(ids.len() as u32);
            ids.push(special.mask);
        }
        tokenizer.encode(part, &mut ids);
    }
    if masks.is_empty() {
        return Err(format!("expected {MASK} where a piece is to be found, found none"));
    }
    ids.truncate(max_length - 1);
    if let Some(beyond) = masks.iter().position(|&position| position as usize >= ids.len()) {
        let number = beyond + 1;
        return Err(format!("{MASK} number {number} lies beyond --max-length {max_length} tokens"));
    }
    ids.push(special.sep);
    Ok((ids, masks))
}

/// Scores of the vocabulary at packed tokens, row by row.
fn logits(model: &Model, batch: &PackedBatch, masked: &[u32]) -> anyhow::Result<Vec<f32>> {
    let ctx = model.context();
    // The head also gives a loss, which needs some target and is not looked at.
    let targets = vec![0; masked.len()];
    let targets = Targets {
        masked: Some(MaskedTargets::upload(ctx, masked, &targets, 1.0)),
        ..Targets::default()
    };
    let logits = model.masked_logits(&DeviceBatch::upload(ctx, batch), &targets)?;
    let logits = logits.ok_or_else(|| anyhow!("the model has no masked language model"))?;
    let logits = ctx.read_f32(&logits)?;
    ensure!(logits.iter().all(|logit| logit.is_finite()), "the model's logits are not finite");
    Ok(logits)
}

/// Pieces of the largest logits. Rows of the table beyond the vocabulary have their share of the
/// softmax, but no piece.
fn best(row: &[f32], pieces: &[String], top: usize) -> Vec<Candidate> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = |logit: f32| f64::from(logit - largest).exp();
    let total: f64 = row.iter().map(|&logit| exp(logit)).sum();
    let mut ids: Vec<u32> = (0..pieces.len().min(row.len()) as u32).collect();
    let order = |a: &u32, b: &u32| {
        let (x, y) = (row[*a as usize], row[*b as usize]);
        y.partial_cmp(&x).unwrap_or(Ordering::Equal).then(a.cmp(b))
    };
    let top = top.min(ids.len());
    if top < ids.len() {
        ids.select_nth_unstable_by(top, order);
    }
    ids.truncate(top);
    ids.sort_unstable_by(order);
    ids.into_iter()
        .map(|id| Candidate {
            piece: pieces[id as usize].clone(),
            id,
            probability: exp(row[id as usize]) / total,
        })
        .collect()
}

/// The text with the best pieces. One that continues a word stands against what is before it.
fn fill(text: &str, masks: &[FilledMask]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut end = 0;
    for mask in masks {
        filled.push_str(&text[end..mask.start]);
        let piece = mask.candidates.first().map_or(MASK, |best| best.piece.as_str());
        match piece.strip_prefix("##") {
            Some(rest) if !filled.trim().is_empty() => {
                filled.truncate(filled.trim_end().len());
                filled.push_str(rest);
            }
            _ => filled.push_str(piece),
        }
        end = mask.end;
    }
    filled.push_str(&text[end..]);
    filled
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::tokenizer::TokenizerConfig;

    fn tokenizer() -> TextTokenizer {
        let pieces = "[PAD] [UNK] [CLS] [SEP] [MASK] play jazz ##ed stop [ ] mask";
        let config = TokenizerConfig {
            lower_case: true,
            strip_accents: true,
            split_chinese: true,
            max_word_chars: 100,
        };
        let pieces = pieces.split(' ').map(str::to_owned).collect();
        TextTokenizer::from_pieces(pieces, config).unwrap()
    }

    #[test]
    fn masks_are_found_wherever_they_stand() {
        let encode = |text| encode(text, &tokenizer(), 16);
        assert_eq!(encode("play [MASK]").unwrap(), (vec![2, 5, 4, 3], vec![2]));
        assert_eq!(
            encode("[MASK]jazz[MASK][MASK] stop").unwrap(),
            (vec![2, 4, 6, 4, 4, 8, 3], vec![1, 3, 4])
        );
        // Only these letters are a mask, as in Transformers.
        assert!(encode("play [mask]").unwrap_err().contains("[MASK]"));
    }

    #[test]
    fn a_mask_that_is_cut_off_is_an_error_and_a_tail_is_not() {
        let encode = |text, max_length| encode(text, &tokenizer(), max_length);
        assert_eq!(encode("[MASK] jazz stop", 4).unwrap(), (vec![2, 4, 6, 3], vec![1]));
        let error = encode("[MASK] jazz [MASK]", 4).unwrap_err();
        assert!(error.contains("number 2") && error.contains("--max-length 4"), "{error}");
        assert!(encode("[MASK] jazz [MASK]", 5).is_ok());
    }

    #[test]
    fn the_best_pieces_come_in_order_and_their_shares_are_of_all_rows() {
        let pieces: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
        // A fifth row has no piece.
        let row = [0.0, 1.0, 1.0, -5.0, 2.0];
        let total: f64 = row.iter().map(|&x: &f32| f64::from(x).exp()).sum();
        let found = best(&row, &pieces, 3);
        let ids: Vec<u32> = found.iter().map(|candidate| candidate.id).collect();
        assert_eq!(ids, [1, 2, 0]);
        assert!((found[0].probability - 1f64.exp() / total).abs() < 1e-9);
        assert_eq!(best(&row, &pieces, 9).len(), 4);
    }

    #[test]
    fn continuations_join_the_word_before() {
        let filled = |text: &str, pieces: &[&str]| {
            let masks: Vec<FilledMask> = text
                .match_indices(MASK)
                .zip(pieces)
                .map(|((start, _), piece)| FilledMask {
                    start,
                    end: start + MASK.len(),
                    candidates: vec![Candidate {
                        piece: (*piece).to_owned(),
                        id: 0,
                        probability: 1.0,
                    }],
                })
                .collect();
            fill(text, &masks)
        };
        assert_eq!(filled("play [MASK] now", &["jazz"]), "play jazz now");
        assert_eq!(filled("play [MASK] now", &["##ed"]), "played now");
        assert_eq!(filled("[MASK] [MASK]", &["##ed", "##ed"]), "##eded");
        assert_eq!(filled("é[MASK]!", &["##s"]), "és!");
    }
}
