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
    let code = format!("{}, arithmetic {ARITHMETIC}", session.kernels().name());
    protocol::serve(&code, |ids, rows| {
        rows.extend(session.run(ids, &[], Rows::All)?.hidden());
        Ok(())
    })
}
