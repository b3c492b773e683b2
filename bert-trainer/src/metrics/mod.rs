//! The field's metrics, computed as the field's tools do.

mod classification;
mod counts;
mod regression;
mod spans;
pub mod squad;

pub use classification::{Confusion, MultiLabel};
pub use counts::{Averages, Counts};
pub use regression::{mean_absolute_error, mean_squared_error, pearson, spearman};
pub use spans::{
    NotInScheme, Scheme, Span, SpanScores, span_f1, span_scores, spans, strict_span_scores,
};
