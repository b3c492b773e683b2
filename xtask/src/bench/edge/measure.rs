//! Engines in turns: in each round every engine has a short burst, in an order drawn anew, so that
//! what else the machine does hits all alike.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;

use super::engines::{ENGINES, Engine};
use super::folders::Folders;
use super::models::{self, Model};
use super::worker::Worker;

/// Rows further from f32 than this are another function, not a rounding of it.
const LEAST_COSINE: f64 = 0.98;
/// Inferences of a burst at most; the line that carries their times stays short.
const MOST_IN_A_BURST: f64 = 2000.0;
/// Engines whose rows are f32, the first that answered being what the others are compared with.
const REFERENCES: [&str; 2] = ["candle", "tract"];

/// How much is measured.
pub struct Effort {
    /// Bursts of an engine for each size and length.
    pub rounds: usize,
    /// Milliseconds of a burst.
    pub burst_ms: f64,
}

/// Times of many inferences.
#[derive(Clone, Copy)]
pub struct Timing {
    pub median_ms: f64,
    pub min_ms: f64,
}

/// What came of an engine with one size and length.
pub struct Row {
    pub model: &'static str,
    pub tokens: usize,
    pub engine: &'static str,
    pub peer: &'static str,
    /// What the worker said about itself.
    pub detail: String,
    /// Mean over the rows of the cosine to f32, if there is something to compare with.
    pub cosine: Option<f64>,
    /// Times, or why there are none.
    pub timing: Result<Timing, String>,
}

/// What the core can do at most, measured between the engines.
pub struct Peak {
    pub model: &'static str,
    pub tokens: usize,
    /// The instruction.
    pub name: String,
    /// Products (multiply and add) a second.
    pub products_per_second: f64,
}

/// A loop over a dot product instruction as a worker.
pub struct PeakWorker {
    pub worker: Worker,
    pub name: String,
    pub products: f64,
}

/// The engines with one model; or why an engine has none.
pub type Workers = Vec<(&'static Engine, Result<Worker, String>)>;

/// Measures one size at one length.
pub fn measure(
    folders: &Folders,
    model: &'static Model,
    tokens: usize,
    workers: &mut Workers,
    peaks: &mut [PeakWorker],
    effort: &Effort,
) -> anyhow::Result<(Vec<Row>, Vec<Peak>)> {
    let ids = models::ids(folders, tokens)?;
    let through = folders.root.join("rows.f32");
    let mut answers: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    for (engine, worker) in workers.iter_mut() {
        attempt(worker, |worker| {
            let rows = worker.rows(&ids, &through)?;
            let (expected, found) = (tokens * model.hidden(), rows.len());
            anyhow::ensure!(found == expected, "expected {expected} values, found {found}");
            answers.insert(engine.name, rows);
            Ok(())
        });
    }
    let reference = REFERENCES.iter().find_map(|name| answers.get(name));
    let cosines: BTreeMap<&str, f64> = match reference {
        Some(reference) => {
            let of = |rows: &Vec<f32>| mean_cosine(rows, reference, model.hidden());
            answers.iter().map(|(name, rows)| (*name, of(rows))).collect()
        }
        None => BTreeMap::new(),
    };
    let wrong = |engine: &Engine| {
        let cosine = cosines.get(engine.name).filter(|cosine| **cosine < LEAST_COSINE)?;
        Some(format!("computes something else: cosine {cosine:.3} to f32"))
    };
    eprintln!("bench: {}, {tokens} tokens", model.name);
    let (times, peak_times) = rounds(&ids, workers, peaks, effort);
    let rows = workers.iter().zip(times).map(|((engine, worker), times)| Row {
        model: model.name,
        tokens,
        engine: engine.name,
        peer: engine.peer,
        detail: worker.as_ref().map(|worker| worker.detail.clone()).unwrap_or_default(),
        cosine: cosines.get(engine.name).copied(),
        timing: match (worker, wrong(engine)) {
            (Err(reason), _) => Err(reason.clone()),
            // Another length may be right.
            (Ok(_), Some(reason)) => Err(reason),
            (Ok(_), None) => Ok(timing(times)),
        },
    });
    let measured = peaks.iter().zip(peak_times).filter(|(_, times)| !times.is_empty());
    let peaks = measured.map(|(peak, times)| Peak {
        model: model.name,
        tokens,
        name: peak.name.clone(),
        products_per_second: peak.products / (timing(times).median_ms / 1e3),
    });
    Ok((rows.collect(), peaks.collect()))
}

/// Milliseconds of every inference, an engine a list.
type Times = Vec<Vec<f64>>;

fn rounds(
    ids: &Path,
    workers: &mut Workers,
    peaks: &mut [PeakWorker],
    effort: &Effort,
) -> (Times, Times) {
    let engines = workers.len();
    let mut times = vec![Vec::new(); engines + peaks.len()];
    // How many inferences fill a burst, by one that is not the first.
    let mut counts = vec![0; times.len()];
    let count_of = |times: Vec<f64>| {
        let least = times.into_iter().fold(f64::INFINITY, f64::min);
        (effort.burst_ms / least).clamp(1.0, MOST_IN_A_BURST) as usize
    };
    for (count, (_, worker)) in counts.iter_mut().zip(workers.iter_mut()) {
        attempt(worker, |worker| {
            *count = count_of(worker.run(ids, 1)?);
            Ok(())
        });
    }
    for (count, peak) in counts[engines..].iter_mut().zip(peaks.iter_mut()) {
        // One that fails has no times.
        *count = peak.worker.run(ids, 1).map_or(0, count_of);
    }
    let mut draw = Draw(1);
    for round in 1..=effort.rounds {
        progress(&format!("round {round} of {}", effort.rounds));
        for at in draw.order(times.len()) {
            let count = counts[at];
            match at.checked_sub(engines) {
                Some(peak) if count > 0 => {
                    times[at].extend(peaks[peak].worker.run(ids, count).unwrap_or_default());
                }
                Some(_) => {}
                None => attempt(&mut workers[at].1, |worker| {
                    times[at].extend(worker.run(ids, count)?);
                    Ok(())
                }),
            }
        }
    }
    progress("");
    let peak_times = times.split_off(engines);
    (times, peak_times)
}

/// Does something with a worker that is alive; it is not any more if that fails.
fn attempt(
    worker: &mut Result<Worker, String>,
    work: impl FnOnce(&mut Worker) -> anyhow::Result<()>,
) {
    if let Ok(alive) = worker
        && let Err(error) = work(alive)
    {
        *worker = Err(format!("{error:#}"));
    }
}

/// Median and least of times, of which there is one at least.
pub fn timing(mut times: Vec<f64>) -> Timing {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    let median_ms = match times.len() % 2 {
        1 => times[middle],
        _ => (times[middle - 1] + times[middle]) / 2.0,
    };
    Timing { median_ms, min_ms: times[0] }
}

fn mean_cosine(rows: &[f32], reference: &[f32], hidden: usize) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let pairs = || rows.chunks_exact(hidden).zip(reference.chunks_exact(hidden));
    let cosines = pairs().map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
    cosines.sum::<f64>() / pairs().count() as f64
}

/// Draws by a counter: Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, 2014.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    /// 0 … count − 1 in an order drawn anew (Fisher and Yates).
    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for end in (1..count).rev() {
            order.swap(end, self.below(end + 1));
        }
        order
    }
}

/// A line that the next one writes over, on a terminal.
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{text}");
    }
}

/// The engines that are asked for, by name or by peer; all if none is.
///
/// # Errors
/// A name that is neither.
pub fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Engine>> {
    let is = |engine: &Engine, name: &String| engine.name == name || engine.peer == name;
    for name in names {
        if !ENGINES.iter().any(|engine| is(engine, name)) {
            let known: Vec<&str> = super::engines::PEERS.iter().map(|(peer, _)| *peer).collect();
            anyhow::bail!("no engine `{name}`; there are {}", known.join(", "));
        }
    }
    let wanted = |engine: &&Engine| names.is_empty() || names.iter().any(|name| is(engine, name));
    Ok(ENGINES.iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_between_the_two_in_the_middle() {
        let timing = timing(vec![4.0, 1.0, 2.0, 9.0]);
        assert_eq!((timing.median_ms, timing.min_ms), (3.0, 1.0));
    }

    #[test]
    fn an_order_has_everyone_once() {
        let mut draw = Draw(1);
        for _ in 0..20 {
            let mut order = draw.order(7);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn cosine_tells_rows_apart() {
        let (a, b) = ([1.0, 0.0, 3.0, 4.0], [2.0, 0.0, 3.0, 4.0]);
        assert!((mean_cosine(&a, &b, 2) - 1.0).abs() < 1e-12);
        assert!((mean_cosine(&a, &[0.0, 1.0, 3.0, 4.0], 2) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn engines_are_chosen_by_peer_and_by_name() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            chosen(&names).map(|all| all.iter().map(|engine| engine.name).collect::<Vec<_>>())
        };
        assert_eq!(
            names(&["rten", "bert-core"]).unwrap_or_default(),
            ["bert-core", "rten-channel", "rten-tensor"]
        );
        assert!(names(&["rtem"]).is_err());
    }
}
