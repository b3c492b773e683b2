//! The file of measured blocks: JSON, of one device.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use bert_kernels::Context;
use bert_kernels::ops::{GemmBlock, GemmExtents, GemmTuning, Transpose, gemm_blocks};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TuningError;
use crate::atomic::{WriteError, write_file};
use crate::model::Precision;

/// Raised when an older version could not read the file.
const FORMAT: u32 = 1;
/// How many times more or fewer rows than were measured a block still stands for.
const MOST_APART: usize = 2;

/// What was measured on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TuningFile {
    format: u32,
    /// `cuda`, `hip`, `wgpu` or `cpu`.
    pub runtime: String,
    /// The device as its maker calls it.
    pub device: String,
    /// The driver that was there, if it says what it is.
    pub driver: Option<String>,
    /// One entry for each product, in the order in which they were measured first.
    pub products: Vec<MeasuredProduct>,
}

/// A product with the time of each block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredProduct {
    /// Where it is from, for people: `bert-base H→3H`.
    pub layer: String,
    /// Which sizes are widths, and so must be met exactly.
    pub kind: ProductKind,
    /// Type of the operands.
    pub precision: Precision,
    /// Which product of a linear layer.
    pub pass: Pass,
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// The block that follows from the sizes.
    pub default: String,
    /// The block to take.
    pub block: String,
    /// Microseconds of each block.
    pub us: BTreeMap<String, f64>,
    /// When.
    pub measured: Timestamp,
}

/// Which of a product's sizes belong to the model, and which to the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProductKind {
    /// A linear layer: its rows are of the batch.
    Linear,
    /// The decoder of masked words: how many words a chunk has follows from the rows.
    Decoder,
}

/// A product of a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// x Wᵀ.
    Forward,
    /// dY W, the gradient of x.
    Input,
    /// dYᵀ x, the gradient of W.
    Weight,
}

impl Pass {
    /// All of them, as a step has them.
    pub const ALL: [Self; 3] = [Self::Forward, Self::Input, Self::Weight];

    /// How its operands lie.
    pub fn transpose(self) -> Transpose {
        match self {
            Self::Forward => Transpose::NT,
            Self::Input => Transpose::NN,
            Self::Weight => Transpose::TN,
        }
    }
}

impl MeasuredProduct {
    /// Rows of the batch, width of the output and of the input.
    fn layer_sizes(&self) -> (usize, usize, usize) {
        match self.pass {
            Pass::Forward => (self.m, self.n, self.k),
            Pass::Input => (self.m, self.k, self.n),
            Pass::Weight => (self.k, self.m, self.n),
        }
    }

    /// What products must have in common to be the same but for their rows.
    fn family(&self) -> (Precision, Pass, ProductKind, Option<usize>, usize) {
        let (_, outputs, inputs) = self.layer_sizes();
        let exact = (self.kind == ProductKind::Linear).then_some(outputs);
        (self.precision, self.pass, self.kind, exact, inputs)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.family() == other.family() && self.layer_sizes() == other.layer_sizes()
    }

    /// The sizes that this measurement stands for, beside the rows that its family was measured at: those
    /// nearer to its own than to any other, by their ratio, and at most [`MOST_APART`] times apart.
    fn extents(&self, measured_rows: impl Iterator<Item = usize>) -> GemmExtents {
        let (rows, outputs, inputs) = self.layer_sizes();
        let mut of_rows = around(rows);
        for other in measured_rows {
            // The first whole number above the geometric mean is nearer to the larger one.
            let border = rows.saturating_mul(other).isqrt() + 1;
            if other < rows {
                of_rows = border.max(*of_rows.start())..=*of_rows.end();
            } else if other > rows {
                of_rows = *of_rows.start()..=(border - 1).min(*of_rows.end());
            }
        }
        let of_inputs = inputs..=inputs;
        let of_outputs = match self.kind {
            ProductKind::Linear => outputs..=outputs,
            ProductKind::Decoder => around(outputs),
        };
        match self.pass {
            Pass::Forward => GemmExtents { m: of_rows, n: of_outputs, k: of_inputs },
            Pass::Input => GemmExtents { m: of_rows, n: of_inputs, k: of_outputs },
            Pass::Weight => GemmExtents { m: of_outputs, n: of_inputs, k: of_rows },
        }
    }

    /// Microseconds of the block that follows from the sizes, and of the one to take.
    pub fn default_and_chosen_us(&self) -> (Option<f64>, Option<f64>) {
        (self.us.get(&self.default).copied(), self.us.get(&self.block).copied())
    }
}

fn around(size: usize) -> RangeInclusive<usize> {
    size.div_ceil(MOST_APART)..=size.saturating_mul(MOST_APART)
}

impl TuningFile {
    /// Nothing measured yet on this device.
    pub fn new(ctx: &Context) -> Self {
        Self {
            format: FORMAT,
            runtime: ctx.name().to_owned(),
            device: ctx.device_name().to_owned(),
            driver: driver(ctx.name()),
            products: Vec::new(),
        }
    }

    /// Reads a file that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// It cannot be read, or is no such file.
    pub fn read(path: &Path) -> Result<Self, TuningError> {
        let text =
            fs::read(path).map_err(|source| TuningError::Read { path: path.to_owned(), source })?;
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let not_ours = |error: serde_json::Error| {
            TuningError::invalid(path, format!("expected tuned blocks, found: {error}"))
        };
        let Format { format } = serde_json::from_slice(&text).map_err(not_ours)?;
        if format != FORMAT {
            let problem = format!("expected tuned blocks of format {FORMAT}, found {format}");
            return Err(TuningError::invalid(path, problem));
        }
        let file: Self = serde_json::from_slice(&text).map_err(not_ours)?;
        for product in &file.products {
            let MeasuredProduct { m, n, k, .. } = *product;
            if [m, n, k].contains(&0) || u32::try_from(m.max(n).max(k)).is_err() {
                let problem = format!("expected sizes from 1 to 2³² - 1, found {m} x {n} x {k}");
                return Err(TuningError::invalid(path, problem));
            }
        }
        Ok(file)
    }

    /// Writes the file, whole or not at all; missing folders are made.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn write(&self, path: &Path) -> Result<(), TuningError> {
        let fail = |source| WriteError::new(path, "write the tuned blocks", source);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(fail)?;
        }
        let text = serde_json::to_string_pretty(self).map_err(|error| fail(error.into()))?;
        Ok(write_file(path, format!("{text}\n").as_bytes())?)
    }

    /// Adds a measurement; it takes the place of an earlier one of the same product.
    pub fn add(&mut self, product: MeasuredProduct) {
        match self.products.iter_mut().find(|earlier| earlier.is_same(&product)) {
            Some(earlier) => *earlier = product,
            None => self.products.push(product),
        }
    }

    /// Whether it is of this device as it is now, so that measurements may be added to it.
    pub fn is_of(&self, ctx: &Context) -> bool {
        let Self { runtime, device, driver, .. } = Self::new(ctx);
        (&self.runtime, &self.device, &self.driver) == (&runtime, &device, &driver)
    }

    /// The blocks for products on `ctx`. Another driver than that of the measurement is no hindrance.
    ///
    /// # Errors
    /// The file, which is at `path`, is of another device, or names a block that this build has not.
    pub fn tuning(&self, ctx: &Context, path: &Path) -> Result<GemmTuning, TuningError> {
        let here = (ctx.name(), ctx.device_name());
        if (self.runtime.as_str(), self.device.as_str()) != here {
            let problem = format!(
                "expected blocks that were tuned on {} ({}), found those of {} ({})",
                here.1, here.0, self.device, self.runtime
            );
            return Err(TuningError::invalid(path, problem));
        }
        let mut tuning = GemmTuning::default();
        for product in &self.products {
            let block = block_named(ctx, product.precision, &product.block).ok_or_else(|| {
                let problem = format!(
                    "this build has no block `{}` for {} on this device; run `bert-trainer tune` again",
                    product.block,
                    product.precision.dtype()
                );
                TuningError::invalid(path, problem)
            })?;
            let family = self.products.iter().filter(|other| other.family() == product.family());
            let extents = product.extents(family.map(|other| other.layer_sizes().0));
            let transpose = product.pass.transpose();
            tuning.insert(product.precision.dtype(), transpose, extents, block);
        }
        Ok(tuning)
    }
}

fn block_named(ctx: &Context, precision: Precision, name: &str) -> Option<GemmBlock> {
    gemm_blocks(ctx, precision.dtype()).into_iter().find(|block| block.to_string() == name)
}

/// What the kernel says of the driver behind a runtime.
fn driver(runtime: &str) -> Option<String> {
    let file = match runtime {
        "cuda" => "/proc/driver/nvidia/version",
        "hip" => "/sys/module/amdgpu/version",
        _ => return None,
    };
    Some(fs::read_to_string(file).ok()?.lines().next()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn product(pass: Pass, kind: ProductKind, (m, n, k): (usize, usize, usize)) -> MeasuredProduct {
        MeasuredProduct {
            layer: "test".into(),
            kind,
            precision: Precision::Bf16,
            pass,
            m,
            n,
            k,
            default: "a".into(),
            block: "b".into(),
            us: BTreeMap::from([("a".into(), 2.0), ("b".into(), 1.0)]),
            measured: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn sizes_in_between_belong_to_the_nearest_measured_rows() {
        let rows = [1000, 4000, 6000];
        let of = |m| product(Pass::Forward, ProductKind::Linear, (m, 768, 3072));
        let extents = rows.map(|m| of(m).extents(rows.into_iter()));
        // √(4000 · 6000) = 4898.97; 1000 and 4000 are further apart than a block stands for.
        let found = extents.each_ref().map(|extents| extents.m.clone());
        assert_eq!(found, [500..=2000, 2001..=4898, 4899..=12_000]);
        assert!(extents.iter().all(|found| found.n == (768..=768) && found.k == (3072..=3072)));
        // In a gradient of a weight the rows are what is summed over.
        let extents = product(Pass::Weight, ProductKind::Linear, (768, 3072, 4001))
            .extents([4001].into_iter());
        assert_eq!((extents.m, extents.n), (768..=768, 3072..=3072));
        assert_eq!(extents.k, 2001..=8002);
    }

    #[test]
    fn a_chunk_of_words_may_have_another_width() {
        let sizes = [
            (Pass::Forward, (1000, 30_592, 768)),
            (Pass::Input, (1000, 768, 30_592)),
            (Pass::Weight, (30_592, 768, 1000)),
        ];
        for (pass, size) in sizes {
            let found = product(pass, ProductKind::Decoder, size).extents([1000].into_iter());
            let (rows, words) = (500..=2000, 15_296..=61_184);
            let expected = match pass {
                Pass::Forward => (rows, words, 768..=768),
                Pass::Input => (rows, 768..=768, words),
                Pass::Weight => (words, 768..=768, rows),
            };
            assert_eq!((found.m, found.n, found.k), expected, "{pass:?}");
        }
    }

    #[test]
    fn a_product_measured_again_replaces_itself_and_no_other() {
        let mut file = TuningFile {
            format: FORMAT,
            runtime: "cuda".into(),
            device: "GPU".into(),
            driver: None,
            products: Vec::new(),
        };
        let first = product(Pass::Forward, ProductKind::Linear, (10, 20, 30));
        file.add(first.clone());
        file.add(MeasuredProduct { m: 11, ..first.clone() });
        file.add(MeasuredProduct { precision: Precision::F16, ..first.clone() });
        file.add(MeasuredProduct { block: "a".into(), ..first.clone() });
        assert_eq!(file.products.len(), 3);
        assert_eq!(file.products[0].block, "a");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/tuning.json");
        file.write(&path).unwrap();
        assert_eq!(TuningFile::read(&path).unwrap(), file);
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tuning.json");
        let missing = TuningFile::read(&path).unwrap_err().to_string();
        assert!(missing.contains("tuning.json: cannot read"), "{missing}");
        let good = TuningFile {
            format: FORMAT,
            runtime: "cuda".into(),
            device: "GPU".into(),
            driver: Some("1".into()),
            products: vec![product(Pass::Input, ProductKind::Linear, (10, 20, 30))],
        };
        let text = serde_json::to_string(&good).unwrap();
        for (bad, expected) in [
            (text[..text.len() / 2].to_owned(), "expected tuned blocks, found: EOF"),
            ("[1]".into(), "expected tuned blocks, found: "),
            (text.replace("\"format\":1", "\"format\":2"), "of format 1, found 2"),
            (text.replace("\"m\":10", "\"m\":0"), "found 0 x 20 x 30"),
            (text.replace("\"m\":10", "\"m\":-1"), "expected tuned blocks, found: invalid value"),
            (text.replace("bf16", "int4"), "unknown variant `int4`"),
            (text.replace("\"layer\"", "\"lair\""), "unknown field `lair`"),
        ] {
            assert_ne!(bad, text, "{expected}");
            fs::write(&path, &bad).unwrap();
            let found = TuningFile::read(&path).unwrap_err().to_string();
            assert!(found.contains("tuning.json: ") && found.contains(expected), "{found}");
        }
    }
}
