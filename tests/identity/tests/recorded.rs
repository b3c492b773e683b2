//! The outputs of this machine are the recorded ones, on every SIMD path.
//!
//! `cargo xtask identity` asks other machines.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use bert_identity::TEXTS;

const RECORD: &str = include_str!("../../golden/identity.json");

fn runner(arguments: &[&str], path: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bert-identity"));
    let output = command.args(arguments).env("BERT_ARCH", path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_unknown_path_is_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bert-identity"));
    let output = command.args(["identity", "32"]).env("BERT_ARCH", "abacus").output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("UnknownArch"), "{told}");
}

#[test]
fn every_path_gives_the_recorded_bytes() {
    let record: serde_json::Value = serde_json::from_str(RECORD).unwrap();
    let recorded = record["sha256"].as_object().unwrap();
    assert!(recorded.contains_key(&TEXTS.to_string()), "all {TEXTS} texts have a recorded hash");
    let paths = runner(&["paths"], "scalar");
    assert!(paths.lines().any(|path| path == "scalar"));
    for path in paths.lines() {
        for (texts, hash) in recorded {
            let printed = runner(&["identity", texts], path);
            let line = printed.lines().last().unwrap();
            let expected = format!("sha256 {} {texts}", hash.as_str().unwrap());
            assert_eq!(
                line, expected,
                "{path}: `cargo xtask identity host` says where; if the arithmetic was changed on \
                 purpose, `cargo xtask identity --record`"
            );
        }
    }
}
