//! What `/metrics` tells, in the text format of Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::service::Service;

/// Upper bounds of the histogram's buckets in seconds: from a small model on an idle machine to the
/// time limit.
const BOUNDS: [f64; 14] =
    [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Every status that the service gives.
const STATUSES: [u16; 13] = [200, 400, 401, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503];

/// What is counted of each route.
pub struct Route {
    /// The path as it is registered.
    pub path: &'static str,
    statuses: [AtomicU64; STATUSES.len()],
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Route {
    fn new(path: &'static str) -> Self {
        let zeros = || [const { AtomicU64::new(0) }; BOUNDS.len() + 1];
        Route {
            path,
            statuses: [const { AtomicU64::new(0) }; STATUSES.len()],
            buckets: zeros(),
            nanoseconds: AtomicU64::new(0),
        }
    }
}

/// Counters since the start.
pub struct Metrics {
    routes: Vec<Route>,
    /// Requests that are being answered.
    pub in_flight: AtomicU64,
    /// Connections that are open.
    pub connections: AtomicU64,
    /// Texts that were answered.
    pub texts: AtomicU64,
}

impl Metrics {
    /// Zeros for these paths and for all others together.
    pub fn new(paths: impl Iterator<Item = &'static str>) -> Self {
        let routes = paths.chain(["other"]).map(Route::new).collect();
        let zero = || AtomicU64::new(0);
        let [in_flight, connections, texts] = [zero(), zero(), zero()];
        Metrics { routes, in_flight, connections, texts }
    }

    /// Counts a request that was answered.
    pub fn count(&self, path: &str, status: u16, took: Duration) {
        let known = self.routes.iter().find(|route| route.path == path);
        let Some(route) = known.or(self.routes.last()) else { return };
        if let Some(place) = STATUSES.iter().position(|&known| known == status) {
            route.statuses[place].fetch_add(1, Relaxed);
        }
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|&bound| seconds <= bound).unwrap_or(BOUNDS.len());
        route.buckets[bucket].fetch_add(1, Relaxed);
        route.nanoseconds.fetch_add(took.as_nanos() as u64, Relaxed);
    }
}

/// The page. Writing to a string cannot fail, so no outcome is looked at.
pub fn page(service: &Service) -> String {
    let metrics = &service.metrics;
    let mut out = String::with_capacity(8 << 10);
    head(&mut out, "bert_edge_requests_total", "counter", "Requests answered.");
    for route in &metrics.routes {
        for (status, count) in STATUSES.iter().zip(&route.statuses) {
            let (path, count) = (route.path, count.load(Relaxed));
            if count > 0 {
                let labels = format!("path=\"{path}\",status=\"{status}\"");
                let _ = writeln!(out, "bert_edge_requests_total{{{labels}}} {count}");
            }
        }
    }
    let name = "bert_edge_request_seconds";
    head(&mut out, name, "histogram", "Time from the head of a request to its answer.");
    for route in &metrics.routes {
        let (path, mut sum) = (route.path, 0);
        if route.buckets.iter().all(|bucket| bucket.load(Relaxed) == 0) {
            continue;
        }
        for (bound, bucket) in BOUNDS.iter().zip(&route.buckets) {
            sum += bucket.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{path=\"{path}\",le=\"{bound}\"}} {sum}");
        }
        sum += route.buckets[BOUNDS.len()].load(Relaxed);
        let seconds = Duration::from_nanos(route.nanoseconds.load(Relaxed)).as_secs_f64();
        let _ = writeln!(out, "{name}_bucket{{path=\"{path}\",le=\"+Inf\"}} {sum}");
        let _ = writeln!(out, "{name}_sum{{path=\"{path}\"}} {seconds}");
        let _ = writeln!(out, "{name}_count{{path=\"{path}\"}} {sum}");
    }
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    for (name, kind, help, value) in [
        ("bert_edge_texts_total", "counter", "Texts answered.", count(&metrics.texts)),
        ("bert_edge_in_flight", "gauge", "Requests being answered.", count(&metrics.in_flight)),
        ("bert_edge_connections", "gauge", "Open connections.", count(&metrics.connections)),
        ("bert_edge_queue_texts", "gauge", "Texts that wait.", service.queue.texts() as u64),
        ("bert_edge_queue_limit", "gauge", "Texts that may wait.", service.queue.capacity() as u64),
        ("bert_edge_threads", "gauge", "Threads that answer.", service.threads as u64),
        ("bert_edge_threads_busy", "gauge", "Those that answer now.", count(&service.busy)),
        (
            "bert_edge_log_lines_lost_total",
            "counter",
            "Log lines that nobody read in time.",
            service.log.lost(),
        ),
    ] {
        head(&mut out, name, kind, help);
        let _ = writeln!(out, "{name} {value}");
    }
    head(&mut out, "bert_edge_reloads_total", "counter", "Model files read while serving.");
    for entry in service.models.iter() {
        let (model, history) = (&entry.name, entry.history());
        for (result, count) in [("done", history.done), ("failed", history.failed)] {
            let labels = format!("model=\"{model}\",result=\"{result}\"");
            let _ = writeln!(out, "bert_edge_reloads_total{{{labels}}} {count}");
        }
    }
    head(&mut out, "bert_edge_model_info", "gauge", "The file that answers.");
    for entry in service.models.iter() {
        let (model, crc) = (&entry.name, entry.current().crc);
        let _ = writeln!(out, "bert_edge_model_info{{model=\"{model}\",crc32=\"{crc:08x}\"}} 1");
    }
    if let Some(bytes) = resident_bytes() {
        let name = "process_resident_memory_bytes";
        head(&mut out, name, "gauge", "Memory of the process.");
        let _ = writeln!(out, "{name} {bytes}");
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// None where the system does not tell it so.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}
