//! A layer on several threads, for long texts on hosts.
//!
//! Keys and values are shared out by heads, everything after them by rows; the threads meet in
//! between. No sum is split, so the bits do not depend on how many threads there are.

use core::ops::Range;

use super::forward::{Heads, HeadsMut, Pass, Stream, StreamMut};
use super::scratch::Memory;
use crate::format::{Layer, PANEL};
use crate::ops::GROUP;

/// Below this many rows a thread costs more than it saves.
const FEWEST_ROWS: usize = 32;

/// Runs `work` on a thread of the pool, and waits for it.
pub(super) fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon_core::scope(|_| work())
}

/// As the layer of one thread.
pub(super) fn layer(
    pass: &Pass<'_, '_>,
    layer: &Layer<'_>,
    memory: &mut Memory<'_>,
    wanted: usize,
) {
    let (hidden, tokens, panels) = (pass.hidden(), pass.tokens, pass.panels());
    let most = memory.others.len() + 1;
    let threads = most.min(tokens.div_ceil(FEWEST_ROWS));
    let (keys, values) = memory.keys_values.split_at_mut(pass.heads() * panels.key_bytes());
    let tiles = std::iter::once(&mut memory.tile).chain(&mut memory.others);

    // A thread's heads begin where a panel of the matrices does.
    let step = (PANEL / gcd(PANEL, panels.width)).max(1);
    let shares = shares(pass.heads(), step, threads);
    let stream = Stream { q: memory.x, scales: memory.x_scales };
    let mut rest = (&mut *keys, &mut *values, &mut *memory.key_scales, &mut *memory.value_scales);
    rayon_core::scope(|scope| {
        for (heads, tile) in shares.zip(tiles) {
            let count = heads.len();
            let part = HeadsMut {
                heads,
                keys: front(&mut rest.0, count * panels.key_bytes()),
                values: front(&mut rest.1, count * panels.value_bytes()),
                key_scales: front(&mut rest.2, count * tokens),
                value_scales: front(&mut rest.3, count * tokens),
            };
            scope.spawn(move |_| pass.keys_and_values(layer, stream, part, tile));
        }
    });

    let shared =
        Heads { keys, values, key_scales: memory.key_scales, value_scales: memory.value_scales };
    let groups = hidden.div_ceil(GROUP);
    let mut rest = (&mut *memory.x, &mut *memory.x_scales);
    let threads = most.min(wanted.div_ceil(FEWEST_ROWS));
    let shares = self::shares(wanted, 1, threads);
    let tiles = std::iter::once(&mut memory.tile).chain(&mut memory.others);
    rayon_core::scope(|scope| {
        for (rows, tile) in shares.zip(tiles) {
            let stream = StreamMut {
                q: front(&mut rest.0, rows.len() * hidden),
                scales: front(&mut rest.1, rows.len() * groups),
            };
            scope.spawn(move |_| pass.rows(layer, stream, shared, tile, false));
        }
    });
}

/// Takes the first `count` elements off a slice.
fn front<'s, T>(slice: &mut &'s mut [T], count: usize) -> &'s mut [T] {
    let (head, tail) = std::mem::take(slice).split_at_mut(count);
    *slice = tail;
    head
}

/// Nearly equal shares of `count`, each but the last a multiple of `step`; none is empty.
fn shares(count: usize, step: usize, shares: usize) -> impl Iterator<Item = Range<usize>> {
    let steps = count.div_ceil(step);
    let shares = shares.clamp(1, steps.max(1));
    (0..shares).map(move |i| {
        let at = |i: usize| (i * steps / shares * step).min(count);
        at(i)..at(i + 1)
    })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_and_apart() {
        for count in [1, 2, 3, 12, 13, 128] {
            for step in [1, 2, 4, 16] {
                for threads in [1, 2, 3, 8, 200] {
                    let all: Vec<_> = shares(count, step, threads).collect();
                    let numbers: Vec<usize> = all.iter().cloned().flatten().collect();
                    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
                    assert!(all.iter().all(|share| !share.is_empty()));
                    assert!(all.iter().all(|share| share.start % step == 0));
                }
            }
        }
    }
}
