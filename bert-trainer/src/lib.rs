//! Pre-trains, fine-tunes, evaluates, quantizes and exports BERT.
//!
//! The modules follow the flow: text becomes [`data`], a [`config`] and data become a [`model`], which
//! is [`train`]ed into a [`checkpoint`], [`evaluate`]d, and exported as a model file for `bert-core`.

pub mod atomic;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod data;
pub mod evaluate;
pub mod export;
pub mod glue;
pub mod log;
pub mod metrics;
pub mod model;
pub mod prune;
pub mod report;
pub mod train;
pub mod tuning;
