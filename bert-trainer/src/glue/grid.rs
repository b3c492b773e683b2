//! Hyper-parameters of fine-tuning, and the grids that papers searched.

use serde::{Deserialize, Serialize};

/// The hyper-parameters that are searched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Passes over the training examples.
    pub epochs: u32,
    /// Examples a step.
    pub batch_size: u32,
    /// Peak learning rate.
    pub learning_rate: f64,
}

impl Setting {
    /// `epochs 3, batch 32, rate 2e-5`
    pub fn describe(&self) -> String {
        let Setting { epochs, batch_size, learning_rate } = self;
        format!("epochs {epochs}, batch {batch_size}, rate {learning_rate:e}")
    }
}

/// Values to combine.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Passes over the training examples.
    pub epochs: Vec<u32>,
    /// Examples a step.
    pub batch_sizes: Vec<u32>,
    /// Peak learning rates.
    pub learning_rates: Vec<f64>,
}

impl Grid {
    /// What the figures of the paper were searched with (Devlin et al. 2018, section 4.1): 4
    /// settings.
    pub fn paper() -> Self {
        Self {
            epochs: vec![3],
            batch_sizes: vec![32],
            learning_rates: vec![5e-5, 4e-5, 3e-5, 2e-5],
        }
    }

    /// What the paper recommends for other tasks (Devlin et al. 2018, appendix A.3): 18 settings.
    pub fn recommended() -> Self {
        Self {
            epochs: vec![2, 3, 4],
            batch_sizes: vec![16, 32],
            learning_rates: vec![5e-5, 3e-5, 2e-5],
        }
    }

    /// What the small models were searched with (Turc et al. 2019, as the README of
    /// google-research/bert has it): 20 settings.
    pub fn compact() -> Self {
        Self {
            epochs: vec![4],
            batch_sizes: vec![8, 16, 32, 64, 128],
            learning_rates: vec![3e-4, 1e-4, 5e-5, 3e-5],
        }
    }

    /// All combinations.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for &epochs in &self.epochs {
            for &batch_size in &self.batch_sizes {
                for &learning_rate in &self.learning_rates {
                    settings.push(Setting { epochs, batch_size, learning_rate });
                }
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_have_as_many_settings_as_they_say() {
        assert_eq!(Grid::paper().settings().len(), 4);
        assert_eq!(Grid::recommended().settings().len(), 18);
        let compact = Grid::compact().settings();
        assert_eq!(compact.len(), 20);
        let first = Setting { epochs: 4, batch_size: 8, learning_rate: 3e-4 };
        assert_eq!(compact[0], first);
        assert_eq!(first.describe(), "epochs 4, batch 8, rate 3e-4");
        assert!((1..20).all(|index| !compact[..index].contains(&compact[index])));
    }
}
