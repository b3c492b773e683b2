//! What fails: a kernel that does not compile, and one that lost what makes it fast.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Swept, op_of};

/// Bytes of a unit that may be stored to and loaded from memory instead of staying in registers. The
/// assembler moves a few words that a loop does not use, so that one more cube fits; more than that is a
/// kernel with too many registers.
const MOST_SPILLED_BYTES: u64 = 64;

/// What memory moves at once.
const WIDE_BYTES: u64 = 16;
/// Kernels that read nothing, or one number a cube.
const NARROW_LOADS: [&str; 2] = ["FillElements", "RootOfSum"];
/// Kernels that leave a number or two for each row or cube.
const NARROW_STORES: [&str; 6] =
    ["MeanSquares", "RootOfSum", "RowDots", "Statistics", "SumSquares", "TrustRatios"];

/// Whether every kernel compiles, and every row launched one.
pub fn all_compile(swept: &[Swept]) -> Result<(), String> {
    // One line a kernel and reason, however many variants of the kernel share it.
    let mut wrong: BTreeMap<String, usize> = BTreeMap::new();
    for of_target in swept {
        let target = of_target.target.name();
        for kernel in &of_target.kernels {
            if let Err(reason) = &kernel.outcome {
                let line = format!("{target} {} {}: {reason}", op_of(kernel), kernel.kernel);
                *wrong.entry(line).or_default() += 1;
            }
        }
        for (op, _) in (of_target.launches.iter()).filter(|(_, count)| **count == 0) {
            wrong.insert(format!("{target} {op}: its rows launched nothing"), 1);
        }
    }
    for (line, count) in &wrong {
        eprintln!("{line} ({count} of its variants)");
    }
    let kernels: usize = swept.iter().map(|of_target| of_target.kernels.len()).sum();
    match (wrong.values().sum::<usize>(), kernels) {
        (0, 0) => Err("no row of the case table launched anything".into()),
        (0, _) => Ok(()),
        (count, _) => Err(format!("{count} failures")),
    }
}

/// Whether kernels for GPUs are what they should be: accepted by the assembler, within their registers,
/// with the instructions of the tensor cores where they compute on them.
pub fn all_fit(report: &[Value]) -> Result<(), String> {
    let mut wrong = Vec::new();
    for entry in report {
        let name = || name(entry, &["target", "op", "dtype", "kernel"]);
        if let Some(reason) = entry["assembler_error"].as_str() {
            wrong.push(format!("{}: the assembler refuses it: {reason}", name()));
        }
        let spilled = entry["spilled_bytes"].as_u64();
        if let Some(bytes) = spilled.filter(|bytes| *bytes > MOST_SPILLED_BYTES) {
            wrong.push(format!("{}: {bytes} bytes of a unit spilled", name()));
        }
        // An array whose place is not known when compiling lies in memory: a loop was not unrolled.
        if let Some(bytes) = entry["stack_bytes"].as_u64().filter(|bytes| *bytes > 0) {
            wrong.push(format!("{}: an array of {bytes} bytes in memory", name()));
        }
        // A product on tensor cores without one of its instructions would be right, and slow.
        for key in ["mma", "ldmatrix"] {
            if entry[key] == false {
                wrong.push(format!("{}: no {key} in its code", name()));
            }
        }
    }
    fail_with(&wrong)
}

/// Whether each kernel has a variant that reads and writes 16 bytes at once on NVIDIA, as it does where
/// rows are long enough. It takes all rows of the table to tell.
pub fn all_access_wide(report: &[Value]) -> Result<(), String> {
    let mut widest: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in report.iter().filter(|entry| entry.get("load_bytes").is_some()) {
        let line = widest.entry(name(entry, &["target", "kernel"])).or_default();
        for (widest, key) in line.iter_mut().zip(["load_bytes", "store_bytes"]) {
            *widest = entry[key].as_u64().unwrap_or(0).max(*widest);
        }
    }
    for (name, [load, store]) in &widest {
        let kernel = name.rsplit(' ').next().unwrap_or(name);
        for (what, bytes, exempt) in
            [("load", load, &NARROW_LOADS[..]), ("store", store, &NARROW_STORES[..])]
        {
            if *bytes < WIDE_BYTES && !exempt.contains(&kernel) {
                wrong.push(format!("{name}: the widest {what} has {bytes} bytes"));
            }
        }
    }
    fail_with(&wrong)
}

fn name(entry: &Value, keys: &[&str]) -> String {
    let words: Vec<&str> = keys.iter().map(|key| entry[*key].as_str().unwrap_or("?")).collect();
    words.join(" ")
}

fn fail_with(wrong: &[String]) -> Result<(), String> {
    wrong.iter().for_each(|line| eprintln!("{line}"));
    if wrong.is_empty() { Ok(()) } else { Err(format!("{} failures", wrong.len())) }
}
