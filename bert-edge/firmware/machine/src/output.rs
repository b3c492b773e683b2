//! Arguments and standard output by semihosting.

use semihosting::experimental::env::{Args, args};
use semihosting::io;

/// Arguments without the program's name, from a line of at most `BYTES` − 1 bytes. Words in quotes of
/// either kind are one argument.
///
/// # Errors
///
/// If the line is longer.
pub fn arguments<const BYTES: usize>() -> io::Result<Args<BYTES>> {
    let arguments = args()?;
    (&arguments).next();
    Ok(arguments)
}

/// Standard output as `core::fmt` writes to it.
pub struct Out(io::Stdout);

impl Out {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// If the emulator has none.
    pub fn open() -> io::Result<Self> {
        io::stdout().map(Out)
    }
}

impl core::fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        io::Write::write_all(&mut self.0, text.as_bytes()).map_err(|_| core::fmt::Error)
    }
}
