//! Learning rate over the steps: linear warm-up, then linear decay to zero (Devlin et al. 2018,
//! appendix A.2).

/// A schedule of `total_steps` with `warmup_steps` of them rising.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest learning rate, reached at the end of the warm-up.
    pub peak: f32,
    /// Steps over which the rate rises from zero.
    pub warmup_steps: u64,
    /// Steps after which the rate is zero again.
    pub total_steps: u64,
}

impl Schedule {
    /// Learning rate of a 0-based step, as `transformers.get_linear_schedule_with_warmup` has it:
    /// the first step of a warm-up has rate zero.
    pub fn learning_rate(&self, step: u64) -> f32 {
        let share = if step < self.warmup_steps {
            step as f64 / self.warmup_steps.max(1) as f64
        } else {
            let left = self.total_steps.saturating_sub(step) as f64;
            left / self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64
        };
        (f64::from(self.peak) * share) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_peak_and_falls_to_zero() {
        let schedule = Schedule { peak: 2.0, warmup_steps: 4, total_steps: 12 };
        let rates: Vec<f32> = (0..=12).map(|step| schedule.learning_rate(step)).collect();
        assert_eq!(rates, [0.0, 0.5, 1.0, 1.5, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0]);
    }

    #[test]
    fn without_warm_up_begins_at_the_peak() {
        let schedule = Schedule { peak: 1.0, warmup_steps: 0, total_steps: 2 };
        assert_eq!(schedule.learning_rate(0), 1.0);
        assert_eq!(schedule.learning_rate(5), 0.0);
    }
}
