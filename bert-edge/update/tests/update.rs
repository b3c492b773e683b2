//! Updates with power: what is refused, what is resumed, what wears, and what a damaged flash leaves.
#![allow(clippy::unwrap_used, missing_docs)]

mod flash;

use bert_core::format::{Kind, repair_checksums};
use bert_core::{Model, ScratchVec, Session};
use bert_edge_update::{Error, Layout, Slot, Store};
use flash::common::{FloatModel, HeadKind, Sizes};
use flash::{Chip, Fault, SLOT, layout};

const ERASE: usize = 512;
type Flash = Chip<8, ERASE>;
type Result<T> = std::result::Result<T, Error<Fault>>;

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

fn scratch() -> ScratchVec {
    ScratchVec::of(&Model::parse(&image(1)).unwrap())
}

fn open(chip: &mut Flash) -> Store<&mut Flash> {
    let mapping = chip.mapping();
    Store::open(chip, mapping, layout(ERASE as u32), &mut scratch()).unwrap()
}

fn install(chip: &mut Flash, identity: u32, image: &[u8]) -> Result<()> {
    let mut store = open(chip);
    let (_, mut update) = store.update(identity, image.len() as u32)?;
    update.write(&image[update.position() as usize..])?;
    update.finish(&mut scratch(), |_| true)
}

fn active(chip: &mut Flash) -> Option<Vec<u8>> {
    open(chip).active().map(<[u8]>::to_vec)
}

#[test]
fn the_old_model_answers_until_the_new_one_does() {
    let (old, new) = (image(1), image(2));
    let mut chip = Flash::new();
    assert_eq!(active(&mut chip), None);
    install(&mut chip, 1, &old).unwrap();
    let mut store = open(&mut chip);
    assert_eq!(store.slot(), Some(Slot::A));
    let logits = |image: &[u8]| {
        let model = Model::parse(image).unwrap();
        let mut memory = scratch();
        let mut session = Session::new(&model, &mut memory).unwrap();
        session.classify("abc x yz").unwrap().logits().to_vec()
    };
    let (expected, later) = (logits(&old), logits(&new));
    assert_ne!(expected, later);
    let (bytes, mut update) = store.update(2, new.len() as u32).unwrap();
    let model = Model::parse(bytes.unwrap()).unwrap();
    let mut memory = scratch();
    let mut session = Session::new(&model, &mut memory).unwrap();
    for piece in new.chunks(501) {
        update.write(piece).unwrap();
        assert_eq!(session.classify("abc x yz").unwrap().logits(), expected);
    }
    update.finish(&mut scratch(), |model| model.labels().len() == 2).unwrap();
    assert_eq!((store.slot(), store.active().map(logits)), (Some(Slot::B), Some(later)));

    // And back, once it turns out to be worse.
    store.revert(&mut scratch()).unwrap();
    assert_eq!((store.slot(), store.active()), (Some(Slot::A), Some(&old[..])));
    assert_eq!(active(&mut chip).unwrap(), old);
}

#[test]
fn a_bad_image_is_refused_and_forgotten() {
    let (old, new) = (image(1), image(2));
    let mut chip = Flash::new();
    install(&mut chip, 1, &old).unwrap();
    let mut wrong_answer = new.clone();
    let model = Model::parse(&new).unwrap();
    let tests = model.sections().find(|s| s.kind == Kind::SelfTest as u16).unwrap();
    wrong_answer[tests.offset as usize + 4] ^= 1;
    repair_checksums(&mut wrong_answer);
    assert!(Model::parse(&wrong_answer).is_ok());
    let truncated = &new[..new.len() - 1];
    let longer = [&new[..], &[0]].concat();
    let text = b"anything but a model".to_vec();
    let mut bad = vec![wrong_answer, truncated.to_vec(), longer, text, Vec::new()];
    for at in (0..new.len()).step_by(211) {
        let mut flipped = new.clone();
        flipped[at] ^= 1 << (at % 8);
        bad.push(flipped);
    }
    for (i, bad) in bad.iter().enumerate() {
        let result = install(&mut chip, 2, bad);
        assert!(matches!(result, Err(Error::Model(_))), "{i}: {result:?}");
        let store = open(&mut chip);
        assert_eq!((store.active(), store.interrupted()), (Some(&old[..]), None), "{i}");
    }

    // Good images that this device cannot use.
    let mut store = open(&mut chip);
    for (memory, accept, expected) in [
        (&mut scratch()[..], false, "the image is refused"),
        (&mut scratch()[..64], true, "the image is refused: scratch too small"),
    ] {
        let (_, mut update) = store.update(2, new.len() as u32).unwrap();
        update.write(&new).unwrap();
        let error = update.finish(memory, |_| accept).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!((store.active(), store.interrupted()), (Some(&old[..]), None));
    }
    assert!(matches!(store.revert(&mut scratch()), Err(Error::Model(_) | Error::NoOther)));
    let too_long = store.update(2, SLOT + 1).err();
    assert_eq!(too_long, Some(Error::TooLong { limit: SLOT, found: SLOT + 1 }));
    let (_, mut update) = store.update(2, 10).unwrap();
    update.write(&new[..8]).unwrap();
    assert_eq!(update.write(&new[..3]), Err(Error::Length { expected: 10, found: 11 }));
    let short = update.finish(&mut scratch(), |_| true);
    assert_eq!(short, Err(Error::Length { expected: 10, found: 8 }));
    assert_eq!(store.active(), Some(&old[..]));

    // After all that a good one is taken.
    install(&mut chip, 3, &new).unwrap();
    assert_eq!(active(&mut chip).unwrap(), new);
}

#[test]
fn an_interrupted_update_goes_on() {
    let (old, new) = (image(1), image(2));
    let mut chip = Flash::new();
    install(&mut chip, 1, &old).unwrap();
    let length = new.len() as u32;
    let begin = |chip: &mut Flash| {
        let mut store = open(chip);
        let (_, mut update) = store.update(2, length).unwrap();
        assert_eq!(update.position(), 0);
        update.write(&new[..5000]).unwrap();
    };
    begin(&mut chip);
    let mut store = open(&mut chip);
    let (identity, of, written) = store.interrupted().unwrap();
    assert_eq!((identity, of), (2, length));
    // What is to be sent again is less than what lies between two notes of progress.
    assert!(written.is_multiple_of(ERASE as u32) && written > 5000 - 2 * 1024 && written <= 5000);
    assert!(matches!(store.revert(&mut scratch()), Err(Error::NoOther)));
    let (active_image, mut update) = store.update(2, length).unwrap();
    assert_eq!((active_image, update.position()), (Some(&old[..]), written));
    update.write(&new[written as usize..]).unwrap();
    update.finish(&mut scratch(), |_| true).unwrap();
    assert_eq!(active(&mut chip).unwrap(), new);

    // Another image, or one of another length, begins at its beginning.
    for (identity, longer) in [(3, 0), (2, 1)] {
        begin(&mut chip);
        let mut store = open(&mut chip);
        let (_, update) = store.update(identity, length + longer).unwrap();
        assert_eq!(update.position(), 0);
    }
}

#[test]
fn a_write_that_fails_is_done_again() {
    let (old, new) = (image(1), image(2));
    let mut chip = Flash::new();
    install(&mut chip, 1, &old).unwrap();
    let slot = layout(ERASE as u32).slots[1].clone();
    for at in [0, 8, 504, 512, 1024, 5 * 1024 - 8, (new.len() as u32 - 1) / 8 * 8] {
        chip.broken_at = Some(slot.start + at);
        let mut store = open(&mut chip);
        let (_, mut update) = store.update(at, new.len() as u32).unwrap();
        let mut failures = 0;
        while update.position() < new.len() as u32 {
            let rest = &new[update.position() as usize..];
            failures += update.write(&rest[..rest.len().min(99)]).is_err() as u32;
        }
        // The last word is only written when the image ends.
        let last = update.finish(&mut scratch(), |_| true);
        if failures == 0 {
            assert_eq!(last, Err(Error::Flash(Fault::Broken)), "{at}");
            assert_eq!(active(&mut chip).unwrap(), old);
        } else {
            last.unwrap();
            assert_eq!(failures, 1, "{at}");
            assert_eq!(active(&mut chip).unwrap(), new);
            open(&mut chip).revert(&mut scratch()).unwrap();
        }
    }
}

#[test]
fn places_of_the_journal_that_wear_out_are_passed_over() {
    let mut chip = Flash::new();
    install(&mut chip, 1, &image(1)).unwrap();
    let journal = layout(ERASE as u32).journal;
    // A byte of the magic of the first two records of the first page.
    chip.stuck = journal.start as usize + 1..journal.start as usize + 34;
    for identity in 2..6 {
        let image = image(identity.into());
        install(&mut chip, identity, &image).unwrap();
        assert_eq!(active(&mut chip), Some(image));
    }
    // All of the page: what the other page says stays.
    chip.stuck = journal.start as usize..journal.start as usize + ERASE;
    let results: Vec<_> = (6..9).map(|i| install(&mut chip, i, &image(i.into()))).collect();
    let first = results.iter().position(|result| result.is_err()).unwrap();
    assert!(results[first..].iter().all(|result| *result == Err(Error::Journal)), "{results:?}");
    assert_eq!(active(&mut chip), Some(image(5 + first as u64)));
}

#[test]
fn every_flipped_bit_of_the_journal_is_survived() {
    let images = [1, 2, 3].map(image);
    let mut whole = Flash::new();
    for (i, image) in images.iter().enumerate() {
        install(&mut whole, i as u32, image).unwrap();
    }
    // An interrupted one, so that there are records of every kind.
    open(&mut whole).update(9, 4000).unwrap().1.write(&images[0][..3000]).unwrap();
    let mut chip = Flash::new();
    let journal = layout(ERASE as u32).journal;
    for bit in journal.start as usize * 8..journal.end as usize * 8 {
        chip.copy_from(&whole);
        chip.flip(bit);
        assert_eq!(active(&mut chip).as_ref(), Some(&images[2]), "bit {bit}");
    }
    // Nothing is left of it.
    chip.copy_from(&whole);
    for page in 0..2 {
        (0..64 * 8)
            .for_each(|bit| chip.flip((journal.start as usize + page * ERASE) * 8 + 8 * bit));
        for place in 0..ERASE / 32 {
            chip.flip((journal.start as usize + page * ERASE + place * 32) * 8 + 99);
        }
    }
    assert_eq!(active(&mut chip).as_ref(), Some(&images[2]));
}

#[test]
fn a_damaged_image_gives_way_to_the_one_before() {
    let (old, new) = (image(1), image(2));
    let mut whole = Flash::new();
    install(&mut whole, 1, &old).unwrap();
    install(&mut whole, 2, &new).unwrap();
    let mut chip = Flash::new();
    let slots = layout(ERASE as u32).slots;
    for bit in (0..new.len() * 8).step_by(101) {
        chip.copy_from(&whole);
        chip.flip(slots[1].start as usize * 8 + bit);
        assert_eq!(active(&mut chip).as_ref(), Some(&old), "bit {bit}");
        // The update goes where the damage is.
        install(&mut chip, 3, &new).unwrap();
        assert_eq!(open(&mut chip).slot(), Some(Slot::B));
        chip.flip(slots[0].start as usize * 8 + bit % (old.len() * 8));
        chip.flip(slots[1].start as usize * 8 + bit);
        assert_eq!(active(&mut chip), None, "bit {bit}");
    }
    // What was never accepted does not take its place: it stays an interrupted update.
    chip.copy_from(&whole);
    open(&mut chip).update(3, old.len() as u32).unwrap().1.write(&old).unwrap();
    chip.flip(slots[1].start as usize * 8 + 12345);
    assert_eq!(active(&mut chip), None);
    assert!(open(&mut chip).interrupted().is_some());
}

#[test]
fn flash_wears_evenly() {
    let images = [1, 2].map(image);
    let mut chip = Flash::new();
    let updates = 200;
    for i in 0..updates {
        install(&mut chip, i, &images[i as usize % 2]).unwrap();
    }
    let Layout { slots, journal } = layout(ERASE as u32);
    let most = |range: std::ops::Range<u32>| {
        let blocks = range.start as usize / ERASE..range.end as usize / ERASE;
        chip.erases[blocks].iter().copied().max().unwrap()
    };
    // Each slot takes every other update, and so does each page of the journal.
    assert_eq!(slots.map(most), [updates / 2; 2]);
    assert_eq!(most(journal), updates / 2);
    let total: u32 = chip.erases.iter().sum();
    let blocks = (images[0].len() as u32).div_ceil(ERASE as u32);
    assert_eq!(total, updates * (blocks + 1), "nothing else is erased");
}

#[test]
fn layouts_that_cannot_be_are_refused() {
    let good = layout(ERASE as u32);
    let end = good.journal.end;
    let wrong = [
        Layout { journal: good.journal.start..end - ERASE as u32, ..good.clone() },
        Layout { journal: good.journal.start..end + ERASE as u32, ..good.clone() },
        Layout { journal: good.journal.start + 8..end, ..good.clone() },
        Layout { journal: good.slots[0].clone(), ..good.clone() },
        Layout { slots: [good.slots[0].clone(), good.slots[0].clone()], ..good.clone() },
        Layout { slots: [0..0, good.slots[1].clone()], ..good.clone() },
    ];
    let mut chip = Flash::new();
    for layout in wrong {
        let mapping = chip.mapping();
        let result = Store::open(&mut chip, mapping, layout.clone(), &mut []);
        assert!(matches!(result, Err(Error::Layout(_))), "{layout:?}");
    }
}
