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
    // LLVM makes a list of its targets when it first compiles for one, and two threads would spoil it.
    for first in [nvidia.first(), amd.first()].into_iter().flatten() {
        compile_one(*first)?;
    }
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
        let text = format!("{:#}\n", Value::Array(report.clone()));
        write(path, text.as_bytes())?;
    }
    print_table(&swept);
    print_registers(&report);
    verdict(&swept)?;
    spills(&report)
}

/// Any one row.
fn compile_one(target: Target) -> Result<(), String> {
    let device = Device::new(target).map_err(|error| error.to_string())?;
    let work = |ctx: &bert_kernels::Context| {
        if let Some(case) = cases::all().first() {
            let _ = catch_unwind(AssertUnwindSafe(|| (case.run)(ctx)));
        }
    };
    device.compiled_for("start", work).map(|_| ()).map_err(|error| error.to_string())
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

/// The kernel on tensor cores, and what it is made of; how wide its copies are depends on the sizes.
const TENSOR_KERNEL: &str = "GemmTensor";
const TENSOR_INSTRUCTIONS: [(&str, &str); 3] =
    [("mma", "mma.sync"), ("ldmatrix", "ldmatrix.sync"), ("copies_of_16", ", 16, ")];

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
            if target.is_nvidia() && kernel.kernel == TENSOR_KERNEL {
                let text = String::from_utf8_lossy(&code.bytes);
                for (key, instruction) in TENSOR_INSTRUCTIONS {
                    entry.insert(key.into(), json!(text.contains(instruction)));
                }
            }
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

/// Bytes of a unit that may lie in memory instead of registers. The assembler moves a few words that a
/// loop does not use, so that one more cube fits; more than that is a kernel with too many registers.
const MOST_SPILLED_BYTES: u64 = 64;

fn spilled_bytes(entry: &Value) -> Option<u64> {
    Some(entry["spill_store_bytes"].as_u64()? + entry["spill_load_bytes"].as_u64()?)
}

/// One line a kernel: on each target of NVIDIA the most registers and spilled bytes of a unit and shared
/// memory of a cube, of all variants. Nothing where there was no assembler.
fn print_registers(report: &[Value]) {
    let mut most: BTreeMap<[&str; 3], [u64; 3]> = BTreeMap::new();
    for entry in report {
        let name = ["op", "kernel", "target"].map(|key| entry[key].as_str().unwrap_or_default());
        let numbers = (entry["registers"].as_u64(), spilled_bytes(entry));
        if let (Some(registers), Some(spilled)) = numbers {
            let shared = entry["shared_memory_bytes"].as_u64().unwrap_or(0);
            let line = most.entry(name).or_default();
            for (most, here) in line.iter_mut().zip([registers, spilled, shared]) {
                *most = here.max(*most);
            }
        }
    }
    if most.is_empty() {
        return;
    }
    println!(
        "\n{:<22} {:<28} {:<8} {:>9} {:>13} {:>12}",
        "op", "kernel", "target", "registers", "spilled bytes", "shared bytes"
    );
    for ([op, kernel, target], [registers, spilled, shared]) in most {
        println!("{op:<22} {kernel:<28} {target:<8} {registers:>9} {spilled:>13} {shared:>12}");
    }
}

fn spills(report: &[Value]) -> Result<(), String> {
    let mut wrong = Vec::new();
    for entry in report {
        let name =
            || ["target", "op", "dtype", "kernel"].map(|key| entry[key].as_str().unwrap_or("?"));
        if let Some(reason) = entry["ptxas_error"].as_str() {
            wrong.push(format!("{}: the assembler refuses it: {reason}", name().join(" ")));
        }
        if let Some(bytes) = spilled_bytes(entry).filter(|bytes| *bytes > MOST_SPILLED_BYTES) {
            wrong.push(format!("{}: {bytes} bytes of a unit spilled", name().join(" ")));
        }
        // A product on tensor cores without one of its instructions would be right, and slow.
        for key in ["mma", "ldmatrix"] {
            if entry[key] == false {
                wrong.push(format!("{}: no {key} in its code", name().join(" ")));
            }
        }
    }
    wrong.iter().for_each(|line| eprintln!("{line}"));
    if wrong.is_empty() { Ok(()) } else { Err(format!("{} failures", wrong.len())) }
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
