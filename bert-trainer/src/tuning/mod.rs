//! GEMM blocks that were measured on a device, kept for the runs that follow.
//!
//! `bert-trainer tune` measures every block for the products of a model and keeps what it finds in a
//! [`TuningFile`], by default in the user's cache, one file a device. Whoever computes opens its device
//! through [`TuningChoice::open`] and takes the blocks from there. They change how fast a product is and
//! no bit of it, so a run is the same with and without such a file.

mod file;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bert_kernels::{Context, KernelError};

use crate::atomic::WriteError;

pub use file::{MeasuredProduct, Pass, ProductKind, TuningFile};

/// Why a file of measured blocks is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuningError {
    /// It cannot be read.
    #[error("{}: cannot read the tuned blocks: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no such file, or one of another device or version.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The device failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl TuningError {
    fn invalid(path: &Path, problem: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), problem: problem.into() }
    }
}

/// Where measured blocks come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TuningChoice {
    /// The file of the device in the user's cache, if there is one.
    Cache,
    /// This file.
    File(PathBuf),
    /// Nowhere: every block follows from the sizes.
    Off,
}

impl FromStr for TuningChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" => Self::Cache,
            "off" => Self::Off,
            path => Self::File(path.into()),
        })
    }
}

impl TuningChoice {
    /// Gives products the blocks that were measured, and says in a line where they are from, or why a
    /// file in the cache is of no use.
    ///
    /// # Errors
    /// A file that was named is damaged, of another device, or not there.
    pub fn apply(&self, ctx: Context) -> Result<(Context, Option<String>), TuningError> {
        match self {
            Self::Off => Ok((ctx, None)),
            Self::File(path) => with_file(ctx, path),
            // There is nothing to choose.
            Self::Cache if ctx.shape().is_cpu() => Ok((ctx, None)),
            Self::Cache => match cache_file(&ctx) {
                None => Ok((ctx, None)),
                Some(path) => Ok(with_cache(ctx, &path)),
            },
        }
    }

    /// [`apply`](Self::apply), with the line on stderr.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn open(&self, ctx: Context) -> Result<Context, TuningError> {
        let (ctx, note) = self.apply(ctx)?;
        if let Some(note) = note {
            eprintln!("{note}");
        }
        Ok(ctx)
    }

    /// The file to write to on this device; `None` where nothing is to be kept.
    ///
    /// # Errors
    /// There is no cache directory, for want of a home.
    pub fn file(&self, ctx: &Context) -> Result<Option<PathBuf>, TuningError> {
        match self {
            Self::Off => Ok(None),
            Self::File(path) => Ok(Some(path.clone())),
            Self::Cache => cache_file(ctx).map(Some).ok_or_else(|| {
                TuningError::invalid(
                    Path::new("the user's cache"),
                    "expected XDG_CACHE_HOME or HOME to say where it is, or --tuning FILE",
                )
            }),
        }
    }
}

fn with_file(ctx: Context, path: &Path) -> Result<(Context, Option<String>), TuningError> {
    let file = TuningFile::read(path)?;
    let tuning = file.tuning(&ctx, path)?;
    let note = format!("{} products take the blocks of {}", file.products.len(), path.display());
    Ok((ctx.with_gemm_tuning(tuning), Some(note)))
}

/// Nobody asked for what is in the cache, so what is wrong with it is told and no error.
fn with_cache(ctx: Context, path: &Path) -> (Context, Option<String>) {
    if !path.exists() {
        return (ctx, None);
    }
    with_file(ctx.clone(), path)
        .unwrap_or_else(|error| (ctx, Some(format!("tuned blocks are ignored: {error}"))))
}

/// `tuning-cuda-nvidia-h100-80gb-hbm3.json` in the user's cache.
fn cache_file(ctx: &Context) -> Option<PathBuf> {
    let name = format!("tuning-{}-{}.json", ctx.name(), file_name_of(ctx.device_name()));
    Some(dirs::cache_dir()?.join("bert-trainer").join(name))
}

/// Lower-case letters and digits with single hyphens between them.
fn file_name_of(device: &str) -> String {
    let words = device.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_option_names_a_file_the_cache_or_nothing() {
        assert_eq!("auto".parse(), Ok(TuningChoice::Cache));
        assert_eq!("off".parse(), Ok(TuningChoice::Off));
        assert_eq!("a/off".parse(), Ok(TuningChoice::File("a/off".into())));
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn a_file_in_the_cache_is_taken_or_ignored_in_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuning.json");
        let open = || Context::open("cpu").unwrap();
        assert_eq!(with_cache(open(), &path).1, None);
        TuningFile::new(&open()).write(&path).unwrap();
        let taken = with_cache(open(), &path).1.unwrap();
        assert_eq!(taken, format!("0 products take the blocks of {}", path.display()));
        let mut foreign = TuningFile::new(&open());
        foreign.device = "Abacus".into();
        foreign.write(&path).unwrap();
        for spoil in [false, true] {
            if spoil {
                std::fs::write(&path, "{").unwrap();
            }
            let ignored = with_cache(open(), &path).1.unwrap();
            let reason = ignored.strip_prefix("tuned blocks are ignored: ").unwrap();
            assert!(reason.starts_with(&format!("{}: expected ", path.display())), "{reason}");
            let error = with_file(open(), &path).map(|_| ()).unwrap_err();
            assert_eq!(error.to_string(), reason);
        }
    }

    #[test]
    fn devices_have_file_names_of_their_own() {
        assert_eq!(file_name_of("NVIDIA H100 80GB HBM3"), "nvidia-h100-80gb-hbm3");
        assert_eq!(
            file_name_of("llvmpipe (LLVM 15.0.6, 256 bits)"),
            "llvmpipe-llvm-15-0-6-256-bits"
        );
        assert_eq!(file_name_of("../x"), "x");
    }
}
