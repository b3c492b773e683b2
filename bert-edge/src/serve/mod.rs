//! `serve`: models over HTTP.
//!
//! A connection's thread reads a request and puts its texts into a bounded queue ([`queue`]); a fixed
//! number of threads answers them ([`workers`]), each in scratch memory of its own. What does not fit
//! is refused at once, so that memory and waiting have a limit.

mod http;
mod log;
mod metrics;
mod models;
mod patient;
mod problem;
mod question;
mod queue;
mod service;
mod workers;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use log::{Log, Style};
use metrics::Metrics;
use models::Models;
use patient::Patient;
use queue::Queue;
use service::{Limits, Service};

/// Time for the head of a request, also for the next one on a connection: an idle one is closed then.
const HEAD_SECONDS: u64 = 30;
/// Time in which a client must read something of an answer.
const WRITE_SECONDS: u64 = 30;
/// Bytes of a request's head, and of an answer that waits to be sent.
const BUFFER_BYTES: usize = 64 << 10;
/// Wait after the system had no socket for a connection.
const NO_SOCKET: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub struct Serve {
    /// Model files; a request names one by `model` if there are several.
    ///
    /// The name is the file's without its extension, or is given: NAME=FILE.
    #[arg(required = true, value_name = "[NAME=]FILE")]
    models: Vec<String>,
    /// Address to listen at; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Threads that answer [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Texts that may wait; what comes beyond them is refused with 429.
    #[arg(long, default_value_t = 256, value_name = "TEXTS",
          value_parser = clap::value_parser!(u32).range(1..))]
    queue: u32,
    /// Texts of one request; not more than may wait.
    #[arg(long, default_value_t = 128, value_name = "TEXTS",
          value_parser = clap::value_parser!(u32).range(1..))]
    max_texts: u32,
    /// Bytes of a request's body.
    #[arg(long, default_value_t = 256 << 10, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(1..))]
    max_body: u32,
    /// Windows in which a context may be read for one question.
    #[arg(long, default_value_t = 128, value_name = "WINDOWS",
          value_parser = clap::value_parser!(u32).range(1..))]
    max_windows: u32,
    /// Connections at a time; more wait until one is closed.
    #[arg(long, default_value_t = 512, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,
    /// Time for a request, from its head to its answer.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// Time to finish what was begun, once the service was told to stop.
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    grace: Duration,
    /// How often to look whether a model file was replaced; 0 is never.
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = seconds)]
    watch: Duration,
    /// File with the token that requests must carry (Authorization: Bearer …).
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Lines on standard error: one a request, or events alone.
    #[arg(long, value_enum, default_value_t = Style::Plain)]
    log: Style,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: Option<f64> = text.parse().ok().filter(|v| (0.0..=86_400.0).contains(v));
    value.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds, at most 86400".into())
}

/// Serves until it is told to stop.
///
/// # Errors
/// A model or the token cannot be read, the address cannot be listened at.
pub fn serve(args: &Serve) -> Result<()> {
    if args.max_texts > args.queue {
        bail!("--max-texts {} is more than --queue {} can hold", args.max_texts, args.queue);
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores, usize::from);
    let token = args.token_file.as_ref().map(token).transpose()?;
    let models = Models::open(&args.models)?;
    let queue = Arc::new(Queue::new(args.queue as usize));
    let (log, writer) = Log::start(args.log)?;
    let busy = Arc::new(AtomicU64::new(0));
    let workers = workers::start(threads, &queue, &busy)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let service = Arc::new(Service {
        models,
        queue: Arc::clone(&queue),
        metrics: Metrics::new(http::PATHS.into_iter()),
        log,
        threads,
        busy,
        limits: Limits {
            time: args.timeout,
            body: args.max_body as usize,
            texts: args.max_texts as usize,
            windows: args.max_windows as usize,
        },
        token,
        stopping: AtomicBool::new(false),
        // Two services, or one before and after its restart, give other ids.
        id_prefix: format!("{:x}", since.as_micros() as u64 ^ u64::from(std::process::id()) << 44),
        next_id: AtomicU64::new(1),
    });
    // Reading and writing of requests takes a fraction of answering them.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.div_ceil(4))
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(run(args, &service));
    // Unfinished requests, after the grace, end here.
    runtime.shutdown_background();
    queue.close();
    if outcome.is_ok() {
        for worker in workers {
            // A thread catches its panics.
            let _ = worker.join();
        }
    }
    drop(service);
    writer.finish(Duration::from_secs(1));
    outcome
}

fn token(path: &PathBuf) -> Result<String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{name}: cannot read"))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("{name}: one token of visible ASCII expected");
    }
    Ok(token.into())
}

async fn run(args: &Serve, service: &Arc<Service>) -> Result<()> {
    let cannot = || format!("cannot listen at {}", args.listen);
    let listener = TcpListener::bind(args.listen).await.with_context(cannot)?;
    let address = listener.local_addr().with_context(cannot)?;
    let mut signals = Signals::new().context("cannot wait for signals")?;
    println!("listening at http://{address}");
    // Whoever started this reads the address, or does not care.
    let _ = std::io::stdout().flush();
    service.log.event(
        "start",
        [("address", address.to_string().into()), ("threads", service.threads.into())],
    );
    if !args.watch.is_zero() {
        tokio::spawn(watch_files(Arc::clone(service), args.watch));
    }
    let router = http::router(service);
    let open = Arc::new(Semaphore::new(args.max_connections as usize));
    let (stop, stopped) = watch::channel(());
    loop {
        tokio::select! {
            connection = accept(&listener, &open, service) => {
                let (stream, permit) = connection;
                let (router, stopped) = (router.clone(), stopped.clone());
                let service = Arc::clone(service);
                tokio::spawn(async move {
                    service.metrics.connections.fetch_add(1, Relaxed);
                    converse(stream, router, stopped).await;
                    service.metrics.connections.fetch_sub(1, Relaxed);
                    drop(permit);
                });
            }
            signal = signals.next() => match signal {
                Signal::Reload => reload_all(service),
                Signal::Stop => break,
            }
        }
    }
    drop(listener);
    service.stopping.store(true, Relaxed);
    let in_flight = service.metrics.in_flight.load(Relaxed);
    service.log.event("stop", [("in_flight", in_flight.into())]);
    // Nobody is left who could have gone away.
    let _ = stop.send(());
    let finished = tokio::time::timeout(args.grace, open.acquire_many(args.max_connections));
    if finished.await.is_err() {
        let in_flight = service.metrics.in_flight.load(Relaxed);
        bail!("{in_flight} requests were not finished within {} s", args.grace.as_secs_f64());
    }
    Ok(())
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    open: &Arc<Semaphore>,
    service: &Service,
) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(open).acquire_owned().await else { continue };
        match listener.accept().await {
            Ok((stream, _)) => {
                // An answer goes out at once; without it, it is only later.
                let _ = stream.set_nodelay(true);
                return (stream, permit);
            }
            Err(error) => {
                // No file descriptor, mostly: connections that end give some back.
                service.log.event("accept-failed", [("error", error.to_string().into())]);
                tokio::time::sleep(NO_SOCKET).await;
            }
        }
    }
}

/// One request after another, until the client goes or the service is told to stop.
async fn converse(stream: TcpStream, router: Router, mut stopped: watch::Receiver<()>) {
    let io = TokioIo::new(Patient::new(stream, Duration::from_secs(WRITE_SECONDS)));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEAD_SECONDS))
        .max_buf_size(BUFFER_BYTES);
    let mut connection = pin!(builder.serve_connection(io, TowerToHyperService::new(router)));
    // What goes wrong with a connection is the client's.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn reload_all(service: &Arc<Service>) {
    let service = Arc::clone(service);
    tokio::task::spawn_blocking(move || {
        for entry in service.models.iter() {
            // The log has it.
            let _ = http::reload_logged(&service, &entry.name);
        }
    });
}

async fn watch_files(service: Arc<Service>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let service = Arc::clone(&service);
        let look = move || {
            for entry in service.models.iter().filter(|entry| entry.changed()) {
                // The log has it; the file is read again when it changes again.
                let _ = http::reload_logged(&service, &entry.name);
            }
        };
        // It ends early only if it panics, and the next round looks again.
        let _ = tokio::task::spawn_blocking(look).await;
    }
}

enum Signal {
    Stop,
    Reload,
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals)
    }

    async fn next(&mut self) -> Signal {
        // An error means that there is no way to be told to stop.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Stop
    }
}
