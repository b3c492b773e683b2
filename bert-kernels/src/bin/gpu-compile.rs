//! Compiles every kernel of the case table for NVIDIA and AMD, on a machine that has neither, and
//! prints what came out.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use bert_kernels::cases;
use bert_kernels::offline::{Compiled, Device, Target};
use clap::Parser;
use serde_json::{Map, Value, json};

/// Compiles every kernel of the case table for NVIDIA and AMD without a GPU.
#[derive(Parser)]
#[command(name = "gpu-compile")]
struct Args {
    /// Only this target; may be given again. All of sm_80, sm_90, gfx942, gfx1100 without it.
    #[arg(long = "target", value_parser = target)]
    targets: Vec<Target>,
    /// Only rows of the case table whose line contains this.
    #[arg(long, default_value = "")]
    rows: String,
    /// Where the report goes, one object a kernel and target, as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
    /// A folder for the PTX and the code objects.
    #[arg(long)]
    dump: Option<PathBuf>,
    /// NVIDIA's assembler, which tells registers and spills; it comes in PyPI's nvidia-cuda-nvcc.
    #[arg(long)]
    ptxas: Option<PathBuf>,
}

fn target(name: &str) -> Result<Target, String> {
    Target::by_name(name).ok_or_else(|| {
        let names: Vec<_> = Target::ALL.map(Target::name).into();
        format!("expected one of {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("gpu-compile: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let targets = match args.targets.as_slice() {
        [] => Target::ALL.to_vec(),
        some => some.to_vec(),
    };
    // AMD's linker inside LLVM keeps global state, so one thread a vendor.
    let (nvidia, amd): (Vec<Target>, Vec<Target>) =
        targets.iter().partition(|target| target.is_nvidia());
    let rows = &args.rows;
    let of_vendor = |targets: Vec<Target>| -> Result<Vec<Swept>, String> {
        targets.into_iter().map(|target| sweep(target, rows)).collect()
    };
    let (nvidia, amd) = std::thread::scope(|scope| {
        let amd = scope.spawn(|| of_vendor(amd));
        let nvidia = of_vendor(nvidia);
        (nvidia, amd.join())
    });
    let mut swept = nvidia?;
    swept.extend(amd.map_err(|_| "the thread of the AMD targets panicked")??);

    let mut report = Vec::new();
    for of_target in &swept {
        for kernel in &of_target.kernels {
            if let Some(folder) = &args.dump {
                dump(folder, of_target.target, kernel)?;
            }
            report.push(entry(of_target.target, kernel, args.ptxas.as_deref())?);
        }
    }
    if let Some(path) = &args.report {
        let text = format!("{:#}\n", Value::Array(report));
        write(path, text.as_bytes())?;
    }
    print_table(&swept);
    verdict(&swept)
}

/// All rows on one target.
struct Swept {
    target: Target,
    kernels: Vec<Compiled>,
    /// Launches of each op.
    launches: BTreeMap<&'static str, usize>,
}

fn sweep(target: Target, rows: &str) -> Result<Swept, String> {
    let device = Device::new(target).map_err(|error| error.to_string())?;
    let mut launches = BTreeMap::new();
    for case in cases::all() {
        if !case.to_string().contains(rows) {
            continue;
        }
        let label = format!("{} {}", case.op, case.dtype);
        let work = |ctx: &bert_kernels::Context| {
            // The row reads zeros and says so, or stumbles over them: only its launches count.
            let _ = catch_unwind(AssertUnwindSafe(|| (case.run)(ctx)));
        };
        let count = device.compiled_for(&label, work);
        *launches.entry(case.op).or_default() += count.map_err(|error| error.to_string())?;
    }
    Ok(Swept { target, kernels: device.compiled(), launches })
}

fn entry(target: Target, kernel: &Compiled, ptxas: Option<&Path>) -> Result<Value, String> {
    let (op, dtype) = kernel.label.split_once(' ').unwrap_or((&kernel.label, ""));
    let mut entry = Map::new();
    entry.insert("op".into(), json!(op));
    entry.insert("dtype".into(), json!(dtype));
    entry.insert("kernel".into(), json!(kernel.kernel));
    entry.insert("path".into(), json!(kernel.path));
    entry.insert("id".into(), json!(kernel.id));
    entry.insert("target".into(), json!(target.name()));
    entry.insert("units".into(), json!(kernel.units));
    match &kernel.outcome {
        Ok(code) => {
            entry.insert("bytes".into(), json!(code.bytes.len()));
            entry.insert("shared_memory_bytes".into(), json!(code.shared_memory_bytes));
            if let (Some(ptxas), true) = (ptxas, target.is_nvidia()) {
                entry.extend(assembled(ptxas, target, &code.bytes)?);
            }
        }
        Err(reason) => {
            entry.insert("error".into(), json!(reason));
        }
    }
    Ok(Value::Object(entry))
}

/// Registers and spilled bytes of a unit, by NVIDIA's assembler.
fn assembled(ptxas: &Path, target: Target, ptx: &[u8]) -> Result<Map<String, Value>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", ptxas.display());
    let text = String::from_utf8_lossy(ptx);
    // Hopper's PTX may be for sm_90a, which the text says itself.
    let arch = (text.lines())
        .find_map(|line| line.trim().strip_prefix(".target "))
        .map_or(target.name(), |names| names.split(',').next().unwrap_or(names).trim());
    let input = std::env::temp_dir().join(format!("gpu-compile-{}.ptx", std::process::id()));
    std::fs::write(&input, ptx).map_err(failed)?;
    let output = Command::new(ptxas)
        .args(["-v", "-arch", arch, "-o", "/dev/null"])
        .arg(&input)
        .stdin(Stdio::null())
        .output()
        .map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stderr);
    // It is ours and temporary; leaving it behind would not matter.
    let _ = std::fs::remove_file(&input);
    if !output.status.success() {
        return Ok(Map::from_iter([("ptxas_error".into(), json!(said))]));
    }
    let before = |unit: &str| -> u64 {
        let parts: Vec<&str> = said.split(unit).collect();
        parts[..parts.len() - 1]
            .iter()
            .filter_map(|part| part.split_whitespace().last()?.parse::<u64>().ok())
            .sum()
    };
    Ok(Map::from_iter([
        ("registers".into(), json!(before(" registers"))),
        ("spill_store_bytes".into(), json!(before(" bytes spill stores"))),
        ("spill_load_bytes".into(), json!(before(" bytes spill loads"))),
    ]))
}

fn dump(folder: &Path, target: Target, kernel: &Compiled) -> Result<(), String> {
    let Ok(code) = &kernel.outcome else {
        return Ok(());
    };
    let extension = if target.is_nvidia() { "ptx" } else { "co" };
    let name = format!("{}-{}.{extension}", kernel.kernel, &kernel.id[..8]);
    write(&folder.join(target.name()).join(name), &code.bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, bytes).map_err(failed)
}

/// One line a kernel function; under each target how many variants compiled and the largest one.
fn print_table(swept: &[Swept]) {
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

fn op_of(kernel: &Compiled) -> &str {
    kernel.label.split_once(' ').map_or(&kernel.label, |(op, _)| op)
}

fn verdict(swept: &[Swept]) -> Result<(), String> {
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
