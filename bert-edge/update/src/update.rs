//! An image on its way into the idle slot.

use bert_core::Model;
use embedded_storage::nor_flash::NorFlash;

use crate::journal::{Pending, State};
use crate::layout::MAX_WRITE_BYTES;
use crate::store::test;
use crate::{Error, Store};

/// An update under way. If it is dropped before its end, or power goes, it can be taken up again where
/// its last note of progress stands: [`Store::update`].
pub struct Update<'s, F: NorFlash> {
    store: &'s mut Store<F>,
    identity: u32,
    length: u32,
    /// Bytes that came, whole words of which are in the flash.
    position: u32,
    /// Bytes up to which the journal knows.
    noted: u32,
    /// The beginning of a word whose end has not come.
    rest: [u8; MAX_WRITE_BYTES],
}

impl<'s, F: NorFlash> Update<'s, F> {
    pub(crate) fn new(store: &'s mut Store<F>, identity: u32, length: u32, written: u32) -> Self {
        let rest = [0; MAX_WRITE_BYTES];
        Update { store, identity, length, position: written, noted: written, rest }
    }

    /// Bytes of the image that are there: the next piece begins with this one.
    #[must_use]
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Bytes of the image.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.length
    }

    /// Takes the next piece of the image, of any length.
    ///
    /// It takes the time of the writes, and of an erase wherever a block begins.
    ///
    /// # Errors
    /// [`Error::Length`] if the image has no more bytes, and nothing is written; [`Error::Flash`],
    /// [`Error::Journal`]. After these two the image is to be sent again from [`Update::position`] on,
    /// which is an earlier one.
    pub fn write(&mut self, mut piece: &[u8]) -> Result<(), Error<F::Error>> {
        let room = (self.length - self.position) as usize;
        if piece.len() > room {
            let found = self.position.saturating_add(piece.len() as u32);
            return Err(Error::Length { expected: self.length, found });
        }
        while !piece.is_empty() {
            let begun = self.position as usize % F::WRITE_SIZE;
            // Whole words go as they are, up to the end of a block.
            let to_block = F::ERASE_SIZE - self.position as usize % F::ERASE_SIZE;
            let whole = piece.len().min(to_block) / F::WRITE_SIZE * F::WRITE_SIZE;
            if begun == 0 && whole > 0 {
                let (words, rest) = piece.split_at(whole);
                self.put(words)?;
                piece = rest;
                continue;
            }
            let (part, rest) = piece.split_at(piece.len().min(F::WRITE_SIZE - begun));
            self.rest[begun..begun + part.len()].copy_from_slice(part);
            piece = rest;
            if begun + part.len() == F::WRITE_SIZE {
                let word = self.rest;
                self.position -= begun as u32;
                self.put(&word[..F::WRITE_SIZE])?;
            } else {
                self.position += part.len() as u32;
            }
        }
        Ok(())
    }

    /// Writes whole words of one block at the position, which begins a word.
    fn put(&mut self, words: &[u8]) -> Result<(), Error<F::Error>> {
        let done = self.try_put(words);
        if done.is_err() {
            // What is there behind the last note is unknown; its block will be erased.
            self.position = self.noted;
        }
        done
    }

    fn try_put(&mut self, words: &[u8]) -> Result<(), Error<F::Error>> {
        let start = self.store.idle_range().start + self.position;
        let flash = &mut self.store.flash;
        if self.position.is_multiple_of(F::ERASE_SIZE as u32) {
            flash.erase(start, start + F::ERASE_SIZE as u32).map_err(Error::Flash)?;
        }
        flash.write(start, words).map_err(Error::Flash)?;
        self.position += words.len() as u32;
        let is_note = self.position - self.noted >= self.store.note_bytes();
        if is_note && self.position.is_multiple_of(F::ERASE_SIZE as u32) {
            let (identity, length, written) = (self.identity, self.length, self.position);
            let active = self.store.state().active;
            let pending = Some(Pending { identity, length, written });
            self.store.record(State { active, pending })?;
            self.noted = written;
        }
        Ok(())
    }

    /// Checks the image, every byte of it as the processor reads it from flash, runs its self-test, and
    /// makes its slot the active one. `accept` is the caller's own check: whether this is a model that
    /// the device can use.
    ///
    /// `scratch` is as for [`bert_core::Session::new`]; it may be that of a session that is over.
    ///
    /// # Errors
    /// [`Error::Length`] if bytes are missing: the update stays, to be gone on with.
    /// [`Error::Model`], [`Error::Refused`]: the image is forgotten. [`Error::Flash`],
    /// [`Error::Journal`].
    pub fn finish(
        mut self,
        scratch: &mut [u8],
        accept: impl FnOnce(&Model<'_>) -> bool,
    ) -> Result<(), Error<F::Error>> {
        if self.position != self.length {
            return Err(Error::Length { expected: self.length, found: self.position });
        }
        let begun = self.position as usize % F::WRITE_SIZE;
        if begun > 0 {
            let mut word = self.rest;
            word[begun..].fill(0xFF);
            self.position -= begun as u32;
            self.put(&word[..F::WRITE_SIZE])?;
        }
        let store = self.store;
        let active = match test::<F::Error>(store.idle_bytes(self.length), scratch, accept) {
            Ok(()) => Some(store.idle()),
            Err(error) => {
                // It must not be found whole when one day a slot is looked for to be rescued.
                let start = store.idle_range().start;
                let end = start + F::ERASE_SIZE as u32;
                store.flash.erase(start, end).map_err(Error::Flash)?;
                let active = store.state().active;
                store.record(State { active, pending: None })?;
                return Err(error);
            }
        };
        store.record(State { active, pending: None })
    }
}
