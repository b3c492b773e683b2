//! Training: schedule, optimizer, several processes, and the two loops.

pub mod collective;
mod finetune;
mod loss_scale;
mod optimizer;
mod prefetch;
mod pretrain;
mod record;
mod recorded;
mod schedule;

pub use finetune::{ClassWeights, Distillation, FinetunePlan, FinetuneSummary, Keep, finetune};
pub use loss_scale::{LossScale, Overflow};
pub use optimizer::{Optimizer, OptimizerOptions};
pub use prefetch::Prefetch;
pub use pretrain::{PretrainPaths, PretrainPlan, PretrainSummary, pretrain};
pub use recorded::RecordedPasses;
pub use schedule::Schedule;
