//! Names the linker scripts; `bert-machine` has the memory of the machine.

fn main() {
    println!("cargo::rustc-link-arg=-Tmemory.x");
    println!("cargo::rustc-link-arg=-Tlink.x");
}
