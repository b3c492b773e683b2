//! Invariant 7: kernels are proven. Every row of the case table on every runtime of the build.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bert_kernels::{Context, KernelError, cases};

/// Runtimes compiled in.
fn runtimes() -> Vec<&'static str> {
    let mut names = Vec::new();
    if cfg!(feature = "cpu") {
        names.push("cpu");
    }
    if cfg!(feature = "wgpu") {
        names.push("wgpu");
    }
    if cfg!(feature = "cuda") {
        names.push("cuda");
    }
    if cfg!(feature = "hip") {
        names.push("hip");
    }
    names
}

/// `BERT_CASES=gemm` runs only the rows whose line contains the text, for work on one op;
/// `BERT_RUNTIME=wgpu` only one runtime, whose device must then be there.
#[test]
fn every_row_on_every_runtime() {
    let only_row = std::env::var("BERT_CASES").unwrap_or_default();
    let only_runtime = std::env::var("BERT_RUNTIME").unwrap_or_default();
    let mut failures = Vec::new();
    for runtime in runtimes() {
        if !only_runtime.is_empty() && only_runtime != runtime {
            continue;
        }
        let ctx = match Context::open(runtime) {
            Ok(ctx) => ctx,
            // A build for a device may be tested on a machine without it; the CPU is never absent.
            Err(KernelError::Device { device, reason })
                if runtime != "cpu" && runtime != only_runtime =>
            {
                println!("{device}: no device, rows skipped: {reason}");
                continue;
            }
            Err(error) => {
                failures.push(format!("{runtime}: {error}"));
                continue;
            }
        };
        let (mut ran, mut skipped) = (0, 0);
        for case in cases::all() {
            let line = format!("{runtime} {case}");
            if !line.contains(&only_row) {
                continue;
            }
            if !cases::supports(&ctx, case.dtype) {
                skipped += 1;
                continue;
            }
            ran += 1;
            match catch_unwind(AssertUnwindSafe(|| (case.run)(&ctx))) {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => failures.push(format!("{line}: {failure}")),
                Err(_) => failures.push(format!("{line}: panicked")),
            }
        }
        println!("{runtime}: {ran} rows ran, {skipped} skipped for want of their element type");
    }
    assert!(failures.is_empty(), "{} rows failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_op_file_has_rows() {
    let with_rows: BTreeSet<String> = cases::all().iter().map(|case| case.op.to_owned()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|stem| stem != "mod")
        .collect();
    let without: Vec<_> = files.difference(&with_rows).collect();
    assert!(without.is_empty(), "op files without rows: {without:?}");
    let unknown: Vec<_> = with_rows.difference(&files).collect();
    assert!(unknown.is_empty(), "rows of no op file: {unknown:?}");
}

#[test]
fn names_of_rows_are_unique() {
    let mut seen = BTreeSet::new();
    for case in cases::all() {
        let line = case.to_string();
        assert!(seen.insert(line.clone()), "two rows are named `{line}`");
    }
}
