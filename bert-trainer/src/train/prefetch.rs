//! Batches made ahead of the device, on a thread of their own.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

/// How many batches may wait.
const DEPTH: usize = 2;

/// Makes `make(step)` for each step of a range, in order, ahead of who takes them.
pub struct Prefetch<T> {
    receiver: Receiver<T>,
    worker: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts the thread. It ends when it has made all or when this value is dropped.
    pub fn new(steps: std::ops::Range<u64>, make: impl Fn(u64) -> T + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(DEPTH);
        let worker = thread::spawn(move || {
            for step in steps {
                if sender.send(make(step)).is_err() {
                    return;
                }
            }
        });
        Self { receiver, worker: Some(worker) }
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = T;

    /// The next batch.
    ///
    /// # Panics
    ///
    /// If `make` did: a run that simply ended there would look finished.
    fn next(&mut self) -> Option<T> {
        let made = self.receiver.recv().ok();
        if made.is_none()
            && let Some(worker) = self.worker.take()
            && let Err(panic) = worker.join()
        {
            resume_unwind(panic);
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_in_order_and_end() {
        let mut batches = Prefetch::new(3..9, |step| step * 2);
        assert_eq!(batches.by_ref().collect::<Vec<_>>(), [6, 8, 10, 12, 14, 16]);
        assert_eq!(batches.next(), None);
    }

    #[test]
    #[should_panic = "no batch 2"]
    fn a_failure_ahead_is_met_where_its_batch_is_due() {
        let make = |step| if step == 2 { panic!("no batch {step}") } else { step };
        let mut batches = Prefetch::new(0..4, make);
        assert_eq!((batches.next(), batches.next()), (Some(0), Some(1)));
        batches.next();
    }
}
