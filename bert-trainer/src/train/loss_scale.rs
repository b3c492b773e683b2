//! Dynamic loss scaling, for gradients in f16.
//!
//! Half precision ends at 65,504 above and at 6e-8 below, and most gradients of a BERT are nearer to the
//! lower end. So the loss is multiplied by a scale S, which the optimizer divides out again in f32. A step
//! whose gradients overflow is left out and S is halved; after [`GROWTH_STEPS`] steps without an overflow
//! it is doubled. S is a power of two, so that scaling itself rounds nothing.
//!
//! Source: Micikevicius et al. 2018, "Mixed Precision Training", section 3.2; begin, growth and backoff
//! are those of torch's `GradScaler`.

use serde::{Deserialize, Serialize};

use crate::model::ParameterTable;

/// S of a new run.
const INITIAL: f32 = 65_536.0;
/// Steps without an overflow after which S doubles.
const GROWTH_STEPS: u32 = 2_000;
/// S at most. Gradients that are this small are lost in f32's sums beside others, too.
const MOST: f32 = 16_777_216.0;

/// S, and what decides how it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    scale: f32,
    /// Steps since S changed.
    steps: u32,
    /// Steps left out in all.
    left_out: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self::starting_at(INITIAL)
    }
}

impl LossScale {
    /// Begins with another S than 65,536.
    ///
    /// # Panics
    ///
    /// If `scale` is no power of two from 1.
    pub fn starting_at(scale: f32) -> Self {
        assert!(scale >= 1.0 && scale.log2().fract() == 0.0, "{scale} is no power of two from 1");
        Self { scale, steps: 0, left_out: 0 }
    }

    /// S.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Steps left out so far.
    pub fn left_out(&self) -> u32 {
        self.left_out
    }

    /// A step was taken.
    pub(super) fn took(&mut self) {
        self.steps += 1;
        if self.steps == GROWTH_STEPS {
            self.steps = 0;
            self.scale = (self.scale * 2.0).min(MOST.max(self.scale));
        }
    }

    /// A step was left out, because these gradients are not all finite.
    pub(super) fn left(&mut self, table: &ParameterTable, gradients: &[f32]) -> Overflow {
        let scale = self.scale;
        self.left_out += 1;
        self.steps = 0;
        self.scale = (scale / 2.0).max(1.0);
        Overflow { tensor: nearest_to_the_loss(table, gradients), scale, next: self.scale }
    }
}

/// The tensor in which the backward pass met its first value that is not finite: from there on all
/// below it are spoilt. The table lists tensors in the order of the forward pass.
fn nearest_to_the_loss(table: &ParameterTable, gradients: &[f32]) -> Option<String> {
    let finite =
        |range: std::ops::Range<usize>| gradients[range].iter().all(|value| value.is_finite());
    let mut backward = table.parameters().iter().rev();
    backward.find(|parameter| !finite(parameter.range())).map(|parameter| parameter.name.clone())
}

/// Why a step was left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Overflow {
    /// The tensor nearest to the loss whose gradient is not finite; none if only the norm overflowed.
    pub tensor: Option<String>,
    /// S of this step.
    pub scale: f32,
    /// S of the next.
    pub next: f32,
}

impl Overflow {
    /// Whether S can be lowered no more, so that the steps to come would overflow as well.
    pub fn is_final(&self) -> bool {
        self.next == self.scale
    }
}

impl std::fmt::Display for Overflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tensor = self.tensor.as_deref().unwrap_or("all parameters together");
        write!(f, "f16 overflowed in the gradient of {tensor} at a loss scale of {}", self.scale)?;
        if self.is_final() {
            f.write_str("; it can be no lower, so use --precision bf16 or a lower --learning-rate")
        } else {
            write!(f, ": step left out, the scale is {} now", self.next)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::Head;

    #[test]
    fn the_scale_doubles_after_many_steps_and_halves_at_an_overflow() {
        let config = Config::resolve("bert-tiny").unwrap();
        let table = ParameterTable::new(&config, &Head::Encoder);
        let mut gradients = vec![0.0; table.len()];
        let spoilt = &table.parameters()[7];
        gradients[spoilt.offset] = f32::NAN;
        gradients[table.parameters()[3].offset] = f32::INFINITY;

        let mut scale = LossScale::starting_at(4.0);
        for _ in 0..GROWTH_STEPS {
            scale.took();
        }
        assert_eq!(scale.scale(), 8.0);
        let overflow = scale.left(&table, &gradients);
        assert_eq!(overflow.tensor.as_deref(), Some(spoilt.name.as_str()));
        assert_eq!((overflow.scale, overflow.next, scale.left_out()), (8.0, 4.0, 1));
        // An overflow begins the count of good steps anew.
        for _ in 0..GROWTH_STEPS - 1 {
            scale.took();
        }
        assert_eq!(scale.scale(), 4.0);
        scale.left(&table, &gradients);
        scale.left(&table, &gradients);
        let last = scale.left(&table, &gradients);
        assert!(last.is_final() && scale.scale() == 1.0, "{last}");
    }

    #[test]
    fn the_scale_has_a_largest_value() {
        let mut scale = LossScale::starting_at(MOST);
        for _ in 0..GROWTH_STEPS {
            scale.took();
        }
        assert_eq!(scale.scale(), MOST);
    }
}
