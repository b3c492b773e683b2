//! The progress of a long run on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two plain lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// How far a run is, how fast, and what it has reached.
#[derive(Debug)]
pub struct Progress {
    name: &'static str,
    total_steps: u64,
    first_step: u64,
    step: u64,
    tokens: u64,
    reached: String,
    started: Instant,
    shown: Instant,
    /// `None` where there is no terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins to show a run of `total_steps` steps.
    pub fn new(name: &'static str, total_steps: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} {bar:24} {wide_msg}")
                .expect("the template is a constant and well-formed");
            ProgressBar::new(total_steps).with_style(style).with_prefix(name)
        });
        let now = Instant::now();
        Self {
            name,
            total_steps,
            first_step: 0,
            step: 0,
            tokens: 0,
            reached: String::new(),
            started: now,
            shown: now,
            bar,
        }
    }

    /// Says that the run was resumed: `step` steps were done before this process began.
    pub fn start_at(&mut self, step: u64) {
        (self.first_step, self.step) = (step, step);
        self.started = Instant::now();
    }

    /// Says that `step` steps are done, the last of which took in `tokens` tokens.
    pub fn step(&mut self, step: u64, tokens: u64) {
        self.step = step;
        self.tokens += tokens;
        match &self.bar {
            Some(bar) => {
                bar.set_position(step);
                bar.set_message(self.line());
            }
            None if self.shown.elapsed() >= INTERVAL => {
                self.shown = Instant::now();
                eprintln!("{}: {}", self.name, self.line());
            }
            None => {}
        }
    }

    /// Sets what the run has reached, losses and accuracies, to be shown from now on.
    pub fn show(&mut self, reached: &str) {
        reached.clone_into(&mut self.reached);
    }

    /// Prints a line that stays.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("{}: {text}", self.name)),
            None => eprintln!("{}: {text}", self.name),
        }
    }

    /// Prints the last state as a line that stays, in place of the bar.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}: {}", self.name, self.line());
    }

    fn line(&self) -> String {
        let (done, left) =
            (self.step - self.first_step, self.total_steps.saturating_sub(self.step));
        describe(Moment {
            step: self.step,
            total_steps: self.total_steps,
            tokens: self.tokens,
            seconds: self.started.elapsed().as_secs_f64(),
            seconds_left: (done > 0 && left > 0)
                .then(|| self.started.elapsed().as_secs_f64() / done as f64 * left as f64),
            reached: &self.reached,
        })
    }
}

struct Moment<'a> {
    step: u64,
    total_steps: u64,
    tokens: u64,
    seconds: f64,
    seconds_left: Option<f64>,
    reached: &'a str,
}

fn describe(now: Moment<'_>) -> String {
    let mut text = format!("step {}/{}", now.step, now.total_steps);
    if now.seconds > 0.0 {
        text += &format!(", {} tokens/s", grouped((now.tokens as f64 / now.seconds) as u64));
    }
    if !now.reached.is_empty() {
        text += ", ";
        text += now.reached;
    }
    if let Some(left) = now.seconds_left {
        text += &format!(", {} left", clock(left));
    }
    text
}

/// `1,234,567`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `42 s`, `3:07` (minutes), `2:03:07` (hours)
pub(crate) fn clock(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes}:{:02}", seconds % 60),
        _ => format!("{hours}:{minutes:02}:{:02}", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_how_fast_what_and_how_long() {
        let now = Moment {
            step: 50,
            total_steps: 200,
            tokens: 2_468_000,
            seconds: 2.0,
            seconds_left: Some(3_661.0),
            reached: "mlm 3.1",
        };
        assert_eq!(describe(now), "step 50/200, 1,234,000 tokens/s, mlm 3.1, 1:01:01 left");
        let begin = Moment {
            step: 0,
            total_steps: 9,
            tokens: 0,
            seconds: 0.0,
            seconds_left: None,
            reached: "",
        };
        assert_eq!(describe(begin), "step 0/9");
    }

    #[test]
    fn numbers_and_times_are_grouped() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(grouped), ["0", "999", "1,000", "12,345,678"]);
        assert_eq!([0.0, 59.5, 187.0, 7_387.0].map(clock), ["0 s", "1:00", "3:07", "2:03:07"]);
    }
}
