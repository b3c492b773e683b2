//! `worker-ours MODEL`: bert-core, through what it offers to everyone.

use std::fs::File;

use anyhow::{Context, Result};
use bert_core::{ARITHMETIC, Model, Rows, ScratchVec, Session};
use memmap2::Mmap;

fn main() -> Result<()> {
    let path = protocol::argument(1, "a model file")?;
    let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
    // SAFETY: the benchmark does not write to a model while a worker has it open.
    #[allow(unsafe_code)]
    let bytes = unsafe { Mmap::map(&file) }.with_context(|| format!("cannot map {path}"))?;
    let model = Model::parse(&bytes).with_context(|| path.clone())?;
    let mut scratch = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut scratch).with_context(|| path.clone())?;
    protocol::serve(&path_of_code(), |ids, rows| {
        rows.extend_from_slice(session.run(ids, &[], Rows::All)?.hidden());
        Ok(())
    })
}

/// Which instructions the engine uses on this machine. `bert-core` has its scalar definition alone
/// so far, which does not tell; a choice of paths is named here.
fn path_of_code() -> String {
    format!("scalar, arithmetic {ARITHMETIC}")
}
