//! Gradients summed over ranks while the backward pass still runs.
//!
//! Layers finish their gradients from the end of the flat buffer to its beginning. What has become
//! final is summed as soon as it is a bucket (Li et al. 2020, *PyTorch Distributed: Experiences on
//! Accelerating Data Parallel Training*, §3.2, whose size of a bucket this is).

use bert_kernels::{Buffer, Context, KernelError};

use super::Communicator;

/// Elements of f32 in 25 MiB.
const BUCKET: usize = (25 << 20) / size_of::<f32>();

/// The gradients of one step on their way to their sums.
pub struct GradientSum<'a> {
    communicator: &'a dyn Communicator,
    ctx: &'a Context,
    gradients: &'a Buffer,
    bucket: usize,
    /// Everything from here on is summed or being summed.
    begun: usize,
}

impl<'a> GradientSum<'a> {
    /// Of a flat buffer of gradients.
    pub fn new(
        communicator: &'a dyn Communicator,
        ctx: &'a Context,
        gradients: &'a Buffer,
    ) -> Self {
        Self { communicator, ctx, gradients, bucket: BUCKET, begun: gradients.len() }
    }

    /// Everything from element `from` on is what it will be; `from` falls from call to call, and is a
    /// multiple of [`ops::BLOCK`](bert_kernels::ops::BLOCK).
    ///
    /// # Errors
    ///
    /// What the device reports.
    pub fn ready(&mut self, from: usize) -> Result<(), KernelError> {
        if self.begun - from < self.bucket {
            return Ok(());
        }
        self.begin(from)
    }

    /// Everything is what it will be: what is queued from now on sees the sums.
    ///
    /// # Errors
    ///
    /// What the device reports.
    pub fn finish(mut self) -> Result<(), KernelError> {
        if self.begun > 0 {
            self.begin(0)?;
        }
        self.communicator.finish()
    }

    fn begin(&mut self, from: usize) -> Result<(), KernelError> {
        if self.communicator.world_size() > 1 {
            let bucket = self.gradients.slice(from..self.begun);
            self.communicator.all_reduce(self.ctx, &bucket)?;
        }
        self.begun = from;
        Ok(())
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::RefCell;

    use super::super::CollectiveError;
    use super::*;

    /// A rank of two whose sums are what it has, and which remembers what it was asked for.
    #[derive(Default)]
    struct Listed(RefCell<Vec<Vec<f32>>>);

    impl Communicator for Listed {
        fn rank(&self) -> usize {
            0
        }

        fn world_size(&self) -> usize {
            2
        }

        fn all_gather(&self, words: &[u64]) -> Result<Vec<Vec<u64>>, CollectiveError> {
            Ok(vec![words.to_vec(); 2])
        }

        fn all_reduce(&self, ctx: &Context, values: &Buffer) -> Result<(), KernelError> {
            self.0.borrow_mut().push(ctx.read_f32(values)?);
            Ok(())
        }

        fn finish(&self) -> Result<(), KernelError> {
            Ok(())
        }

        fn fail(&self, _: &str) {}
    }

    #[test]
    fn buckets_are_full_and_cover_every_gradient_once() {
        let ctx = Context::open("cpu").unwrap();
        let values: Vec<f32> = (0..1280).map(|at| at as f32).collect();
        let gradients = ctx.upload_f32(&values);
        let listed = Listed::default();
        let mut sum = GradientSum { bucket: 300, ..GradientSum::new(&listed, &ctx, &gradients) };
        for from in [1152, 1024, 896, 512, 384] {
            sum.ready(from).unwrap();
        }
        sum.finish().unwrap();
        let buckets = listed.0.into_inner();
        let lengths: Vec<usize> = buckets.iter().map(Vec::len).collect();
        assert_eq!(lengths, [384, 384, 512]);
        let whole: Vec<f32> = buckets.into_iter().rev().flatten().collect();
        assert!(whole == values);
    }
}
