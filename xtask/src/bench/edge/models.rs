//! One checkpoint of random weights a size, in the format of every engine, made when first needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::engines;
use super::folders::Folders;
use super::worker::last_words;
use crate::shell;

/// A size of BERT and the lengths it is measured at.
pub struct Model {
    /// Its name.
    pub name: &'static str,
    layers: usize,
    hidden: usize,
    heads: usize,
    feed_forward: usize,
    /// Whether long texts are among what it is used for.
    long: bool,
}

/// The sizes, from small to large.
pub const MODELS: [Model; 5] = [
    model("bert-tiny", 2, 128, 2, false),
    model("bert-mini", 4, 256, 4, false),
    model("bert-small", 4, 512, 8, false),
    model("minilm-l6", 6, 384, 12, true),
    model("bert-base", 12, 768, 12, true),
];

/// The size that start and memory are measured with.
pub const START: &str = "minilm-l6";

/// Numbers of tokens; the last for long texts.
pub const TOKENS: [usize; 4] = [16, 32, 128, LONG];
const LONG: usize = 512;

/// Pieces of the vocabulary; `make-weights` has the same number.
const VOCABULARY: usize = 30_522;

const fn model(
    name: &'static str,
    layers: usize,
    hidden: usize,
    heads: usize,
    long: bool,
) -> Model {
    Model { name, layers, hidden, heads, feed_forward: 4 * hidden, long }
}

/// A format of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The directory itself.
    Checkpoint,
    /// What `bert-trainer export` writes.
    Ours,
    /// Those of `convert.py`.
    Onnx,
    /// Standard operators, int8 with a scale per channel.
    OnnxInt8,
    /// As before, with a scale per matrix.
    OnnxInt8Tensor,
    /// ONNX Runtime's operators, a scale per channel.
    FusedInt8,
    /// As before, with a scale per matrix.
    FusedInt8Tensor,
    /// OpenVINO's intermediate representation.
    OpenVino,
    /// A directory of CTranslate2.
    CTranslate2,
}

impl Form {
    /// Whether Python makes it.
    pub fn needs_python(self) -> bool {
        !matches!(self, Self::Checkpoint | Self::Ours)
    }

    /// Its name in `convert.py`, and its file.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Checkpoint => ("", ""),
            Self::Ours => ("", "model.bert"),
            Self::Onnx => ("onnx", "f32.onnx"),
            Self::OnnxInt8 => ("onnx-int8", "int8.onnx"),
            Self::OnnxInt8Tensor => ("onnx-int8-tensor", "int8-tensor.onnx"),
            Self::FusedInt8 => ("fused-int8", "fused-int8.onnx"),
            Self::FusedInt8Tensor => ("fused-int8-tensor", "fused-int8-tensor.onnx"),
            Self::OpenVino => ("openvino-int8", "openvino-int8.xml"),
            Self::CTranslate2 => ("ctranslate2", "ctranslate2"),
        }
    }
}

impl Model {
    /// Whether it is measured at so many tokens.
    pub fn has(&self, tokens: usize) -> bool {
        tokens < LONG || self.long
    }

    /// Products (multiply and add) of an inference of T tokens:
    /// L · (4 T H² + 2 T H F + 2 T² H).
    pub fn products(&self, tokens: usize) -> f64 {
        let (h, f) = (self.hidden, self.feed_forward);
        (self.layers * (4 * tokens * h * h + 2 * tokens * h * f + 2 * tokens * tokens * h)) as f64
    }

    /// Values of a row of the last layer.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Its sizes in words.
    pub fn describe(&self) -> String {
        format!("{} × {}, {} heads", self.layers, self.hidden, self.heads)
    }

    /// The checkpoint in a format, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made: the reason in one line.
    pub fn file(&self, folders: &Folders, trainer: &Path, form: Form) -> Result<PathBuf> {
        let folder = folders.root.join("models").join(self.name);
        let checkpoint = folder.join("model.safetensors");
        if !checkpoint.exists() {
            self.make(folders, &folder)?;
        }
        let (format, name) = form.names();
        let path = folder.join(name);
        match form {
            Form::Checkpoint => {}
            // A newer trainer may write another file.
            Form::Ours if !newer(&path, trainer) => {
                let mut export = Command::new(trainer);
                export.args(["export", "--model"]).arg(&folder).arg("--output").arg(&path);
                quietly(&mut export, &folders.log(&format!("{}-export", self.name)))?;
            }
            Form::Ours => {}
            _ if path.exists() => {}
            _ => {
                let mut convert = Command::new(folders.python()?);
                convert.arg(folders.scripts().join("convert.py")).arg(&folder).arg(format);
                convert.arg(&path);
                quietly(&mut convert, &folders.log(&format!("{}-{format}", self.name)))?;
            }
        }
        Ok(path)
    }

    fn make(&self, folders: &Folders, folder: &Path) -> Result<()> {
        engines::build(folders, "make-weights")?;
        let mut make = Command::new(folders.program("make-weights"));
        let sizes = [self.layers, self.hidden, self.heads, self.feed_forward];
        make.arg(folder).args(sizes.map(|size| size.to_string()));
        shell::run(&mut make)
    }
}

/// Whether `path` is there and no older than `other`.
fn newer(path: &Path, other: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    matches!((time(path), time(other)), (Ok(path), Ok(other)) if path >= other)
}

/// Runs a command whose words matter only if it fails.
fn quietly(command: &mut Command, log: &Path) -> Result<()> {
    eprintln!("$ {}", shell::shown(command));
    let failed = || format!("cannot write {}", log.display());
    let output = std::fs::File::create(log).with_context(failed)?;
    let errors = output.try_clone().with_context(failed)?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let status = command.status().with_context(|| shell::shown(command))?;
    if !status.success() {
        bail!("{}", last_words(log).unwrap_or_else(|| status.to_string()));
    }
    Ok(())
}

/// A file of so many token ids: `[CLS]`, ids that jump about the word table, `[SEP]`.
///
/// # Errors
/// It cannot be written.
pub fn ids(folders: &Folders, tokens: usize) -> Result<PathBuf> {
    const CLS: usize = 2;
    const SEP: usize = 3;
    const FIRST_WORD: usize = 5;
    // Multiples of a prime, modulo the number of words.
    let word = |at: usize| FIRST_WORD + at * 7919 % (VOCABULARY - FIRST_WORD);
    let between = (1..tokens - 1).map(word);
    let ids: Vec<String> =
        [CLS].into_iter().chain(between).chain([SEP]).map(|id| id.to_string()).collect();
    let path = folders.root.join("ids").join(format!("{tokens}.txt"));
    std::fs::write(&path, ids.join(" "))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
