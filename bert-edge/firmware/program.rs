//! A model in flash answers the texts that are given as arguments: the program of every emulated chip.

use bert_firmware::{Failure, Print, number};
use bert_machine::exit::{DONE, FAILED, USAGE};
use bert_machine::{Errors, MARKS, Memory, Out, arguments, stack_bytes};

/// Longest line of arguments, one byte more than its text.
const ARGUMENT_BYTES: usize = 1024;

bert_firmware::image!(
    env!("BERT_MODEL", "the path of a model; `cargo xtask firmware` sets it"),
    ".model"
);

/// Answers the arguments; gives the exit code.
pub fn run() -> i32 {
    let Ok(texts) = arguments::<ARGUMENT_BYTES>() else {
        let _ = Errors.text("firmware: the texts are too long together\n");
        return USAGE;
    };
    let texts = (&texts).map(|text| text.unwrap_or("\u{fffd}"));
    match answer(texts) {
        Ok(()) => DONE,
        Err(failure) => {
            tell(failure);
            FAILED
        }
    }
}

fn answer<'t>(texts: impl Iterator<Item = &'t str>) -> Result<(), Failure> {
    let mut out = Out::open().map_err(|_| Failure::Write)?;
    let scratch = image::scratch().unwrap_or_default();
    let scratch_bytes = scratch.len();
    let file = image::model();
    bert_firmware::run::<{ image::HEADS }>(file, scratch, texts, MARKS, &mut out)?;
    let Memory { code_bytes, static_bytes } = Memory::linked();
    // The scratch memory is a variable.
    let figures = [
        ("flash ", code_bytes),
        (" code, ", file.len()),
        (" model\nram ", static_bytes - scratch_bytes),
        (" variables, ", scratch_bytes),
        (" scratch, ", stack_bytes()),
    ];
    for (text, figure) in figures {
        out.text(text)?;
        number(&mut out, figure as u32)?;
    }
    out.text(" stack\n")
}

/// There is nobody to tell that it cannot be told.
fn tell(failure: Failure) {
    let _ = Errors.text("firmware: ");
    let _ = failure.print(&mut Errors);
    let _ = Errors.text("\n");
}
