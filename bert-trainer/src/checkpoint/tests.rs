#![allow(clippy::unwrap_used)]
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use super::*;
use crate::config::Config;

fn config() -> Config {
    let mut config = Config::named("bert-tiny").unwrap();
    (config.vocab_size, config.hidden_size, config.intermediate_size) = (7, 4, 6);
    config
}

/// A small part of a model is enough: `read` and `write` treat every tensor alike.
fn specs() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("bert.embeddings.word_embeddings.weight", [7, 4]),
        TensorSpec::new("bert.embeddings.LayerNorm.weight", [4]),
        TensorSpec::new("bert.encoder.layer.0.output.dense.weight", [4, 6]),
        TensorSpec::new("cls.predictions.bias", [7]),
    ]
}

fn values(spec: &TensorSpec) -> Vec<f32> {
    // Halves and quarters: exact in every type a checkpoint may have.
    (0..spec.len()).map(|i| i as f32 / 4.0 - spec.name.len() as f32).collect()
}

fn tokenizer(at: &Path) {
    fs::create_dir_all(at).unwrap();
    fs::write(at.join("vocab.txt"), "[PAD]\n[UNK]\n").unwrap();
}

fn save(at: &Path, config: &Config, tokenizer: &Path) -> Result<(), CheckpointError> {
    let specs = specs();
    let values: Vec<Vec<f32>> = specs.iter().map(values).collect();
    write(at, config, specs.iter().zip(values.iter().map(Vec::as_slice)), tokenizer)
}

/// Writes `model.safetensors` as others do: name, type, shape, bytes.
fn foreign(at: &Path, tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) {
    fs::create_dir_all(at).unwrap();
    fs::write(at.join("config.json"), config().to_json()).unwrap();
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| {
            (*name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        })
        .collect::<Vec<_>>();
    fs::write(at.join(WEIGHTS_FILE), safetensors::serialize(views, None).unwrap()).unwrap();
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn message<T: std::fmt::Debug>(result: Result<T, CheckpointError>) -> String {
    let message = result.unwrap_err().to_string();
    assert!(!message.contains('\n'), "more than one line: {message}");
    message
}

#[test]
fn a_written_directory_reads_back_and_is_replaced_by_the_weights_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (out, source) = (dir.path().join("out"), dir.path().join("source"));
    tokenizer(&source);
    for _ in 0..2 {
        save(&out, &config(), &source).unwrap();
        let model = read(&out, &specs(), |_| false).unwrap();
        assert_eq!(model.config, config());
        assert!(model.missing.is_empty() && model.unused.is_empty());
        for spec in specs() {
            assert_eq!(model.tensors[&spec.name], values(&spec));
        }
    }
    // The directory itself can be the source of its tokenizer.
    save(&out, &config(), &out).unwrap();
    let mut other = config();
    other.hidden_act = crate::config::HiddenAct::Relu;
    let error = message(save(&out, &other, &source));
    assert!(error.contains("another config.json"), "{error}");
    fs::write(source.join("vocab.txt"), "[PAD]\n").unwrap();
    let error = message(save(&out, &config(), &source));
    assert!(error.contains("another vocab.txt"), "{error}");
    let error = message(save(&dir.path().join("new"), &config(), &dir.path().join("none")));
    assert!(error.contains("none: expected a directory with vocab.txt"), "{error}");
    assert!(!dir.path().join("new").exists());
}

#[test]
fn names_types_and_ties_of_other_writers_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let specs = specs();
    let (word, norm, dense, bias) =
        (values(&specs[0]), values(&specs[1]), values(&specs[2]), values(&specs[3]));
    let narrow: Vec<u8> = norm.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
    let brain: Vec<u8> = dense.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
    let stored = [
        ("embeddings.word_embeddings.weight", Dtype::F32, vec![7, 4], f32_bytes(&word)),
        ("embeddings.LayerNorm.gamma", Dtype::F16, vec![4], narrow),
        ("encoder.layer.0.output.dense.weight", Dtype::BF16, vec![4, 6], brain),
        ("embeddings.position_ids", Dtype::I64, vec![1, 1], vec![0; 8]),
        ("cls.predictions.decoder.weight", Dtype::F32, vec![7, 4], f32_bytes(&word)),
        ("cls.predictions.decoder.bias", Dtype::F32, vec![7], f32_bytes(&bias)),
        ("pooler.dense.bias", Dtype::F32, vec![4], f32_bytes(&[0.0; 4])),
    ];
    foreign(dir.path(), &stored);
    let mut wanted = specs.clone();
    wanted.push(TensorSpec::new("classifier.bias", [3]));
    let model = read(dir.path(), &wanted, |name| name.starts_with("classifier.")).unwrap();
    for spec in &specs {
        assert_eq!(model.tensors[&spec.name], values(spec), "{}", spec.name);
    }
    assert_eq!(model.missing, ["classifier.bias"]);
    assert_eq!(model.unused, ["bert.pooler.dense.bias"]);

    let mut untied = stored.clone();
    untied[4].3[0] ^= 1;
    foreign(dir.path(), &untied);
    let error = message(read(dir.path(), &specs, |_| false));
    assert!(error.contains("cls.predictions.decoder.weight differs from bert.emb"), "{error}");
}

#[test]
fn what_does_not_fit_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let specs = specs();
    let whole = || -> Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> {
        specs
            .iter()
            .map(|s| (s.name.as_str(), Dtype::F32, s.shape.clone(), f32_bytes(&values(s))))
            .collect()
    };
    let mut cases = Vec::new();
    let mut tensors = whole();
    tensors.remove(1);
    cases.push((tensors, "lacks 1 tensors the model needs: bert.embeddings.LayerNorm.weight"));
    let mut tensors = whole();
    tensors[2].2 = vec![6, 4];
    cases.push((tensors, "layer.0.output.dense.weight: expected shape [4, 6], found [6, 4]"));
    let mut tensors = whole();
    tensors.push(("bert.encoder.layer.2.x", Dtype::F32, vec![1], vec![0; 4]));
    tensors.push(("lstm.weight", Dtype::F32, vec![1], vec![0; 4]));
    cases.push((tensors, "2 tensors this model has no place for: bert.encoder.layer.2.x, lstm"));
    let mut tensors = whole();
    (tensors[3].1, tensors[3].3) = (Dtype::I32, vec![0; 28]);
    cases.push((tensors, "cls.predictions.bias: expected values of type F32, F16 or BF16, found"));
    let mut tensors = whole();
    tensors[3].3[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    cases.push((tensors, "cls.predictions.bias: expected finite values, found NaN at index 1"));
    let mut tensors = whole();
    tensors.push(("embeddings.LayerNorm.weight", Dtype::F32, vec![4], vec![0; 16]));
    cases.push((tensors, "holds the same tensor twice"));
    for (tensors, says) in cases {
        foreign(at, &tensors);
        let error = message(read(at, &specs, |_| false));
        assert!(error.contains("model.safetensors: ") && error.contains(says), "{error}");
    }
}

#[test]
fn every_truncation_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (out, source) = (dir.path().join("out"), dir.path().join("source"));
    tokenizer(&source);
    save(&out, &config(), &source).unwrap();
    let whole = fs::read(out.join(WEIGHTS_FILE)).unwrap();
    for length in 0..whole.len() {
        fs::write(out.join(WEIGHTS_FILE), &whole[..length]).unwrap();
        let error = message(read(&out, &specs(), |_| false));
        assert!(error.contains("model.safetensors: not a whole safetensors file"), "{error}");
    }
}

#[test]
fn absent_weights_are_explained_by_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let error = message(read(&dir.path().join("none"), &specs(), |_| false));
    assert!(error.contains("none: expected a checkpoint directory"), "{error}");
    fs::write(dir.path().join("config.json"), config().to_json()).unwrap();
    let error = message(read(dir.path(), &specs(), |_| false));
    assert!(error.contains("expected model.safetensors, found no weights"), "{error}");
    for other in ["pytorch_model.bin", "model.safetensors.index.json"] {
        fs::write(dir.path().join(other), "").unwrap();
        let error = message(read(dir.path(), &specs(), |_| false));
        assert!(error.contains(other), "{error}");
    }
}

fn state(step: u64) -> TrainerState {
    TrainerState {
        step,
        epoch: 1,
        seed: u64::MAX,
        fingerprint: fingerprint([b"config".as_slice(), b"data"]),
        options: json!({"learning_rate": 0.1 + 0.2}),
        progress: json!(null),
    }
}

#[test]
fn the_newest_state_comes_back_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    assert!(load_latest_state(dir.path()).unwrap().is_none());
    let param = [1.0f32, -0.0, f32::MIN_POSITIVE / 2.0];
    for step in [9, 10, 10] {
        let m = [step as f32];
        save_state(dir.path(), &state(step), &[("param", &param), ("m", &m), ("v", &[])]).unwrap();
        let loaded = load_latest_state(dir.path()).unwrap().unwrap();
        assert_eq!(loaded.state, state(step));
        assert_eq!(latest_step(dir.path()).unwrap(), Some(step));
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&loaded.buffers["param"]), bits(&param));
        assert_eq!(loaded.buffers["m"], m);
        assert!(loaded.buffers["v"].is_empty());
        assert_eq!(fs::read_dir(dir.path().join("trainer")).unwrap().count(), 1);
    }
    state(10).expect_run(&state(0).fingerprint, dir.path()).unwrap();
    let error = message(state(10).expect_run("another", dir.path()));
    assert!(error.contains("cannot resume"), "{error}");
}

/// Every state a kill can leave, made by hand: the resumed pair is always a complete one.
#[test]
fn a_kill_at_any_moment_of_a_save_leaves_a_state_to_resume_from() {
    let dir = tempfile::tempdir().unwrap();
    let trainer = dir.path().join("trainer");
    let load = || load_latest_state(dir.path()).unwrap().unwrap().state.step;
    save_state(dir.path(), &state(5), &[("param", &[5.0])]).unwrap();
    // While the next one is being written (by a process of an id that cannot exist).
    let temporary = trainer.join(".step-000000006.tmp-4294967295");
    fs::create_dir(&temporary).unwrap();
    fs::write(temporary.join("state.safetensors"), "half").unwrap();
    assert_eq!(load(), 5);
    assert!(!temporary.exists());
    // Between the rename of the new and the removal of the old.
    let kept = dir.path().join("kept");
    fs::rename(trainer.join("step-000000005"), &kept).unwrap();
    save_state(dir.path(), &state(6), &[("param", &[6.0])]).unwrap();
    fs::rename(&kept, trainer.join("step-000000005")).unwrap();
    assert_eq!(load(), 6);
    // While the old one is being removed.
    fs::remove_file(trainer.join("step-000000005/state.json")).unwrap();
    assert_eq!(load(), 6);
    // Between the two renames of a second save of the same step.
    fs::rename(trainer.join("step-000000006"), trainer.join(".step-000000006.old-4294967295"))
        .unwrap();
    fs::remove_dir_all(trainer.join("step-000000005")).unwrap();
    assert_eq!(load(), 6);
    save_state(dir.path(), &state(7), &[("param", &[7.0])]).unwrap();
    assert_eq!(fs::read_dir(&trainer).unwrap().count(), 1);
}

#[test]
fn a_damaged_state_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    save_state(dir.path(), &state(3), &[("param", &[1.0, 2.0])]).unwrap();
    let place = dir.path().join("trainer/step-000000003");
    let files = ["state.json", "state.safetensors"];
    let whole: HashMap<&str, Vec<u8>> =
        files.iter().map(|name| (*name, fs::read(place.join(name)).unwrap())).collect();
    for name in files {
        let mut edited = whole[name].clone();
        *edited.last_mut().unwrap() ^= 1;
        let truncated = &whole[name][..whole[name].len() / 2];
        for damaged in [&edited, truncated, &[]] {
            fs::write(place.join(name), damaged).unwrap();
            let error = message(load_latest_state(dir.path()));
            assert!(error.contains(name) && error.contains("truncated or edited"), "{error}");
        }
        fs::remove_file(place.join(name)).unwrap();
        let error = message(load_latest_state(dir.path()));
        assert!(error.contains(name) && error.contains("cannot read"), "{error}");
        fs::write(place.join(name), &whole[name]).unwrap();
    }
    load_latest_state(dir.path()).unwrap().unwrap();
}
