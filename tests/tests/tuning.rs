//! `tune` on the device at hand, and what the other commands make of its file.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use bert_tests::command::{self, Outcome};
use bert_trainer::tuning::TuningFile;
use serde_json::Value;

const TUNE: &str = "tune --config bert-tiny --vocab-size 300 --batch-tokens 64,200 --device cpu";
/// Three passes of the four layers, of the transform and of the decoder, at two sizes.
const PRODUCTS: usize = 2 * 3 * (4 + 1 + 1);
const BENCH: &str = "bench --config bert-tiny --vocab-size 300 --batch-size 1 --max-length 8 --steps 1 \
                     --device cpu";

fn run(line: &str, tuning: &Path) -> Outcome {
    let words = line.split_whitespace().map(OsString::from);
    command::run("bert-trainer", words.chain(["--tuning".into(), tuning.into()]))
}

/// The file of one tuning, which must succeed.
fn tuned(path: &Path, tokens: &str, more: &str) -> Value {
    let line = TUNE.replace("64,200", tokens);
    let outcome = run(&format!("{line} --json {more}"), path);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn every_product_of_a_model_is_measured_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/tuning.json");
    let said = tuned(&path, "64,200", "");
    let products = said["products"].as_array().unwrap();
    assert_eq!(products.len(), PRODUCTS);
    let mut sizes: Vec<String> = products
        .iter()
        .map(|product| ["pass", "m", "n", "k"].map(|key| product[key].to_string()).join(" "))
        .collect();
    sizes.sort();
    sizes.dedup();
    assert_eq!(sizes.len(), PRODUCTS);
    for product in products {
        // A CPU has one block, which is timed.
        let us = product["us"].as_object().unwrap();
        assert_eq!(us.len(), 1, "{product}");
        assert!(us[product["block"].as_str().unwrap()].as_f64().unwrap() > 0.0, "{product}");
        assert_eq!(product["block"], product["default"]);
    }
    let file = TuningFile::read(&path).unwrap();
    assert_eq!(file.products.len(), PRODUCTS);

    // Measured again, a product takes its own place; another precision is another product.
    tuned(&path, "64,200", "");
    assert_eq!(TuningFile::read(&path).unwrap().products.len(), PRODUCTS);
    tuned(&path, "64", "--precision f16");
    let file = TuningFile::read(&path).unwrap();
    assert_eq!(file.products.len(), PRODUCTS + PRODUCTS / 2);

    let bench = run(BENCH, &path);
    assert_eq!(bench.code, Some(0), "{}", bench.stderr);
    assert!(bench.stderr.contains("54 products take the blocks of "), "{}", bench.stderr);
    let off = run(BENCH, Path::new("off"));
    assert!(off.code == Some(0) && !off.stderr.contains("blocks"), "{}", off.stderr);
}

#[test]
fn a_limit_of_time_keeps_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuning.json");
    let said = tuned(&path, "64,200", "--max-seconds 0");
    let (done, asked) = (said["products"].as_array().unwrap().len(), &said["asked"]);
    assert!(done < PRODUCTS && asked == PRODUCTS, "{done} of {asked}");
}

#[test]
fn without_a_file_the_cache_has_it_under_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(command::binary("bert-trainer"))
        .args(TUNE.split_whitespace())
        .env("XDG_CACHE_HOME", folder.path())
        .output()
        .unwrap();
    let outcome = Outcome::from(output);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("nothing to choose"), "{}", outcome.stdout);
    let cache = folder.path().join("bert-trainer");
    let names: Vec<String> = std::fs::read_dir(&cache)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let [name] = names.as_slice() else { panic!("{names:?}") };
    assert!(name.starts_with("tuning-cpu-") && name.ends_with(".json"), "{name}");
    assert!(outcome.stdout.contains(name), "{}", outcome.stdout);
    // Nothing is kept where nothing is to be.
    assert_eq!(run(TUNE, Path::new("off")).code, Some(0));
}

#[test]
fn a_file_that_is_damaged_or_of_another_device_is_an_error_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.json");
    tuned(&good, "64", "");
    let text = std::fs::read_to_string(&good).unwrap();
    let device = serde_json::from_str::<Value>(&text).unwrap()["device"].to_string();
    let block = TuningFile::read(&good).unwrap().products[0].block.clone();
    let bad = folder.path().join("bad.json");
    for (spoilt, expected) in [
        (text[..text.len() / 3].to_owned(), "expected tuned blocks, found: EOF"),
        (text.replace(&device, "\"Abacus\""), "Abacus"),
        (text.replace("\"cpu\"", "\"cuda\""), "(cuda)"),
        (text.replace(&format!("\"block\": \"{block}\""), "\"block\": \"3x3\""), "no block `3x3`"),
    ] {
        assert_ne!(spoilt, text, "{expected}");
        std::fs::write(&bad, &spoilt).unwrap();
        let bench = run(BENCH, &bad);
        assert_eq!(bench.code, Some(1), "{expected}");
        assert!(bench.stderr.contains("bad.json: "), "{}", bench.stderr);
        assert!(bench.stderr.contains(expected), "{}", bench.stderr);
        assert_eq!(bench.stderr.lines().count(), 1, "{}", bench.stderr);
        // A tuning would replace blocks that this build does not know; those of others it leaves alone.
        if !expected.contains("3x3") {
            assert_eq!(run(TUNE, &bad).code, Some(1), "{expected}");
            assert_eq!(std::fs::read_to_string(&bad).unwrap(), spoilt);
        }
    }
    let absent = run(BENCH, &folder.path().join("absent.json"));
    assert_eq!(absent.code, Some(1));
    assert!(absent.stderr.contains("absent.json: cannot read"), "{}", absent.stderr);
}
