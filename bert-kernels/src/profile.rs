//! Where a device's time goes, kernel by kernel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cubecl::future::reader::read_sync;
use cubecl::logging::{
    Duration, LaunchObservation, LaunchObserver, ProfileDuration, TimingMethod, TimingRequest,
};

use crate::{Context, KernelError};

/// Time of the kernels that some work launched.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// The longest first.
    pub kernels: Vec<KernelTime>,
    /// Launches whose time the runtime did not give; they are in no sum.
    pub untimed: u64,
    /// Whether the device's own clock was read. Otherwise times are those of the host around a launch
    /// and what waiting for it takes.
    pub device_clock: bool,
}

/// All launches of one kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelTime {
    /// The kernel's name without its element types.
    pub name: String,
    /// Launches that were timed.
    pub launches: u64,
    /// Their time together.
    pub seconds: f64,
}

impl Profile {
    /// Time of all kernels together.
    pub fn seconds(&self) -> f64 {
        self.kernels.iter().map(|kernel| kernel.seconds).sum()
    }
}

impl Context {
    /// Runs `work` and tells how long each kernel took that it launched.
    ///
    /// On CUDA and HIP a launch stands between two events of the device's queue, so kernels run one
    /// after another as without them and each takes some microseconds more; the host is slower, as it
    /// waits for the runtime at every launch. Launches of other threads count too; profiles of several
    /// threads come one after another.
    ///
    /// # Errors
    ///
    /// [`KernelError::Runtime`] if something queued failed.
    pub fn profile<T>(&self, work: impl FnOnce() -> T) -> Result<(T, Profile), KernelError> {
        // The runtime tells one observer.
        static ONE: Mutex<()> = Mutex::new(());
        let _turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        self.sync()?;
        let watch = Arc::new(Watch::default());
        let result = {
            let _watching = LaunchObservation::new(watch.clone());
            work()
        };
        self.sync()?;
        Ok((result, watch.summed()))
    }
}

/// Keeps every measurement until the work is done: reading one earlier would wait for the device.
#[derive(Default)]
struct Watch(Mutex<Vec<(&'static str, Measurement)>>);

enum Measurement {
    Unread(ProfileDuration),
    Read(Duration, TimingMethod),
}

impl Watch {
    fn keep(&self, kernel: &'static str, measurement: Measurement) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((kernel, measurement));
    }

    fn summed(&self) -> Profile {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut profile = Profile { device_clock: !kept.is_empty(), ..Profile::default() };
        let mut sums: BTreeMap<&'static str, (u64, f64)> = BTreeMap::new();
        for (kernel, measurement) in kept {
            let (duration, method) = match measurement {
                Measurement::Read(duration, method) => (Some(duration), method),
                Measurement::Unread(unread) => {
                    let method = unread.timing_method();
                    (read_sync(unread.resolve()).map(|ticks| ticks.duration()), method)
                }
            };
            profile.device_clock &= method == TimingMethod::Device;
            match duration {
                Some(duration) => {
                    let (launches, seconds) = sums.entry(kernel).or_default();
                    *launches += 1;
                    *seconds += duration.as_secs_f64();
                }
                None => profile.untimed += 1,
            }
        }
        profile.kernels = merged(sums);
        profile
    }
}

impl LaunchObserver for Watch {
    fn launched(&self, _kernel: &'static str) {}

    fn timing(&self) -> TimingRequest {
        TimingRequest::Deferred
    }

    fn profiled(&self, kernel: &'static str, profile: ProfileDuration) {
        self.keep(kernel, Measurement::Unread(profile));
    }

    fn timed(&self, kernel: &'static str, duration: Duration, method: TimingMethod) {
        self.keep(kernel, Measurement::Read(duration, method));
    }
}

/// One entry a kernel, whatever its element types.
fn merged(sums: BTreeMap<&'static str, (u64, f64)>) -> Vec<KernelTime> {
    let mut kernels: BTreeMap<String, KernelTime> = BTreeMap::new();
    for (kernel, (launches, seconds)) in sums {
        let name = short(kernel);
        let entry =
            kernels.entry(name.clone()).or_insert(KernelTime { name, launches: 0, seconds: 0.0 });
        entry.launches += launches;
        entry.seconds += seconds;
    }
    let mut kernels: Vec<KernelTime> = kernels.into_values().collect();
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    kernels
}

/// `fill_elements` of `…::elementwise::fill_elements::FillElements<…>`.
fn short(kernel: &str) -> String {
    let plain = kernel.split('<').next().unwrap_or(kernel);
    let mut path = plain.rsplit("::");
    let kind = path.next().unwrap_or(plain);
    path.next().unwrap_or(kind).into()
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{DType, ops};

    #[test]
    fn every_launch_of_the_work_is_counted_once() {
        let ctx = Context::open("cpu").unwrap();
        let x = ctx.zeros(DType::F32, 4096);
        ops::fill(&ctx, &x, 1.0).unwrap();
        let (_, profile) = ctx
            .profile(|| {
                for _ in 0..3 {
                    ops::fill(&ctx, &x, 2.0).unwrap();
                }
                ops::scale(&ctx, &x, 0.5).unwrap();
            })
            .unwrap();
        let counts = profile.kernels.iter().map(|k| (k.name.as_str(), k.launches));
        // Other tests launch other kernels meanwhile.
        let mut counts: Vec<_> = counts.filter(|(name, _)| !name.starts_with("gemm")).collect();
        counts.sort_unstable();
        assert_eq!(counts, [("fill_elements", 3), ("scale_elements", 1)]);
        assert_eq!(profile.untimed, 0);
        assert!(profile.seconds() > 0.0);
        assert_eq!(ctx.read_f32(&x).unwrap()[4095], 1.0);
    }
}
