//! The report of a run: one HTML file that needs nothing else.
//!
//! [`Run`] is what a directory tells, from [`RunRecord`] (`trainer/run.json`) and `metrics.jsonl`;
//! [`groups`] puts runs together that differ by seed only; [`render`] makes the page and [`figures`]
//! the same for a program.
//!
//! [`ExportReport`] is what an export was measured to be, with the code of the device, and
//! [`render_export`] its page.
//!
//! Training fills the record: [`RunRecord::begin`], [`RunRecord::push_epoch`] and
//! [`EvaluationRecord::from_labels`], [`RunRecord::finish`]; `export` adds [`Int8Record`] with
//! [`RunRecord::add_int8`].
//!
//! Names, labels and texts come from files that anybody may have written: the page escapes them, and
//! its policy forbids scripts that are not its own and any request to elsewhere.

mod chart;
mod compare;
mod curves;
mod error;
mod evaluation;
mod export;
mod figures;
mod format;
mod lines;
mod metrics;
mod page;
mod record;
mod run;

pub use compare::{Group, Spread, groups};
pub use error::ReportError;
pub use evaluation::{ClassScores, EvaluationRecord, WORST_EXAMPLES, WorstExample};
pub use export::{
    ExportReport, Measured, PartBytes, SlowExample, Times, WordTableCost, arithmetic,
};
pub use figures::figures;
pub use lines::{Line, is_drawn};
pub use metrics::Metrics;
pub use page::{render, render_export};
pub use record::{DataFile, EpochRecord, Int8Record, RUN_FILE, RunRecord, model_numbers};
pub use run::{Run, name_apart};
