//! Lines to standard error, written by a thread of their own: one that nobody reads holds up no
//! answer.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Map, Value};

/// Lines that wait to be written; later ones are lost, and counted.
const LINES: usize = 4096;

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// Words for people.
    Plain,
    /// A JSON object a line.
    Json,
    /// Events alone, in words; no line a request.
    Quiet,
}

/// Where lines go.
#[derive(Clone)]
pub struct Log {
    style: Style,
    lines: SyncSender<String>,
    lost: Arc<AtomicU64>,
}

/// Writes what is left once the last [`Log`] is gone.
pub struct Writer(JoinHandle<()>);

impl Log {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(style: Style) -> Result<(Self, Writer)> {
        let (lines, receiver) = sync_channel(LINES);
        let builder = thread::Builder::new().name("log".into());
        let thread = builder.spawn(move || write(&receiver)).context("cannot start a thread")?;
        Ok((Log { style, lines, lost: Arc::default() }, Writer(thread)))
    }

    /// Lines that were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Something that happens now and then: its name and what belongs to it.
    pub fn event<const N: usize>(&self, name: &str, fields: [(&str, Value); N]) {
        self.line(name, fields);
    }

    /// A request that was answered.
    pub fn request<const N: usize>(&self, fields: [(&str, Value); N]) {
        if self.style != Style::Quiet {
            self.line("request", fields);
        }
    }

    fn line<const N: usize>(&self, name: &str, fields: [(&str, Value); N]) {
        let time = rfc3339(SystemTime::now());
        let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
        let line = match self.style {
            Style::Json => {
                let first = [("time", Value::from(time)), ("event", Value::from(name))];
                let all = first.into_iter().chain(fields);
                let object: Map<String, Value> = all.map(|(k, v)| (k.to_owned(), v)).collect();
                Value::Object(object).to_string()
            }
            Style::Plain | Style::Quiet => {
                let words = fields.map(|(key, value)| match value {
                    // Without quotes where that is safe to read: what comes from outside has them.
                    Value::String(text) if plain(&text) => format!(" {key}={text}"),
                    value => format!(" {key}={value}"),
                });
                format!("{time} {name}{}", words.collect::<String>())
            }
        };
        if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

impl Writer {
    /// Waits until everything is written, for a moment at most: a reader that went to sleep does
    /// not keep the service from its end.
    pub fn finish(self, limit: Duration) {
        let until = std::time::Instant::now() + limit;
        while !self.0.is_finished() && std::time::Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=')
}

fn write(lines: &Receiver<String>) {
    let mut text = String::new();
    while let Ok(line) = lines.recv() {
        text.clear();
        text += &line;
        text.push('\n');
        // What else is there goes out in the same write.
        for line in lines.try_iter().take(64) {
            text += &line;
            text.push('\n');
        }
        // A service whose standard error is closed goes on without.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// A time as RFC 3339 has it, in UTC with milliseconds.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, days) = (since.as_secs() % 86_400, since.as_secs() / 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
