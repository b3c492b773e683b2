//! Two processes under `mpirun` and one process: the same run up to the order of sums, and the same bits
//! whenever there are two.
//!
//! It takes a build with the feature `mpi`, which `cargo xtask test` makes; a plain `cargo test` has none.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use bert_tests::command::{self, Outcome};
use bert_tests::fixture::prepared;
use bert_tests::runs::check_same_run;

fn arguments(output: &Path) -> Vec<OsString> {
    let fixture = prepared();
    let mut arguments: Vec<OsString> = vec!["pretrain".into()];
    let mut add = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
    add("--data", fixture.path("shards").into());
    add("--config", fixture.path("config.json").into());
    add("--output", output.into());
    add("--steps", "8".into());
    add("--save-steps", "3".into());
    add("--log-steps", "1".into());
    add("--batch-size", "5".into());
    add("--max-length", "32".into());
    add("--learning-rate", "1e-3".into());
    add("--warmup-steps", "2".into());
    arguments
}

/// `mpirun` of as many ranks, each with arguments of its own; nothing if this build has no MPI.
fn mpirun(ranks: &[Vec<OsString>], variables: &[(&str, &str)]) -> Option<Outcome> {
    if std::env::var_os("BERT_BINARIES").is_none() {
        println!("skipped: `cargo xtask test` builds with MPI");
        return None;
    }
    let mut command = Command::new("mpirun");
    for (rank, arguments) in ranks.iter().enumerate() {
        if rank > 0 {
            command.arg(":");
        }
        command.args(["-n", "1"]).arg(command::binary("bert-trainer")).args(arguments);
    }
    // As variables, because other implementations refuse Open MPI's options: more ranks than cores, all
    // cores for each rank as for a process alone, a container's root, no ssh, no reading of another
    // process's memory.
    command.envs([
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
        ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
        ("OMPI_MCA_hwloc_base_binding_policy", "none"),
        ("OMPI_MCA_plm", "isolated"),
        ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
    ]);
    Some(command.envs(variables.iter().copied()).output().expect("mpirun starts").into())
}

#[test]
fn two_processes_come_to_what_one_comes_to_and_always_to_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let [alone, two, again] = ["alone", "two", "again"].map(|name| dir.path().join(name));
    let mut report = None;
    for output in [&two, &again] {
        let ranks = [true, false].map(|_| {
            let mut arguments = arguments(output);
            arguments.push("--json".into());
            arguments
        });
        let Some(outcome) = mpirun(&ranks, &[]) else {
            return;
        };
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        // Rank 0 alone speaks.
        report = Some(serde_json::from_str::<serde_json::Value>(&outcome.stdout).unwrap());
    }
    let expected = command::json("bert-trainer", arguments(&alone));
    let report = report.unwrap();
    assert_eq!((&report["steps"], &report["tokens"]), (&expected["steps"], &expected["tokens"]));
    check_same_run(&two, &alone);
    for file in ["model.safetensors", "metrics.jsonl"] {
        let read = |output: &Path| std::fs::read(output.join(file)).unwrap();
        assert!(read(&two) == read(&again), "{file}");
    }
}

#[test]
fn a_rank_that_fails_ends_all_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let ranks = [arguments(&dir.path().join("run")), arguments(&dir.path().join("run"))];
    let mut without_data = ranks.clone();
    without_data[1][2] = dir.path().join("nowhere").into();
    let Some(outcome) = mpirun(&without_data, &[]) else {
        return;
    };
    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("error: rank 1 of 2: "), "{}", outcome.stderr);

    let mut other_seed = ranks.clone();
    other_seed[1].extend(["--seed", "2"].map(OsString::from));
    let outcome = mpirun(&other_seed, &[]).unwrap();
    assert_ne!(outcome.code, Some(0));
    let expected = "rank 1: expected step 0 of the run that rank 0 has";
    assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);

    // Two whom nobody told of each other.
    let strangers = Command::new(command::binary("bert-trainer"))
        .args(&ranks[0])
        .env("SLURM_STEP_NUM_TASKS", "2")
        .output()
        .unwrap();
    let outcome = Outcome::from(strangers);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("2 processes: MPI knows of 1"), "{}", outcome.stderr);

    let outcome = mpirun(&ranks, &[("WORLD_SIZE", "3"), ("RANK", "0")]).unwrap();
    assert_ne!(outcome.code, Some(0));
    let expected = "WORLD_SIZE: expected 2, as mpirun says, found 3";
    assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
}
