//! Makes `src/tokenizer/tables.rs`, and fails when the committed file is another one; the small
//! tables are made from the same in `small_tables.rs`.
//!
//! The Unicode data is the one `tokenizers` computes with: combining classes and decompositions of
//! `unicode-normalization-alignments`, categories of `unicode_categories`, lower case and white
//! space of the standard library of the pinned toolchain. To write the file anew:
//!
//!     BERT_UPDATE_TABLES=1 cargo test --release -p bert-core --test tokenizer tables
//!
//! A changed table changes what exported models read, so a difference after an update of the
//! toolchain is a decision and not a chore.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tokenizer/tables.rs");
const CODE_POINTS: usize = 0x11_0000;
/// Code points in a leaf of the trie, and leaves in a branch.
const LEAF: usize = 16;
const BRANCH: usize = 64;

/// Bits of a record, as `unicode.rs` reads them.
const KIND_LETTER: u32 = 0;
const KIND_REMOVED: u32 = 1;
const KIND_SPACE: u32 = 2;
const KIND_PUNCTUATION: u32 = 3;
const KIND_MARK: u32 = 4;
const KIND_CHINESE: u32 = 5;
const RANK_SHIFT: u32 = 3;
const RANKS_MAX: u32 = 31;
pub const DELTA_SHIFT: u32 = 8;
/// U+0130 alone becomes two characters.
const DELTA_DOTTED_I: i32 = -0x80_0000;

/// Bits of a decomposition.
const POOL_FLAG: u32 = 1 << 21;
const RECORD_SHIFT: u32 = 22;

fn is_removed(c: char) -> bool {
    let control = !matches!(c, '\t' | '\n' | '\r') && c.is_other();
    c == '\0' || c == '\u{fffd}' || control
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.is_punctuation()
}

fn is_chinese(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}

fn is_hangul_syllable(c: char) -> bool {
    matches!(u32::from(c), 0xAC00..=0xD7A3)
}

fn decomposed(c: char) -> Vec<char> {
    let mut chars = Vec::new();
    decompose_canonical(c, |d| chars.push(d));
    chars
}

fn survives(c: char) -> bool {
    !c.is_mark_nonspacing()
}

/// Combining classes of the characters that stay when accents are stripped.
pub fn surviving_classes() -> Vec<u8> {
    let classes: BTreeSet<u8> = all_chars()
        .filter(|&c| survives(c) && !is_removed(c))
        .map(canonical_combining_class)
        .filter(|&class| class > 0)
        .collect();
    classes.into_iter().collect()
}

/// Position of a class among the surviving ones: odd between two of them, even for one of them.
/// Zero is a starter.
fn rank(class: u8, surviving: &[u8]) -> u32 {
    if class == 0 {
        return 0;
    }
    let below = surviving.iter().filter(|&&s| s < class).count() as u32;
    2 * below + 1 + u32::from(surviving.contains(&class))
}

pub fn all_chars() -> impl Iterator<Item = char> {
    (0..CODE_POINTS as u32).filter_map(char::from_u32)
}

pub fn record(c: char, surviving: &[u8]) -> u32 {
    if is_removed(c) {
        return KIND_REMOVED;
    }
    if c.is_whitespace() {
        return KIND_SPACE;
    }
    let marks = [is_punctuation(c), is_chinese(c), !survives(c)];
    assert!(marks.iter().filter(|&&m| m).count() <= 1, "{c:?} is of two kinds");
    let kind = match marks {
        [true, ..] => KIND_PUNCTUATION,
        [_, true, _] => KIND_CHINESE,
        [.., true] => KIND_MARK,
        _ => KIND_LETTER,
    };
    let lower: Vec<char> = c.to_lowercase().collect();
    let delta = match lower[..] {
        [one] => u32::from(one) as i32 - u32::from(c) as i32,
        ['i', '\u{307}'] => DELTA_DOTTED_I,
        _ => panic!("{c:?} has a lower case of a new shape: {lower:?}"),
    };
    for &l in &lower {
        assert_eq!(is_punctuation(l), is_punctuation(c), "lower case of {c:?}");
        assert!(!l.is_whitespace(), "lower case of {c:?}");
    }
    let first = canonical_combining_class(decomposed(c)[0]);
    kind | rank(first, surviving) << RANK_SHIFT | (delta as u32) << DELTA_SHIFT
}

/// What the streaming normalizer takes for granted about a decomposition.
fn check_decomposition(c: char, parts: &[char]) {
    let classes: Vec<u8> = parts.iter().map(|&d| canonical_combining_class(d)).collect();
    for pair in classes.windows(2) {
        assert!(pair[1] == 0 || pair[0] <= pair[1], "{c:?} decomposes out of canonical order");
    }
    if classes[0] > 0 && parts.len() > 1 {
        assert!(parts.iter().all(|&d| !survives(d)), "{c:?}: marks only, but one of them stays");
    }
    if classes[0] > 0 && survives(c) {
        assert_eq!(parts, [c], "a combining character that stays decomposes");
    }
    if is_chinese(c) {
        assert!(classes.iter().all(|&class| class == 0), "{c:?} has combining parts");
    }
    for &d in parts {
        assert!(!d.is_whitespace() && !is_removed(d), "{c:?} decomposes into white space");
        assert_eq!(decomposed(d), [d], "{c:?} decomposes in two steps");
    }
}

/// What is left of a character's decomposition without the marks, if that is neither the character
/// nor nothing. Hangul syllables are computed.
pub fn decomposition(c: char) -> Option<Vec<char>> {
    if is_removed(c) || c.is_whitespace() || is_hangul_syllable(c) {
        return None;
    }
    let parts = decomposed(c);
    check_decomposition(c, &parts);
    let left: Vec<char> = parts.iter().copied().filter(|&d| survives(d)).collect();
    if left.is_empty() || left == [c] {
        assert_eq!(left.is_empty(), !survives(c), "{c:?} decomposes into marks only");
        return None;
    }
    assert!(survives(c), "{c:?} is a mark and leaves {left:?}");
    Some(left)
}

struct Tables {
    records: Vec<u32>,
    decompositions: Vec<u32>,
    pool: Vec<char>,
    roots: Vec<usize>,
    branches: Vec<usize>,
    leaves: Vec<u16>,
    ranks: u32,
}

fn position<T: PartialEq + Clone>(list: &mut Vec<T>, value: T) -> usize {
    list.iter().position(|v| *v == value).unwrap_or_else(|| {
        list.push(value);
        list.len() - 1
    })
}

/// Replaces equal blocks of `values` by one: the position of each block, and the blocks.
fn share<T: Copy + Eq + std::hash::Hash>(values: &[T], block: usize) -> (Vec<usize>, Vec<T>) {
    let mut seen: HashMap<&[T], usize> = HashMap::new();
    let mut blocks = Vec::new();
    let positions = values
        .chunks(block)
        .map(|chunk| {
            *seen.entry(chunk).or_insert_with(|| {
                blocks.extend_from_slice(chunk);
                blocks.len() / block - 1
            })
        })
        .collect();
    (positions, blocks)
}

/// Ranks of all classes.
pub fn ranks(surviving: &[u8]) -> u32 {
    let ranks = 2 * surviving.len() as u32 + 1;
    assert!(ranks <= RANKS_MAX);
    ranks
}

fn tables() -> Tables {
    let surviving = surviving_classes();
    let ranks = ranks(&surviving);

    // Surrogates cannot occur in a `str`; they get the first record.
    let mut records = vec![record('\u{378}', &surviving)];
    let of_char: Vec<usize> = (0..CODE_POINTS as u32)
        .map(|p| char::from_u32(p).map_or(0, |c| position(&mut records, record(c, &surviving))))
        .collect();

    let mut decompositions = Vec::new();
    let mut pool: Vec<char> = Vec::new();
    let values: Vec<u16> = (0..CODE_POINTS)
        .map(|p| {
            let plain = of_char[p] as u16;
            let Some(c) = char::from_u32(p as u32) else {
                return plain;
            };
            let Some(left) = decomposition(c) else {
                return plain;
            };
            let target = match left[..] {
                [one] => u32::from(one),
                _ => {
                    let at = (0..pool.len())
                        .find(|&i| pool[i..].starts_with(&left))
                        .unwrap_or_else(|| {
                            pool.extend_from_slice(&left);
                            pool.len() - left.len()
                        });
                    assert!(left.len() <= 3);
                    POOL_FLAG | (at << 3 | left.len()) as u32
                }
            };
            let entry = target | (of_char[p] as u32) << RECORD_SHIFT;
            (records.len() + position(&mut decompositions, entry)) as u16
        })
        .collect();
    assert!(records.len() < 1 << (32 - RECORD_SHIFT));

    let (leaf_of, leaves) = share(&values, LEAF);
    let (branch_of, branches) = share(&leaf_of, BRANCH);
    Tables { records, decompositions, pool, roots: branch_of, branches, leaves, ranks }
}

pub fn array(out: &mut String, doc: &str, name: &str, kind: &str, items: &[String]) {
    write!(out, "\n/// {doc}\npub(super) static {name}: [{kind}; {}] = [", items.len()).unwrap();
    let mut width = 100;
    for item in items {
        if width + item.len() + 2 > 100 {
            out.push_str("\n   ");
            width = 3;
        }
        write!(out, " {item},").unwrap();
        width += item.len() + 2;
    }
    out.push_str("\n];\n");
}

pub fn strings<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn source(t: &Tables) -> String {
    let mut out = String::from(
        "//! What each code point does in BERT's normalizer. Made by `tests/tokenizer/tables.rs`.\n\n",
    );
    let small = t.branches.iter().all(|&b| b < 256) && t.roots.iter().all(|&r| r < 256);
    let kind = if small { "u8" } else { "u16" };
    let constants = [
        ("Code points in a leaf.", "LEAF: usize", LEAF.to_string()),
        ("Leaves in a branch.", "BRANCH: usize", BRANCH.to_string()),
        (
            "Ranks of combining classes; the even ones are of characters that stay.",
            "RANKS: u32",
            t.ranks.to_string(),
        ),
    ];
    for (doc, name, value) in constants {
        writeln!(out, "/// {doc}\npub(super) const {name} = {value};").unwrap();
    }
    array(&mut out, "Branch of each root.", "ROOTS", kind, &strings(&t.roots));
    array(&mut out, "Leaf of each entry of a branch.", "BRANCHES", kind, &strings(&t.branches));
    array(
        &mut out,
        "A position in `RECORDS` or, after those, in `DECOMPOSITIONS`.",
        "LEAVES",
        "u16",
        &strings(&t.leaves),
    );
    let hex = |v: &[u32]| -> Vec<String> { v.iter().map(|v| format!("{v:#x}")).collect() };
    array(
        &mut out,
        "Kind in bits 0..3, rank in 3..8, lower case minus itself in 8..32.",
        "RECORDS",
        "u32",
        &hex(&t.records),
    );
    array(
        &mut out,
        "Character, or start and length in `POOL`, in bits 0..22; record in 22..32.",
        "DECOMPOSITIONS",
        "u32",
        &hex(&t.decompositions),
    );
    let chars: Vec<String> =
        t.pool.iter().map(|&c| format!("'\\u{{{:x}}}'", u32::from(c))).collect();
    array(&mut out, "Characters of the longer decompositions.", "POOL", "char", &chars);
    out
}

#[test]
fn tables_are_those_of_the_crates() {
    let tables = tables();
    let made = source(&tables);
    let index_bytes = if made.contains("ROOTS: [u8") { 1 } else { 2 };
    println!(
        "{} bytes: {} records, {} decompositions, {} pooled, {} roots, {} branches, {} leaves, {} ranks",
        index_bytes * (tables.roots.len() + tables.branches.len())
            + 2 * tables.leaves.len()
            + 4 * (tables.records.len() + tables.decompositions.len() + tables.pool.len()),
        tables.records.len(),
        tables.decompositions.len(),
        tables.pool.len(),
        tables.roots.len(),
        tables.branches.len() / BRANCH,
        tables.leaves.len() / LEAF,
        tables.ranks,
    );
    committed_is(PATH, &made);
}

/// Fails if the file is another one; writes it first where that is asked.
pub fn committed_is(path: &str, made: &str) {
    if std::env::var_os("BERT_UPDATE_TABLES").is_some() {
        std::fs::write(path, made).unwrap();
    }
    // Compared without white space, so that formatting the file does no harm.
    let squeezed =
        |s: &str| s.split_whitespace().collect::<String>().replace(",]", "]").replace(",}", "}");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(squeezed(&committed) == squeezed(made), "{path} differs; see the top of this test");
}
