//! The record of which slot is active: small, appended, and valid whatever power does.
//!
//! The journal is a ring of pages, each an erase block, of places of 32 bytes (or what the flash writes
//! at once, if that is more). A record is a whole state with a number and a CRC-32; of those that are
//! valid, the one with the highest number counts:
//!
//! ```text
//! magic │ number │ active slot │ update: under way, identity, length, bytes written │ CRC-32
//! ```
//!
//! A write that power cuts off leaves its words undefined: they may read as anything, as another thing
//! the next time, or as if they had never been written. So
//!
//! * a record that is not whole has a wrong checksum, and the one before counts;
//! * the first record after a start goes into the next page, which is erased before, always, also if it
//!   looks erased: no word is written twice, and the record that counts is in another page;
//! * a record that was cut off and is valid nevertheless may be gone at the next start. Before anything
//!   is erased that an earlier record calls active, the state is written anew
//!   ([`crate::Store::update`]).
//!
//! Pages wear evenly. An erase that is cut off may leave old records: their numbers are lower.

use core::ops::Range;

use bert_core::checksum::crc32;
use embedded_storage::nor_flash::NorFlash;

use crate::layout::MAX_WRITE_BYTES;
use crate::{Error, Slot};

/// What a record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub active: Option<Slot>,
    /// The update into the other slot that is under way.
    pub pending: Option<Pending>,
}

/// An update under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub identity: u32,
    pub length: u32,
    /// Bytes that are surely in the slot, in whole erase blocks.
    pub written: u32,
}

pub(crate) const RECORD_BYTES: usize = 32;
const MAGIC: [u8; 4] = *b"BSL1";
const NO_SLOT: u8 = 0xFF;

impl State {
    fn encode(&self, number: u32) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let pending = self.pending.unwrap_or(Pending { identity: 0, length: 0, written: 0 });
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&number.to_le_bytes());
        bytes[8] = self.active.map_or(NO_SLOT, |slot| slot as u8);
        bytes[9] = self.pending.is_some() as u8;
        bytes[12..16].copy_from_slice(&pending.identity.to_le_bytes());
        bytes[16..20].copy_from_slice(&pending.length.to_le_bytes());
        bytes[20..24].copy_from_slice(&pending.written.to_le_bytes());
        let crc = crc32(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<(u32, State)> {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if bytes[..4] != MAGIC || crc32(&bytes[..28]) != word(28) {
            return None;
        }
        let active = match bytes[8] {
            0 => Some(Slot::A),
            1 => Some(Slot::B),
            _ => None,
        };
        let pending = Pending { identity: word(12), length: word(16), written: word(20) };
        Some((word(4), State { active, pending: (bytes[9] == 1).then_some(pending) }))
    }
}

/// The journal of a flash, read once and appended to.
pub(crate) struct Journal {
    range: Range<u32>,
    /// Number of the last record, 0 before the first; flash wears out long before it is the last.
    number: u32,
    /// The page of the record that counts, and the next place in it.
    page: u32,
    place: u32,
}

impl Journal {
    /// Finds the record that counts.
    pub(crate) fn open<F: NorFlash>(flash: &mut F, range: Range<u32>) -> (Self, State) {
        // The first record goes into the page behind: this one counts as full.
        let mut journal = Journal { range, number: 0, page: 0, place: places::<F>() };
        let mut state = State::default();
        for page in 0..journal.pages::<F>() {
            for place in 0..places::<F>() {
                let mut bytes = [0; RECORD_BYTES];
                let read = flash.read(journal.offset::<F>(page, place), &mut bytes);
                // What cannot be read is no record.
                let found = read.ok().and_then(|()| State::decode(&bytes));
                if let Some((number, found)) = found.filter(|(number, _)| *number > journal.number)
                {
                    (journal.number, journal.page, state) = (number, page, found);
                }
            }
        }
        (journal, state)
    }

    /// Whether a record was found or written.
    pub(crate) fn has_record(&self) -> bool {
        self.number > 0
    }

    /// Writes a state, which counts from then on.
    ///
    /// # Errors
    /// [`Error::Flash`]; [`Error::Journal`] if no place of a fresh page keeps what is written.
    pub(crate) fn append<F: NorFlash>(
        &mut self,
        flash: &mut F,
        state: &State,
    ) -> Result<(), Error<F::Error>> {
        // Places that do not keep a record are passed over.
        let mut is_fresh = false;
        loop {
            if self.place >= places::<F>() {
                if is_fresh {
                    // The page behind has the record that counts.
                    return Err(Error::Journal);
                }
                let page = (self.page + 1) % self.pages::<F>();
                let start = self.offset::<F>(page, 0);
                flash.erase(start, start + F::ERASE_SIZE as u32).map_err(Error::Flash)?;
                (self.page, self.place, is_fresh) = (page, 0, true);
            }
            let offset = self.offset::<F>(self.page, self.place);
            // A record that failed may be there at the next start: no other has its number or place.
            (self.place, self.number) = (self.place + 1, self.number + 1);
            let record = state.encode(self.number);
            let mut padded = [0xFF; MAX_WRITE_BYTES];
            padded[..RECORD_BYTES].copy_from_slice(&record);
            let mut found = [0; RECORD_BYTES];
            flash.write(offset, &padded[..place_bytes::<F>()]).map_err(Error::Flash)?;
            flash.read(offset, &mut found).map_err(Error::Flash)?;
            if found == record {
                return Ok(());
            }
        }
    }

    fn pages<F: NorFlash>(&self) -> u32 {
        self.range.len() as u32 / F::ERASE_SIZE as u32
    }

    fn offset<F: NorFlash>(&self, page: u32, place: u32) -> u32 {
        self.range.start + page * F::ERASE_SIZE as u32 + place * place_bytes::<F>() as u32
    }
}

/// Bytes from one record to the next.
fn place_bytes<F: NorFlash>() -> usize {
    RECORD_BYTES.next_multiple_of(F::WRITE_SIZE)
}

/// Records in a page.
pub(crate) fn places<F: NorFlash>() -> u32 {
    (F::ERASE_SIZE / place_bytes::<F>()) as u32
}
