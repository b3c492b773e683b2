//! Names the linker script; `bert-machine` gives it the memory of the machine.

fn main() {
    println!("cargo::rustc-link-arg=--nmagic");
    println!("cargo::rustc-link-arg=-Tlink.x");
}
