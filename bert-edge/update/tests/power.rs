//! Power that goes at every write and erase of an update, with all that a cut may leave: the old image is
//! active, or the new one, and the next update works.
#![allow(clippy::unwrap_used, missing_docs)]

mod flash;

use std::collections::HashSet;

use bert_core::{Model, ScratchVec};
use bert_edge_update::{Error, Store};
use flash::common::{FloatModel, HeadKind, Random, Sizes};
use flash::{Chip, Fault, Torn, layout};

const SIZES: Sizes = Sizes {
    layers: 1,
    hidden: 16,
    heads: 1,
    feed_forward: 16,
    vocabulary: 57,
    max_length: 8,
    labels: 2,
    tags: 0,
    head: HeadKind::Classify,
    pooler: false,
    ..Sizes::SMALL
};

fn image(seed: u64) -> Vec<u8> {
    FloatModel::random(SIZES, seed).build()
}

fn scratch(image: &[u8]) -> ScratchVec {
    ScratchVec::of(&Model::parse(image).unwrap())
}

type Result<T> = std::result::Result<T, Error<Fault>>;

/// A whole update, from where an earlier one stopped, in pieces of odd lengths.
fn update<const W: usize, const E: usize>(
    chip: &mut Chip<W, E>,
    image: &[u8],
    scratch: &mut [u8],
) -> Result<()> {
    let mapping = chip.mapping();
    let mut store = Store::open(chip, mapping, layout(E as u32), scratch)?;
    let identity = image.iter().fold(0, |sum: u32, &byte| sum.rotate_left(5) ^ byte as u32);
    let (_, mut update) = store.update(identity, image.len() as u32)?;
    for piece in image[update.position() as usize..].chunks(37) {
        update.write(piece)?;
    }
    update.finish(scratch, |_| true)
}

fn active<const W: usize, const E: usize>(
    chip: &mut Chip<W, E>,
    scratch: &mut [u8],
) -> Option<Vec<u8>> {
    let mapping = chip.mapping();
    let store = Store::open(chip, mapping, layout(E as u32), scratch).unwrap();
    store.active().map(<[u8]>::to_vec)
}

/// Cuts an update from `old` (none: the first image of a device) to `new` at every step.
fn cut_everywhere<const W: usize, const E: usize>(old: Option<&[u8]>, new: &[u8], third: &[u8]) {
    let mut memory = scratch(new);
    let mut before = Chip::<W, E>::new();
    if let Some(old) = old {
        update(&mut before, old, &mut memory).unwrap();
    }
    let mut chip = Chip::<W, E>::new();
    chip.copy_from(&before);
    update(&mut chip, new, &mut memory).unwrap();
    let all = chip.steps;
    // The last words are those of the record that switches.
    let switch = all - 32u64.div_ceil(W as u64);
    for torn in Torn::ALL {
        let mut found = HashSet::new();
        for cut in 0..all {
            chip.copy_from(&before);
            (chip.torn, chip.steps_left) = (torn, cut);
            let result = update(&mut chip, new, &mut memory);
            assert!(matches!(result, Err(Error::Flash(Fault::PowerLost))), "{result:?}");
            // Two starts, since what is there may change between them.
            for _ in 0..2 {
                chip.restart();
                let is = active(&mut chip, &mut memory);
                let is_old = is.as_deref() == old;
                assert!(is_old || is.as_deref() == Some(new), "{torn:?} after {cut} of {all}");
                assert!(is_old || cut >= switch, "{torn:?} after {cut}: too soon");
                found.insert(is_old);
            }
            // Whatever is active now, another update works; the same one if it was not done.
            let next = if cut % 2 == 0 { new } else { third };
            update(&mut chip, next, &mut memory).unwrap();
            chip.restart();
            assert_eq!(active(&mut chip, &mut memory).as_deref(), Some(next), "{torn:?} {cut}");
        }
        let switched = matches!(torn, Torn::All | Torn::Flickering);
        assert_eq!(found.contains(&false), switched, "{torn:?}");
    }
}

#[test]
fn a_cut_at_every_step_of_an_update() {
    let [old, new, third] = [1, 2, 3].map(image);
    cut_everywhere::<8, 1024>(Some(&old), &new, &third);
    cut_everywhere::<32, 512>(Some(&old), &new, &third);
}

#[test]
fn a_cut_at_every_step_of_the_first_image() {
    let [new, third] = [2, 3].map(image);
    cut_everywhere::<16, 2048>(None, &new, &third);
}

#[test]
fn power_that_comes_and_goes() {
    let images = [1, 2, 3, 4].map(image);
    let mut memory = scratch(&images[0]);
    let mut random = Random(11);
    let mut chip = Chip::<16, 512>::new();
    update(&mut chip, &images[0], &mut memory).unwrap();
    let mut was = 0;
    let (mut cuts, mut updates) = (0, 0);
    while updates < 150 {
        let next = random.below(images.len());
        // Short and long lives, so that beginnings are cut as often as ends.
        let longest = [4, 40, 400, 4000][random.below(4)];
        chip.steps_left = random.below(longest) as u64;
        chip.torn = Torn::ALL[random.below(Torn::ALL.len())];
        let done = update(&mut chip, &images[next], &mut memory).is_ok();
        (cuts, updates) = (cuts + !done as u32, updates + done as u32);
        chip.restart();
        let is = active(&mut chip, &mut memory).expect("there is always one");
        assert!(is == images[next] || (!done && is == images[was]), "{cuts} {updates}");
        was = images.iter().position(|image| *image == is).unwrap();
    }
    assert!(cuts > 300, "{cuts} cuts");
}

#[test]
fn a_switch_that_is_there_and_then_is_not() {
    let [old, new, third] = [1, 2, 3].map(image);
    let mut memory = scratch(&old);
    let mut before = Chip::<8, 1024>::new();
    update(&mut before, &old, &mut memory).unwrap();
    let mut chip = Chip::<8, 1024>::new();
    chip.copy_from(&before);
    update(&mut chip, &new, &mut memory).unwrap();
    let last_word = chip.steps - 1;
    for cut in (0..last_word).step_by(5) {
        chip.copy_from(&before);
        (chip.torn, chip.steps_left) = (Torn::Flickering, last_word);
        update(&mut chip, &new, &mut memory).unwrap_err();
        // After this start the switch is there; after the next it is not.
        chip.restart();
        chip.torn = Torn::Nothing;
        assert_eq!(active(&mut chip, &mut memory).as_ref(), Some(&new));
        chip.steps_left = cut;
        update(&mut chip, &third, &mut memory).unwrap_err();
        chip.restart();
        let is = active(&mut chip, &mut memory);
        // Until the next update wrote to its slot, the old image is whole too.
        assert!(is.as_ref() == Some(&new) || (cut < 8 && is.as_ref() == Some(&old)), "{cut}");
    }
}
