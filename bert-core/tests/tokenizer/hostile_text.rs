//! Texts that try to confuse a tokenizer: all planes of Unicode, what combines and joins, and bytes
//! that were no UTF-8.

use crate::common::Random;

/// Blocks of Unicode where a character is more than its own code point: it combines, joins, changes
/// direction, is composed of others or does not exist.
const BLOCKS: [(u32, u32); 36] = [
    (0x00, 0x1F),        // C0 controls
    (0x20, 0x7E),        // ASCII
    (0x7F, 0xA0),        // delete, C1 controls, no-break space
    (0xA1, 0x24F),       // Latin with diacritics
    (0x300, 0x36F),      // combining diacritical marks
    (0x370, 0x52F),      // Greek and Cyrillic
    (0x591, 0x5F4),      // Hebrew with points
    (0x600, 0x6FF),      // Arabic with harakat and its number signs
    (0x700, 0x8FF),      // Syriac to extended Arabic
    (0x900, 0xDFF),      // scripts of India, with vowel signs and viramas
    (0xE00, 0xFFF),      // Thai, Lao, Tibetan
    (0x1100, 0x11FF),    // Hangul jamo
    (0x1AB0, 0x1AFF),    // more combining marks
    (0x1D00, 0x1DFF),    // phonetic extensions and their marks
    (0x1E00, 0x1FFF),    // Latin and Greek that decompose twice
    (0x2000, 0x206F),    // spaces, joiners, direction
    (0x20D0, 0x20FF),    // marks for symbols: keycaps
    (0x2100, 0x23FF),    // letter-like symbols that decompose
    (0x2E80, 0x303F),    // radicals, CJK punctuation
    (0x3040, 0x30FF),    // kana with voiced sound marks
    (0x3400, 0x4DBF),    // Chinese, extension A
    (0x4E00, 0x9FFF),    // Chinese, beyond the end
    (0xA800, 0xABFF),    // small scripts, Hangul jamo extended A
    (0xAC00, 0xD7A3),    // Hangul syllables
    (0xD7B0, 0xD7FF),    // Hangul jamo extended B
    (0xE000, 0xF8FF),    // private use
    (0xF900, 0xFAFF),    // Chinese compatibility, which decomposes
    (0xFB1D, 0xFDFF),    // Hebrew and Arabic forms, non-characters
    (0xFE00, 0xFE2F),    // variation selectors, half marks
    (0xFF00, 0xFFFF),    // wide and narrow forms, specials
    (0x10000, 0x10FFF),  // old scripts of plane 1
    (0x1D100, 0x1D1FF),  // musical symbols, some of which combine
    (0x1F000, 0x1FAFF),  // emoji
    (0x20000, 0x323AF),  // Chinese of planes 2 and 3
    (0x40000, 0xDFFFF),  // planes without characters
    (0xE0000, 0x10FFFF), // tags, selectors, private planes
];

/// Sequences that mean one thing together.
const SEQUENCES: [&str; 26] = [
    "👩\u{200d}👩\u{200d}👧\u{200d}👦",
    "🏳\u{fe0f}\u{200d}🌈",
    "👍🏽",
    "🇩🇪🇺",
    "1\u{fe0f}\u{20e3}",
    "🏴\u{e0067}\u{e0062}\u{e007f}",
    "e\u{301}\u{327}",
    "q\u{307}\u{323}",
    "\u{1d158}\u{1d165}\u{1d16e}",
    "ᄒ\u{1161}\u{11ab}",
    "가\u{11a8}",
    "ﷺ",
    "\u{202e}abc\u{202c}",
    "\u{2067}שלום\u{2069}",
    "क्\u{200d}ष",
    "Ǆ İ ı ẞ ﬃ ς Σ",
    "\u{212b}\u{2126}\u{1e9b}\u{323}",
    "\r\n\t\u{b}\u{c}\u{85}\u{2028}\u{2029}\u{3000}\u{a0}\u{feff}",
    "\u{0}\u{fffd}\u{fffe}\u{ffff}\u{10ffff}",
    "[CLS] [SEP] [MASK] [UNK] [PAD] ##",
    "中文かなカナ한글",
    "don't stop-me_now...",
    "3.14e-10%",
    "ǖ\u{301}\u{304}",
    "\u{f71}\u{f72}\u{f80}",
    "𝒜𝔅ℂ",
];

/// A text of at most some hundred characters; one in twelve is a few thousand long.
pub fn hostile_text(random: &mut Random) -> String {
    if random.below(8) == 0 {
        return lossy(random);
    }
    let parts = if random.below(12) == 0 { 300 } else { 1 + random.below(24) };
    let mut text = String::new();
    for _ in 0..parts {
        part(random, &mut text);
    }
    text
}

fn part(random: &mut Random, text: &mut String) {
    match random.below(8) {
        0 => text.extend(char::from_u32(random.below(0x11_0000) as u32)),
        1 => text.push_str(SEQUENCES[random.below(SEQUENCES.len())]),
        2 => text.push(' '),
        3 => {
            // A character often enough to fill a word, or to pile up on another one.
            let c = drawn(random);
            text.extend(std::iter::repeat_n(c, 1 + random.below(250)));
        }
        4 => text.extend((0..random.below(12)).map(|_| (b'a' + random.below(26) as u8) as char)),
        _ => {
            // Neighbours of a block, as in text of its script.
            let block = random.below(BLOCKS.len());
            text.extend((0..1 + random.below(10)).filter_map(|_| of_block(random, block)));
        }
    }
}

fn drawn(random: &mut Random) -> char {
    let block = random.below(BLOCKS.len());
    of_block(random, block).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn of_block(random: &mut Random, block: usize) -> Option<char> {
    let (first, last) = BLOCKS[block];
    char::from_u32(first + random.below((last - first + 1) as usize) as u32)
}

/// Bytes that are seldom UTF-8, with U+FFFD where they are not: whole characters that were cut,
/// overlong forms, surrogates, and noise.
fn lossy(random: &mut Random) -> String {
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(40) {
        match random.below(5) {
            0 => bytes.push(random.next() as u8),
            1 => bytes.extend([0xC0, 0xAF, 0xE0, 0x80, 0x80]),
            2 => bytes.extend([0xED, 0xA0 + random.below(32) as u8, 0x80 + random.below(64) as u8]),
            3 => {
                let mut room = [0; 4];
                let whole = drawn(random).encode_utf8(&mut room).as_bytes();
                bytes.extend(&whole[..whole.len() - random.below(whole.len())]);
            }
            _ => bytes.extend(b"ab "),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
