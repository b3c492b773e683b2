//! Programs in C, compiled without a warning against both libraries: the answers are the bits of
//! bert-core, nothing is allocated, threads share a model, and what is wrong is said.
//!
//! With `BERT_VALGRIND` set to the program's name they run under valgrind too.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

mod build;

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bert_core::{
    AnswerOptions, Classification, EmbedOptions, Head, Label, Layers, Model, Pooling, ScratchVec,
    Session, Spans, Tag,
};
use build::common::HeadKind;
use build::{STRICT, compiler, libraries, root, small, stdout, write};

const TEXTS: [&str; 6] = [
    "abc x yz",
    "",
    "Ünïcödé, naïve! 日本",
    "hello world, this is a text",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n",
    "x",
];

enum Linked {
    Static,
    Shared,
}

/// Compiles a program of `tests/c` or an example.
fn compile(folder: &Path, source: &str, linked: &Linked, extra: &[&str]) -> PathBuf {
    let name = Path::new(source).file_stem().unwrap().to_str().unwrap();
    let place = libraries();
    let (kind, library) = match linked {
        Linked::Static => ("static", vec![place.join("libbert_edge.a").display().to_string()]),
        Linked::Shared => {
            // The name that the loader looks for.
            let version = env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap().0;
            let link = folder.join(format!("libbert_edge.so.{version}"));
            if !link.exists() {
                std::os::unix::fs::symlink(place.join("libbert_edge.so"), &link).unwrap();
            }
            let found = format!("-Wl,-rpath,{}", folder.display());
            ("shared", vec![link.display().to_string(), found])
        }
    };
    let program = folder.join(format!("{name}-{kind}{}", extra.len()));
    let mut command = Command::new(compiler("CC", "cc"));
    command.args(STRICT).arg("-g").arg("-I").arg(root().join("include"));
    command.arg(root().join(source)).args(extra).args(library);
    command.args(["-pthread", "-ldl", "-lm", "-o"]).arg(&program);
    stdout(&mut command);
    program
}

/// Runs a program, and runs it again under valgrind if that is asked for.
fn run(program: &Path, arguments: &[&str], tools: &[&[&str]]) -> String {
    let printed = stdout(Command::new(program).args(arguments).env_remove("BERT_ARCH"));
    if let Ok(valgrind) = env::var("BERT_VALGRIND") {
        for tool in tools {
            let mut command = Command::new(&valgrind);
            command.args(["--quiet", "--error-exitcode=9"]).args(*tool);
            command.arg(program).args(arguments).env_remove("BERT_ARCH");
            assert_eq!(stdout(&mut command), printed, "{command:?}");
        }
    }
    printed
}

const MEMCHECK: &[&str] =
    &["--leak-check=full", "--show-leak-kinds=all", "--errors-for-leak-kinds=all"];
const HELGRIND: &[&str] = &["--tool=helgrind"];

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn answers_are_the_bits_of_the_core_and_nothing_is_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let wrapped = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"]
        .map(|name| format!("-Wl,--wrap={name}"));
    let mut counting = vec!["-DCOUNT_ALLOCATIONS"];
    counting.extend(wrapped.iter().map(String::as_str));
    let programs = [
        compile(folder, "tests/c/answers.c", &Linked::Static, &counting),
        compile(folder, "tests/c/answers.c", &Linked::Shared, &[]),
    ];
    for (i, head) in HeadKind::ALL.into_iter().enumerate() {
        let file = small(head);
        let model = write(folder, &format!("{i}.bert"), &file);
        let expected = expected(&file);
        for program in &programs {
            let arguments = [&[path(&model)][..], &TEXTS].concat();
            assert_eq!(run(program, &arguments, &[MEMCHECK]), expected, "{head:?}");
        }
    }
}

#[test]
fn threads_share_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let model = write(folder, "model.bert", &small(HeadKind::Classify));
    let arguments = [&[path(&model)][..], &TEXTS].concat();
    for linked in [Linked::Static, Linked::Shared] {
        let program = compile(folder, "tests/c/threads.c", &linked, &[]);
        run(&program, &arguments, &[MEMCHECK, HELGRIND]);
        // Helgrind does not know that an atomic swap orders two threads.
        let program = compile(folder, "tests/c/threads.c", &linked, &["-DSHARE"]);
        run(&program, &arguments, &[MEMCHECK]);
    }
}

#[test]
fn misuse_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let heads = [HeadKind::Joint, HeadKind::Regress, HeadKind::MultiLabel, HeadKind::Span];
    let models = heads.map(|head| write(folder, &format!("{head:?}.bert"), &small(head)));
    let arguments: Vec<&str> = models.iter().map(|model| path(model)).collect();
    for linked in [Linked::Static, Linked::Shared] {
        let program = compile(folder, "tests/c/misuse.c", &linked, &[]);
        run(&program, &arguments, &[MEMCHECK]);
    }
}

#[test]
fn the_example_answers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = small(HeadKind::Joint);
    let model = write(folder, "model.bert", &file);
    let program = compile(folder, "examples/example.c", &Linked::Static, &[]);
    let printed = run(&program, &[path(&model), "abc x yz"], &[MEMCHECK]);
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let joint = session.joint("abc x yz").unwrap();
    let best = format!("{:.4}  {}\n", joint.label.probability(), joint.label.name());
    assert!(printed.starts_with(&best), "{printed}");
    for span in joint.tags.spans::<8>().unwrap() {
        let words = &"abc x yz"[span.start as usize..span.end as usize];
        assert!(printed.contains(&format!("{}: {words}\n", span.name)), "{printed}");
    }
    let refused = Command::new(&program).args([path(&root().join("cbindgen.toml")), "a"]).output();
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().ends_with("not a model file\n"));
}

#[test]
fn what_is_installed_is_found_by_pkg_config() {
    let Some(prefix) = env::var_os("BERT_CAPI_PREFIX").map(PathBuf::from) else {
        eprintln!("left out: no BERT_CAPI_PREFIX; `cargo xtask ci capi` sets it");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let model = write(folder, "model.bert", &small(HeadKind::Joint));
    let ask = |arguments: &[&str]| {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(arguments);
        stdout(&mut command)
    };
    let flags = ask(&["--cflags", "bert_edge"]);
    assert_eq!(ask(&["--modversion", "bert_edge"]).trim(), env!("CARGO_PKG_VERSION"));
    let archive = format!("{} ", prefix.join("lib/libbert_edge.a").display());
    let libraries = [
        ask(&["--libs", "bert_edge"]),
        ask(&["--static", "--libs", "bert_edge"]).replace("-lbert_edge ", &archive),
    ];
    let mut answers = Vec::new();
    for (i, libraries) in libraries.iter().enumerate() {
        let program = folder.join(format!("example{i}"));
        let mut command = Command::new(compiler("CC", "cc"));
        command.args(STRICT).args(flags.split_whitespace());
        command.arg(root().join("examples/example.c")).args(libraries.split_whitespace());
        stdout(command.arg("-o").arg(&program));
        let mut command = Command::new(&program);
        command.args([path(&model), "abc x yz"]).env("LD_LIBRARY_PATH", prefix.join("lib"));
        answers.push(stdout(&mut command));
    }
    assert!(!answers[0].is_empty() && answers[0] == answers[1], "{answers:?}");
}

#[test]
fn the_header_is_cpp_too() {
    let mut command = Command::new(compiler("CXX", "c++"));
    command.args(["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]);
    stdout(command.args(["-x", "c++"]).arg(root().join("include/bert_edge.h")));
}

/// The lines of `answers.c`.
fn expected(file: &[u8]) -> String {
    let model = Model::parse(file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let mut out = String::new();
    for _ in 0..2 {
        for (i, text) in TEXTS.iter().enumerate() {
            ask(&mut out, &mut session, text, TEXTS[(i + 1) % TEXTS.len()]);
        }
    }
    model.labels().iter().for_each(|name| writeln!(out, "label {name}").unwrap());
    model.tags().iter().for_each(|name| writeln!(out, "tag {name}").unwrap());
    out
}

fn bits(number: f32) -> String {
    format!("{:08x}", number.to_bits())
}

fn ask(out: &mut String, session: &mut Session<'_, '_>, text: &str, next: &str) {
    match session.model().config().head {
        Head::Classify { .. } => labels(out, &session.classify(text).unwrap()),
        Head::Joint { .. } => {
            labels(out, &session.classify(text).unwrap());
            let joint = session.joint(text).unwrap();
            let label = joint.label;
            let label = format!(" {} {} {}", label.label, bits(label.probability()), label.name());
            let (tokens, truncated) = (joint.tags.tokens, joint.tags.truncated);
            tags(out, joint.tags.collect(), tokens, truncated, &label);
        }
        Head::Tag { .. } => {
            let found = session.tag(text).unwrap();
            let (tokens, truncated) = (found.tokens, found.truncated);
            tags(out, found.collect(), tokens, truncated, "");
        }
        Head::PairClassify { .. } => labels(out, &session.classify_pair(text, next).unwrap()),
        Head::MultiLabel { .. } => {
            let answer = session.classify_labels(text).unwrap();
            let found: Vec<_> = answer.above(0.5).collect();
            list(out, &found, answer.tokens, answer.truncated);
        }
        Head::Regress { .. } => {
            let answer = session.regress(text).unwrap();
            let (values, tokens, truncated) =
                (answer.values.to_vec(), answer.tokens, answer.truncated);
            numbers(out, "numbers", &values, tokens, truncated);
            let answer = session.regress_pair(text, next).unwrap();
            let (values, tokens, truncated) =
                (answer.values.to_vec(), answer.tokens, answer.truncated);
            numbers(out, "numbers", &values, tokens, truncated);
        }
        Head::Span => {
            let options =
                AnswerOptions { stride: 2, max_answer_tokens: 5, no_answer_threshold: Some(0.5) };
            let Ok(found) = session.answer::<20>(text, next, &options) else {
                // A question that fills a window.
                return out.push_str("no room\n");
            };
            write!(out, "answers {} {}", found.spans.len().min(5), found.windows).unwrap();
            let (score, share) = (bits(found.null_score), bits(found.null_probability));
            write!(out, " {score} {share} {}", found.has_answer as u8).unwrap();
            for span in found.spans.iter().take(5) {
                let (score, share) = (bits(span.score), bits(span.probability));
                write!(out, " {} {} {score} {share}", span.start, span.end).unwrap();
            }
            out.push('\n');
        }
        _ => {}
    }
    let pooling = match session.model().config().head {
        Head::Embed { pooling } => pooling,
        _ => Pooling::Mean,
    };
    let mut vector = vec![0.0; session.model().config().hidden as usize];
    let found = session.embed(text, pooling, &mut vector).unwrap();
    numbers(out, "vector", found.vector, found.tokens, found.truncated);
    let options = EmbedOptions { pooling: Pooling::First, layers: Layers::One(1) };
    let mut found = session.embed(text, options, &mut vector).unwrap();
    found.normalize();
    numbers(out, "vector", found.vector, found.tokens, found.truncated);
}

fn labels(out: &mut String, answer: &Classification<'_, '_>) {
    let found: Vec<_> = answer.top::<64>().to_vec();
    list(out, &found, answer.tokens, answer.truncated);
}

fn list(out: &mut String, labels: &[Label<'_>], tokens: usize, truncated: bool) {
    write!(out, "labels {} {tokens} {}", labels.len(), truncated as u8).unwrap();
    for label in labels {
        write!(out, " {} {} {}", label.label, bits(label.probability), label.name).unwrap();
    }
    out.push('\n');
}

fn numbers(out: &mut String, what: &str, values: &[f32], tokens: usize, truncated: bool) {
    write!(out, "{what} {} {tokens} {}", values.len(), truncated as u8).unwrap();
    values.iter().for_each(|value| write!(out, " {}", bits(*value)).unwrap());
    out.push('\n');
}

fn tags(out: &mut String, tags: Vec<Tag<'_>>, tokens: usize, truncated: bool, label: &str) {
    write!(out, "tags {} {tokens} {}{label}", tags.len(), truncated as u8).unwrap();
    for tag in &tags {
        let Tag { word, start, end, tag, name, probability } = *tag;
        write!(out, " {word} {start} {end} {tag} {} {name}", bits(probability)).unwrap();
    }
    out.push('\n');
    let spans: Vec<_> = Spans::new(tags.into_iter()).collect();
    write!(out, "slots {}", spans.len()).unwrap();
    for span in spans {
        let (start, end, probability) = (span.start, span.end, bits(span.probability));
        write!(out, " {start} {end} {probability} {}", span.name).unwrap();
    }
    out.push('\n');
}
