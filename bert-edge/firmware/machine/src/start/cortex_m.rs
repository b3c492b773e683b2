//! Arm Cortex-M: cortex-m-rt sets up memory and the FPU, and paints the stack.
#![allow(unsafe_code)]

// Its critical section is linked in by name only.
use cortex_m as _;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use semihosting::process;

use crate::exit::FAULT;
use crate::output::fault;

/// No interrupt is in use, so their table is not as long as that of every device would be.
// SAFETY: cortex-m-rt leaves the name and the section to the device.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [unsafe extern "C" fn(); 1] = [{
    unsafe extern "C" {
        fn DefaultHandler();
    }
    DefaultHandler
}];

#[entry]
fn main() -> ! {
    process::exit(crate::run_program())
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    fault("hard fault", &[frame.pc(), frame.lr()]);
    process::exit(FAULT)
}

#[exception]
unsafe fn DefaultHandler(number: i16) {
    fault("exception", &[number as u32]);
    process::exit(FAULT)
}
