//! Vectors from the command line: the bits of a session, as JSON and as NumPy's file.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

mod command;

use std::fs;
use std::path::Path;

use bert_core::{EmbedOptions, Layers, Model, Pooling, ScratchVec, Session};
use command::common::{FloatModel, HeadKind, Sizes};
use command::{Fixture, json, refused, stdout};
use serde_json::Value;

const TEXTS: [&str; 4] = ["abc", "", "d e f é", "a\tb"];

fn float(head: HeadKind) -> FloatModel {
    FloatModel::random(Sizes { head, layers: 5, ..Sizes::SMALL }, 4)
}

/// What a session gives for each of the texts.
fn vectors(file: &[u8], options: EmbedOptions, normalize: bool) -> Vec<Vec<f32>> {
    let model = Model::parse(file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let mut embed = |text: &&str| {
        let mut out = vec![0.0; options.out_len(32)];
        let mut embedding = session.embed(text, options, &mut out).unwrap();
        if normalize {
            embedding.normalize();
        }
        out
    };
    TEXTS.iter().map(&mut embed).collect()
}

fn vector_of(object: &Value) -> Vec<f32> {
    object["vector"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// Rows and width of a file in NumPy's format, and its numbers; written from the format's definition.
fn read_npy(path: &Path) -> (usize, usize, Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    assert!((10 + length).is_multiple_of(64));
    let head = str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert!(head.is_ascii() && head.ends_with(" \n"));
    let shape = head
        .trim_end()
        .strip_prefix("{'descr': '<f4', 'fortran_order': False, 'shape': (")
        .and_then(|rest| rest.strip_suffix("), }"))
        .unwrap();
    let (rows, width) = shape.split_once(", ").unwrap();
    let numbers = bytes[10 + length..].as_chunks::<4>();
    assert!(numbers.1.is_empty());
    let numbers = numbers.0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    (rows.parse().unwrap(), width.parse().unwrap(), numbers)
}

#[test]
fn vectors_are_those_of_a_session_in_every_form() {
    let fixture = Fixture::new();
    let file = float(HeadKind::Classify).build();
    let model = fixture.file("model.bert", &file);
    let model = model.to_str().unwrap();
    let npy = fixture.directory.path().join("vectors.npy");
    for (pooling, pooling_name) in [(Pooling::Mean, "mean"), (Pooling::First, "cls")] {
        for (layers, layers_name) in [
            (Layers::Last, "last"),
            (Layers::One(0), "0"),
            (Layers::One(3), "3"),
            (Layers::One(5), "5"),
            (Layers::SumLastFour, "sum-last-four"),
            (Layers::ConcatLastFour, "concat-last-four"),
        ] {
            for normalize in [false, true] {
                let options = EmbedOptions { pooling, layers };
                let expected = vectors(&file, options, normalize);
                let mut args = vec!["embed", model, "--pooling", pooling_name];
                args.extend(["--layers", layers_name]);
                args.extend(normalize.then_some("--normalize"));
                args.extend(TEXTS);

                let lines = stdout(&args, b"");
                let objects: Vec<Value> =
                    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                assert_eq!(objects.len(), TEXTS.len());
                for ((object, vector), text) in objects.iter().zip(&expected).zip(TEXTS) {
                    assert_eq!(&vector_of(object), vector, "{args:?}");
                    assert_eq!(
                        (&object["text"], &object["truncated"]),
                        (&text.into(), &false.into())
                    );
                }
                let whole = json(&[&args[..], &["--json"]].concat());
                assert_eq!(whole["results"], Value::from(objects));

                let args = [&args[..], &["--output", npy.to_str().unwrap()]].concat();
                let said = stdout(&args, b"");
                let (path, width) = (npy.display(), expected[0].len());
                assert_eq!(said, format!("{path}: 4 vectors of {width} numbers, 0 texts cut\n"));
                let (rows, width, numbers) = read_npy(&npy);
                assert_eq!((rows, width), (TEXTS.len(), expected[0].len()));
                assert_eq!(numbers, expected.concat());
            }
        }
    }
}

#[test]
fn a_model_made_for_vectors_says_how_they_are_pooled() {
    for pooling in [Pooling::Mean, Pooling::First] {
        let fixture = Fixture::new();
        let file = float(HeadKind::Embed(pooling)).build();
        let model = fixture.file("model.bert", &file);
        let lines = stdout(&["embed", model.to_str().unwrap(), "abc"], b"");
        let expected = &vectors(&file, pooling.into(), false)[0];
        assert_eq!(&vector_of(&serde_json::from_str(&lines).unwrap()), expected);
    }
}

#[test]
fn lines_of_standard_input_are_rows() {
    let fixture = Fixture::new();
    let model = fixture.model(HeadKind::Tag);
    let model = model.to_str().unwrap();
    let npy = fixture.directory.path().join("v.npy");
    let args = ["embed", model, "--json", "--output", npy.to_str().unwrap(), "-"];
    let long = "a ".repeat(99);
    let said: Value =
        serde_json::from_str(&stdout(&args, format!("a\n{long}\n").as_bytes())).unwrap();
    let keys = ["vectors", "width", "truncated"].map(|key| said[key].as_u64().unwrap());
    assert_eq!((keys, said["output"].as_str()), ([2, 32, 1], npy.to_str()));
    assert_eq!(read_npy(&npy).0, 2);
    // No line is no row, and still a matrix.
    stdout(&args, b"");
    assert_eq!(read_npy(&npy), (0, 32, vec![]));
    // An ordinary file, not one for its owner only.
    use std::os::unix::fs::PermissionsExt;
    let plain = fs::metadata(fixture.file("plain", b"")).unwrap().permissions().mode();
    assert_eq!(fs::metadata(&npy).unwrap().permissions().mode(), plain);
}

#[test]
fn what_fails_leaves_the_old_file_and_nothing_else() {
    let fixture = Fixture::new();
    let model = fixture.model(HeadKind::Classify);
    let model = model.to_str().unwrap();
    let old = fixture.file("v.npy", b"old");
    let output = old.to_str().unwrap();
    let args = ["embed", model, "--output", output];
    refused(&[&args[..], &["-"]].concat(), b"good\nbad \xff\n", &["line 2", "UTF-8"]);
    let layer = ["--layers", "3", "a"];
    refused(&[&args[..], &layer].concat(), b"", &["model.bert", "layer 3", "2 layers"]);
    let four = ["--layers", "sum-last-four", "a"];
    refused(&[&args[..], &four].concat(), b"", &["model.bert", "layer 4", "2 layers"]);
    assert_eq!(fs::read(&old).unwrap(), b"old");
    let mut names: Vec<_> = fs::read_dir(fixture.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["model.bert", "v.npy"]);

    let directory = fixture.directory.path().to_str().unwrap();
    for path in [directory, "/no/such/place/v.npy", "/proc/v.npy", ".."] {
        let args = ["embed", model, "a", "--output", path];
        refused(&args, b"", &[path, "cannot write"]);
    }
    let missing = fixture.directory.path().join("missing.bert");
    refused(&["embed", missing.to_str().unwrap(), "a"], b"", &["missing.bert", "cannot open"]);
}
