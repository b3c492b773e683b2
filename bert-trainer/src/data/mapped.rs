//! Read-only memory maps.

#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use super::DataError;

/// Maps a file that is not empty.
pub(super) fn map_file(path: &Path) -> Result<Mmap, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, "read", e))?;
    // SAFETY: the map is read-only and shards are written once, under another name, and then only
    // ever renamed or deleted, which leaves the mapped bytes as they are. A user who writes into a
    // shard while it is in use breaks that, as with any memory-mapped file; the docs of `Shards`
    // say so.
    unsafe { Mmap::map(&file) }.map_err(|e| DataError::io(path, "map", e))
}
