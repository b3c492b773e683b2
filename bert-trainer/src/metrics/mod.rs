//! The field's metrics, computed as the field's tools do.

mod classification;
mod counts;
mod spans;

pub use classification::{Confusion, MultiLabel};
pub use counts::{Averages, Counts};
pub use spans::{Span, SpanScores, span_f1, span_scores, spans};
