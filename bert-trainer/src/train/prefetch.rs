//! Batches made ahead of the device, on a thread of their own.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

/// How many batches may wait.
const DEPTH: usize = 2;

/// Makes `make(step)` for each step of a range, in order, ahead of who takes them.
pub struct Prefetch<T> {
    receiver: Receiver<T>,
    _worker: JoinHandle<()>,
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
        Self { receiver, _worker: worker }
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}
