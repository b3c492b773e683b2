//! The two tables: what compiled, and what it takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{Swept, op_of};

/// One line a kernel function; under each target how many variants compiled and the largest one.
pub fn print_table(swept: &[Swept]) {
    let lines: BTreeSet<(&str, &str)> = swept
        .iter()
        .flat_map(|of_target| &of_target.kernels)
        .map(|kernel| (op_of(kernel), kernel.kernel.as_str()))
        .collect();
    let width = lines.iter().map(|(_, kernel)| kernel.len()).max().unwrap_or(0).max(6);
    print!("{:<22} {:<width$}", "op", "kernel");
    for of_target in swept {
        print!(" {:>18}", of_target.target.name());
    }
    println!();
    for (op, name) in lines {
        print!("{op:<22} {name:<width$}");
        for of_target in swept {
            let of_line = || {
                (of_target.kernels.iter())
                    .filter(|kernel| op_of(kernel) == op && kernel.kernel == name)
            };
            let failed = of_line().filter(|kernel| kernel.outcome.is_err()).count();
            let largest = of_line()
                .filter_map(|kernel| Some(kernel.outcome.as_ref().ok()?.bytes.len()))
                .max();
            let cell = match (failed, largest) {
                (0, None) => "-".into(),
                (0, Some(bytes)) => {
                    format!("{} ok, {} KiB", of_line().count(), bytes.div_ceil(1024))
                }
                (failed, _) => format!("{failed} of {} FAIL", of_line().count()),
            };
            print!(" {cell:>18}");
        }
        println!();
    }
    for of_target in swept {
        let ok = of_target.kernels.iter().filter(|kernel| kernel.outcome.is_ok()).count();
        println!(
            "{}: {ok} of {} kernels compile",
            of_target.target.name(),
            of_target.kernels.len()
        );
    }
}

/// One line a kernel: on each target the most registers, spilled bytes and bytes of arrays of a unit, the
/// most shared memory of a cube, and the widest access to memory, of all variants.
pub fn print_registers(report: &[Value]) {
    const COLUMNS: [(&str, &str); 6] = [
        ("registers", "registers"),
        ("spilled_bytes", "spilled"),
        ("stack_bytes", "stack"),
        ("shared_memory_bytes", "shared"),
        ("load_bytes", "load"),
        ("store_bytes", "store"),
    ];
    let mut most: BTreeMap<[&str; 3], [Option<u64>; COLUMNS.len()]> = BTreeMap::new();
    for entry in report {
        let name = ["op", "kernel", "target"].map(|key| entry[key].as_str().unwrap_or_default());
        let line = most.entry(name).or_default();
        for (most, (key, _)) in line.iter_mut().zip(COLUMNS) {
            *most = entry[key].as_u64().max(*most);
        }
    }
    print!("\n{:<22} {:<28} {:<8}", "op", "kernel", "target");
    for (_, title) in COLUMNS {
        print!(" {title:>9}");
    }
    println!();
    for ([op, kernel, target], line) in most {
        print!("{op:<22} {kernel:<28} {target:<8}");
        for number in line {
            print!(" {:>9}", number.map_or("-".into(), |number| number.to_string()));
        }
        println!();
    }
    println!("spilled, stack, load and store are bytes of a unit, shared those of a cube");
}
