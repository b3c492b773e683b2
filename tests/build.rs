//! Has the linker export what `bert-kernels/src/narrow.rs` is found by.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Elsewhere programs export all they have.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=__truncsfbf2");
    }
}
