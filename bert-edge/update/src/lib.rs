//! Model updates on a device: two slots in flash, of which one is active.
//!
//! ```text
//! pieces ─► Update::write ─► idle slot ─► Update::finish: checksums, self-test ─► switch
//!                                            └─ anything wrong: the active slot stays
//! ```
//!
//! A new image goes into the idle slot while the active one answers. It becomes active when all its
//! bytes are there, every checksum matches, the caller's own check accepts it and its self-test gives
//! the promised bits on this machine. The switch is one record in a journal (`journal.rs`), so that a
//! loss of power at any write or erase leaves the old image active or the new one, never none.
//!
//! `no_std`, no heap. Flash is what implements [`NorFlash`]; the model is read where it lies, so the
//! flash must be readable as memory too ([`Mapping`]).
//!
//! ```no_run
//! use bert_core::{Model, Session};
//! use bert_edge_update::{Error, Layout, Mapping, Store};
//! use embedded_storage::nor_flash::NorFlash;
//!
//! fn run<F: NorFlash>(flash: F, mapping: Mapping, scratch: &mut [u8]) -> Result<(), Error<F::Error>> {
//!     // 1 MB for each slot, 8 KB for the journal.
//!     let layout = Layout { slots: [0..0x10_0000, 0x10_0000..0x20_0000], journal: 0x20_0000..0x20_2000 };
//!     let mut store = Store::open(flash, mapping, layout, scratch)?;
//!
//!     // Length and identity of the image come before its bytes, from whoever sends it.
//!     let (active, mut update) = store.update(0x5EED, 625_373)?;
//!     if let Some(image) = active {
//!         // The old model goes on answering.
//!         let _model = Model::parse(image).map_err(Error::Model)?;
//!     }
//!     while update.position() < update.length() {
//!         update.write(&receive_from(update.position()))?;
//!     }
//!     // Whatever is wrong with it, the old one stays.
//!     update.finish(scratch, |model| model.labels().len() == 14)?;
//!     assert!(store.active().is_some());
//!     Ok(())
//! }
//! # fn receive_from(_: u32) -> [u8; 64] { [0; 64] }
//! ```
#![no_std]

mod error;
mod journal;
mod layout;
mod mapping;
mod store;
mod update;

pub use embedded_storage::nor_flash::NorFlash;
pub use error::Error;
pub use layout::{Layout, MAX_WRITE_BYTES, Slot};
pub use mapping::Mapping;
pub use store::{Begun, Store};
pub use update::Update;
