//! The demo's text: a seeded grammar of a smart-home assistant.
//!
//! The project ships no data sets, so the demo writes its own:
//! utterances with an intent and BIO slots to fine-tune on, and short dialogues to pre-train on.
//! In a dialogue the turns speak of the same room, device or song, which is what makes the next
//! sentence predictable.
//!
//! # The rule language
//!
//! A rule is a name and alternatives; an alternative is words and
//!
//! * `{name}` – a slot: the words of rule `name`, labelled `B-name I-name …`;
//! * `<name>` – the words of rule `name` without a label of its own;
//! * `[a|b c|]` – one of the alternatives, the last one here empty; brackets nest.
//!
//! All draws are counter-based: draw number `i` of stream `s` is a pure function of
//! `(seed, s, i)`, so the text is the same on every machine.

use std::collections::{BTreeMap, HashSet};

use super::rules::{CLOSINGS, GREETINGS, INTENTS, Intent, OPENINGS, RULES};

/// One utterance: its intent and its words with their BIO tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Utterance {
    /// Name of the intent.
    pub intent: &'static str,
    /// `(word, tag)`; a tag is `O`, `B-slot` or `I-slot`.
    pub words: Vec<(String, String)>,
}

impl Utterance {
    /// The words, separated by single spaces.
    pub fn text(&self) -> String {
        join(&self.words, |(word, _)| word)
    }

    /// `intent<TAB>words<TAB>tags`: a line of the trainer's joint format.
    pub fn tsv_line(&self) -> String {
        format!("{}\t{}\t{}\n", self.intent, self.text(), join(&self.words, |(_, tag)| tag))
    }
}

/// Three disjoint sets of utterances: no sentence stands in two of them, or twice in one.
pub struct Splits {
    /// What the model is fine-tuned on.
    pub train: Vec<Utterance>,
    /// What is watched during fine-tuning.
    pub valid: Vec<Utterance>,
    /// What the final figures are measured on.
    pub test: Vec<Utterance>,
}

/// Draws `train + valid + test` different utterances.
pub fn utterances(seed: u64, train: usize, valid: usize, test: usize) -> Splits {
    let wanted = train + valid + test;
    let mut seen = HashSet::new();
    let mut all = Vec::with_capacity(wanted);
    let mut stream = 0;
    while all.len() < wanted {
        let mut draw = Draw::new(seed, stream);
        stream += 1;
        let intent = draw.pick(INTENTS);
        let utterance = draw_utterance(intent, &mut draw, &mut Bindings::default());
        if seen.insert(utterance.text()) {
            all.push(utterance);
        }
    }
    let test = all.split_off(train + valid);
    let valid = all.split_off(train);
    Splits { train: all, valid, test }
}

/// Draws dialogues in the pre-training format: one sentence a line, a blank line between dialogues.
///
/// `avoid` holds sentences that must not occur as a user's turn (the test set).
pub fn dialogues(seed: u64, count: usize, avoid: &HashSet<String>) -> String {
    let mut corpus = String::new();
    for dialogue in 0..count as u64 {
        let mut draw = Draw::new(seed, dialogue);
        for sentence in draw_dialogue(&mut draw, avoid) {
            corpus.push_str(&sentence);
            corpus.push('\n');
        }
        corpus.push('\n');
    }
    corpus
}

/// What a rule's words were when they were drawn last; replies repeat them.
type Bindings = BTreeMap<&'static str, Vec<String>>;

fn draw_utterance(intent: &'static Intent, draw: &mut Draw, bound: &mut Bindings) -> Utterance {
    let mut words = Vec::new();
    let (openings, ways) = match draw.below(intent.requests.len() + intent.statements.len()) {
        way if way < intent.requests.len() => (OPENINGS, intent.requests),
        _ => (GREETINGS, intent.statements),
    };
    let opening = draw.pick(openings);
    expand(opening, draw, bound, &mut words);
    let wish = draw.pick(ways);
    expand(wish, draw, bound, &mut words);
    let closing = draw.pick(CLOSINGS);
    expand(closing, draw, bound, &mut words);
    Utterance { intent: intent.name, words }
}

/// Request, answer, then up to three more exchanges on the same subject.
fn draw_dialogue(draw: &mut Draw, avoid: &HashSet<String>) -> Vec<String> {
    let intent = draw.pick(INTENTS);
    let mut bound = Bindings::new();
    let mut request = draw_utterance(intent, draw, &mut bound);
    while avoid.contains(&request.text()) {
        bound.clear();
        request = draw_utterance(intent, draw, &mut bound);
    }
    let mut sentences = vec![punctuate(&request.text(), draw)];
    let speak = |template: &'static str, draw: &mut Draw, bound: &mut Bindings| {
        let mut words = Vec::new();
        expand(template, draw, bound, &mut words);
        punctuate(&join(&words, |(word, _)| word), draw)
    };
    let answer = draw.pick(intent.answers);
    sentences.push(speak(answer, draw, &mut bound));
    for _ in 0..draw.below(4) {
        let follow_up = draw.pick(intent.follow_ups);
        sentences.push(speak(follow_up, draw, &mut bound));
        let answer = draw.pick(intent.answers);
        sentences.push(speak(answer, draw, &mut bound));
    }
    sentences
}

/// Half of the sentences end in a full stop: people type both ways.
fn punctuate(sentence: &str, draw: &mut Draw) -> String {
    if sentence.ends_with(['?', '.', '!']) || draw.below(2) == 0 {
        sentence.to_owned()
    } else {
        format!("{sentence} .")
    }
}

/// Appends one drawing of `template`.
///
/// A slot that the dialogue has bound keeps its words; `{name!}` draws it anew.
fn expand(
    template: &'static str,
    draw: &mut Draw,
    bound: &mut Bindings,
    words: &mut Vec<(String, String)>,
) {
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        match first {
            '{' | '<' | '[' => {
                let (inner, after) = bracketed(rest, first);
                rest = after;
                match first {
                    '[' => {
                        let chosen = draw.pick(&alternatives(inner));
                        expand(chosen, draw, bound, words);
                    }
                    '<' => {
                        let chosen = draw.pick(&alternatives_of(inner));
                        expand(chosen, draw, bound, words);
                    }
                    _ => expand_slot(inner, draw, bound, words),
                }
            }
            c if c.is_whitespace() => rest = rest.trim_start(),
            _ => {
                let end = rest.find([' ', '{', '<', '[']).unwrap_or(rest.len());
                words.push((rest[..end].to_owned(), "O".to_owned()));
                rest = &rest[end..];
            }
        }
    }
}

fn expand_slot(
    inner: &'static str,
    draw: &mut Draw,
    bound: &mut Bindings,
    words: &mut Vec<(String, String)>,
) {
    let (name, anew) = inner.strip_suffix('!').map_or((inner, false), |name| (name, true));
    let value = match bound.get(name) {
        Some(value) if !anew => value.clone(),
        _ => {
            let mut drawn = Vec::new();
            let chosen = draw.pick(&alternatives_of(name));
            expand(chosen, draw, bound, &mut drawn);
            let value: Vec<String> = drawn.into_iter().map(|(word, _)| word).collect();
            bound.insert(name, value.clone());
            value
        }
    };
    for (position, word) in value.into_iter().enumerate() {
        let tag = format!("{}-{name}", if position == 0 { 'B' } else { 'I' });
        words.push((word, tag));
    }
}

/// The alternatives of rule `name`.
fn alternatives_of(name: &str) -> Vec<&'static str> {
    let rule = RULES.iter().find(|(rule, _)| *rule == name);
    let (_, body) = rule.unwrap_or_else(|| panic!("the grammar has no rule named {name:?}"));
    alternatives(body)
}

/// Splits `text`, which starts with the bracket `open`, into what it encloses and what follows.
fn bracketed(text: &'static str, open: char) -> (&'static str, &'static str) {
    let close = match open {
        '{' => '}',
        '<' => '>',
        _ => ']',
    };
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return (&text[1..at], &text[at + 1..]);
            }
        }
    }
    panic!("the grammar has an unclosed {open:?} in {text:?}")
}

/// Splits at the `|` that are in no inner bracket.
fn alternatives(inner: &'static str) -> Vec<&'static str> {
    let mut depth = 0_usize;
    let mut start = 0;
    let mut found = Vec::new();
    for (at, c) in inner.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            '|' if depth == 0 => {
                found.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&inner[start..]);
    found
}

fn join(words: &[(String, String)], part: impl Fn(&(String, String)) -> &String) -> String {
    words.iter().map(|word| part(word).as_str()).collect::<Vec<_>>().join(" ")
}

/// Counter-based draws: SplitMix64's finalizer over `(seed, stream, counter)`.
struct Draw {
    key: u64,
    counter: u64,
}

impl Draw {
    fn new(seed: u64, stream: u64) -> Self {
        Self { key: mix(seed ^ mix(stream)), counter: 0 }
    }

    /// A draw from `0..bound`. The bias of the modulus is below 2⁻⁵⁰ for the grammar's bounds.
    fn below(&mut self, bound: usize) -> usize {
        self.counter += 1;
        (mix(self.key ^ mix(self.counter)) % bound as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_text() {
        let none = HashSet::new();
        assert_eq!(dialogues(1, 20, &none), dialogues(1, 20, &none));
        assert_ne!(dialogues(1, 20, &none), dialogues(2, 20, &none));
    }

    #[test]
    fn no_sentence_stands_in_two_splits() {
        let splits = utterances(7, 400, 50, 100);
        let mut seen = HashSet::new();
        for utterance in splits.train.iter().chain(&splits.valid).chain(&splits.test) {
            assert!(seen.insert(utterance.text()), "twice: {}", utterance.text());
        }
        assert_eq!(seen.len(), 550);
    }

    #[test]
    fn every_intent_and_every_rule_is_drawn_and_tags_are_well_formed() {
        let splits = utterances(3, 4000, 0, 0);
        let intents: HashSet<_> = splits.train.iter().map(|u| u.intent).collect();
        assert_eq!(intents.len(), INTENTS.len());
        for utterance in &splits.train {
            let mut previous = "O";
            for (word, tag) in &utterance.words {
                assert!(!word.contains(['{', '}', '<', '>', '[', ']', '|', ' ']), "{word:?}");
                if let Some(slot) = tag.strip_prefix("I-") {
                    assert!(
                        previous.ends_with(&format!("-{slot}")),
                        "{tag} follows {previous} in {}",
                        utterance.text()
                    );
                }
                previous = tag;
            }
        }
    }

    #[test]
    fn the_turns_of_a_dialogue_repeat_its_subject() {
        let corpus = dialogues(5, 200, &HashSet::new());
        assert_eq!(corpus.matches("\n\n").count(), 200);
        let sentences = corpus.lines().filter(|line| !line.is_empty()).count();
        assert!((600..1400).contains(&sentences), "{sentences}");
    }

    #[test]
    fn what_must_be_avoided_is_not_said() {
        let avoid: HashSet<String> =
            utterances(11, 0, 0, 300).test.iter().map(Utterance::text).collect();
        let corpus = dialogues(11, 500, &avoid);
        for line in corpus.lines() {
            assert!(!avoid.contains(line.trim_end_matches(" .")), "{line}");
        }
    }
}
