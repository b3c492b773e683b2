//! Compiles every kernel of the case table for NVIDIA and AMD, on a machine that has neither, and
//! prints what came out.

mod checks;
mod inspect;
mod tables;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bert_kernels::cases;
use bert_kernels::offline::{Compiled, Device, Target};
use clap::Parser;
use serde_json::Value;

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
    /// A folder for the PTX, and for the code objects and their assembly.
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

/// CubeCL keeps the assembly of AMD's kernels where this variable is set.
const KEEP_ASSEMBLY: &str = "CUBECL_DEBUG_PLIRON";

fn main() -> ExitCode {
    // SAFETY: no other thread runs yet.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var(KEEP_ASSEMBLY, "1");
    }
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
            report.push(inspect::entry(of_target.target, kernel, args.ptxas.as_deref())?);
        }
    }
    if let Some(path) = &args.report {
        let text = format!("{:#}\n", Value::Array(report.clone()));
        write(path, text.as_bytes())?;
    }
    tables::print_table(&swept);
    tables::print_registers(&report);
    checks::all_compile(&swept)?;
    checks::all_fit(&report)?;
    if rows.is_empty() { checks::all_access_wide(&report) } else { Ok(()) }
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

fn dump(folder: &Path, target: Target, kernel: &Compiled) -> Result<(), String> {
    let Ok(code) = &kernel.outcome else {
        return Ok(());
    };
    let path = |extension: &str| {
        let name = format!("{}-{}.{extension}", kernel.kernel, &kernel.id[..8]);
        folder.join(target.name()).join(name)
    };
    // What the text does not say by itself.
    let head = format!(
        "// {}\n// shared memory: {} bytes\n",
        kernel.variant.replace('\n', " "),
        code.shared_memory_bytes
    );
    if let Some(assembly) = &code.assembly {
        write(&path("s"), &[head.as_bytes(), assembly.as_bytes()].concat())?;
    }
    if !target.is_nvidia() {
        return write(&path("co"), &code.bytes);
    }
    write(&path("ptx"), &[head.as_bytes(), &code.bytes].concat())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, bytes).map_err(failed)
}

fn op_of(kernel: &Compiled) -> &str {
    kernel.label.split_once(' ').map_or(&kernel.label, |(op, _)| op)
}
