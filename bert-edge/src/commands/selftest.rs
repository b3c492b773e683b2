//! `selftest`: does this machine give the bits the file promises?

use std::io::Write;

use anyhow::{Context, Result};
use bert_core::{ScratchVec, Session};
use serde_json::json;

use super::{output, print_json};
use crate::args::File;
use crate::file::{map, parse};

/// Runs the self-test; the error says which text failed.
pub fn selftest(file: &File) -> Result<()> {
    let name = || file.model.display().to_string();
    let bytes = map(&file.model)?;
    let model = parse(&file.model, &bytes)?;
    let mut scratch = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut scratch).with_context(name)?;
    session.self_test().with_context(name)?;
    let texts = model.self_tests().count();
    if file.json {
        return print_json(&json!({ "ok": true, "texts": texts }));
    }
    writeln!(output(), "ok: {texts} texts give the stored output, bit for bit")?;
    Ok(())
}
