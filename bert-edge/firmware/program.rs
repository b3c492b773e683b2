//! A model in flash answers the texts that are given as arguments: the program of every emulated chip.

use core::fmt::Write;

use bert_firmware::Failure;
use bert_machine::exit::{DONE, FAILED, USAGE};
use bert_machine::{MARKS, Memory, Out, arguments, eprintln, stack_bytes};

/// Longest line of arguments, one byte more than its text.
const ARGUMENT_BYTES: usize = 1024;

bert_firmware::image!(
    env!("BERT_MODEL", "the path of a model; `cargo xtask firmware` sets it"),
    ".model"
);

/// Answers the arguments; gives the exit code.
pub fn run() -> i32 {
    let Ok(texts) = arguments::<ARGUMENT_BYTES>() else {
        eprintln!("firmware: the texts have more than {} bytes together", ARGUMENT_BYTES - 1);
        return USAGE;
    };
    let texts = (&texts).map(|text| text.unwrap_or("\u{fffd}"));
    match answer(texts) {
        Ok(()) => DONE,
        Err(failure) => {
            eprintln!("firmware: {failure}");
            FAILED
        }
    }
}

fn answer<'t>(texts: impl Iterator<Item = &'t str>) -> Result<(), Failure> {
    let mut out = Out::open().map_err(|_| Failure::Write)?;
    let scratch = image::scratch().unwrap_or_default();
    let scratch_bytes = scratch.len();
    bert_firmware::run(image::model(), scratch, texts, MARKS, &mut out)?;
    let Memory { code_bytes, static_bytes } = Memory::linked();
    writeln!(out, "flash {code_bytes} code, {} model", image::model().len())?;
    // The scratch memory is a variable.
    writeln!(
        out,
        "ram {} variables, {scratch_bytes} scratch, {} stack",
        static_bytes - scratch_bytes,
        stack_bytes()
    )?;
    Ok(())
}
