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
/// What a register holds.
const WORD_BYTES: u64 = 4;
/// Kernels that read nothing, one number a cube, or the two logits of a token.
const NARROW_LOADS: [&str; 4] = [
    "elementwise::fill_elements::FillElements",
    "optimizer::global_norm::root_of_sum::RootOfSum",
    "span_cross_entropy::gradients::Gradients",
    "span_cross_entropy::statistics::Statistics",
];
/// Kernels that leave a number or two for each row or cube.
const NARROW_STORES: [&str; 9] = [
    "attention::row_dots::dot_rows::DotRows",
    "binary_cross_entropy::statistics::Statistics",
    "cross_entropy::kernels::statistics::Statistics",
    "mean_squared_error::mean_squares::MeanSquares",
    "optimizer::global_norm::root_of_sum::RootOfSum",
    "optimizer::global_norm::sum_squares::SumSquares",
    "optimizer::lamb::trust_ratios::TrustRatios",
    "span_cross_entropy::gradients::Gradients",
    "span_cross_entropy::statistics::Statistics",
];

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
        for key in ["mma", "ldmatrix", "mfma", "wmma"] {
            if entry[key] == false {
                wrong.push(format!("{}: no {key} in its code", name()));
            }
        }
        // A fragment that is read an element at a time.
        let narrowest = entry["least_shared_load_bytes"].as_u64();
        if let Some(bytes) = narrowest.filter(|bytes| *bytes < WORD_BYTES) {
            wrong.push(format!("{}: reads {bytes} bytes of shared memory at once", name()));
        }
    }
    fail_with(&wrong)
}

/// Whether each kernel has a variant that reads and writes 16 bytes at once, as it does where rows are long
/// enough, and each of AMD's tensor kernels one that reads as much of shared memory. It takes all rows of
/// the table to tell.
pub fn all_access_wide(report: &[Value]) -> Result<(), String> {
    // By the function, since operations share some kernels, and others share a name.
    let mut widest: BTreeMap<(&str, &str), [Option<u64>; 3]> = BTreeMap::new();
    for entry in report.iter().filter(|entry| entry.get("load_bytes").is_some()) {
        let path = entry["path"].as_str().unwrap_or("?");
        let function = path.split_once('<').map_or(path, |(function, _)| function);
        let line = widest.entry((entry["target"].as_str().unwrap_or("?"), function)).or_default();
        for (widest, key) in line.iter_mut().zip(["load_bytes", "store_bytes", "shared_load_bytes"])
        {
            *widest = entry.get(key).map(|bytes| bytes.as_u64().unwrap_or(0)).max(*widest);
        }
    }
    let mut wrong = Vec::new();
    for ((target, function), [load, store, shared]) in &widest {
        let checks = [
            ("load", load, &NARROW_LOADS[..]),
            ("store", store, &NARROW_STORES[..]),
            ("load of shared memory", shared, &[]),
        ];
        for (what, bytes, exempt) in checks {
            let Some(bytes) = bytes else {
                continue;
            };
            let may_be = exempt.iter().any(|kernel| function.ends_with(&format!("::{kernel}")));
            if *bytes < WIDE_BYTES && !may_be {
                wrong.push(format!("{target} {function}: the widest {what} has {bytes} bytes"));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(path: &str, load: Option<u64>, store: u64) -> Value {
        json!({ "target": "sm_90", "path": path, "load_bytes": load, "store_bytes": store })
    }

    #[test]
    fn a_kernel_without_a_wide_access_fails_whatever_others_have_its_name() {
        let wide = entry("k::cross_entropy::gradients::Gradients<f32>", Some(16), 16);
        let narrow = entry("k::new_loss::gradients::Gradients<f32>", Some(16), 4);
        assert_eq!(all_access_wide(std::slice::from_ref(&wide)), Ok(()));
        assert_eq!(all_access_wide(&[wide, narrow.clone()]), Err("1 failures".into()));
        // Another variant of the same function is enough.
        let other = entry("k::new_loss::gradients::Gradients<bf16>", Some(4), 16);
        assert_eq!(all_access_wide(&[narrow, other]), Ok(()));
    }

    #[test]
    fn kernels_that_move_a_number_are_named() {
        let fill = entry("k::ops::elementwise::fill_elements::FillElements<f32>", None, 16);
        assert_eq!(all_access_wide(&[fill]), Ok(()));
        let norm = entry("k::ops::optimizer::global_norm::sum_squares::SumSquares", Some(8), 4);
        assert!(all_access_wide(&[norm]).is_err());
    }

    #[test]
    fn spills_arrays_and_lost_instructions_fail() {
        for (key, bad, good) in [
            ("spilled_bytes", json!(65), json!(64)),
            ("stack_bytes", json!(4), json!(0)),
            ("mma", json!(false), json!(true)),
            ("ldmatrix", json!(false), json!(true)),
            ("mfma", json!(false), json!(true)),
            ("wmma", json!(false), json!(true)),
            ("least_shared_load_bytes", json!(2), json!(4)),
        ] {
            assert_eq!(all_fit(&[json!({ key: good })]), Ok(()), "{key}");
            assert_eq!(all_fit(&[json!({ key: bad })]), Err("1 failures".into()), "{key}");
        }
        assert!(all_fit(&[json!({ "assembler_error": "no" })]).is_err());
    }
}
