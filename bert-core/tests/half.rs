//! Matrices that stay f16: closer to f64 than int8, the same bits everywhere, nothing hostile.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bert_core::arch::{self, Kernels};
use bert_core::format::{
    BuildError, ENTRY_BYTES, Encoding, Kind, Layout, ModelBuilder, PREAMBLE_BYTES, Part, Section,
    repair_checksums,
};
use bert_core::{
    Error, Model, Pooling, Rows, ScratchVec, Session, scratch_bytes_of, scratch_parts,
};
use common::hostile::{Outcome, check};
use common::{FloatModel, HeadKind, Random, Sizes};

/// Parts of [`Sizes::SMALL`].
const ALL: [Part; 4] = [Part::Layer(0), Part::Layer(1), Part::Pooler, Part::Head];

fn sections(file: &[u8]) -> Vec<Section> {
    Model::parse(file).unwrap().sections().collect()
}

fn find(file: &[u8], kind: Kind, index: u16) -> Section {
    let of = |s: &Section| s.kind == kind as u16 && s.index == index;
    sections(file).into_iter().find(of).unwrap()
}

fn ids(count: usize, seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    (0..count).map(|_| random.below(Sizes::SMALL.vocabulary) as u32).collect()
}

#[test]
fn the_parts_that_are_named_are_f16_and_no_others() {
    let float = FloatModel::random(Sizes::SMALL, 1);
    let int8 = float.build();
    assert_eq!(float.build_keeping(&[]), int8);
    assert_eq!(int8[8..12], [3, 0, 3, 0]);
    for halves in [&ALL[..1], &ALL[1..2], &ALL[2..3], &ALL[3..], &ALL] {
        let file = float.build_keeping(halves);
        assert_eq!(file[8..12], [4, 0, 4, 0]);
        assert_eq!(scratch_bytes_of(&file), scratch_bytes_of(&int8));
        for (half, int8) in sections(&file).into_iter().zip(sections(&int8)) {
            let kept = Kind::NAMES
                .into_iter()
                .filter(|(kind, _)| *kind as u16 == half.kind)
                .filter_map(|(kind, _)| Part::of(kind, half.index))
                .any(|part| halves.contains(&part));
            let expected = if kept { Encoding::Float16Rows as u16 } else { int8.encoding };
            assert_eq!((half.kind, half.encoding), (int8.kind, expected));
        }
    }
    // Bias of 64 channels, and 64 · 32 weights of two bytes.
    let file = float.build_keeping(&[Part::Layer(1)]);
    assert_eq!(find(&file, Kind::FeedForwardIn, 1).length, 4 * 64 + 2 * 64 * 32);
    let texts = ["abc"];
    let rows = ModelBuilder { layout: Layout::Rows, halves: &ALL[..1], ..float.builder(&texts) };
    assert_eq!(find(&rows.build().unwrap(), Kind::Pooler, 0).encoding, Encoding::Int8Rows as u16);
}

/// Σ (a − b)² over the last layer's rows and the logits.
fn noise(file: &[u8], float: &FloatModel) -> [f64; 2] {
    let model = Model::parse(file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let mut noise = [0.0; 2];
    for count in [1, 5, 24] {
        let ids = ids(count, count as u64);
        let exact = float.reference(&ids, &[]);
        let mut output = session.run(&ids, &[], Rows::All).unwrap();
        let square = |a: &f32, b: &f64| (f64::from(*a) - b).powi(2);
        let hidden = output.hidden();
        noise[0] += hidden
            .iter()
            .zip(exact.hidden.iter().flatten())
            .map(|(a, b)| square(a, b))
            .sum::<f64>();
        let logits = output.label_logits().iter();
        noise[1] += logits.zip(&exact.labels).map(|(a, b)| square(a, b)).sum::<f64>();
    }
    noise
}

#[test]
fn f16_is_closer_to_f64_than_int8() {
    for seed in 0..5 {
        let float = FloatModel::random(Sizes::SMALL, seed);
        let [int8, half] = [&[][..], &ALL[..2]].map(|halves| {
            let [hidden, _] = noise(&float.build_keeping(halves), &float);
            hidden
        });
        // What is left is of the embeddings, the residual stream and attention, which stay int8.
        assert!(half < 0.6 * int8, "{half} of {int8}");
        let [without, with] = [&ALL[..2], &ALL].map(|halves| {
            let [_, logits] = noise(&float.build_keeping(halves), &float);
            logits
        });
        assert!(with < without, "{with} of {without}");
    }
}

/// Output bits of a session for texts of every tile.
fn bits(session: &mut Session<'_, '_>) -> Vec<u32> {
    let mut bits = Vec::new();
    for count in [1, 2, 3, 4, 5, 8, 16, 17, 24] {
        let mut output = session.run(&ids(count, count as u64), &[], Rows::All).unwrap();
        bits.extend(output.hidden().iter().map(|v| v.to_bits()));
        bits.extend(output.label_logits().iter().map(|v| v.to_bits()));
        bits.extend(output.tag_logits(count - 1).unwrap_or_default().iter().map(|v| v.to_bits()));
        bits.extend(output.span_logits(0).unwrap_or_default().iter().map(|v| v.to_bits()));
    }
    bits
}

/// Invariant 2.
#[test]
fn every_kernel_and_scratch_gives_the_same_bits() {
    let s = Sizes::SMALL;
    for sizes in [
        s,
        Sizes { hidden: 30, heads: 3, feed_forward: 47, labels: 2, tags: 3, ..s },
        Sizes { head: HeadKind::Span, ..s },
    ] {
        let float = FloatModel::random(sizes, 7);
        for halves in [&ALL[1..2], &ALL] {
            let file = float.build_keeping(halves);
            let model = Model::parse(&file).unwrap();
            let mut expected = None;
            for room in [model.scratch_bytes(24), ScratchVec::of(&model).len()] {
                for kernels in arch::available() {
                    let mut memory = ScratchVec::new(room);
                    let mut session = Session::new(&model, &mut memory).unwrap();
                    session.use_kernels(kernels);
                    session.self_test().unwrap();
                    let bits = bits(&mut session);
                    let expected = expected.get_or_insert_with(|| bits.clone());
                    assert!(bits == *expected, "{} {halves:?} {room}", kernels.name());
                }
            }
        }
    }
}

/// As for int8: stored once, equal ever after, on every instruction set.
#[test]
fn output_bits_are_those_of_arithmetic_revision_2() {
    assert_eq!(bert_core::ARITHMETIC, 2);
    let file = FloatModel::random(Sizes::SMALL, 42).build_keeping(&ALL);
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut crc = bert_core::checksum::Crc32::new();
    let bits = bits(&mut Session::new(&model, &mut memory).unwrap());
    bits.iter().for_each(|bits| crc.update(&bits.to_le_bytes()));
    assert_eq!(crc.finish(), EXPECTED_CRC);
}

const EXPECTED_CRC: u32 = 2_448_029_967;

#[test]
fn threads_do_not_change_a_bit() {
    let s = Sizes { max_length: 200, head: HeadKind::Span, ..Sizes::SMALL };
    for sizes in [s, Sizes { hidden: 30, heads: 3, feed_forward: 47, ..s }] {
        let file = FloatModel::random(sizes, 4).build_keeping(&[Part::Layer(0), Part::Head]);
        let model = Model::parse(&file).unwrap();
        let mut memory = ScratchVec::of(&model);
        let mut one = Session::new(&model, &mut memory).unwrap();
        for threads in [2, 3, 7] {
            let mut memory = ScratchVec::for_threads(&model, threads);
            let mut several = Session::with_threads(&model, &mut memory, threads).unwrap();
            for count in [31, 65, 200] {
                let ids = ids(count, 3);
                let expected = one.run(&ids, &[], Rows::All).unwrap().hidden();
                assert!(several.run(&ids, &[], Rows::All).unwrap().hidden() == expected);
            }
        }
    }
}

#[test]
fn kernels_have_the_bits_of_the_definition_at_every_size() {
    use bert_core::format::{Floats, HalfMatrix};
    let mut random = Random(5);
    for depth in [1, 2, 15, 16, 17, 31, 33, 64, 65, 200] {
        for channels in [1, 3, 16, 33] {
            let weights: Vec<u8> = (0..2 * depth * channels)
                .map(|i| (random.next() >> 24) as u8 & if i % 2 == 1 { 0xBB } else { 0xFF })
                .collect();
            let biases: Vec<u8> =
                random.normals(channels, 1.0, 0.0).iter().flat_map(|b| b.to_le_bytes()).collect();
            let matrix = HalfMatrix {
                rows: channels,
                columns: depth,
                biases: Floats::new(&biases),
                weights: weights.as_chunks().0,
            };
            for rows in [1, 2, 3, 4, 5, 8, 11, 32] {
                let x = random.normals(rows * depth, 3.0, 0.0);
                let run = |kernels: &Kernels| {
                    let mut out = vec![f32::NAN; rows * channels];
                    kernels.linear_half(&x, &matrix, &mut out);
                    out.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
                };
                let expected = run(arch::by_name("scalar").unwrap());
                for kernels in arch::available() {
                    assert_eq!(run(kernels), expected, "{} {channels}×{depth}", kernels.name());
                }
            }
        }
    }
}

#[test]
fn it_works_at_every_address() {
    let file = FloatModel::random(Sizes::SMALL, 1).build_keeping(&ALL);
    let mut room = vec![0u8; file.len() + 4];
    for shift in 0..4 {
        room[shift..shift + file.len()].copy_from_slice(&file);
        let model = Model::parse(&room[shift..shift + file.len()]).unwrap();
        let mut scratch = ScratchVec::of(&model);
        Session::new(&model, &mut scratch).unwrap().self_test().unwrap();
    }
}

#[test]
fn hostile_halves_are_refused() {
    let file = FloatModel::random(Sizes::SMALL, 1).build_keeping(&ALL);
    for (kind, floats) in [
        (Kind::QueryKeyValue, 3 * 32),
        (Kind::AttentionOutput, 32),
        (Kind::FeedForwardIn, 64),
        (Kind::FeedForwardOut, 32),
        (Kind::Pooler, 32),
        (Kind::ClassHead, 5),
        (Kind::TagHead, 7),
    ] {
        let section = find(&file, kind, 0);
        let (start, end) = (section.offset as usize, (section.offset + section.length) as usize);
        let weights = start + (4usize * floats).next_multiple_of(64);
        let error = Some(Error::Value { kind: kind as u16 });
        let put = |at: usize, bytes: &[u8]| {
            let mut changed = file.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            repair_checksums(&mut changed);
            changed
        };
        for at in [weights, weights + 2 * 7, end - 2] {
            // Infinities, NaN quiet and signalling.
            for half in [0x7C00u16, 0xFC00, 0x7E00, 0x7C01, 0xFFFF] {
                assert_eq!(Model::parse(&put(at, &half.to_le_bytes())).err(), error);
            }
            for half in [0x7BFFu16, 0xFBFF, 0, 0x8000, 1] {
                assert_eq!(check(&put(at, &half.to_le_bytes()), "abc"), Outcome::Answered);
            }
        }
        for bias in [f32::NAN, f32::INFINITY, 65537.0, -65537.0] {
            assert_eq!(Model::parse(&put(start, &bias.to_le_bytes())).err(), error);
        }
    }
}

#[test]
fn a_section_of_f16_must_have_its_size_and_its_place() {
    let float = FloatModel::random(Sizes::SMALL, 1);
    let (int8, half) = (float.build(), float.build_keeping(&ALL));
    let encoding_at = |file: &[u8], kind: Kind| {
        let place = sections(file).iter().position(|s| s.kind == kind as u16).unwrap();
        PREAMBLE_BYTES + place * ENTRY_BYTES + 4
    };
    for (file, kind, encoding, error) in [
        (&int8, Kind::Pooler, 4, Error::SectionSize { kind: 32 }),
        (&half, Kind::Pooler, 2, Error::SectionSize { kind: 32 }),
        (&half, Kind::Pooler, 1, Error::SectionSize { kind: 32 }),
        // Tables and norms are not f16.
        (&half, Kind::WordTable, 4, Error::Encoding { kind: 4 }),
        (&half, Kind::AttentionNorm, 4, Error::Encoding { kind: 18 }),
    ] {
        let mut changed = file.clone();
        changed[encoding_at(file, kind)] = encoding;
        repair_checksums(&mut changed);
        assert_eq!(Model::parse(&changed).err(), Some(error));
    }
}

#[test]
fn extreme_but_allowed_numbers_stay_finite() {
    for head in HeadKind::ALL {
        let parts: &[Part] = match head {
            HeadKind::Embed(_) => &ALL[..3],
            _ => &ALL,
        };
        for sign in [0u16, 0x8000] {
            let mut file =
                FloatModel::random(Sizes { head, ..Sizes::SMALL }, 1).build_keeping(parts);
            for section in sections(&file) {
                let start = section.offset as usize;
                let bytes = &mut file[start..start + section.length as usize];
                match section.kind {
                    16..=17 | 19..=20 | 32..=35 => {
                        let floats = match section.kind {
                            16 => 96,
                            19 => 64,
                            17 | 20 | 32 => 32,
                            // Heads have less than sixteen channels.
                            _ => 16,
                        };
                        let (biases, weights) = bytes.split_at_mut(4 * floats);
                        if section.kind < 33 {
                            let bias = 65536f32.to_le_bytes();
                            biases.as_chunks_mut::<4>().0.iter_mut().for_each(|b| *b = bias);
                        }
                        let largest = (0x7BFF | sign).to_le_bytes();
                        weights.as_chunks_mut::<2>().0.iter_mut().for_each(|w| *w = largest);
                    }
                    7 | 18 | 21 => {
                        let chunks = bytes.as_chunks_mut::<4>().0;
                        chunks.iter_mut().for_each(|b| *b = 65536f32.to_le_bytes());
                    }
                    _ => {}
                }
            }
            repair_checksums(&mut file);
            assert_eq!(check(&file, "abc def ghi"), Outcome::Answered, "{head:?}");
        }
    }
}

#[test]
fn the_builder_names_parts_that_are_not_there() {
    let refuse = |sizes: Sizes, part: Part, expected: &str| {
        let float = FloatModel::random(sizes, 1);
        let texts = ["a"];
        let error =
            ModelBuilder { halves: &[part], ..float.builder(&texts) }.build().err().unwrap();
        assert!(matches!(error, BuildError::NoSuchPart { .. }));
        assert_eq!(error.to_string(), expected);
    };
    let s = Sizes::SMALL;
    refuse(s, Part::Layer(2), "no layer 2: the model has 2 layers, counted from 0");
    refuse(Sizes { pooler: false, ..s }, Part::Pooler, "the model has no pooler");
    let embed = HeadKind::Embed(Pooling::Mean);
    refuse(Sizes { head: embed, ..s }, Part::Head, "the model has no head");
    let mut float = FloatModel::random(s, 1);
    float.layers[0].qkv[1].weight[3] = 65520.0;
    let texts = ["a"];
    let error = ModelBuilder { halves: &ALL, ..float.builder(&texts) }.build().err().unwrap();
    assert!(error.to_string().starts_with("layer 0: key weight"), "{error}");
    float.layers[0].qkv[1].weight[3] = 65519.0;
    ModelBuilder { halves: &ALL, ..float.builder(&texts) }.build().unwrap();
}

#[test]
fn scratch_is_that_of_int8_and_its_parts_add_up() {
    let file = FloatModel::random(Sizes::SMALL, 3).build_keeping(&ALL);
    let model = Model::parse(&file).unwrap();
    for limit in [3, 5, 23, 24] {
        let needed = model.scratch_bytes(limit);
        let parts = scratch_parts(&model.config().shape(), limit);
        assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), needed as u64);
        let mut memory = ScratchVec::new(needed);
        let mut session = Session::with_limit(&model, &mut memory, limit).unwrap();
        session.run(&ids(limit, 1), &[], Rows::All).unwrap();
        let error = Session::with_limit(&model, &mut memory[..needed - 1], limit).err();
        let (needed, found) = (needed as u32, needed as u32 - 1);
        assert_eq!(error, Some(Error::Scratch { needed, found }));
    }
}

/// What is measured layer by layer is what [`Session::run`] and [`Session::embed`] see.
#[test]
fn the_rows_of_every_layer_are_those_of_the_engine() {
    let float = FloatModel::random(Sizes::SMALL, 6);
    let file = float.build_keeping(&[Part::Layer(1)]);
    let model = Model::parse(&file).unwrap();
    for room in [model.scratch_bytes(24), ScratchVec::of(&model).len()] {
        let mut memory = ScratchVec::new(room);
        let mut session = Session::new(&model, &mut memory).unwrap();
        let ids = ids(17, 2);
        let mut layers = vec![Vec::new(); 3];
        let keep = |layer: u16, token: usize, row: &[f32]| {
            assert_eq!(layers[layer as usize].len(), token * row.len());
            layers[layer as usize].extend_from_slice(row);
        };
        session.run_layers(&ids, &[], keep).unwrap();
        assert_eq!(session.run(&ids, &[], Rows::All).unwrap().hidden(), layers[2]);
        let exact = float.reference(&ids, &[]);
        for (found, exact) in layers.iter().zip(&exact.layers) {
            assert_eq!(found.len(), 17 * 32);
            let noise = |(a, b): (&f32, &f64)| (f64::from(*a) - b).powi(2);
            let noise: f64 = found.iter().zip(exact.iter().flatten()).map(noise).sum();
            let signal: f64 = exact.iter().flatten().map(|v| v * v).sum();
            assert!(noise < 0.01 * signal, "{noise} of {signal}");
        }
        assert_eq!(session.run_layers(&[], &[], |_, _, _| {}), Err(Error::NoTokens));
        assert_eq!(session.run_layers(&[64], &[], |_, _, _| {}), Err(Error::TokenRange));
    }
}
