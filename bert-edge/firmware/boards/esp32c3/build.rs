//! Names the linker script; `esp-hal` has the memory of the chip.

fn main() {
    println!("cargo::rerun-if-env-changed=BERT_MODEL");
    println!("cargo::rustc-link-arg=-Tlinkall.x");
}
