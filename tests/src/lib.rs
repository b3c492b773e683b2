//! Helpers shared by the cross-crate tests.

pub mod command;
pub mod fixture;
pub mod golden;
pub mod runs;

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
