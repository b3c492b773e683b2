//! A panic ends the program, and says no more than that it happened.

use core::fmt::Write;

use semihosting::process;

use crate::Errors;
use crate::exit::PANIC;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    let _ = Errors.write_str("firmware: panic\n");
    process::exit(PANIC)
}
