//! A model in the flash of an ESP32-C3 answers a text on USB, or on UART 0 where that is connected.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

use bert_firmware::{Failure, answer, start};
// Linked by name only: the compiler calls it for floats.
use bert_soft_float as _;
use esp_backtrace as _;
use esp_hal::clock::CpuClock;
use esp_hal::main;
use esp_hal::time::Instant;
use esp_println::{print, println};
use heapless::String;

const TEXT: &str = "turn on the lamp in the kitchen";
/// Room for an answer's lines.
const ANSWER_BYTES: usize = 512;

bert_firmware::image!(env!("BERT_MODEL", "the path of a model file"));
esp_bootloader_esp_idf::esp_app_desc!();

#[main]
fn main() -> ! {
    let _ = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    if let Err(failure) = run() {
        println!("{failure}");
    }
    loop {
        core::hint::spin_loop();
    }
}

/// Proves the model, then answers the text and says how long that took.
fn run() -> Result<(), Failure> {
    let scratch = image::scratch().unwrap_or_default();
    let mut session = start::<{ image::HEADS }>(image::model(), scratch)?;
    let mut lines = String::<ANSWER_BYTES>::new();
    let began = Instant::now();
    answer::<{ image::HEADS }>(&mut session, TEXT, &mut lines)?;
    let took = began.elapsed();
    println!("{TEXT}");
    print!("{lines}");
    println!("{} ms", took.as_millis());
    Ok(())
}
