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

/// Standard error as `core::fmt` writes to it.
pub struct Errors;

impl core::fmt::Write for Errors {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let mut stream = io::stderr().map_err(|_| core::fmt::Error)?;
        io::Write::write_all(&mut stream, text.as_bytes()).map_err(|_| core::fmt::Error)
    }
}

/// Says on standard error that the processor found a fault: what, then registers, which are first the
/// address and then that of the caller.
#[cfg(any(target_arch = "arm", target_arch = "riscv32"))]
pub(crate) fn fault(what: &str, registers: &[u32]) {
    let put = |text: &str| core::fmt::Write::write_str(&mut Errors, text);
    let _ = put("firmware: ").and_then(|()| put(what));
    for register in registers {
        let _ = put(" ");
        for shift in (0..u32::BITS).step_by(4).rev() {
            let digit = (register >> shift & 15) as usize;
            let _ = put("0123456789abcdef".get(digit..=digit).unwrap_or_default());
        }
    }
    let _ = put("\n");
}
