//! x = word\[id\] + position\[p\] + segment\[s\], each a stored row times its scale. The word row has
//! one scale if it is int8, and one for each group of 32 values if it is int4.

use crate::format::{NIBBLE_ZERO, Table, WORD_GROUP, WordTable};

/// Adds the three rows into `out` \[H\]; ids outside a table count as row 0 of that table.
///
/// Order: (word + position) + segment.
#[inline(always)]
pub fn embedding_row(word: WordRow<'_>, position: Row<'_>, segment: Row<'_>, out: &mut [f32]) {
    embedding_row_with(word, position, segment, out, |n, scale| n as f32 * scale);
}

/// The same with another function for products of a stored value and a scale.
#[inline(always)]
pub(crate) fn embedding_row_with(
    word: WordRow<'_>,
    position: Row<'_>,
    segment: Row<'_>,
    out: &mut [f32],
    times: impl Fn(i32, f32) -> f32,
) {
    let (position, position_scale) = position.0.row(position.1);
    let (segment, segment_scale) = segment.0.row(segment.1);
    let add = |out: &mut [f32], (word, scale): (&[i8], f32), position: &[i8], segment: &[i8]| {
        for (((out, &w), &p), &s) in out.iter_mut().zip(word).zip(position).zip(segment) {
            let [w, p] = [times(w as i32, scale), times(p as i32, position_scale)];
            *out = w + p + times(s as i32, segment_scale);
        }
    };
    match word.0 {
        WordTable::Int8(table) => add(out, table.row(word.1), position, segment),
        WordTable::Int4(table) => {
            let rest = position.chunks(WORD_GROUP).zip(segment.chunks(WORD_GROUP));
            let groups = table.row(word.1).groups().zip(out.chunks_mut(WORD_GROUP));
            for (((nibbles, scale), out), (position, segment)) in groups.zip(rest) {
                let word = match nibbles.as_array::<{ WORD_GROUP / 2 }>() {
                    // Of known length, so that it is a mask and a shift of a register.
                    Some(nibbles) => unpack(nibbles),
                    None => unpack(nibbles),
                };
                add(out, (&word, scale), position, segment);
            }
        }
    }
}

/// The values of a group, of which a last one has fewer.
#[inline(always)]
fn unpack(nibbles: &[u8]) -> [i8; WORD_GROUP] {
    let mut values = [0; WORD_GROUP];
    let (low, high) = values.split_at_mut(nibbles.len().min(WORD_GROUP / 2));
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(nibbles) {
        *low = (byte & 15) as i8 - NIBBLE_ZERO;
        *high = (byte >> 4) as i8 - NIBBLE_ZERO;
    }
    values
}

/// A row of a table by its number.
pub struct Row<'a>(pub &'a Table<'a>, pub usize);

/// A row of the word table by its number.
pub struct WordRow<'a>(pub &'a WordTable<'a>, pub usize);
