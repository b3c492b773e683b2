//! Two slots and the journal that says which is active.

use core::ops::Range;

use bert_core::{Model, Session};
use embedded_storage::nor_flash::NorFlash;

use crate::journal::{Journal, Pending, State, places};
use crate::update::Update;
use crate::{Error, Layout, Mapping, Slot};

/// The image that is active, if there is one, and the update of the other slot.
pub type Begun<'s, F> = (Option<&'s [u8]>, Update<'s, F>);

/// The models of a device: the one that is active, and the place for another.
pub struct Store<F> {
    pub(crate) flash: F,
    mapping: Mapping,
    layout: Layout,
    journal: Journal,
    state: State,
}

impl<F: NorFlash> Store<F> {
    /// Reads the journal and checks the image it calls active: every checksum, size and number.
    ///
    /// If that image is damaged, or no record can be read, an image is taken that was active before, is
    /// whole and passes its self-test: better an old model than none. `scratch` is only for that, and as
    /// large as the largest model needs.
    ///
    /// # Errors
    /// [`Error::Layout`]. A flash without a model is no error: [`Store::active`] is `None` then.
    pub fn open(
        mut flash: F,
        mapping: Mapping,
        layout: Layout,
        scratch: &mut [u8],
    ) -> Result<Self, Error<F::Error>> {
        layout.check(&flash).map_err(Error::Layout)?;
        let (journal, state) = Journal::open(&mut flash, layout.journal.clone());
        let mut store = Store { flash, mapping, layout, journal, state };
        let image = store.state.active.and_then(|slot| store.image(slot));
        if image.is_none_or(|image| Model::parse(image).is_err()) {
            let rescued = store.rescue(scratch);
            store.state = State { active: rescued, ..store.state };
        }
        Ok(store)
    }

    /// The slot to take where the journal names none that is whole.
    fn rescue(&self, scratch: &mut [u8]) -> Option<Slot> {
        let candidates: &[Slot] = match self.state {
            _ if !self.journal.has_record() => &[Slot::A, Slot::B],
            State { active: Some(Slot::A), pending: None } => &[Slot::B],
            State { active: Some(Slot::B), pending: None } => &[Slot::A],
            // What is in the other slot was never accepted.
            _ => &[],
        };
        let mut passes = |slot: &&Slot| {
            let image = self.image(**slot);
            image.is_some_and(|image| test::<F::Error>(image, scratch, |_| true).is_ok())
        };
        candidates.iter().find(|slot| passes(slot)).copied()
    }

    /// The image that is active; `None` before the first one.
    #[must_use]
    pub fn active(&self) -> Option<&[u8]> {
        self.image(self.state.active?)
    }

    /// The slot that is active; `None` before the first image.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        self.state.active
    }

    /// Identity, length and bytes there of an update that was interrupted.
    #[must_use]
    pub fn interrupted(&self) -> Option<(u32, u32, u32)> {
        self.state.pending.map(|p| (p.identity, p.length, p.written))
    }

    /// Begins an update with an image of `length` bytes, or goes on with one that was interrupted: if
    /// `identity` and `length` are those of before, [`Update::position`] says from where.
    ///
    /// `identity` is any number that tells images apart, such as a version or a checksum. With the update
    /// comes the image that is active, which stays as it is meanwhile.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Flash`], [`Error::Journal`].
    pub fn update(&mut self, identity: u32, length: u32) -> Result<Begun<'_, F>, Error<F::Error>> {
        let limit = self.layout.slot(self.idle()).len() as u32;
        if length > limit {
            return Err(Error::TooLong { limit, found: length });
        }
        let same = |p: &Pending| (p.identity, p.length) == (identity, length);
        let before = self.state.pending.filter(same).map_or(0, |p| p.written);
        // Only as much as this device can have written.
        let written =
            if before.is_multiple_of(F::ERASE_SIZE as u32) { before.min(length) } else { 0 };
        // Anew, even if nothing changed: from here on the other slot is lost.
        self.record(State {
            active: self.state.active,
            pending: Some(Pending { identity, length, written }),
        })?;
        let active = self.state.active.and_then(|slot| self.range_of_image(slot));
        // SAFETY: the range is part of a slot of the layout. While the update lives, which is as long as
        // this borrow, only the idle slot and the journal are written to.
        #[allow(unsafe_code)]
        let active = active.map(|range| unsafe { self.mapping.bytes(range) });
        Ok((active, Update::new(self, identity, length, written)))
    }

    /// Goes back to the image in the other slot, if it is whole and passes its self-test: what was
    /// active before the last update, as long as no other has begun.
    ///
    /// # Errors
    /// [`Error::NoOther`] if there is no image, [`Error::Model`] if it is refused, [`Error::Flash`],
    /// [`Error::Journal`].
    pub fn revert(&mut self, scratch: &mut [u8]) -> Result<(), Error<F::Error>> {
        if self.state.active.is_none() || self.state.pending.is_some() {
            return Err(Error::NoOther);
        }
        let other = self.idle();
        let image = self.image(other).ok_or(Error::NoOther)?;
        test(image, scratch, |_| true)?;
        self.record(State { active: Some(other), pending: None })
    }

    /// The slot that updates go into.
    pub(crate) fn idle(&self) -> Slot {
        self.state.active.map_or(Slot::A, Slot::other)
    }

    pub(crate) fn idle_range(&self) -> Range<u32> {
        self.layout.slot(self.idle()).clone()
    }

    /// Bytes between two notes of progress: whole erase blocks, and so many that an update that is not
    /// interrupted fills no more than one page with its notes, its beginning and its end.
    pub(crate) fn note_bytes(&self) -> u32 {
        let block = F::ERASE_SIZE as u32;
        let notes = places::<F>().saturating_sub(2).max(1);
        let least = (self.idle_range().len() as u32).div_ceil(notes);
        least.next_multiple_of(block)
    }

    /// The bytes of the idle slot, from its first.
    pub(crate) fn idle_bytes(&self, length: u32) -> &[u8] {
        let start = self.idle_range().start;
        // SAFETY: no longer than the slot, which `update` checked. Writing takes the store mutably, which
        // it is not during this borrow.
        #[allow(unsafe_code)]
        unsafe {
            self.mapping.bytes(start..start + length)
        }
    }

    /// Writes a state to the journal.
    pub(crate) fn record(&mut self, state: State) -> Result<(), Error<F::Error>> {
        self.journal.append(&mut self.flash, &state)?;
        self.state = state;
        Ok(())
    }

    /// The state that the last record has.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The bytes of a slot that its image says are its own.
    fn image(&self, slot: Slot) -> Option<&[u8]> {
        let range = self.range_of_image(slot)?;
        // SAFETY: part of a slot of the layout. Writing takes the store mutably, which it is not during
        // this borrow.
        #[allow(unsafe_code)]
        Some(unsafe { self.mapping.bytes(range) })
    }

    fn range_of_image(&self, slot: Slot) -> Option<Range<u32>> {
        let range = self.layout.slot(slot).clone();
        let preamble = range.start..range.start + bert_core::format::PREAMBLE_BYTES as u32;
        if preamble.end > range.end {
            return None;
        }
        // SAFETY: as in `image`.
        #[allow(unsafe_code)]
        let preamble = unsafe { self.mapping.bytes(preamble) };
        // The length of the file, see docs/model-file.md; that it is right is for `Model::parse` to say.
        let length = u32::from_le_bytes([preamble[12], preamble[13], preamble[14], preamble[15]]);
        let end = range.start.checked_add(length).filter(|end| *end <= range.end)?;
        Some(range.start..end)
    }
}

/// Checks an image to its end: checksums, sizes, the caller's own check, the self-test.
pub(crate) fn test<E>(
    image: &[u8],
    scratch: &mut [u8],
    accept: impl FnOnce(&Model<'_>) -> bool,
) -> Result<(), Error<E>> {
    let model = Model::parse(image).map_err(Error::Model)?;
    if !accept(&model) {
        return Err(Error::Refused);
    }
    let session = Session::new(&model, scratch);
    session.and_then(|mut session| session.self_test()).map_err(Error::Model)
}
