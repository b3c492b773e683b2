//! The machines that run in an emulator here, and what builds for each, runs it and counts its
//! instructions.

mod build;
mod count;
mod output;

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::packages;
use crate::targets::Way;

pub use build::{Firmware, plugin};
pub use count::{cannot_count, counting, regions};
pub use output::output;

/// What runs a machine's code here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Emulator {
    /// A whole Arm board.
    Arm,
    /// A whole RISC-V board.
    RiscV,
    /// One 64-bit Arm process.
    Process,
    /// A WebAssembly engine.
    Node,
}

/// One row of the table.
pub struct Machine {
    /// Its name in the table, on the command line up to the first space.
    pub name: &'static str,
    /// Target triple.
    pub target: &'static str,
    /// What the compiler may use beyond the target's least.
    pub flags: &'static str,
    /// The emulator's name for the board, and that of its linker script.
    pub board: &'static str,
    pub emulator: Emulator,
}

/// As under an operating system, which lets code load vectors from any address; the compiler warns
/// that the name of that feature may change.
const AARCH64: Machine = Machine {
    name: "aarch64",
    target: "aarch64-unknown-none",
    flags: "-Awarnings -Ctarget-feature=-strict-align",
    board: "",
    emulator: Emulator::Process,
};

const fn cortex_m(
    name: &'static str,
    target: &'static str,
    flags: &'static str,
    board: &'static str,
) -> Machine {
    Machine { name, target, flags, board, emulator: Emulator::Arm }
}

const ARMV7: &str = "thumbv7em-none-eabihf";
const ARMV8: &str = "thumbv8m.main-none-eabihf";

/// Without Helium's floats, which bert-core refuses; the compiler warns that their name may change.
const HELIUM: &str = "-Awarnings -Ctarget-cpu=cortex-m55 -Ctarget-feature=-mve.fp";

/// Calls that the linker shortens, and registers that a call keeps and gives back: an eighth of the code.
/// The compiler warns that their names may change.
const RV32_SHORT: &str = "-Awarnings -Ctarget-feature=+relax,+save-restore";

const WASM: Machine = Machine {
    name: "wasm",
    target: "wasm32-unknown-unknown",
    flags: "",
    board: "",
    emulator: Emulator::Node,
};

/// Every machine but the host.
pub const MACHINES: [Machine; 10] = [
    AARCH64,
    Machine {
        name: "aarch64 dotprod",
        flags: "-Awarnings -Ctarget-feature=-strict-align,+dotprod",
        ..AARCH64
    },
    Machine {
        name: "aarch64 i8mm",
        flags: "-Awarnings -Ctarget-feature=-strict-align,+dotprod,+i8mm",
        ..AARCH64
    },
    // Without a processor's name: `core` has none, and code of two is neither inlined into nor fitted to
    // each other, which takes 7 KB more.
    cortex_m("m4", ARMV7, "", "mps2-an386"),
    cortex_m("m7", ARMV7, "", "mps2-an500"),
    cortex_m("m33", ARMV8, "-Ctarget-cpu=cortex-m33", "mps2-an505"),
    cortex_m("m55", ARMV8, HELIUM, "mps3-an547"),
    Machine {
        name: "rv32",
        target: "riscv32imc-unknown-none-elf",
        flags: RV32_SHORT,
        board: "virt",
        emulator: Emulator::RiscV,
    },
    WASM,
    Machine { name: "wasm simd128", flags: "-Ctarget-feature=+simd128", ..WASM },
];

impl Machine {
    /// The name by which it is asked for.
    pub fn group(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or(self.name)
    }

    /// The emulator, installed if need be, and the way to build for it.
    ///
    /// # Errors
    ///
    /// If either is missing; the message says what to install.
    pub fn prepare(&self) -> Result<Way> {
        let (program, package) = self.emulator.program();
        packages::program(program, package, self.name)?;
        Way::find(self.target)
    }

    /// The name of what cargo builds for it from the package `program`.
    pub fn artifact(&self, program: &str) -> String {
        match self.emulator {
            Emulator::Node => format!("{program}.wasm"),
            _ => program.into(),
        }
    }

    /// A file name of its own.
    pub fn file(&self) -> String {
        let extension = if self.emulator == Emulator::Node { "wasm" } else { "elf" };
        format!("{}.{extension}", self.name.replace(' ', "-"))
    }
}

impl Emulator {
    /// Its program, and Debian's package of it.
    pub fn program(self) -> (&'static str, &'static str) {
        match self {
            Emulator::Arm => ("qemu-system-arm", "qemu-system-arm"),
            Emulator::RiscV => ("qemu-system-riscv32", "qemu-system-misc"),
            Emulator::Process => ("qemu-aarch64", "qemu-user"),
            Emulator::Node => ("node", "nodejs"),
        }
    }
}

/// The command that runs `file` with `arguments`, and with `plugin`'s options if there are any.
pub fn command(machine: &Machine, file: &Path, arguments: &[&str], plugin: &[&str]) -> Command {
    let mut command = Command::new(machine.emulator.program().0);
    match machine.emulator {
        Emulator::Node => {
            command.arg(crate::shell::root().join("tests/identity/firmware/identity.mjs"));
            command.arg(file).args(&arguments[1..]);
        }
        Emulator::Process => {
            command.args(["-cpu", "max"]).args(plugin).arg(file).args(arguments);
        }
        Emulator::Arm | Emulator::RiscV => {
            let cpu: &[&str] = match machine.emulator {
                Emulator::RiscV => &["-cpu", "rv32", "-m", "128M", "-bios", "none"],
                _ => &[],
            };
            command.args(["-M", machine.board]).args(cpu).args(plugin);
            command.args(["-nographic", "-monitor", "none", "-serial", "none"]);
            // The first argument is the program's name.
            let arguments: String = arguments.iter().map(|word| door_argument(word)).collect();
            let door = format!("enable=on,target=native,arg=firmware{arguments}");
            command.args(["-semihosting-config", &door, "-kernel"]).arg(file);
        }
    }
    command
}

/// An argument as QEMU takes it, where commas part options, and the program, where blanks part
/// arguments that are not in quotes.
fn door_argument(word: &str) -> String {
    let quote = match word {
        _ if word.contains('"') => "'",
        _ if word.is_empty() || word.contains([' ', '\t', '\'']) => "\"",
        _ => "",
    };
    format!(",arg={quote}{}{quote}", word.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_stay_whole() {
        assert_eq!(door_argument("count"), ",arg=count");
        assert_eq!(door_argument("lamp on, please"), ",arg=\"lamp on,, please\"");
        assert_eq!(door_argument("what's on"), ",arg=\"what's on\"");
        assert_eq!(door_argument("say \"on\""), ",arg='say \"on\"'");
        assert_eq!(door_argument(""), ",arg=\"\"");
    }
}
