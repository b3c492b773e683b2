//! Every instruction set of this machine gives the bits of the definition (invariant 2).
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bert_core::arch::{self, Kernels};
use bert_core::format::{Floats, Layout, Norm, PANEL, QUAD};
use bert_core::ops::{Activations, GROUP, ROW_ALIGN, SoftmaxScales, Weights};
use bert_core::{Activation, Model, Rows, ScratchVec, Session};
use common::{FloatModel, HeadKind, Random, Sizes};

fn definition() -> &'static Kernels {
    arch::by_name("scalar").unwrap()
}

/// What this machine has beside the definition; a line says so where it has nothing.
fn others() -> impl Iterator<Item = &'static Kernels> {
    let others = || arch::available().filter(|kernels| kernels.name() != "scalar");
    if others().next().is_none() {
        println!("nothing to compare: this machine has the definition alone");
    }
    others()
}

/// Widths around every register and tile.
const WIDTHS: [usize; 14] = [1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 63, 64, 65, 200];

fn bytes(random: &mut Random, count: usize, least: i8) -> Vec<i8> {
    let value = |random: &mut Random| match random.below(8) {
        0 => 127,
        1 => least,
        _ => (random.below(255) as i32 - 127) as i8,
    };
    (0..count).map(|_| value(random)).collect()
}

/// Rows of a width with zeros up to the stride.
fn rows(random: &mut Random, count: usize, width: usize) -> (Vec<i8>, usize) {
    let stride = width.next_multiple_of(ROW_ALIGN);
    let mut values = Vec::new();
    for _ in 0..count {
        values.extend(bytes(random, width, -127));
        values.resize(values.len().next_multiple_of(stride), 0);
    }
    (values, stride)
}

#[test]
fn products_are_exact_at_every_size_and_for_every_byte() {
    let mut random = Random(1);
    for depth in WIDTHS {
        for channels in WIDTHS {
            for count in [1, 2, 3, 7, 8, 9, 33, 64, 65] {
                let (values, stride) = rows(&mut random, count, depth);
                let a = Activations { values: &values, stride };
                let layout = Layout::Panels;
                let mut weights = vec![77i8; layout.bytes(channels, depth) as usize];
                let flat = bytes(&mut random, channels * depth, -128);
                for n in 0..channels {
                    for k in 0..depth {
                        weights[layout.place(depth, n, k)] = flat[n * depth + k];
                    }
                }
                let width = channels.next_multiple_of(PANEL);
                let exact: Vec<i64> = (0..count * channels)
                    .map(|i| {
                        let (r, n) = (i / channels, i % channels);
                        let w = &flat[n * depth..(n + 1) * depth];
                        let a = &values[r * stride..r * stride + depth];
                        a.iter().zip(w).map(|(&a, &w)| a as i64 * w as i64).sum()
                    })
                    .collect();
                for kernels in arch::available() {
                    for (layout, values) in [(layout, &weights), (Layout::Rows, &flat)] {
                        let w = Weights { values, channels, depth, layout };
                        let mut out = vec![0i32; count * width];
                        kernels.gemm(&a, &w, &mut out);
                        for (i, exact) in exact.iter().enumerate() {
                            let found = out[i / channels * width + i % channels];
                            assert_eq!(
                                found as i64,
                                *exact,
                                "{} {count}×{channels}×{depth} {layout:?}",
                                kernels.name()
                            );
                        }
                    }
                }
            }
        }
    }
    assert_eq!(QUAD, 4);
}

/// Floats of every size, zeros, negative zeros, and in some rows nothing but zeros.
fn floats(random: &mut Random, count: usize) -> Vec<f32> {
    let size = [1.0, 1e-3, 30.0, 1e10, 0.0][random.below(5)];
    let value = |random: &mut Random| match random.below(10) {
        0 => 0.0,
        1 => -0.0,
        2 => random.normal(20.0 * size),
        _ => random.normal(size),
    };
    (0..count).map(|_| value(random)).collect()
}

fn same(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert_eq!(a.to_bits(), b.to_bits(), "{what}, element {i}: {a} {b}");
    }
}

#[test]
fn rows_have_the_bits_of_the_definition() {
    let mut random = Random(2);
    let scalar = definition();
    for width in WIDTHS.into_iter().chain([128, 384, 1032, 1100]) {
        for _ in 0..40 {
            let (x, r) = (floats(&mut random, width), floats(&mut random, width));
            let stored: Vec<u8> =
                random.normals(width, 1.0, 0.5).iter().flat_map(|v| v.to_le_bytes()).collect();
            let norm = Norm { gamma: Floats::new(&stored), beta: Floats::new(&stored) };
            let scale = random.normal(0.1).abs();
            let products: Vec<i32> = (0..width).map(|_| random.below(200_000) as i32).collect();
            for kernels in others() {
                let what = format!("{} {width}", kernels.name());
                let both = |run: &dyn Fn(&Kernels, &mut [f32])| {
                    let (mut a, mut b) = (x.clone(), x.clone());
                    run(scalar, &mut a);
                    run(kernels, &mut b);
                    same(&a, &b, &what);
                };
                both(&|k, x| k.layer_norm_row(x, &norm, 1e-12));
                both(&|k, x| k.add_norm_row(x, &r, &norm, 1e-12));
                both(&|k, x| k.add_row(&r, x));
                for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
                    both(&|k, x| k.activate(x, activation));
                }
                both(&|k, x| {
                    let mut q = vec![3i8; width + 9];
                    let scale = k.quantize_row(&r, &mut q);
                    x.iter_mut().zip(&q).for_each(|(x, q)| *x = *q as f32 * scale);
                    assert!(q[width..].iter().all(|q| *q == 0));
                });
                both(&|k, x| {
                    let (mut q, mut scales) = (vec![0; width], vec![0.0; width.div_ceil(GROUP)]);
                    k.store_row(&r, &mut q, &mut scales);
                    k.load_row(&q, &scales, x);
                });
                both(&|k, x| {
                    let products: Vec<i32> =
                        products.iter().map(|&product| product * 999).collect();
                    k.combine_row(&products, &products, scale, x);
                });
            }
        }
    }
}

/// Rows of scores that are flat, peaked, or of values of no size, as many as a group has or not.
#[test]
fn softmax_has_the_bits_of_the_definition() {
    let mut random = Random(3);
    for tokens in WIDTHS.into_iter().chain([128, 511, 512, 1032, 1100, 5000]) {
        let stride = tokens.next_multiple_of(ROW_ALIGN);
        for rows in [1, 2, 7, 32, 33] {
            let spread = [1usize, 1000, 400_000][random.below(3)];
            let size = [0.02, 1e-4, 0.0][random.below(3)];
            let product = |random: &mut Random| random.below(2 * spread) as i32 - spread as i32;
            let products: Vec<f32> =
                (0..rows * stride).map(|_| f32::from_bits(product(&mut random) as u32)).collect();
            let queries: Vec<f32> = (0..rows).map(|_| random.normal(0.1).abs()).collect();
            let keys: Vec<f32> = (0..tokens).map(|_| random.normal(0.01).abs()).collect();
            let values: Vec<f32> = (0..tokens).map(|_| random.normal(size).abs()).collect();
            let scales = SoftmaxScales { keys: &keys, values: &values };
            let run = |kernels: &Kernels| {
                let (mut scores, mut factors) = (products.clone(), queries.clone());
                let mut digits = vec![1; 2 * rows * stride];
                kernels.softmax_rows(&mut scores, &scales, &mut factors, &mut digits);
                (digits, factors.iter().map(|f| f.to_bits()).collect::<Vec<_>>())
            };
            let expected = run(definition());
            for kernels in others() {
                assert!(run(kernels) == expected, "{} {rows} rows of {tokens}", kernels.name());
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let s = Sizes { max_length: 200, head: HeadKind::Span, ..Sizes::SMALL };
    for sizes in [
        s,
        Sizes { hidden: 30, heads: 3, feed_forward: 47, ..s },
        Sizes { hidden: 96, heads: 3, feed_forward: 128, ..s },
    ] {
        let file = FloatModel::random(sizes, 4).build();
        let model = Model::parse(&file).unwrap();
        let mut memory = ScratchVec::of(&model);
        let mut one = Session::new(&model, &mut memory).unwrap();
        for threads in [0, 1, 2, 3, 7] {
            let mut memory = ScratchVec::for_threads(&model, threads.max(1));
            let mut several = Session::with_threads(&model, &mut memory, threads).unwrap();
            for count in [1, 31, 33, 64, 65, 199, 200] {
                let ids: Vec<u32> = (0..count).map(|i| i * 7 % sizes.vocabulary as u32).collect();
                for rows in [Rows::All, Rows::First] {
                    let expected = one.run(&ids, &[], rows).unwrap().hidden();
                    let found = several.run(&ids, &[], rows).unwrap().hidden();
                    same(&found, &expected, &format!("{threads} threads, {count} tokens"));
                }
            }
        }
    }
}

/// Whole models of odd and even sizes, in both layouts and with every size of scratch.
#[test]
fn models_have_the_bits_of_the_definition() {
    let s = Sizes::SMALL;
    let variants = [
        s,
        Sizes { hidden: 30, heads: 3, feed_forward: 47, labels: 2, tags: 3, ..s },
        Sizes { hidden: 96, heads: 2, feed_forward: 130, max_length: 70, ..s },
        Sizes { layers: 1, hidden: 128, heads: 1, feed_forward: 17, ..s },
        Sizes { head: HeadKind::Span, activation: Activation::GeluTanh, pooler: false, ..s },
    ];
    for (seed, sizes) in variants.into_iter().enumerate() {
        let float = FloatModel::random(sizes, seed as u64);
        let mut outputs: Vec<(String, Vec<u32>)> = Vec::new();
        for layout in [Layout::Panels, Layout::Rows] {
            let file = float.build_with(layout);
            let model = Model::parse(&file).unwrap();
            let least = model.scratch_bytes(sizes.max_length);
            for room in [least, ScratchVec::of(&model).len()] {
                for kernels in arch::available() {
                    let mut memory = ScratchVec::new(room);
                    let mut session = Session::new(&model, &mut memory).unwrap();
                    session.use_kernels(kernels);
                    let mut bits = Vec::new();
                    for count in [1, 2, 5, 16, 17, sizes.max_length] {
                        let mut random = Random(count as u64);
                        let ids: Vec<u32> =
                            (0..count).map(|_| random.below(sizes.vocabulary) as u32).collect();
                        let mut output = session.run(&ids, &[], Rows::All).unwrap();
                        bits.extend(output.hidden().iter().map(|v| v.to_bits()));
                        bits.extend(output.label_logits().iter().map(|v| v.to_bits()));
                        let tags = output.tag_logits(0).unwrap_or_default();
                        bits.extend(tags.iter().map(|v| v.to_bits()));
                    }
                    outputs.push((format!("{} {layout:?} {room}", kernels.name()), bits));
                }
            }
        }
        for (name, bits) in &outputs {
            assert!(*bits == outputs[0].1, "{sizes:?}: {name} differs from {}", outputs[0].0);
        }
    }
}
