//! `cargo xtask firmware`: a model in the flash of emulated chips answers texts, and what it takes there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::machines::{self, Emulator, Firmware, MACHINES, Machine};
use crate::{packages, shell, targets};

/// Code, constants and the first values of variables of a firmware, without the model.
const MOST_CODE_BYTES: u64 = 64 * 1024;
/// Variables, scratch memory and stack of BERT-tiny for texts of up to [`BUDGET_TOKENS`] tokens.
const MOST_RAM_BYTES: u64 = 128 * 1024;
const BUDGET_TOKENS: u64 = 64;
/// Instructions of a whole answer by multiplication.
const MOST_PER_MAC: [(&str, f64); 5] =
    [("m4", 1.6), ("m7", 1.6), ("m33", 1.6), ("m55", 0.45), ("rv32", 4.5)];
/// Pieces of a vocabulary as large as one of a small model is.
const LARGE_VOCABULARY: u32 = 8192;

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
    let host = Host::build()?;
    let model = match args.vocabulary {
        Some(pieces) => host.random(pieces)?,
        None => model(args.model.as_deref())?,
    };
    let asked: Vec<&Machine> =
        chips().filter(|chip| args.chip == "all" || args.chip == chip.name).collect();
    if args.texts.is_empty() {
        let over = measure(&host, &asked, &model)?;
        // A model that somebody brings may be as large as it likes.
        ensure!(over.is_empty() || args.model.is_some(), "{}", over.join("; "));
        return Ok(());
    }
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
    let args = |vocabulary, texts| Args { chip: "all".into(), model: None, vocabulary, texts };
    run(&args(None, vec!["turn on the lamp in the kitchen, please".into()]))?;
    run(&args(None, Vec::new()))?;
    run(&args(Some(LARGE_VOCABULARY), Vec::new()))?;
    boards(&model(None)?)?;
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

/// Measures, prints, and says where a chip takes more than its budget.
fn measure(host: &Host, chips: &[&'static Machine], model: &Path) -> Result<Vec<String>> {
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
    let over: Vec<String> = rows.iter().flat_map(|row| over_budget(row, &measured)).collect();
    over.iter().for_each(|over| eprintln!("firmware: {over}"));
    Ok(over)
}

/// What a chip takes beyond its budget, a sentence each.
fn over_budget(row: &Row, measured: &[Measured]) -> Vec<String> {
    let mut over = Vec::new();
    let mut check = |what: &str, found: u64, most: u64| {
        if found > most {
            over.push(format!("{}: {found} bytes of {what}, at most {most} are wanted", row.chip));
        }
    };
    check("code", row.flash[0], MOST_CODE_BYTES);
    if measured.iter().all(|text| text.tokens <= BUDGET_TOKENS) {
        check("RAM", row.ram.iter().sum(), MOST_RAM_BYTES);
    }
    let most = MOST_PER_MAC.iter().find(|(chip, _)| *chip == row.chip).map(|(_, most)| *most);
    for (count, text) in row.instructions.iter().zip(measured) {
        let (per_mac, tokens) = (*count as f64 / text.macs as f64, text.tokens);
        if let Some(most) = most.filter(|most| per_mac > *most) {
            over.push(format!(
                "{}: {per_mac:.3} instructions a multiplication at {tokens} tokens, \
                 at most {most} are wanted",
                row.chip
            ));
        }
    }
    over
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

    /// A model with random weights and so many pieces.
    fn random(&self, pieces: u32) -> Result<PathBuf> {
        let file = folder().join(format!("random-{pieces}.bert"));
        self.ask("random", &file, &[&pieces.to_string()])?;
        Ok(file)
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
    fn what_is_beyond_the_budget_is_told() {
        let text = |tokens| Measured { tokens, macs: 100, text: String::new() };
        let row = |instructions, code, stack| Row {
            chip: "m4",
            instructions: vec![instructions],
            flash: [code, 1 << 20],
            ram: [16, 0, stack],
        };
        let within = row(160, MOST_CODE_BYTES, MOST_RAM_BYTES - 16);
        assert_eq!(over_budget(&within, &[text(64)]), Vec::<String>::new());
        let beyond = row(161, MOST_CODE_BYTES + 1, MOST_RAM_BYTES - 15);
        let told = over_budget(&beyond, &[text(64)]);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.iter().all(|told| told.starts_with("m4: ")), "{told:?}");
        // Longer texts take more memory.
        assert_eq!(over_budget(&beyond, &[text(65)]).len(), 2);
        let rv32 = |count, code| Row { chip: "rv32", ..row(count, code, 0) };
        assert_eq!(over_budget(&rv32(450, MOST_CODE_BYTES), &[text(64)]).len(), 0);
        assert_eq!(over_budget(&rv32(451, MOST_CODE_BYTES + 1), &[text(64)]).len(), 2);
    }

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
