use super::{Gold, RawExample, Target, TaskExample, TaskLabels};
use crate::data::TextTokenizer;

/// What did not become part of a sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Whether the example was too long and lost its end.
    pub truncated: bool,
    /// Words without a piece.
    pub invisible_words: usize,
}

/// A text, words or a pair as one sequence of at most `max_length` tokens. The labels are all known.
pub(super) fn encode_text(
    raw: &RawExample,
    labels: &TaskLabels,
    tokenizer: &TextTokenizer,
    max_length: usize,
) -> (TaskExample, Lost) {
    let special = tokenizer.special();
    let mut lost = Lost::default();
    // The text is encoded whole, exactly as a device gets it; a word is found again by the offset
    // of its first piece.
    let mut ids = vec![special.cls];
    let mut first_piece = vec![None; raw.words.len()];
    let mut word = 0;
    tokenizer.for_each_piece(&raw.text, |id, start| {
        while word < raw.words.len() && raw.words[word].1 as usize <= start {
            word += 1;
        }
        if let Some(first @ None) = first_piece.get_mut(word) {
            *first = Some(ids.len() as u32);
        }
        ids.push(id);
    });
    let mut second = Vec::new();
    let found = ids.len() - 1;
    let kept = match &raw.second {
        None => found.min(max_length - 2),
        Some(text) => {
            tokenizer.encode(text, &mut second);
            let (first, rest) = bert_core::longest_first(found, second.len(), max_length - 3);
            lost.truncated = rest < second.len();
            second.truncate(rest);
            second.push(special.sep);
            first
        }
    };
    lost.truncated |= kept < found;
    ids.truncate(kept + 1);

    let mut tags = Vec::with_capacity(raw.words.len());
    let mut word_starts = Vec::with_capacity(raw.words.len());
    let mut word_index = Vec::with_capacity(raw.words.len());
    for (index, first) in first_piece.into_iter().enumerate() {
        let Some(first) = first else {
            lost.invisible_words += 1;
            continue;
        };
        tags.extend(tag_of(raw, labels, index));
        if (first as usize) < ids.len() {
            word_starts.push(first);
            word_index.push(index as u32);
        }
    }
    ids.push(special.sep);
    let mut segments = vec![0; ids.len()];
    segments.resize(ids.len() + second.len(), 1);
    ids.append(&mut second);
    let target = target_of(raw, labels);
    let example = TaskExample {
        ids,
        segments,
        word_starts,
        word_index,
        tags,
        target,
        source: 0,
        context: None,
    };
    (example, lost)
}

fn tag_of(raw: &RawExample, labels: &TaskLabels, word: usize) -> Option<u32> {
    labels.tags.as_ref()?.id(raw.tags.get(word)?)
}

fn target_of(raw: &RawExample, labels: &TaskLabels) -> Target {
    if let Gold::Value(value) = raw.gold {
        return Target::Value(value as f32);
    }
    let Some(classes) = &labels.classes else {
        return Target::None;
    };
    match &raw.gold {
        Gold::Label(name) => classes.id(name).map_or(Target::None, Target::Label),
        Gold::Labels(names) => Target::Labels(names.iter().filter_map(|n| classes.id(n)).collect()),
        _ => Target::None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::tokenizer;
    use super::*;

    fn pair(a: &str, b: &str, max_length: usize) -> (TaskExample, Lost) {
        let raw = RawExample { second: Some(b.into()), ..RawExample::new(a, 1) };
        encode_text(&raw, &TaskLabels::default(), &tokenizer(), max_length)
    }

    #[test]
    fn a_pair_has_two_segments() {
        // See `tokenizer`: play 5, un 6, ##play 7, ##ed 8, jazz 9, stop 10.
        let (example, lost) = pair("play", "stop jazz", 16);
        assert_eq!(example.ids, [2, 5, 3, 10, 9, 3]);
        assert_eq!(example.segments, [0, 0, 0, 1, 1, 1]);
        assert!(!lost.truncated);
    }

    #[test]
    fn the_longer_text_is_cut_first() {
        let (example, lost) = pair("unplayed jazz", "stop", 6);
        assert_eq!(example.ids, [2, 6, 7, 3, 10, 3]);
        assert!(lost.truncated);
        let (example, lost) = pair("stop", "unplayed", 6);
        assert_eq!(example.ids, [2, 10, 3, 6, 7, 3]);
        assert!(lost.truncated);
    }
}
