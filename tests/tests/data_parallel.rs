//! Training on several processes: N ranks come to what one process comes to, up to the order of sums,
//! and to the same bits every time.
//!
//! The processes here are threads with a trait of their own; `mpi.rs` starts real ones.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Barrier, Mutex};

use bert_kernels::{Buffer, Context, KernelError};
use bert_tests::command;
use bert_tests::fixture::prepared;
use bert_tests::golden::relative_error;
use bert_tests::runs::check_same_run;
use bert_trainer::config::Config;
use bert_trainer::data::{PretrainBatch, PretrainData, PretrainOptions, cut};
use bert_trainer::model::{
    DeviceBatch, DropoutPlan, Head, Model, ParameterTable, Precision, Shares, Targets,
    initial_values,
};
use bert_trainer::train::collective::{Alone, CollectiveError, Communicator};
use bert_trainer::train::{PretrainPaths, PretrainPlan, PretrainSummary, pretrain};

/// Gradients of one step as one batch or in slices, in the Euclidean norm: the same sums in another
/// order, of some hundred terms each.
const MAX_REORDERING_ERROR: f64 = 1e-5;

fn config() -> Config {
    Config {
        vocab_size: 120,
        ..Config::resolve(&prepared().path("config.json").display().to_string()).unwrap()
    }
}

fn plan() -> PretrainPlan {
    PretrainPlan {
        steps: 12,
        batch_size: 7,
        max_length: 32,
        learning_rate: 1e-3,
        warmup_steps: 2,
        weight_decay: 0.01,
        seed: 1,
        whole_word: true,
        log_steps: 1,
        accumulate: 1,
    }
}

fn paths(output: &Path) -> PretrainPaths {
    PretrainPaths {
        data: prepared().path("shards"),
        model: None,
        output: output.into(),
        save_steps: 5,
        max_seconds: None,
        resume: false,
        recompute: false,
        record: false,
    }
}

/// Where threads leave what the others read.
struct Room {
    barrier: Barrier,
    words: Mutex<Vec<Vec<u64>>>,
    values: Mutex<Vec<Vec<f32>>>,
}

/// A rank that is a thread.
struct Thread<'a> {
    rank: usize,
    world_size: usize,
    room: &'a Room,
}

impl Thread<'_> {
    /// What all ranks put into their places of `shelf`.
    fn exchange<T: Clone>(&self, shelf: &Mutex<Vec<Vec<T>>>, mine: Vec<T>) -> Vec<Vec<T>> {
        shelf.lock().unwrap()[self.rank] = mine;
        self.room.barrier.wait();
        let all = shelf.lock().unwrap().clone();
        // Nobody puts anything new there before all have read.
        self.room.barrier.wait();
        all
    }
}

impl Communicator for Thread<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_gather(&self, words: &[u64]) -> Result<Vec<Vec<u64>>, CollectiveError> {
        Ok(self.exchange(&self.room.words, words.to_vec()))
    }

    fn all_reduce(&self, ctx: &Context, values: &Buffer) -> Result<(), KernelError> {
        let all = self.exchange(&self.room.values, ctx.read_f32(values)?);
        let (first, rest) = all.split_first().unwrap();
        let mut sums = first.clone();
        for other in rest {
            sums.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
        }
        ctx.write_f32(values, sums)
    }

    fn finish(&self) -> Result<(), KernelError> {
        Ok(())
    }

    fn fail(&self, message: &str) {
        panic!("{message}");
    }
}

/// The summaries of all ranks.
fn train(world_size: usize, plan: &PretrainPlan, paths: &PretrainPaths) -> Vec<PretrainSummary> {
    let room = Room {
        barrier: Barrier::new(world_size),
        words: Mutex::new(vec![Vec::new(); world_size]),
        values: Mutex::new(vec![Vec::new(); world_size]),
    };
    std::thread::scope(|scope| {
        let start = |rank| {
            let room = &room;
            scope.spawn(move || {
                let ctx = Context::open("cpu").unwrap();
                let rank = Thread { rank, world_size, room };
                pretrain(&ctx, &rank, &config(), Precision::F32, plan, paths).unwrap()
            })
        };
        let ranks: Vec<_> = (0..world_size).map(start).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn train_alone(plan: &PretrainPlan, paths: &PretrainPaths) -> PretrainSummary {
    let ctx = Context::open("cpu").unwrap();
    pretrain(&ctx, &Alone, &config(), Precision::F32, plan, paths).unwrap()
}

#[test]
fn ranks_come_to_what_one_process_comes_to_and_agree_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let alone = dir.path().join("alone");
    let summary = train_alone(&plan(), &paths(&alone));
    for world_size in [2, 3] {
        let several = dir.path().join(world_size.to_string());
        let summaries = train(world_size, &plan(), &paths(&several));
        check_same_run(&several, &alone);
        for other in &summaries {
            assert_eq!((other.steps, other.tokens), (summary.steps, summary.tokens));
            assert_eq!(other.mlm_loss, summaries[0].mlm_loss);
        }
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_processes() {
    let dir = tempfile::tempdir().unwrap();
    let (calm, changing) = (dir.path().join("calm"), dir.path().join("changing"));
    // Passes of three and four sequences, of which each rank has one or two.
    let plan = PretrainPlan { accumulate: 2, ..plan() };
    train_alone(&plan, &paths(&calm));
    // Zero seconds: one step, then the clock of rank 0 stops all.
    let one_step = PretrainPaths { max_seconds: Some(0.0), resume: true, ..paths(&changing) };
    for world_size in [2, 1, 3, 2] {
        let summaries = train(world_size, &plan, &one_step);
        assert!(summaries.iter().all(|summary| summary.steps == summaries[0].steps));
    }
    let rest = PretrainPaths { max_seconds: None, ..one_step };
    assert_eq!(train(2, &plan, &rest)[1].steps, plan.steps);
    check_same_run(&changing, &calm);
}

#[test]
fn every_rank_needs_a_part_of_every_pass() {
    let dir = tempfile::tempdir().unwrap();
    let room = Room {
        barrier: Barrier::new(1),
        words: Mutex::new(vec![Vec::new()]),
        values: Mutex::new(vec![Vec::new()]),
    };
    let ctx = Context::open("cpu").unwrap();
    let refused = |world_size, plan: PretrainPlan, config: Config| {
        let rank = Thread { rank: 0, world_size, room: &room };
        let result = pretrain(&ctx, &rank, &config, Precision::F32, &plan, &paths(dir.path()));
        format!("{:#}", result.unwrap_err())
    };
    let error = refused(4, PretrainPlan { accumulate: 2, ..plan() }, config());
    let expected = "at most the 7 sequences of --batch-size divided by 4 processes";
    assert!(error.contains(expected), "{error}");
    let wide = PretrainPlan { batch_size: 1 << 22, ..plan() };
    let error = refused(2, wide, config());
    assert!(error.contains("take more passes"), "{error}");
}

fn model(ctx: &Context, config: &Config) -> Model {
    let table = ParameterTable::new(config, &Head::Pretraining);
    let values = initial_values(&table, config, 3);
    Model::new(ctx, config, Head::Pretraining, Precision::F32, &values).unwrap()
}

fn batches(parts: usize) -> (PretrainBatch, Vec<PretrainBatch>) {
    let options =
        PretrainOptions { batch_size: 7, max_length: 32, whole_word: true, ..Default::default() };
    let data = PretrainData::open(&prepared().path("shards"), options).unwrap();
    let slice = |part| data.slice(3, cut(0..7, part, parts)).unwrap();
    (data.batch(3).unwrap(), (0..parts).map(slice).collect())
}

/// With the masks of dropout that the whole batch has, a slice's gradients are its part of the batch's.
#[test]
fn slices_with_their_dropout_masks_add_up_to_the_batch() {
    let ctx = Context::open("cpu").unwrap();
    let config = Config { initializer_range: 0.2, ..config() };
    assert!(config.hidden_dropout_prob > 0.0 && config.attention_probs_dropout_prob > 0.0);
    let (whole, slices) = batches(3);
    let dropout = DropoutPlan::training(&ctx, &config, 5, 11);
    let gradients = |parts: &[PretrainBatch], offsets: bool| {
        let model = model(&ctx, &config);
        let mut token = 0;
        for part in parts {
            let batch = DeviceBatch::upload(&ctx, &part.tokens);
            let shares = Shares::pretraining(part, &whole);
            let targets = Targets::pretraining(&ctx, part, shares);
            let dropout = dropout.clone();
            let dropout = if offsets { dropout.from_token(&config, token) } else { dropout };
            model.accumulate_gradients(&batch, &targets, &dropout, 1.0).unwrap();
            token += part.tokens.tokens() as u64;
        }
        ctx.read_f32(model.gradients()).unwrap()
    };
    let expected = gradients(std::slice::from_ref(&whole), true);
    let error = relative_error(&gradients(&slices, true), &expected, 0.0);
    assert!(error < MAX_REORDERING_ERROR, "{error}");
    // Masks that begin anew in each slice are others, and the error would show it.
    let error = relative_error(&gradients(&slices, false), &expected, 0.0);
    assert!(error > 1e3 * MAX_REORDERING_ERROR, "{error}");
}

#[test]
fn what_a_backward_pass_calls_ready_does_not_change_any_more() {
    let ctx = Context::open("cpu").unwrap();
    let config = config();
    let model = model(&ctx, &config);
    let (whole, _) = batches(1);
    let batch = DeviceBatch::upload(&ctx, &whole.tokens);
    let targets = Targets::pretraining(&ctx, &whole, Shares::default());
    let dropout = DropoutPlan::training(&ctx, &config, 5, 11);
    let gradients = model.gradients();
    let mut told: Vec<(usize, Vec<f32>)> = Vec::new();
    let mut ready = |from| {
        told.push((from, ctx.read_f32(&gradients.slice(from..gradients.len()))?));
        Ok(())
    };
    model.last_gradients(&batch, &targets, &dropout, 1.0, &mut ready).unwrap();
    let last = ctx.read_f32(gradients).unwrap();
    assert_eq!(told.len(), config.num_hidden_layers);
    assert!(told.is_sorted_by(|(above, _), (below, _)| above > below));
    for (from, values) in &told {
        assert!(values.iter().any(|&value| value != 0.0));
        assert!(*values == last[*from..], "from {from} on");
    }
    // All layers are told, so only the embeddings are left.
    let layers = model.table().find("bert.encoder.layer.0.attention.self.query.weight").unwrap();
    assert_eq!(told.last().unwrap().0, layers.offset);
}

#[test]
fn half_an_environment_and_a_missing_transport_are_said_clearly() {
    let run = |command: &str, variables: &[(&str, &str)]| {
        let mut process = std::process::Command::new(command::binary("bert-trainer"));
        process.arg(command).args(match command {
            "pretrain" => ["--data", "nowhere", "--output", "nowhere"].as_slice(),
            _ => ["--task", "tag", "--train", "a", "--eval", "b", "--model", "c", "--output", "d"]
                .as_slice(),
        });
        let outcome: command::Outcome =
            process.envs(variables.iter().copied()).output().unwrap().into();
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        outcome.stderr
    };
    let error = run("pretrain", &[("RANK", "0")]);
    assert!(error.contains("WORLD_SIZE: expected a value, because RANK is set"), "{error}");
    let two = [("RANK", "1"), ("WORLD_SIZE", "2")];
    let error = run("pretrain", &two);
    assert!(error.contains("2 processes: expected a start by `mpirun`"), "{error}");
    let error = run("finetune", &two);
    assert!(error.contains("finetune trains in one process"), "{error}");
}
