//! Reading the golden files: what PyTorch, Transformers and tokenizers say (`cargo xtask golden`).

use std::path::PathBuf;

use bert_trainer::config::Config;
use bert_trainer::data::PackedBatch;
use bert_trainer::model::ParameterTable;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// The folder of the golden files.
pub fn folder() -> PathBuf {
    crate::repository().join("tests/golden")
}

/// Tensors of a safetensors file.
pub struct Tensors {
    bytes: Vec<u8>,
}

impl Tensors {
    /// Opens a file of the golden folder.
    ///
    /// # Panics
    ///
    /// If it is missing; `cargo xtask golden` makes it.
    pub fn open(name: &str) -> Self {
        let path = folder().join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { bytes }
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("a safetensors file")
    }

    /// Names that begin with `prefix`, sorted.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let file = self.file();
        let mut names: Vec<String> = file
            .names()
            .into_iter()
            .filter(|name| name.starts_with(prefix))
            .map(|name| name.to_string())
            .collect();
        names.sort();
        names
    }

    /// An f32 tensor, row-major.
    ///
    /// # Panics
    ///
    /// If there is none of this name.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        let words = self.words(name, Dtype::F32);
        words.into_iter().map(f32::from_bits).collect()
    }

    /// A tensor of indices or labels.
    ///
    /// # Panics
    ///
    /// If there is none of this name.
    pub fn u32(&self, name: &str) -> Vec<u32> {
        self.words(name, Dtype::I32)
    }

    fn words(&self, name: &str, dtype: Dtype) -> Vec<u32> {
        let file = self.file();
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(tensor.dtype(), dtype, "{name}");
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        tensor.data().chunks_exact(4).map(word).collect()
    }

    /// Packed sequences of batch `number`.
    pub fn batch(&self, number: usize) -> PackedBatch {
        let part = |key: &str| self.u32(&format!("batch.{number}.{key}"));
        let (ids, segments, starts) = (part("ids"), part("segments"), part("cu_seqlens"));
        let mut batch = PackedBatch::new();
        for ends in starts.windows(2) {
            let range = ends[0] as usize..ends[1] as usize;
            batch.push(&ids[range.clone()], &segments[range]);
        }
        batch
    }
}

/// A JSON file of the golden folder.
///
/// # Panics
///
/// If it is missing; `cargo xtask golden` makes it.
pub fn json(name: &str) -> Value {
    let path = folder().join(name);
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).expect("a JSON file")
}

/// A number of a JSON value.
///
/// # Panics
///
/// If it is none.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The configuration of a golden model.
///
/// # Panics
///
/// If the trainer does not take it.
pub fn config(name: &str) -> Config {
    Config::load(&folder().join(name)).expect("a configuration of Transformers")
}

/// The parameters of a golden model in the trainer's layout, read without the trainer's help.
pub fn values(name: &str, table: &ParameterTable) -> Vec<f32> {
    let tensors = Tensors::open(&format!("{name}/model.safetensors"));
    let mut values = vec![0.0; table.len()];
    for parameter in table.parameters() {
        values[parameter.range()].copy_from_slice(&tensors.f32(&parameter.name));
    }
    values
}

/// Euclidean distance of `found` from `expected`, divided by the length of `expected`.
///
/// `floor` is added to that length: what is that small counts as zero.
///
/// # Panics
///
/// If the lengths differ.
pub fn relative_error(found: &[f32], expected: &[f32], floor: f64) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f64| x * x;
    let pairs = found.iter().zip(expected);
    let distance: f64 = pairs.map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    let length: f64 = expected.iter().map(|&b| square(f64::from(b))).sum();
    // NaN must not pass as small.
    let error = distance.sqrt() / (length.sqrt() + floor);
    if error.is_nan() { f64::INFINITY } else { error }
}
