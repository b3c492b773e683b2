//! Arm Cortex-M: cortex-m-rt sets up memory and the FPU.
#![allow(unsafe_code)]

// Its critical section is linked in by name only.
use cortex_m as _;
use cortex_m_rt::{ExceptionFrame, STACK_PAINT_VALUE, entry, exception};
use semihosting::{eprintln, println, process};

/// Exit code of a fault; 101 is that of a panic.
const FAULT: i32 = 102;

#[entry]
fn main() -> ! {
    // SAFETY: `main` runs once.
    let code = unsafe { crate::program::run() };
    println!("stack {}", stack_bytes());
    process::exit(code)
}

/// Bytes of the stack that were ever in use: those above the lowest word that lost its paint.
fn stack_bytes() -> usize {
    unsafe extern "C" {
        static _stack_start: u32;
        static _stack_end: u32;
    }
    let (top, bottom) = (&raw const _stack_start, &raw const _stack_end);
    let mut word = bottom;
    // SAFETY: the words between the two are the stack, painted before `main`.
    while word < top && unsafe { word.read_volatile() } == STACK_PAINT_VALUE {
        word = word.wrapping_add(1);
    }
    top as usize - word as usize
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    eprintln!("firmware: hard fault at {:#010x}, called from {:#010x}", frame.pc(), frame.lr());
    process::exit(FAULT)
}

#[exception]
unsafe fn DefaultHandler(number: i16) {
    eprintln!("firmware: exception {number}");
    process::exit(FAULT)
}
