//! The texts: commands to a house, made-up words, other scripts, punctuation, and nastiness, from
//! nothing to far beyond what the models take.

use crate::lexicon::{CHINESE, DEVICES, ENDS, FOREIGN, MARKS, NASTY, ROOMS, SYLLABLES, VERBS};
use crate::random::Draws;

/// How many there are.
pub const TEXTS: usize = 2048;
/// One text in this many is nasty, until each of those was there.
const NASTY_EVERY: usize = 5;
const SEED: u64 = 4;

/// All texts; the first ones are as mixed as the whole, so that a part of them is a fair sample.
pub fn all() -> Vec<String> {
    let mut draws = Draws::new(SEED);
    let mut nasty = NASTY.iter();
    let text = |number: usize| {
        let nasty = if number.is_multiple_of(NASTY_EVERY) { nasty.next() } else { None };
        nasty.map_or_else(|| generated(&mut draws), |&text| text.into())
    };
    (0..TEXTS).map(text).collect()
}

fn generated(draws: &mut Draws) -> String {
    match draws.below(16) {
        0..8 => command(draws),
        8..12 => {
            let count = 1 + draws.below(10);
            words(draws, count)
        }
        12 | 13 => {
            let second = command(draws);
            format!("{}{} {second}", command(draws), draws.pick(&MARKS))
        }
        14 => {
            let count = 10 + draws.below(30);
            words(draws, count)
        }
        // Longer than any of the models takes.
        _ => {
            let count = 40 + draws.below(60);
            words(draws, count)
        }
    }
}

/// `turn on the lamp in the kitchen now`, sometimes with capitals.
fn command(draws: &mut Draws) -> String {
    let parts = [draws.pick(&VERBS), draws.pick(&DEVICES), draws.pick(&ROOMS), draws.pick(&ENDS)];
    let text = parts.join(" ");
    match draws.below(8) {
        0 => text.to_uppercase(),
        1 => text.replace(" the ", "  THE\t"),
        _ => text,
    }
}

/// Words of every kind, mostly with spaces between.
fn words(draws: &mut Draws, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        match draws.below(12) {
            0..6 => {
                for _ in 0..1 + draws.below(4) {
                    text.push_str(draws.pick(&SYLLABLES));
                }
            }
            6 | 7 => text.push_str(draws.pick(&DEVICES)),
            8 => text.push_str(draws.pick(&FOREIGN)),
            9 => text.push_str(draws.pick(&CHINESE)),
            10 => text.push_str(draws.pick(&MARKS)),
            _ => text.push_str(&draws.below(100_000).to_string()),
        }
        if draws.below(10) > 0 {
            text.push(' ');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_many_and_differ() {
        let texts = all();
        assert!(texts.len() >= 2000);
        let distinct: std::collections::HashSet<_> = texts.iter().collect();
        assert!(distinct.len() > TEXTS * 3 / 4, "{}", distinct.len());
        assert!(NASTY.iter().all(|&nasty| texts.iter().any(|text| text == nasty)));
        assert!(texts.iter().any(String::is_empty));
    }
}
