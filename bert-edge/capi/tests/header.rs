//! The committed header is the one that this crate has.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_that_of_the_functions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut made = Vec::new();
    cbindgen::generate_with_config(root, config).unwrap().write(&mut made);
    let made = without_safety(&String::from_utf8(made).unwrap())
        // What cbindgen cannot say: one enum without its name in the constants.
        .replace("BERT_STATUS_OK", "BERT_OK")
        .replace("BERT_STATUS_ERROR_", "BERT_ERROR_");
    let path = root.join("include/bert_edge.h");
    if std::env::var_os("BERT_WRITE_HEADER").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == made,
        "include/bert_edge.h is stale: make it with `BERT_WRITE_HEADER=1 cargo test --release -p \
         bert-edge-capi --test header`"
    );
}

/// The promise to the compiler stands in a section of its own for Rust; in C all of it goes without
/// saying.
fn without_safety(header: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in header.lines() {
        let text = line.trim_start();
        if text == "// # Safety" {
            inside = true;
            // The empty line before it.
            if lines.last().is_some_and(|last| last.trim() == "//") {
                lines.pop();
            }
        }
        inside &= text.starts_with("//");
        if !inside {
            lines.push(line.trim_end());
        }
    }
    lines.join("\n") + "\n"
}
