//! A flow in miniature: text, tokenizer, shards, a pre-trained and a fine-tuned model and a model
//! file, made once for all tests of a binary, in seconds.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::command;

/// Where the pieces of the flow lie.
pub struct Fixture {
    dir: TempDir,
}

/// Steps of the miniature pre-training.
const STEPS: &str = "3";

const ROOMS: [&str; 5] = ["kitchen", "bedroom", "garage", "office", "attic"];
const DEVICES: [&str; 4] = ["lamp", "fan", "radio", "heater"];

/// The whole miniature, made on first use.
pub fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let fixture = Fixture::prepare();
        fixture.train();
        fixture
    })
}

/// The miniature as far as `prepare`: no model, made on first use.
pub fn prepared() -> &'static Fixture {
    static PREPARED: OnceLock<Fixture> = OnceLock::new();
    PREPARED.get_or_init(Fixture::prepare)
}

impl Fixture {
    /// Text, tokenizer and shards.
    fn prepare() -> Self {
        let fixture = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        fixture.write("corpus.txt", &corpus());
        fixture.write("joint.tsv", &joint());
        fixture.write("config.json", CONFIG);
        fixture.run(
            &["vocab", "--vocab-size", "120"],
            &[("--input", "corpus.txt"), ("--output", "tokenizer")],
        );
        fixture.run(
            &["prepare"],
            &[("--input", "corpus.txt"), ("--tokenizer", "tokenizer"), ("--output", "shards")],
        );
        fixture
    }

    /// The models.
    fn train(&self) {
        self.run(
            &["pretrain", "--steps", STEPS, "--batch-size", "4", "--max-length", "32"],
            &[("--data", "shards"), ("--config", "config.json"), ("--output", "pretrained")],
        );
        self.run(
            &["finetune", "--task", "joint", "--epochs", "1", "--batch-size", "8"],
            &[
                ("--train", "joint.tsv"),
                ("--eval", "joint.tsv"),
                ("--model", "pretrained"),
                ("--output", "assistant"),
            ],
        );
        self.run(
            &["export", "--max-length", "24"],
            &[("--model", "assistant"), ("--output", "model.bert")],
        );
    }

    fn run(&self, arguments: &[&str], paths: &[(&str, &str)]) {
        let named = paths.iter().flat_map(|(flag, name)| [flag.into(), self.path(name).into()]);
        let arguments = arguments.iter().map(std::ffi::OsString::from).chain(named);
        command::json("bert-trainer", arguments);
    }

    /// A file or directory of the miniature: `corpus.txt`, `joint.tsv`, `config.json`, `tokenizer`,
    /// `shards`, and of the whole one `pretrained`, `assistant`, `model.bert`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the temporary directory is writable");
    }
}

/// Copies a directory with all that is in it.
///
/// # Panics
///
/// If it cannot be read or written.
pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a new directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("a readable directory");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

const CONFIG: &str = r#"{
  "hidden_size": 32,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "intermediate_size": 64,
  "max_position_embeddings": 40
}
"#;

/// Dialogues about every room and device.
fn corpus() -> String {
    let mut corpus = String::new();
    for room in ROOMS {
        for device in DEVICES {
            corpus.push_str(&format!(
                "turn on the {device} in the {room}\nthe {device} in the {room} is on now\n\
                 is the {device} still on ?\nyes , the {device} in the {room} is on\n\n"
            ));
        }
    }
    corpus
}

/// Utterances about every room and device.
fn joint() -> String {
    let mut lines = String::new();
    for room in ROOMS {
        for device in DEVICES {
            for (intent, verb) in [("switch_on", "on"), ("switch_off", "off")] {
                lines.push_str(&format!(
                    "{intent}\tturn {verb} the {device} in the {room}\t\
                     O O O B-device O O B-room\n"
                ));
            }
        }
    }
    lines
}
