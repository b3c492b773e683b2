//! Watches the clock: a call that does not come back is a finding, and must say which one it was.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What runs now.
struct Now {
    /// Options that repeat the execution.
    execution: String,
    call: &'static str,
    /// When the call began; none between executions.
    since: Option<Instant>,
}

static NOW: Mutex<Now> = Mutex::new(Now { execution: String::new(), call: "", since: None });

fn lock() -> MutexGuard<'static, Now> {
    NOW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An execution begins.
pub fn begin(execution: String) {
    *lock() = Now { execution, call: "the draw", since: Some(Instant::now()) };
}

/// The execution goes on with this call.
pub fn call(name: &'static str) {
    let mut now = lock();
    now.call = name;
    now.since = Some(Instant::now());
}

/// The execution is over.
pub fn end() {
    lock().since = None;
}

/// The call under way, and how to repeat it.
pub fn now() -> String {
    let now = lock();
    format!("in `{}`; to repeat: {}", now.call, now.execution)
}

/// Ends the program with a message once a call takes longer than `limit`.
pub fn watch(limit: Duration) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let since = lock().since;
            if since.is_some_and(|since| since.elapsed() > limit) {
                eprintln!("a call takes longer than {limit:.1?}, {}", now());
                std::process::exit(1);
            }
        }
    });
}
