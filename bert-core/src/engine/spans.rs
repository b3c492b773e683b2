//! Runs of words under one name (slots, entities), from tags in BIO form or its extension BIOES.

use super::tags::{Tag, Tags};
use crate::Error;

/// A run of words under one name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span<'m> {
    /// The part of the tags after `B-`.
    pub name: &'m str,
    /// First byte of the first word in the text.
    pub start: u32,
    /// Byte after the last word.
    pub end: u32,
    /// The least probability of its tags.
    pub probability: f32,
}

/// Iterator that joins `B-x I-x …` to spans, in the order of the text.
///
/// Models do not always tag well-formed sequences. They are read as `seqeval` and CoNLL's
/// `conlleval` read them: an `I-x` (or `E-x`) that continues nothing begins a span. A word without a
/// tag ends one.
pub struct Spans<'m, I> {
    tags: I,
    /// The span under way, its last word and whether that word's tag ends it.
    open: Option<(Span<'m>, u32, bool)>,
}

impl<'m, I: Iterator<Item = Tag<'m>>> Spans<'m, I> {
    /// The spans of tags in the order of their words.
    pub fn new(tags: I) -> Self {
        Spans { tags, open: None }
    }
}

impl<'m, I: Iterator<Item = Tag<'m>>> Iterator for Spans<'m, I> {
    type Item = Span<'m>;

    fn next(&mut self) -> Option<Span<'m>> {
        loop {
            let Some(tag) = self.tags.next() else {
                return self.open.take().map(|(span, ..)| span);
            };
            // The place in a span, a dash, and the name.
            let [place @ (b'B' | b'I' | b'E' | b'S'), b'-', ..] = tag.name.as_bytes() else {
                match self.open.take() {
                    Some((span, ..)) => return Some(span),
                    None => continue,
                }
            };
            let name = tag.name.get(2..).unwrap_or("");
            let ends = matches!(place, b'E' | b'S');
            if let Some((span, last, ended)) = &mut self.open {
                let inside = matches!(place, b'I' | b'E');
                if inside && !*ended && span.name == name && last.checked_add(1) == Some(tag.word) {
                    span.end = tag.end;
                    span.probability = span.probability.min(tag.probability);
                    (*last, *ended) = (tag.word, ends);
                    continue;
                }
            }
            let Tag { start, end, probability, .. } = tag;
            let next = (Span { name, start, end, probability }, tag.word, ends);
            if let Some((span, ..)) = self.open.replace(next) {
                return Some(span);
            }
        }
    }
}

impl<'m> Tags<'m, '_> {
    /// The spans of the text, at most `N`, without heap.
    ///
    /// ```no_run
    /// # fn f(session: &mut bert_core::Session<'_, '_>) -> Result<(), bert_core::Error> {
    /// let text = "turn on the light in the living room";
    /// for slot in &session.tag(text)?.spans::<8>()? {
    ///     let (_name, _words) = (slot.name, &text[slot.start as usize..slot.end as usize]);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::TooManySpans`] if the text has more than `N`; none is dropped in silence.
    pub fn spans<const N: usize>(self) -> Result<heapless::Vec<Span<'m>, N>, Error> {
        let mut spans = heapless::Vec::new();
        for span in Spans::new(self) {
            spans.push(span).map_err(|_| Error::TooManySpans { limit: N as u32 })?;
        }
        Ok(spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags as (word, name) to spans as (name, start, end); word `w` has bytes `10 w .. 10 w + 5`.
    fn check(tags: &[(u32, &'static str)], expect: &[(&str, u32, u32)]) {
        let tag = |&(word, name): &(u32, &'static str)| {
            let probability = 1.0 / (1 + word) as f32;
            Tag { word, start: word * 10, end: word * 10 + 5, tag: 0, name, probability }
        };
        let found: Vec<Span<'_>> = Spans::new(tags.iter().map(tag)).collect();
        let parts: Vec<_> = found.iter().map(|s| (s.name, s.start, s.end)).collect();
        assert_eq!(parts, expect, "{tags:?}");
        for span in &found {
            // Probabilities fall from word to word here, so the least is that of the last.
            assert_eq!(span.probability, 1.0 / (1 + span.end / 10) as f32, "{tags:?}");
        }
    }

    #[test]
    fn joins_words_of_a_span() {
        check(&[], &[]);
        check(&[(0, "O"), (1, "B-room"), (2, "I-room"), (3, "O")], &[("room", 10, 25)]);
        check(&[(0, "B-a"), (1, "B-a")], &[("a", 0, 5), ("a", 10, 15)]);
        check(&[(0, "O"), (1, "B-a"), (2, "I-a")], &[("a", 10, 25)]);
    }

    #[test]
    fn reads_sequences_that_are_not_well_formed() {
        check(&[(0, "I-a"), (1, "I-b")], &[("a", 0, 5), ("b", 10, 15)]);
        check(&[(0, "B-a"), (1, "O"), (2, "I-a")], &[("a", 0, 5), ("a", 20, 25)]);
        // A word without a tag lies between.
        check(&[(0, "B-a"), (2, "I-a")], &[("a", 0, 5), ("a", 20, 25)]);
        check(&[(0, "NOUN"), (1, "X-Y"), (2, "B"), (3, "")], &[]);
    }

    #[test]
    fn reads_bioes() {
        check(&[(0, "B-a"), (1, "I-a"), (2, "E-a"), (3, "S-a")], &[("a", 0, 25), ("a", 30, 35)]);
        check(&[(0, "S-a"), (1, "I-a"), (2, "E-a")], &[("a", 0, 5), ("a", 10, 25)]);
        check(&[(0, "E-a"), (1, "E-a")], &[("a", 0, 5), ("a", 10, 15)]);
    }
}
