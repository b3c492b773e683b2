//! Tells the linker what kind of program this is.

fn main() {
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let arguments: &[&str] = match architecture.as_str() {
        "arm" => &["--nmagic", "-Tlink.x"],
        "riscv32" => &["-Tmemory.x", "-Tlink.x"],
        // A function that the host calls, not a program.
        "wasm32" => &["--no-entry", "--export=identity"],
        _ => &[],
    };
    for argument in arguments {
        println!("cargo::rustc-link-arg={argument}");
    }
}
