//! Names the linker script; `nrf52840-hal` has the memory of the chip, without a SoftDevice.

fn main() {
    println!("cargo::rerun-if-env-changed=BERT_MODEL");
    println!("cargo::rustc-link-arg=--nmagic");
    println!("cargo::rustc-link-arg=-Tlink.x");
}
