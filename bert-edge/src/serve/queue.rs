//! The queue between connections and the threads that answer: bounded, counted in texts.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What is refused, handed back to nobody: the sender answers for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// Jobs in the order in which they came, as long as their texts are few enough.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    capacity: usize,
}

struct State<T> {
    jobs: VecDeque<(T, usize)>,
    /// Texts of the jobs that wait.
    texts: usize,
    closed: bool,
}

impl<T> Queue<T> {
    /// An empty queue for so many texts.
    pub fn new(capacity: usize) -> Self {
        let state = State { jobs: VecDeque::new(), texts: 0, closed: false };
        Queue { state: Mutex::new(state), arrived: Condvar::new(), capacity }
    }

    /// Texts that may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Texts that wait.
    pub fn texts(&self) -> usize {
        self.lock().texts
    }

    /// Takes all jobs of a request, each with the number of its texts, or none of them.
    ///
    /// # Errors
    /// They do not fit now.
    pub fn push(&self, jobs: Vec<(T, usize)>) -> Result<(), Full> {
        let (count, texts) = (jobs.len(), jobs.iter().map(|(_, texts)| texts).sum::<usize>());
        let mut state = self.lock();
        if state.texts + texts > self.capacity {
            return Err(Full);
        }
        state.texts += texts;
        state.jobs.extend(jobs);
        drop(state);
        for _ in 0..count {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// The next job; waits for one. None once the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some((job, texts)) = state.jobs.pop_front() {
                state.texts -= texts;
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets those who wait go home once the queue is empty.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// No code that holds the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_come_in_order_and_whole_or_not_at_all() {
        let queue = Queue::new(4);
        assert_eq!(queue.push(vec![("a", 2), ("b", 1)]), Ok(()));
        assert_eq!(queue.push(vec![("c", 1), ("d", 1)]), Err(Full));
        assert_eq!(queue.push(vec![("e", 1)]), Ok(()));
        assert_eq!((queue.texts(), queue.capacity()), (4, 4));
        assert_eq!(queue.pop(), Some("a"));
        assert_eq!(queue.texts(), 2);
        queue.close();
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some("b"), Some("e"), None]);
    }
}
