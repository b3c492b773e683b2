//! The command line from outside: answers, JSON, and one-line errors for everything that is wrong.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

mod command;

use std::fs;
use std::process::{Command, Stdio};

use bert_core::format::repair_checksums;
use command::common::HeadKind;
use command::{Fixture, json, refused, run, stdout};

#[test]
fn classify_prints_a_line_a_text() {
    let fixture = Fixture::new();
    let model = fixture.model(HeadKind::Classify);
    let model = model.to_str().unwrap();
    let text = stdout(&["classify", model, "abc", "d e"], b"");
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|l| l.len() == 3 && l[0].starts_with("label ")));
    assert_eq!((lines[0][2], lines[1][2]), ("abc", "d e"));
    assert_eq!(stdout(&["classify", model, "-"], b"abc\nd e\n"), text);
    assert_eq!(stdout(&["classify", model, "-"], b"abc\r\nd e"), text);
    assert_eq!(stdout(&["classify", model, "-"], b""), "");
    let answer = json(&["classify", model, "--json", "abc"]);
    let result = &answer["results"][0];
    assert_eq!(result["label"], lines[0][0]);
    assert_eq!(result["probabilities"].as_object().unwrap().len(), 5);
    assert_eq!(result["truncated"], false);
}

#[test]
fn tag_prints_a_line_a_word() {
    let fixture = Fixture::new();
    let model = fixture.model(HeadKind::Joint);
    let model = model.to_str().unwrap();
    let text = stdout(&["tag", model, "abc de, f", "x"], b"");
    let parts: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(parts.len(), 2, "{text}");
    let lines: Vec<&str> = parts[0].lines().collect();
    assert!(lines[0].starts_with("# label "));
    let words: Vec<&str> = lines[1..].iter().map(|l| l.split('\t').next().unwrap()).collect();
    assert_eq!(words, ["abc", "de,", "f"]);
    let answer = json(&["tag", model, "--json", "abc de, f"]);
    let result = &answer["results"][0];
    assert_eq!(result["words"][1]["start"], 4);
    assert_eq!(result["words"][1]["word"], "de,");
    assert_eq!(result["label"].as_str().unwrap(), &lines[0][2..9]);
    assert!(result["slots"].is_array());
    stdout(&["classify", model, "abc"], b"");
}

#[test]
fn inspect_selftest_and_bench_speak_json() {
    let fixture = Fixture::new();
    let model = fixture.model(HeadKind::Tag);
    let model = model.to_str().unwrap();
    assert!(stdout(&["inspect", model], b"").contains("layer 1 feed-forward out"));
    let inside = json(&["inspect", model, "--json"]);
    assert_eq!(inside["task"], "tag");
    assert_eq!(inside["hidden"], 32);
    assert_eq!(inside["bytes"], fs::metadata(model).unwrap().len());
    assert!(stdout(&["selftest", model], b"").starts_with("ok: 3 texts"));
    assert_eq!(json(&["selftest", "--json", model])["ok"], true);
    let bench = json(&["bench", model, "abc def", "--iterations", "5", "--json"]);
    assert!(bench["median_us"].as_f64().unwrap() > 0.0);
    assert!(stdout(&["bench", model, "abc", "--iterations", "3"], b"").contains("µs"));
}

#[test]
fn whatever_is_wrong_is_one_line_with_the_file() {
    let fixture = Fixture::new();
    let good = fs::read(fixture.model(HeadKind::Classify)).unwrap();
    let check = |name: &str, bytes: &[u8], part: &str| {
        let path = fixture.file(name, bytes);
        for command in ["classify", "tag", "bench"] {
            refused(&[command, path.to_str().unwrap(), "a"], b"", &[name, part]);
        }
        for command in ["inspect", "selftest"] {
            refused(&[command, path.to_str().unwrap()], b"", &[name, part]);
        }
    };
    check("empty.bert", b"", "not a model file");
    check("text.bert", b"hello, this is some text and no model at all", "not a model file");
    check("start.bert", &good[..20], "truncated");
    check("half.bert", &good[..good.len() / 2], "truncated");
    check("more.bert", &[&good[..], b"x"].concat(), "trailing");
    let mut edited = good.clone();
    edited[good.len() / 2] ^= 1;
    check("edited.bert", &edited, "changed");
    let mut newer = good.clone();
    newer[8] = 9;
    newer[10] = 7;
    repair_checksums(&mut newer);
    check("newer.bert", &newer, "needs reader version 7");
    let missing = fixture.directory.path().join("missing.bert");
    refused(&["inspect", missing.to_str().unwrap()], b"", &["missing.bert", "cannot open"]);
    let directory = fixture.directory.path().to_str().unwrap();
    refused(&["inspect", directory], b"", &["not a file"]);

    let model = fixture.model(HeadKind::Classify);
    let model = model.to_str().unwrap();
    refused(&["tag", model, "a"], b"", &["model.bert", "no head"]);
    refused(&["classify", model, "-"], b"bad \xff\nok\n", &["line 1", "UTF-8"]);
    // A self-test that fails: the stored checksum of the first text is changed.
    let mut failing = good.clone();
    let section = json(&["inspect", model, "--json"])["sections"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()["offset"]
        .as_u64()
        .unwrap() as usize;
    failing[section + 4] ^= 1;
    repair_checksums(&mut failing);
    let failing = fixture.file("failing.bert", &failing);
    refused(&["selftest", failing.to_str().unwrap()], b"", &["failing.bert", "self-test 0"]);
}

#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_none() {
    let fixture = Fixture::new();
    let model = fixture.model(HeadKind::Tag);
    let run = |stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bert-edge"));
        command.args(["tag".as_ref(), model.as_os_str(), "abc".as_ref(), "def".as_ref()]);
        command.stdout(stdout).output().unwrap()
    };
    let full = run(fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
    assert_eq!(full.status.code(), Some(1));
    let error = String::from_utf8(full.stderr).unwrap();
    assert!(error.starts_with("error: standard output: No space left"), "{error}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = run(writer.into());
    assert_eq!((closed.status.code(), closed.stderr.len()), (Some(0), 0));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for args in [&["classify"][..], &["classify", "model.bert"], &["fly"], &["inspect", "--what"]] {
        let output = run(args, b"");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty());
    }
    let help = stdout(&["--help"], b"");
    assert!(help.contains("classify") && help.contains("Examples"));
}
