//! What all connections share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use super::log::Log;
use super::metrics::Metrics;
use super::models::Models;
use super::queue::Queue;
use super::workers::Job;

/// The service's parts and limits.
pub struct Service {
    pub models: Models,
    pub queue: Arc<Queue<Job>>,
    pub metrics: Metrics,
    pub log: Log,
    /// Threads that answer.
    pub threads: usize,
    /// Those that answer now.
    pub busy: Arc<AtomicU64>,
    pub limits: Limits,
    /// What `Authorization: Bearer` must say, if anything.
    pub token: Option<String>,
    /// Whether the service takes no more connections.
    pub stopping: AtomicBool,
    /// What the ids of requests without one begin with, and their number.
    pub id_prefix: String,
    pub next_id: AtomicU64,
}

/// What a request may take.
#[derive(Clone, Copy)]
pub struct Limits {
    /// From the head of a request to its answer.
    pub time: Duration,
    /// Bytes of a body.
    pub body: usize,
    /// Texts of a request.
    pub texts: usize,
    /// Windows that a context is read in.
    pub windows: usize,
}
