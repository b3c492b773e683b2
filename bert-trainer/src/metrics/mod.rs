//! The field's metrics, computed as the field's tools do.

mod spans;

pub use spans::{Counts, Span, SpanScores, span_f1, span_scores, spans};
