//! What a long run tells: a person watching ([`Progress`]), a script ([`MetricsFile`]) and
//! TensorBoard ([`TensorBoard`]).
//!
//! `metrics.jsonl` is part of what a run *is*: a resumed run's file equals that of an undisturbed
//! one byte for byte (invariant 4), so nothing that depends on the clock stands in it.
//! Times and speeds are in the other two.

mod metrics_file;
mod progress;
mod tensorboard;

pub use metrics_file::{METRICS_FILE, MetricsFile};
pub use progress::Progress;
pub(crate) use progress::{clock, grouped};
pub use tensorboard::{TENSORBOARD_DIRECTORY, TensorBoard};
