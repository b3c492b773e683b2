//! The threads that answer: each with scratch memory of its own, all fed by one queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use bert_core::{ScratchVec, Session, fast_scratch_bytes};
use tokio::sync::oneshot;

use super::models::Loaded;
use super::problem::Problem;
use super::question::{Ask, Item};
use super::queue::Queue;

/// A request on its way: a model that stays the same to its end, and what is asked of it.
pub struct Work {
    /// The model.
    pub model: Arc<Loaded>,
    /// What is asked of each item.
    pub ask: Ask,
    /// The texts.
    pub items: Vec<Item>,
    /// When nobody waits any more.
    pub deadline: Instant,
}

/// Consecutive items of a request. A request of many texts is several jobs, so that all threads
/// take part in it.
pub struct Job {
    work: Arc<Work>,
    items: std::ops::Range<usize>,
    reply: oneshot::Sender<Result<String, Problem>>,
}

/// Texts of a job: enough that handing them over costs nothing beside them.
const JOB_TEXTS: usize = 8;

/// The answer to a job, once it is there: JSON objects with commas between.
pub type Reply = oneshot::Receiver<Result<String, Problem>>;

/// A request as jobs with the numbers of their texts, and where their answers will be.
pub fn divide(work: Work) -> (Vec<(Job, usize)>, Vec<Reply>) {
    let (count, work) = (work.items.len(), Arc::new(work));
    let starts = (0..count).step_by(JOB_TEXTS);
    let job = |start: usize| {
        let items = start..(start + JOB_TEXTS).min(count);
        let (reply, receiver) = oneshot::channel();
        let texts = items.len();
        ((Job { work: Arc::clone(&work), items, reply }, texts), receiver)
    };
    starts.map(job).unzip()
}

/// Starts the threads. They end when the queue is closed and empty; `busy` is how many answer now.
///
/// # Errors
/// The system gives no thread.
pub fn start(
    count: usize,
    queue: &Arc<Queue<Job>>,
    busy: &Arc<AtomicU64>,
) -> Result<Vec<thread::JoinHandle<()>>> {
    let one = |number: usize| {
        let (queue, busy) = (Arc::clone(queue), Arc::clone(busy));
        let builder = thread::Builder::new().name(format!("answer-{number}"));
        builder.spawn(move || work_off(&queue, &busy)).context("cannot start a thread")
    };
    (0..count).map(one).collect()
}

fn work_off(queue: &Queue<Job>, busy: &AtomicU64) {
    let mut scratch = ScratchVec::new(0);
    while let Some(Job { work, items, reply }) = queue.pop() {
        busy.fetch_add(1, Relaxed);
        // A defect costs the request it happened in, not the thread. The scratch memory holds
        // nothing from one text to the next.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            answer(&work, &work.items[items], &mut scratch, || reply.is_closed())
        }));
        busy.fetch_sub(1, Relaxed);
        // Whoever asked may be gone.
        let _ = reply.send(outcome.unwrap_or_else(|_| Err(Problem::internal())));
    }
}

fn answer(
    work: &Work,
    items: &[Item],
    scratch: &mut ScratchVec,
    gone: impl Fn() -> bool,
) -> Result<String, Problem> {
    let model = work.model.model();
    let config = model.config();
    let needed = fast_scratch_bytes(&config.shape(), config.max_length as usize);
    if scratch.len() < needed {
        *scratch = ScratchVec::new(needed);
    }
    // The self-test had a session of this model.
    let mut session = Session::new(model, scratch).map_err(|_| Problem::internal())?;
    let mut json = String::new();
    for (i, item) in items.iter().enumerate() {
        if gone() || Instant::now() >= work.deadline {
            return Err(Problem::deadline());
        }
        if i > 0 {
            json.push(',');
        }
        work.ask.answer(&mut session, item, &mut json)?;
    }
    Ok(json)
}
