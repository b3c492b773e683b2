//! `cargo xtask firmware`: a model in the flash of emulated chips answers texts, and what it takes there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::machines::{self, Emulator, Firmware, MACHINES, Machine};
use crate::{packages, shell, targets};

/// Arguments of `cargo xtask firmware`.
#[derive(clap::Args)]
pub struct Args {
    /// m4, m7, m33, m55, rv32, or all.
    #[arg(value_parser = ["m4", "m7", "m33", "m55", "rv32", "all"])]
    chip: String,
    /// The model file; the demo's if not given.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// A BERT-tiny with random weights and so many pieces in place of a model.
    #[arg(long, value_name = "PIECES", conflicts_with = "model")]
    vocabulary: Option<u32>,
    /// Texts to answer; without any, texts of 16, 32 and 64 tokens are measured.
    texts: Vec<String>,
}

/// The chips of QEMU that have flash, RAM and nothing else.
fn chips() -> impl Iterator<Item = &'static Machine> {
    MACHINES.iter().filter(|chip| matches!(chip.emulator, Emulator::Arm | Emulator::RiscV))
}

/// Builds for the chips, runs, and compares with this machine.
///
/// # Errors
///
/// If a chip cannot be built for or emulated here, fails, or answers with other bits than this machine.
pub fn run(args: &Args) -> Result<()> {
    let model = model(args.model.as_deref())?;
    let asked: Vec<&Machine> =
        chips().filter(|chip| args.chip == "all" || args.chip == chip.name).collect();
    if args.texts.is_empty() {
        return measure(&asked, &model);
    }
    let host = Host::build()?;
    let texts: Vec<&str> = args.texts.iter().map(String::as_str).collect();
    let expected = host.outputs(&model, &texts)?;
    for chip in asked {
        let printed = Program::build(chip, &model)?.run(&texts, &[])?;
        println!("== {} ==\n{}", chip.name, printed.trim_end());
        check(chip, &printed, &expected)?;
    }
    Ok(())
}

/// The chips with the demo's model, and whether the boards compile: what CI does. A machine without the
/// emulators leaves it out.
///
/// # Errors
///
/// As [`run`].
pub fn test() -> Result<Option<String>> {
    for emulator in [Emulator::Arm, Emulator::RiscV] {
        let (program, package) = emulator.program();
        if let Err(error) = packages::program(program, package, "the firmware") {
            return Ok(Some(format!("{error:#}")));
        }
    }
    let model = model(None)?;
    let args = Args {
        chip: "all".into(),
        model: None,
        texts: vec!["turn on the lamp in the kitchen, please".into()],
    };
    run(&args)?;
    measure(&chips().collect::<Vec<_>>(), &model)?;
    boards(&model)?;
    Ok(None)
}

fn model(given: Option<&Path>) -> Result<PathBuf> {
    let model = match given {
        Some(file) => file.into(),
        None => shell::target_dir().join("demo/model.bert"),
    };
    let hint = if given.is_none() { "; `cargo xtask demo` makes it, or give --model" } else { "" };
    model.canonicalize().with_context(|| format!("cannot read {}{hint}", model.display()))
}

/// What is measured of a chip.
struct Row {
    chip: &'static str,
    /// Instructions of each text.
    instructions: Vec<u64>,
    /// Bytes of code and tables, and of the model.
    flash: [u64; 2],
    /// Bytes of variables, of scratch memory and of the stack.
    ram: [u64; 3],
}

fn measure(chips: &[&'static Machine], model: &Path) -> Result<()> {
    let host = Host::build()?;
    let measured = host.measured(model)?;
    let texts: Vec<&str> = measured.iter().map(|text| text.text.as_str()).collect();
    let expected = host.outputs(model, &texts)?;
    let mut rows = Vec::new();
    for chip in chips {
        if let Some(reason) = machines::cannot_count(chip) {
            bail!("{}: cannot count instructions: {reason}", chip.name);
        }
        let program = Program::build(chip, model)?;
        let plugin = machines::plugin()?;
        let counts = program.file.with_extension("counts");
        let options = machines::counting(&plugin, &counts);
        let printed = program.run(&texts, &options.each_ref().map(|option| &**option))?;
        check(chip, &printed, &expected)?;
        let instructions = machines::regions(&counts);
        ensure!(instructions.len() == texts.len(), "{}: no count for each text", chip.name);
        rows.push(Row {
            chip: chip.name,
            instructions,
            flash: figures(&printed, "flash ", [" code", " model"])?,
            ram: figures(&printed, "ram ", [" variables", " scratch", " stack"])?,
        });
        eprintln!("firmware: {}: answers as this machine does", chip.name);
    }
    print_table(&rows, &measured, &expected);
    let report = shell::target_dir().join("firmware/report.json");
    let text = format!("{:#}\n", to_json(&rows, &measured, &expected));
    std::fs::write(&report, text).with_context(|| format!("cannot write {}", report.display()))?;
    eprintln!("firmware: wrote {}", report.display());
    Ok(())
}

/// A line such as `flash 100 code, 200 model` as its numbers.
fn figures<const N: usize>(printed: &str, start: &str, ends: [&str; N]) -> Result<[u64; N]> {
    let line = printed.lines().find_map(|line| line.strip_prefix(start));
    let mut parts = line.with_context(|| format!("the chip printed no `{start}`"))?.split(", ");
    let mut numbers = [0; N];
    for (number, end) in numbers.iter_mut().zip(ends) {
        let part = parts.next().and_then(|part| part.strip_suffix(end)?.parse().ok());
        *number = part.with_context(|| format!("`{start}` without a number before `{end}`"))?;
    }
    Ok(numbers)
}

/// The checksum over the outputs of all texts.
fn outputs(printed: &str) -> Result<String> {
    let line = printed.lines().find_map(|line| line.strip_prefix("outputs "));
    Ok(line.context("no checksum of outputs was printed")?.to_owned())
}

fn check(chip: &Machine, printed: &str, expected: &str) -> Result<()> {
    let found = outputs(printed)?;
    ensure!(found == expected, "{}: outputs {found}, on this machine {expected}", chip.name);
    Ok(())
}

fn print_table(rows: &[Row], measured: &[Measured], outputs: &str) {
    print!("{:<5}", "chip");
    for text in measured {
        print!(" {:>18}", format!("{} tokens, per MAC", text.tokens));
    }
    let titles = ["code", "model", "variables", "scratch", "stack"];
    println!("{}", titles.map(|title| format!(" {title:>9}")).concat());
    for Row { chip, instructions, flash, ram } in rows {
        print!("{chip:<5}");
        for (count, text) in instructions.iter().zip(measured) {
            let per_mac = *count as f64 / text.macs as f64;
            print!(" {:>18}", format!("{:.1} M {per_mac:>6.3}", *count as f64 / 1e6));
        }
        let bytes = flash.iter().chain(ram);
        println!("{}", bytes.map(|bytes| format!(" {bytes:>9}")).collect::<String>());
    }
    println!("instructions of one text in millions and by multiplication; sizes in bytes");
    println!("outputs {outputs} on every chip, as on this machine");
}

fn to_json(rows: &[Row], measured: &[Measured], outputs: &str) -> Value {
    let chips = rows.iter().map(|row| {
        let texts = row.instructions.iter().zip(measured).map(|(count, text)| {
            json!({
                "tokens": text.tokens,
                "macs": text.macs,
                "instructions": count,
                "instructions_per_mac": *count as f64 / text.macs as f64,
            })
        });
        json!({
            "chip": row.chip,
            "texts": texts.collect::<Vec<_>>(),
            "flash": { "code": row.flash[0], "model": row.flash[1] },
            "ram": { "variables": row.ram[0], "scratch": row.ram[1], "stack": row.ram[2] },
        })
    });
    json!({ "outputs": outputs, "chips": chips.collect::<Vec<_>>() })
}

/// A text that is measured, as the host counts it.
struct Measured {
    tokens: u64,
    macs: u64,
    text: String,
}

/// The same program for this machine.
struct Host(PathBuf);

impl Host {
    fn build() -> Result<Self> {
        std::fs::create_dir_all(folder())?;
        let build = ["build", "--release", "--quiet", "-p", "bert-firmware"];
        shell::run(&mut shell::cargo(build))?;
        Ok(Self(shell::target_dir().join("release/bert-firmware")))
    }

    fn ask(&self, question: &str, model: &Path, texts: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.0);
        command.arg(question).arg(model).args(texts);
        machines::output(&mut command, &folder().join(format!("host-{question}.txt")))
    }

    fn outputs(&self, model: &Path, texts: &[&str]) -> Result<String> {
        outputs(&self.ask("run", model, texts)?)
    }

    fn measured(&self, model: &Path) -> Result<Vec<Measured>> {
        let printed = self.ask("measured", model, &[])?;
        let parse = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let mut number = || words.next()?.parse().ok();
            let (tokens, macs) = (number()?, number()?);
            Some(Measured { tokens, macs, text: words.next()?.to_owned() })
        };
        printed.lines().map(|line| parse(line).context("a line of `measured`")).collect()
    }
}

/// A chip's program with the model in it.
struct Program {
    chip: &'static Machine,
    file: PathBuf,
}

impl Program {
    fn build(chip: &'static Machine, model: &Path) -> Result<Self> {
        let (manifest, program) = match chip.emulator {
            Emulator::RiscV => ("bert-edge/firmware/riscv/Cargo.toml", "firmware-riscv"),
            _ => ("bert-edge/firmware/cortex-m/Cargo.toml", "firmware-cortex-m"),
        };
        let image = ("BERT_MODEL", model);
        let firmware = Firmware { manifest, program, image, folder: &folder() };
        Ok(Self { chip, file: firmware.build(chip, &chip.prepare()?)? })
    }

    fn run(&self, texts: &[&str], plugin: &[&str]) -> Result<String> {
        let mut command = machines::command(self.chip, &self.file, texts, plugin);
        machines::output(&mut command, &self.file.with_extension("txt"))
    }
}

/// Where programs and what they print are kept.
fn folder() -> PathBuf {
    shell::target_dir().join("firmware/chips")
}

/// Compiles the examples for real boards.
fn boards(model: &Path) -> Result<()> {
    const BOARDS: [(&str, &str); 2] =
        [("nrf52840", "thumbv7em-none-eabihf"), ("esp32c3", "riscv32imc-unknown-none-elf")];
    for (board, target) in BOARDS {
        let folder = shell::root().join("bert-edge/firmware/boards").join(board);
        let mut command = shell::cargo(["build", "--release", "--quiet", "--locked"]);
        // Its linker arguments stand in .cargo/ of its folder.
        command.args(["--target", target]).current_dir(folder).env("BERT_MODEL", model);
        command.env("CARGO_TARGET_DIR", shell::target_dir().join("firmware/boards"));
        targets::Way::find(target)?.apply(&mut command, target);
        shell::run(&mut command)?;
        eprintln!("firmware: the example for {board} compiles");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_a_chip_prints() {
        let printed = "text a\nflash 100 code, 200 model\nram 1 variables, 2 scratch, 3 stack\n";
        assert_eq!(figures(printed, "flash ", [" code", " model"]).unwrap(), [100, 200]);
        let ends = [" variables", " scratch", " stack"];
        assert_eq!(figures(printed, "ram ", ends).unwrap(), [1, 2, 3]);
        assert!(figures(printed, "flash ", [" model", " code"]).is_err());
        assert!(figures("", "flash ", [" code"]).is_err());
    }
}
