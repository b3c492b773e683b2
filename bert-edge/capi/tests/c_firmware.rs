//! The bare-metal library, linked by GCC into a program for a Cortex-M4F and run by QEMU: the answers are
//! those of this machine.
//!
//! `cargo xtask ci capi` builds the library and says where it is, in `BERT_FIRMWARE_LIB`.
#![allow(clippy::unwrap_used, missing_docs)]

mod build;

use std::path::PathBuf;
use std::process::Command;

use bert_core::{Model, ScratchVec, Session};
use build::common::HeadKind;
use build::{STRICT, root, small, stdout, write};

const TEXT: &str = "abc x yz d e";

#[test]
fn a_cortex_m4_answers_as_this_machine_does() {
    let Some(library) = std::env::var_os("BERT_FIRMWARE_LIB").map(PathBuf::from) else {
        eprintln!("left out: no BERT_FIRMWARE_LIB; `cargo xtask ci capi` sets it");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = small(HeadKind::Joint);
    write(folder, "model.bert", &file);
    let model = Model::parse(&file).unwrap();
    let scratch_bytes = model.scratch_bytes(model.config().max_length as usize);

    let sources = root().join("examples/firmware");
    let program = folder.join("firmware.elf");
    let mut command = Command::new("arm-none-eabi-gcc");
    command.args(["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]);
    command.args(STRICT).args(["-ffreestanding", "-nostdlib", "-Wl,--gc-sections,-z,noexecstack"]);
    command.arg(format!("-DSCRATCH_BYTES={scratch_bytes}")).arg(format!("-DTEXT=\"{TEXT}\""));
    // `.incbin` looks here.
    command.current_dir(folder).arg("-I").arg(root().join("include"));
    command.arg("-T").arg(sources.join("mps2-an386.ld"));
    command.args([sources.join("main.c"), sources.join("start.c"), library]);
    stdout(command.args(["-lgcc", "-o"]).arg(&program));
    let sizes = stdout(Command::new("arm-none-eabi-size").arg(&program));

    let mut machine = Command::new("qemu-system-arm");
    machine.args(["-machine", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none"]);
    machine.args(["-semihosting-config", "enable=on,target=native", "-kernel"]).arg(&program);
    let printed = stdout(&mut machine);

    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let joint = session.joint(TEXT).unwrap();
    let thousandths = |probability: f32| (probability * 1000.0) as u32;
    let label = (joint.label.name(), thousandths(joint.label.probability()));
    let mut expected = vec![format!("{} {}", label.0, label.1)];
    for span in joint.tags.spans::<8>().unwrap() {
        let words = &TEXT[span.start as usize..span.end as usize];
        expected.push(format!("{} {} {words}", span.name, thousandths(span.probability)));
    }
    let lines: Vec<&str> = printed.lines().collect();
    let (stack, answers) = lines.split_last().unwrap();
    assert_eq!(answers, expected);
    eprintln!("{sizes}of which the model has {}; {stack} bytes", file.len());
}
