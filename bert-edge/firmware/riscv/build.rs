//! Names the linker scripts; `bert-machine` has the memory of the machine.

fn main() {
    println!("cargo::rustc-link-arg=-Tmemory.x");
    println!("cargo::rustc-link-arg=-Tlink.x");
    // Functions of equal code become one: nothing compares their addresses.
    println!("cargo::rustc-link-arg=--icf=all");
}
