//! BERT's normalizer, character by character: cleaning, Chinese characters, accents, lower case.
//!
//! The one thing that looks beyond a character is canonical order. A run is a starter with the
//! combining characters after it, and NFD sorts a run by combining class. Nearly all combining
//! characters are dropped a step later, so order matters only where one that stays (a musical stem,
//! or a mark that `tokenizers` does not know as one) is in the run; [`Normalizer::run`] then goes
//! over the run once per class instead of keeping it.

use core::ops::ControlFlow;

use super::TokenizerConfig;
use super::unicode::{self, Decomposition, Entry, Kind, RANKS, Record};

/// Takes normalized characters. `source` is where the character they come from starts in the text,
/// in bytes, and `width` how many bytes that has.
pub(super) trait Receiver {
    /// A character of a word.
    fn letter(&mut self, c: char, source: usize, width: usize);
    /// Characters of a word in the most frequent case: ASCII, made from as many bytes of ASCII.
    fn ascii_letters(&mut self, letters: impl ExactSizeIterator<Item = u8>, source: usize);
    /// A character that is a word of its own.
    fn punctuation(&mut self, c: char, source: usize, width: usize) -> ControlFlow<()>;
    /// The same for ASCII.
    fn ascii_punctuation(&mut self, c: u8, source: usize) -> ControlFlow<()>;
    /// The word ends, if there is one.
    fn space(&mut self) -> ControlFlow<()>;
}

/// Normalizes `text` into `receiver` until that breaks.
pub(super) fn normalize(
    text: &str,
    config: &TokenizerConfig,
    receiver: &mut impl Receiver,
) -> ControlFlow<()> {
    let ascii = if config.lower_case { &ASCII_LOWER } else { &ASCII_CASED };
    let mut normalizer = Normalizer { text, config, receiver };
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let Some(&action) = ascii.get(usize::from(byte)) else {
            at = normalizer.beyond_ascii(at)?;
            continue;
        };
        match action {
            REMOVED => {}
            SPACE => normalizer.receiver.space()?,
            PUNCTUATION.. => normalizer.receiver.ascii_punctuation(byte, at)?,
            _ => {
                let rest = &bytes[at..];
                let count = rest.iter().take_while(|&&byte| is_letter(ascii, byte)).count();
                let letters = rest[..count].iter().map(|&byte| ascii[usize::from(byte & 0x7F)]);
                normalizer.receiver.ascii_letters(letters, at);
                at += count;
                continue;
            }
        }
        at += 1;
    }
    ControlFlow::Continue(())
}

/// Actions for a byte of ASCII; anything else is the letter to put for it.
const REMOVED: u8 = 0;
const SPACE: u8 = b' ';
const PUNCTUATION: u8 = 0x80;

static ASCII_LOWER: [u8; 128] = ascii_actions(true);
static ASCII_CASED: [u8; 128] = ascii_actions(false);

fn is_letter(ascii: &[u8; 128], byte: u8) -> bool {
    ascii.get(usize::from(byte)).is_some_and(|&action| action > SPACE && action < PUNCTUATION)
}

const fn ascii_actions(lower: bool) -> [u8; 128] {
    let mut actions = [REMOVED; 128];
    let mut byte = 0;
    while byte < 128u8 {
        actions[byte as usize] = match byte {
            b'\t' | b'\n' | b'\r' | b' ' => SPACE,
            _ if byte.is_ascii_control() => REMOVED,
            _ if byte.is_ascii_punctuation() => PUNCTUATION,
            _ if lower => byte.to_ascii_lowercase(),
            _ => byte,
        };
        byte += 1;
    }
    actions
}

struct Normalizer<'t, R> {
    text: &'t str,
    config: &'t TokenizerConfig,
    receiver: &'t mut R,
}

impl<R: Receiver> Normalizer<'_, R> {
    /// Handles the character at `at`, and returns where the next one to handle starts.
    fn beyond_ascii(&mut self, at: usize) -> ControlFlow<(), usize> {
        let Some(c) = char_at(self.text, at) else {
            return ControlFlow::Break(());
        };
        let width = c.len_utf8();
        let next = at + width;
        let entry = Entry::of(c);
        let record = entry.record();
        let kind = record.kind();
        if kind == Kind::Removed {
            return ControlFlow::Continue(next);
        }
        if kind == Kind::Space {
            self.receiver.space()?;
            return ControlFlow::Continue(next);
        }
        let alone = kind == Kind::Chinese && self.config.split_chinese;
        if alone {
            self.receiver.space()?;
        }
        if !self.config.strip_accents {
            self.put(c, record, at, width)?;
        } else if kind != Kind::Mark {
            let decomposition = unicode::decomposition(entry, c);
            for &part in decomposition.parts(&c) {
                let whole = matches!(decomposition, Decomposition::None);
                let record = if whole { record } else { unicode::record(part) };
                if record.rank() > 0 {
                    return self.run(at);
                }
                self.put(part, record, at, width)?;
            }
        }
        if alone {
            self.receiver.space()?;
        }
        ControlFlow::Continue(next)
    }

    /// Lower-cases and hands over a character that comes from the `width` bytes at `source`.
    fn put(&mut self, c: char, record: Record, source: usize, width: usize) -> ControlFlow<()> {
        let (c, extra) = if self.config.lower_case { record.lower(c) } else { (c, None) };
        if record.kind() == Kind::Punctuation {
            return self.receiver.punctuation(c, source, width);
        }
        self.receiver.letter(c, source, width);
        if let Some(extra) = extra {
            self.receiver.letter(extra, source, width);
        }
        ControlFlow::Continue(())
    }

    /// Handles what is left of a run when the first combining character that stays is met, in the
    /// character at `at`. Returns where the next starter is.
    ///
    /// `tokenizers` does not carry origins through the sort: the n-th character that begins a
    /// decomposition is taken to come from the n-th character of the text. So a character's origin
    /// is the number of such ones up to it in the sorted run, counted from the starter.
    #[cold]
    fn run(&mut self, at: usize) -> ControlFlow<(), usize> {
        let text = self.text;
        let starter = if is_starter(unicode::record(first_char(text, at))) {
            Some(at)
        } else {
            kept(text, 0, at).rev().find(|&(_, _, record)| is_starter(record)).map(|(at, ..)| at)
        };
        let after = starter.map_or(0, |at| at + first_char(text, at).len_utf8());
        let end = kept(text, after, text.len())
            .find(|&(_, _, record)| is_starter(record))
            .map_or(text.len(), |(at, ..)| at);
        let run = kept(text, after, end);

        let mut origins = run.clone();
        let mut origin = starter.unwrap_or(after);
        let mut origins_passed = 0;
        // Even ranks are those of characters that stay.
        for rank in (2..RANKS).step_by(2) {
            let mut count = run.clone().filter(|(_, _, record)| record.rank() < rank).count();
            let starter_char = starter.map(|at| first_char(text, at)).unwrap_or_default();
            let starter_parts = unicode::decomposition(Entry::of(starter_char), starter_char);
            let of_starter = starter_parts
                .parts(&starter_char)
                .iter()
                .map(|&part| (part, unicode::record(part), 0))
                .filter(|_| starter.is_some());
            let of_run = run.clone().map(|(_, c, record)| (c, record, 1));
            for (c, record, step) in of_starter.chain(of_run) {
                if record.rank() != rank {
                    continue;
                }
                count += step;
                if record.kind() == Kind::Mark {
                    continue;
                }
                while origins_passed < count {
                    origins_passed += 1;
                    origin = origins.next().map_or(origin, |(at, ..)| at);
                }
                let width = char_at(text, origin).map_or(0, char::len_utf8);
                self.put(c, record, origin, width)?;
            }
        }
        ControlFlow::Continue(end)
    }
}

fn is_starter(record: Record) -> bool {
    record.rank() == 0
}

fn first_char(text: &str, at: usize) -> char {
    char_at(text, at).unwrap_or_default()
}

fn char_at(text: &str, at: usize) -> Option<char> {
    text.get(at..)?.chars().next()
}

/// The characters of `text[from..to]` that cleaning leaves, with their positions and records.
fn kept(
    text: &str,
    from: usize,
    to: usize,
) -> impl DoubleEndedIterator<Item = (usize, char, Record)> + Clone + '_ {
    text.get(from..to)
        .unwrap_or_default()
        .char_indices()
        .map(move |(at, c)| (from + at, c, unicode::record(c)))
        .filter(|(_, _, record)| record.kind() != Kind::Removed)
}
