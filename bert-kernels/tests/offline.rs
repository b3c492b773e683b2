//! Every op of the case table compiles for a GPU on a machine without one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bert_kernels::offline::{Device, Target};
use bert_kernels::{MatrixCore, cases};

/// `gpu-compile` covers all rows and targets; the first row of each op guards the method.
#[test]
fn every_op_has_kernels_that_compile() {
    let device = Device::new(Target::Sm90).unwrap();
    let mut launches = BTreeMap::new();
    for case in cases::all() {
        if launches.contains_key(case.op) {
            continue;
        }
        let work = |ctx: &bert_kernels::Context| {
            // The row reads zeros, which is not what it expects.
            let _ = catch_unwind(AssertUnwindSafe(|| (case.run)(ctx)));
        };
        launches.insert(case.op, device.compiled_for(case.op, work).unwrap());
    }
    let silent: Vec<_> = launches.iter().filter(|(_, count)| **count == 0).collect();
    assert!(silent.is_empty(), "{silent:?} launched nothing");
    let refused: Vec<_> = (device.compiled().into_iter())
        .filter_map(|kernel| Some((kernel.label, kernel.kernel, kernel.outcome.err()?)))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn every_target_has_its_matrix_cores() {
    for (target, core) in [
        (Target::Sm80, MatrixCore::Mma),
        (Target::Sm90, MatrixCore::Mma),
        (Target::Gfx942, MatrixCore::Mfma),
        (Target::Gfx1100, MatrixCore::Wmma),
    ] {
        let mut found = None;
        let device = Device::new(target).unwrap();
        device.compiled_for("shape", |ctx| found = ctx.shape().matrix_core).unwrap();
        assert_eq!(found, Some(core), "{}", target.name());
    }
}

/// What the device does where a launch would be: compile once, whatever the number of launches.
mod toy {
    use bert_kernels::DType;
    use cubecl::prelude::*;

    use super::*;

    #[cube(launch)]
    fn double(x: &mut [f32]) {
        if ABSOLUTE_POS < x.len() {
            x[ABSOLUTE_POS] *= 2.0;
        }
    }

    #[test]
    fn a_kernel_becomes_ptx_or_a_code_object_once() {
        for target in Target::ALL {
            let device = Device::new(target).unwrap();
            let launches = device
                .compiled_for("toy", |ctx| {
                    let x = ctx.upload_f32(&[1.0; 100]);
                    for _ in 0..2 {
                        let handle = ctx.client().empty(400);
                        // SAFETY: 100 elements of 4 bytes lie behind the handle.
                        #[allow(unsafe_code)]
                        let arg = unsafe { BufferArg::from_raw_parts(handle, 100) };
                        double::launch(
                            ctx.client(),
                            CubeCount::Static(1, 1, 1),
                            CubeDim::new_1d(128),
                            arg,
                        );
                    }
                    assert_eq!(ctx.read_f32(&x).unwrap(), [0.0; 100]);
                    assert_eq!(ctx.empty(DType::F32, 3).len(), 3);
                })
                .unwrap();
            assert_eq!(launches, 2);
            let compiled = device.compiled();
            let [kernel] = compiled.as_slice() else {
                panic!("{compiled:?}");
            };
            assert_eq!((kernel.label.as_str(), kernel.units), ("toy", 128));
            let code = kernel.outcome.as_ref().unwrap();
            if target.is_nvidia() {
                let ptx = String::from_utf8_lossy(&code.bytes);
                assert!(ptx.contains(&format!(".target {}", target.name())), "{ptx}");
            } else {
                assert!(code.bytes.starts_with(b"\x7fELF"));
            }
        }
    }
}
