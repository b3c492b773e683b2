//! x = word\[id\] + position\[p\] + segment\[s\], each an int8 row times its scale.

use crate::format::Table;

/// Adds the three rows into `out` \[H\]; ids outside a table count as row 0 of that table.
///
/// Order: (word + position) + segment.
#[inline(always)]
pub fn embedding_row(word: Row<'_>, position: Row<'_>, segment: Row<'_>, out: &mut [f32]) {
    let (word, word_scale) = word.0.row(word.1);
    let (position, position_scale) = position.0.row(position.1);
    let (segment, segment_scale) = segment.0.row(segment.1);
    for (((out, &w), &p), &s) in out.iter_mut().zip(word).zip(position).zip(segment) {
        *out = w as f32 * word_scale + p as f32 * position_scale + s as f32 * segment_scale;
    }
}

/// A row of a table by its number.
pub struct Row<'a>(pub &'a Table<'a>, pub usize);
