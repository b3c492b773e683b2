//! Makes `src/tokenizer/small_tables.rs`, what `tables.rs` has in a fifth of the bytes, and fails when
//! the committed file is another one. `src/tokenizer/small.rs` describes the bytes, reads them, and
//! compares itself with the trie.
//!
//!     BERT_UPDATE_TABLES=1 cargo test --release -p bert-core --test tokenizer tables

use std::fmt::Write as _;

use super::tables::{
    DELTA_SHIFT, all_chars, array, committed_is, decomposition, ranks, record, strings,
    surviving_classes,
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tokenizer/small_tables.rs");
/// Bytes after which a block ends: half of one is read for a character on average.
const BLOCK_BYTES: usize = 192;
/// Most characters of a run of decompositions, so that blocks end.
const MOST_RUN: usize = 64;
/// Length of a run of a class from which on it stands behind the class.
const LONG: u32 = 8;

/// A stream in blocks, see `small.rs`.
#[derive(Default)]
struct Stream {
    starts: Vec<u32>,
    offsets: Vec<usize>,
    bytes: Vec<u8>,
    /// The code point behind what was written.
    end: u32,
}

impl Stream {
    /// Begins a block with `point` if the last one is long enough. Says whether it did.
    fn block(&mut self, point: u32) -> bool {
        let begins = self.offsets.last().is_none_or(|at| self.bytes.len() >= at + BLOCK_BYTES);
        if begins {
            self.starts.push(point);
            self.offsets.push(self.bytes.len());
            self.end = point;
        }
        begins
    }

    fn number(&mut self, mut number: u32) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn signed(&mut self, number: i32) {
        self.number(((number << 1) ^ (number >> 31)) as u32);
    }
}

/// Runs of characters of the same kind and rank.
fn classes(records: &[(char, u32)]) -> (Vec<u32>, Stream) {
    let mut classes: Vec<u32> = Vec::new();
    let mut runs: Vec<(u32, usize)> = Vec::new();
    for &(c, record) in records {
        let class = record & ((1 << DELTA_SHIFT) - 1);
        let index = classes.iter().position(|&known| known == class).unwrap_or_else(|| {
            classes.push(class);
            classes.len() - 1
        });
        if runs.last().is_none_or(|&(_, last)| last != index) {
            runs.push((u32::from(c), index));
        }
    }
    assert!(classes.len() <= 32);
    let mut stream = Stream::default();
    let ends = runs.iter().skip(1).map(|run| run.0).chain([0x11_0000]);
    for (&(start, class), end) in runs.iter().zip(ends) {
        stream.block(start);
        let length = end - start;
        stream.bytes.push(((length.min(LONG) - 1) << 5) as u8 | class as u8);
        if length >= LONG {
            stream.number(length - LONG);
        }
    }
    (classes, stream)
}

/// Groups of characters with the same distance to their lower case, side by side or every second.
fn lower(records: &[(char, u32)]) -> Stream {
    let delta = |record: u32| record as i32 >> DELTA_SHIFT;
    let points: Vec<(u32, i32)> = records
        .iter()
        .map(|&(c, record)| (u32::from(c), delta(record)))
        .filter(|&(_, delta)| delta != 0)
        .collect();
    let mut stream = Stream::default();
    let mut at = 0;
    while let Some(&(start, delta)) = points.get(at) {
        let count = |step: u32| {
            let expected = (0..).map(|i| (start + i * step, delta));
            points[at..].iter().zip(expected).take_while(|(point, same)| *point == same).count()
        };
        let step = if count(2) > count(1) { 2 } else { 1 };
        let count = count(step);
        stream.block(start);
        stream.number(start - stream.end);
        stream.number((count as u32) << 1 | (step - 1));
        stream.signed(delta);
        stream.end = start + (count as u32 - 1) * step + 1;
        at += count;
    }
    stream
}

/// Runs of characters that decompose: the first character of each.
fn first(decompositions: &[(char, Vec<char>)]) -> Stream {
    let mut stream = Stream::default();
    let mut target = 0;
    let follows = |pair: &[(char, Vec<char>)]| u32::from(pair[0].0) + 1 == u32::from(pair[1].0);
    let runs = decompositions.chunk_by(|a, b| follows(&[a.clone(), b.clone()]));
    for run in runs.flat_map(|run| run.chunks(MOST_RUN)) {
        let start = u32::from(run[0].0);
        if stream.block(start) {
            target = 0;
        }
        stream.number(start - stream.end);
        stream.number(run.len() as u32);
        for (_, parts) in run {
            let next = u32::from(parts[0]) as i32;
            stream.signed(next - target);
            target = next;
        }
        stream.end = start + run.len() as u32;
    }
    stream
}

/// The second and third character of those that decompose into so many.
fn rest(decompositions: &[(char, Vec<char>)]) -> Vec<u8> {
    let mut stream = Stream::default();
    for (c, parts) in decompositions.iter().filter(|(_, parts)| parts.len() > 1) {
        let point = u32::from(*c);
        stream.number(point - stream.end);
        stream.end = point;
        let mut last = point as i32;
        for (index, &part) in parts.iter().enumerate().skip(1) {
            let distance = u32::from(part) as i32 - last;
            let more = i32::from(index + 1 < parts.len());
            stream.signed(distance << 1 | more);
            last = u32::from(part) as i32;
        }
    }
    stream.bytes
}

fn stream(out: &mut String, name: &str, doc: &str, stream: &Stream) {
    write!(
        out,
        "\n/// {doc}\npub(super) static {name}: Stream = Stream {{\n    starts: &[{}],\n    \
         offsets: &[{}],\n    bytes: &{name}_BYTES,\n}};\n",
        strings(&stream.starts).join(", "),
        strings(&stream.offsets).join(", "),
    )
    .unwrap();
    array(out, "Its bytes.", &format!("{name}_BYTES"), "u8", &strings(&stream.bytes));
}

#[test]
fn small_tables_are_those_of_the_crates() {
    let surviving = surviving_classes();
    let records: Vec<(char, u32)> = all_chars().map(|c| (c, record(c, &surviving))).collect();
    let decompositions: Vec<(char, Vec<char>)> =
        all_chars().filter_map(|c| Some((c, decomposition(c)?))).collect();
    let (kinds, classes) = classes(&records);
    let (lower, first) = (lower(&records), first(&decompositions));
    let rest = rest(&decompositions);

    let mut out = String::from(
        "//! What each code point does in BERT's normalizer, in few bytes. Made by\n\
         //! `tests/tokenizer/small_tables.rs`.\n\nuse super::small::Stream;\n\n",
    );
    let ranks = ranks(&surviving);
    writeln!(
        out,
        "/// Ranks of combining classes; the even ones are of characters that stay.\n\
         pub(super) const RANKS: u32 = {ranks};"
    )
    .unwrap();
    array(&mut out, "Kind in bits 0..3, rank in 3..8.", "KINDS", "u8", &strings(&kinds));
    stream(&mut out, "CLASSES", "Runs of characters of one entry of [`KINDS`].", &classes);
    stream(&mut out, "LOWER", "Characters whose lower case is another one.", &lower);
    stream(&mut out, "FIRST", "First characters of decompositions.", &first);
    array(&mut out, "Further characters of decompositions.", "REST", "u8", &strings(&rest));

    let streams = [&classes, &lower, &first];
    let bytes: usize = streams.iter().map(|s| 6 * s.starts.len() + s.bytes.len()).sum();
    println!("{} bytes", bytes + kinds.len() + rest.len());
    committed_is(PATH, &out);
}
