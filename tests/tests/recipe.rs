//! Recipes of `pretrain`, and `bench kernels`, from outside.

#![allow(clippy::unwrap_used)]

use bert_tests::{command, repository};

/// The error of `pretrain` with a recipe and no data.
fn refused(recipe: &std::path::Path, more: &[&str]) -> (Option<i32>, String) {
    let recipe = recipe.to_str().unwrap();
    let fixed = ["pretrain", "--recipe", recipe, "--data", "absent", "--output", "absent"];
    let outcome = command::run("bert-trainer", fixed.iter().chain(more));
    (outcome.code, outcome.stderr)
}

#[test]
fn the_recipes_of_the_repository_are_read() {
    for entry in std::fs::read_dir(repository().join("recipes")).unwrap() {
        let path = entry.unwrap().path();
        let (code, error) = refused(&path, &["--device", "cpu"]);
        assert_eq!(code, Some(1));
        assert!(error.contains("absent") && !error.contains(".toml"), "{error}");
        // The command line counts more than the recipe, and is checked as always.
        assert_eq!(refused(&path, &["--steps", "0"]).0, Some(2));
    }
}

#[test]
fn a_key_that_is_no_option_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    std::fs::write(&path, "steps = 10\nbatch = 3\n").unwrap();
    let (code, error) = refused(&path, &[]);
    assert_eq!(code, Some(1));
    assert!(error.contains("wrong.toml:2: unknown key `batch`"), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn bench_kernels_prints_an_object_a_case() {
    let fixed =
        "bench kernels --json --config bert-tiny --tokens 64 --max-length 32 --precision bf16";
    let lines = |more: &[&str]| -> Vec<serde_json::Value> {
        let words = fixed.split(' ').chain(more.iter().copied());
        let outcome = command::run("bert-trainer", words);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let listed = lines(&["--list"]);
    let measured = lines(&["--device", "cpu"]);
    assert_eq!(listed.len(), measured.len());
    for (case, result) in listed.iter().zip(&measured) {
        assert_eq!(case["case"], result["case"]);
        assert_eq!(result["kind"] == "kernel", result["us"].as_f64().is_some(), "{result}");
    }
    let ops = ["gemm", "attention", "copy", "layer_norm", "cross_entropy", "adamw"];
    assert!(ops.iter().all(|op| measured.iter().any(|result| result["op"] == *op)));
}
