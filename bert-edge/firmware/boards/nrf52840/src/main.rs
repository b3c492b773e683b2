//! A model in the flash of an nRF52840 answers a text on the serial port of the development kit.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

use core::fmt::Write;

use bert_firmware::{Failure, answer, start};
use cortex_m::peripheral::{DCB, DWT};
use cortex_m_rt::entry;
use heapless::String;
use nrf52840_hal::gpio::{Level, p0};
use nrf52840_hal::uarte::{Baudrate, Parity, Pins};
use nrf52840_hal::{Clocks, Uarte, pac};
use panic_halt as _;

const TEXT: &str = "turn on the lamp in the kitchen";
/// Room for an answer's lines.
const ANSWER_BYTES: usize = 512;
/// The core's only clock, in kHz.
const CYCLES_PER_MS: u32 = 64_000;

bert_firmware::image!(env!("BERT_MODEL", "the path of a model file"));

#[entry]
fn main() -> ! {
    let (Some(chip), Some(mut core)) = (pac::Peripherals::take(), cortex_m::Peripherals::take())
    else {
        unreachable!("`main` runs once");
    };
    Clocks::new(chip.CLOCK).enable_ext_hfosc();
    // Off after reset; without it every fetch from flash waits.
    chip.NVMC.icachecnf.write(|cache| cache.cacheen().enabled());
    count_cycles(&mut core.DCB, &mut core.DWT);
    let port = p0::Parts::new(chip.P0);
    let pins = Pins {
        txd: port.p0_06.into_push_pull_output(Level::High).degrade(),
        rxd: port.p0_08.into_floating_input().degrade(),
        cts: None,
        rts: None,
    };
    let mut serial = Uarte::new(chip.UARTE0, pins, Parity::EXCLUDED, Baudrate::BAUD115200);
    if let Err(failure) = run(&mut serial) {
        // There is nobody else to tell.
        let _ = write!(serial, "{failure}\r\n");
    }
    loop {
        cortex_m::asm::wfi();
    }
}

fn count_cycles(debug: &mut DCB, watch: &mut DWT) {
    debug.enable_trace();
    watch.enable_cycle_counter();
}

/// Proves the model, then answers the text and says how long that took.
fn run(serial: &mut impl Write) -> Result<(), Failure> {
    let scratch = image::scratch().unwrap_or_default();
    let mut session = start::<{ image::HEADS }>(image::model(), scratch)?;
    let mut lines = String::<ANSWER_BYTES>::new();
    let began = DWT::cycle_count();
    answer::<{ image::HEADS }>(&mut session, TEXT, &mut lines)?;
    let cycles = DWT::cycle_count().wrapping_sub(began);
    write!(serial, "{TEXT}\r\n")?;
    for line in lines.lines() {
        write!(serial, "{line}\r\n")?;
    }
    write!(serial, "{cycles} cycles, {} ms\r\n", cycles / CYCLES_PER_MS)?;
    Ok(())
}
