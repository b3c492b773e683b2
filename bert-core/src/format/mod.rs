//! The model file: one preamble, a table of sections, and sections of 64-byte alignment, each with
//! a CRC-32. `docs/model-file.md` is the specification; this module is its reader and writer.
//!
//! [`Model::parse`] checks every byte once. What it hands out cannot fail or panic afterwards, and
//! the weights are used where they lie.

mod config;
#[cfg(feature = "std")]
mod group_scales;
mod groups;
mod half;
pub mod heads;
mod labels;
#[cfg(feature = "std")]
mod matrices;
mod matrix;
mod model;
mod sections;
mod tensor;
#[cfg(feature = "std")]
mod weights;
#[cfg(feature = "std")]
mod write;

pub use config::{Activation, Config, Head, Pooling};
pub use groups::{GroupRow, GroupTable, WORD_GROUP, WordEncoding, WordTable};
pub use half::HalfMatrix;
#[cfg(feature = "std")]
pub use half::Part;
pub use labels::Labels;
pub use matrix::{Int8Matrix, Layout, Matrix, PANEL, QUAD};
pub use model::{Layer, Model, SelfTest, SelfTests, scratch_bytes_of};
pub use sections::{
    ALIGNMENT, ENTRY_BYTES, Encoding, FORMAT_VERSION, Kind, MAGIC, MAX_SECTIONS, PREAMBLE_BYTES,
    READER_VERSION, Section,
};
pub use tensor::{Floats, MAX_PARAMETER, MAX_SCALE, Norm, Table};
#[cfg(feature = "std")]
pub use weights::{EmbeddingWeights, HeadWeights, LayerWeights, LinearWeights, NormWeights};
#[cfg(feature = "std")]
pub use write::{BuildError, ModelBuilder};

pub(crate) use groups::NIBBLE_ZERO;

#[cfg(feature = "std")]
pub use sections::repair_checksums;
