//! `cargo xtask bench serve`: `bert-edge serve` beside a minimal service around ONNX Runtime, with the
//! load of `wrk`.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::edge::engines;
use super::edge::folders::Folders;
use crate::{packages, shell};

/// Arguments of `cargo xtask bench serve`.
#[derive(clap::Args)]
pub struct Args {
    /// Takes this bert-edge instead of building it.
    #[arg(long, value_name = "BINARY")]
    edge: Option<PathBuf>,
    /// The folder of `cargo xtask demo`: model.bert, assistant/, text/.
    #[arg(long, value_name = "FOLDER")]
    demo: Option<PathBuf>,
    /// Connections at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256])]
    connections: Vec<u16>,
    /// Bursts of each service for each number of connections.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds of a burst.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Afterwards, seconds of at least twice the load that can be answered; 0 leaves it out.
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    overload: u32,
    /// Leaves out ONNX Runtime.
    #[arg(long)]
    without_python: bool,
}

/// Threads that answer, of each service.
const THREADS: &str = "2";
/// Sentences that take turns.
const SENTENCES: usize = 500;
/// Sentences of a request in an overload: so that asking costs little beside answering, and the load
/// comes from the same cores.
const OVERLOAD_TEXTS: u16 = 8;
/// Connections whose requests of so many sentences the queue holds.
const CAPACITY_CONNECTIONS: u16 = 16;
/// Connections of an overload: more than threads and queue of the service hold together, so that the
/// others are refused and come again at once. It takes no more at a time.
const OVERLOAD: u16 = 512;

/// Builds what is missing, measures, and writes the report.
pub fn run(args: &Args) -> Result<()> {
    packages::program("wrk", "wrk", "the load")?;
    let folders = Folders::new(!args.without_python)?;
    let demo = args.demo.clone().unwrap_or_else(|| shell::target_dir().join("demo"));
    let model = demo.join("model.bert");
    if !model.is_file() {
        bail!("{} is not there: run `cargo xtask demo` first", model.display());
    }
    let sentences = sentences(&folders, &demo)?;
    let edge = match &args.edge {
        Some(binary) => binary.clone(),
        None => {
            shell::run(&mut shell::cargo(["build", "--release", "-p", "bert-edge"]))?;
            shell::target_dir().join("release/bert-edge")
        }
    };
    let mut ours = Command::new(&edge);
    ours.arg("serve").arg(&model).args([
        "--listen=127.0.0.1:0",
        "--log=quiet",
        "--threads",
        THREADS,
    ]);
    let ours = Service::start("bert-edge serve", ours)?;
    let mut services = vec![ours];
    if !args.without_python {
        let peer = onnx_runtime(&folders, &demo.join("assistant"))?;
        services.push(Service::start("ONNX Runtime", peer)?);
    }

    let mut report = String::from(
        "| connections | service | requests/s | least … most | p50 | p99 | ratio |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for &connections in &args.connections {
        let mut bursts: Vec<Vec<Outcome>> = services.iter().map(|_| Vec::new()).collect();
        for _ in 0..args.rounds {
            for (service, bursts) in services.iter().zip(&mut bursts) {
                bursts.push(load(service, connections, args.seconds, 1, &sentences)?);
            }
        }
        let rate = |bursts: &[Outcome]| median(bursts.iter().map(Outcome::rate).collect());
        for (service, of) in services.iter().zip(&bursts) {
            let rates = || of.iter().map(Outcome::rate);
            let (least, most) = (rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max));
            let ms = |us: fn(&Outcome) -> f64| median(of.iter().map(us).collect()) / 1e3;
            // Of bursts that followed each other, which had the same neighbours on the machine.
            let pairs = bursts[0].iter().zip(of);
            let ratio = median(pairs.map(|(ours, its)| ours.rate() / its.rate()).collect());
            // Writing to a string cannot fail.
            let _ = writeln!(
                report,
                "| {connections} | {} | {:.0} | {least:.0} … {most:.0} | {:.2} ms | {:.2} ms | {:.2} |",
                service.name,
                rate(of),
                ms(|outcome| outcome.p50_us),
                ms(|outcome| outcome.p99_us),
                ratio,
            );
        }
    }
    if args.overload > 0 {
        report += &overload(&services[0], args.overload, args.seconds, &sentences)?;
    }
    print!("{report}");
    let path = folders.root.join("serve.md");
    fs::write(&path, report).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("bench: wrote {}", path.display());
    Ok(())
}

/// A process that listens; it ends with the value.
struct Service {
    name: &'static str,
    child: Child,
    address: String,
}

impl Service {
    fn start(name: &'static str, mut command: Command) -> Result<Self> {
        let shown = shell::shown(&command);
        eprintln!("$ {shown}");
        let mut child = (command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn())
            .with_context(|| format!("cannot start `{shown}`"))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let address = line.trim().strip_prefix("listening at ").map(String::from);
        match address {
            Some(address) => Ok(Service { name, child, address }),
            None => {
                // It says on stderr what is wrong.
                let _ = child.kill();
                let _ = child.wait();
                bail!("`{shown}` does not listen")
            }
        }
    }

    /// Resident memory in bytes.
    fn memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kilobytes.with_context(|| format!("{path} has no VmRSS"))? << 10)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `tests/peers/serve/tag.lua` prints at the end.
struct Outcome {
    seconds: f64,
    ok: f64,
    refused: f64,
    other: f64,
    cut: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Outcome {
    /// Answers a second.
    fn rate(&self) -> f64 {
        self.ok / self.seconds
    }

    fn parse(text: &str) -> Result<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("outcome "));
        let line = line.with_context(|| format!("wrk says:\n{text}"))?;
        let value = |name: &str| -> Result<f64> {
            let words = line.split(' ').filter_map(|word| word.split_once('='));
            let found = words.clone().find(|(key, _)| *key == name);
            let (_, value) = found.with_context(|| format!("no {name} in `{line}`"))?;
            Ok(value.parse()?)
        };
        Ok(Outcome {
            seconds: value("us")? / 1e6,
            ok: value("ok")?,
            refused: value("refused")?,
            other: value("other")?,
            cut: value("cut")?,
            p50_us: value("p50")?,
            p99_us: value("p99")?,
        })
    }
}

fn wrk(service: &Service, connections: u16, seconds: u32, texts: u16, sentences: &Path) -> Command {
    let mut command = Command::new("wrk");
    command.args(["--threads=1", "--timeout=20s", "--latency"]);
    command.arg(format!("--connections={connections}")).arg(format!("--duration={seconds}s"));
    command.arg("--script").arg(shell::root().join("tests/peers/serve/tag.lua"));
    command.arg(&service.address).arg("--").arg(sentences).arg(texts.to_string());
    command
}

/// A burst in which nothing may be refused.
fn load(
    service: &Service,
    connections: u16,
    seconds: u32,
    texts: u16,
    sentences: &Path,
) -> Result<Outcome> {
    let mut command = wrk(service, connections, seconds, texts, sentences);
    let limit = Duration::from_secs(u64::from(seconds) + 60);
    let text = shell::output_within(&mut command, limit);
    let outcome = Outcome::parse(&text.context("wrk fails")?)?;
    if outcome.other + outcome.cut + outcome.refused > 0.0 {
        let Outcome { refused, other, cut, .. } = outcome;
        bail!("{}: {refused} refused, {other} failed, {cut} cut", service.name);
    }
    Ok(outcome)
}

/// More than can be answered, and what the service says about it afterwards.
fn overload(service: &Service, seconds: u32, burst: u32, sentences: &Path) -> Result<String> {
    let capacity = load(service, CAPACITY_CONNECTIONS, burst, OVERLOAD_TEXTS, sentences)?.rate();
    let mut command = wrk(service, OVERLOAD, seconds, OVERLOAD_TEXTS, sentences);
    eprintln!("$ {}", shell::shown(&command));
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start wrk")?;
    let began = Instant::now();
    let mut memory = Vec::new();
    while child.try_wait()?.is_none() {
        // Connections are open and buffers have grown after a tenth of the time.
        if began.elapsed() > Duration::from_secs(u64::from(seconds)) / 10 {
            memory.push(service.memory()? as f64 / 1e6);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let text = String::from_utf8_lossy(&child.wait_with_output()?.stdout).into_owned();
    let Outcome { seconds, ok, refused, other, cut, .. } = Outcome::parse(&text)?;
    let (first, last) = (memory.first().copied(), memory.last().copied());
    let most = memory.iter().copied().fold(0.0, f64::max);
    let offered = (ok + refused) / seconds;
    Ok(format!(
        "\n{OVERLOAD} connections for {seconds:.0} s, {OVERLOAD_TEXTS} sentences a request: {offered:.0} requests/s came, {:.1} times what it \
         answers of {CAPACITY_CONNECTIONS} connections ({capacity:.0}); {ok:.0} were answered ({:.0} a second), {refused:.0} refused with \
         429, {other:.0} failed, {cut:.0} cut.\nMemory {:.1} MB at the begin, {:.1} MB at the end, {most:.1} \
         MB at most.\n",
        offered / capacity,
        ok / seconds,
        first.unwrap_or(0.0),
        last.unwrap_or(0.0),
    ))
}

/// Sentences of the demo's test set, without what JSON would have to escape.
fn sentences(folders: &Folders, demo: &Path) -> Result<PathBuf> {
    let source = demo.join("text/assistant.test.tsv");
    let text =
        fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let texts = text.lines().filter_map(|line| line.split('\t').nth(1));
    let plain: Vec<&str> =
        texts.filter(|text| !text.contains(['"', '\\'])).take(SENTENCES).collect();
    let path = folders.root.join("sentences.txt");
    fs::write(&path, plain.join("\n") + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The peer, with the same checkpoint in its own format.
fn onnx_runtime(folders: &Folders, checkpoint: &Path) -> Result<Command> {
    engines::build(folders, "ort-server")?;
    let model = folders.root.join("models/joint.onnx");
    let mut make = Command::new(folders.python()?);
    make.arg(shell::root().join("tests/peers/serve/joint.py")).arg(checkpoint).arg(&model);
    shell::run(&mut make)?;
    let mut command = Command::new(folders.program("ort-server"));
    command.args([&model, checkpoint]).arg(THREADS);
    command.env("ORT_DYLIB_PATH", engines::onnx_runtime(folders)?);
    Ok(command)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
