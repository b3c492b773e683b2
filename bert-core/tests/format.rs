//! The model file: what is written is read back, and nothing hostile gets through (invariant 6).
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bert_core::format::{
    BuildError, ENTRY_BYTES, FORMAT_VERSION, Kind, Layout, MAGIC, Matrix, PREAMBLE_BYTES,
    READER_VERSION, Section, WordEncoding, heads, repair_checksums,
};
use bert_core::{Error, Head, Model, Pooling, ScratchVec, Session};
use common::hostile::{Outcome, check, execute, header_range, seeds};
use common::{FloatModel, HeadKind, Random, Sizes};

fn section(file: &[u8], kind: Kind, index: u16) -> Section {
    let model = Model::parse(file).unwrap();
    model.sections().find(|s| s.kind == kind as u16 && s.index == index).unwrap()
}

fn refused(file: &[u8], error: Error) {
    assert_eq!(Model::parse(file).err(), Some(error));
}

#[test]
fn what_is_written_is_read_back() {
    let float = FloatModel::random(Sizes::SMALL, 1);
    let file = float.build();
    let model = Model::parse(&file).unwrap();
    let config = model.config();
    assert_eq!(&file[..8], &MAGIC);
    assert_eq!((config.layers, config.hidden, config.heads), (2, 32, 4));
    assert_eq!((config.feed_forward, config.vocabulary, config.max_length), (64, 64, 24));
    assert_eq!(config.head, Head::Joint { labels: 5, tags: 7 });
    assert_eq!(model.labels().iter().collect::<Vec<_>>(), float.labels);
    assert_eq!(model.tags().iter().collect::<Vec<_>>(), float.tags);
    assert_eq!(model.labels().name(5), None);
    for (id, piece) in float.pieces.iter().enumerate() {
        assert_eq!(model.vocabulary().piece(id as u32), Some(piece.as_str()));
    }
    let tests: Vec<&str> = model.self_tests().map(|t| t.text).collect();
    assert_eq!(tests, ["abc def", "x yz aaax baax", ""]);
    // Every weight is within half a step of its float.
    let Matrix::Int8(matrix) = model.layer(1).unwrap().feed_forward_in else {
        panic!("int8 without being asked for something else");
    };
    let exact = &float.layers[1].feed_forward_in;
    for (n, exact) in exact.weight.chunks_exact(32).enumerate() {
        let scale = matrix.scales.at(n);
        for (k, w) in exact.iter().enumerate() {
            let q = matrix.weight(n, k);
            assert!((q as f32 * scale - w).abs() <= scale * 0.5001);
        }
        assert_eq!(matrix.biases.at(n), exact_bias(&float, n));
    }
    assert!(model.layer(2).is_err());
    // The same weights give the same bytes.
    assert_eq!(float.build(), file);
}

fn exact_bias(float: &FloatModel, n: usize) -> f32 {
    float.layers[1].feed_forward_in.bias[n]
}

#[test]
fn a_file_works_at_every_address() {
    let file = FloatModel::random(Sizes::SMALL, 1).build();
    let mut room = vec![0u8; file.len() + 8];
    for shift in 0..8 {
        room[shift..shift + file.len()].copy_from_slice(&file);
        let model = Model::parse(&room[shift..shift + file.len()]).unwrap();
        let mut scratch = ScratchVec::of(&model);
        Session::new(&model, &mut scratch).unwrap().self_test().unwrap();
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let file = seeds().swap_remove(0);
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x10;
        assert!(Model::parse(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn every_shorter_or_longer_file_is_refused() {
    let file = seeds().swap_remove(0);
    for length in 0..file.len() {
        assert!(Model::parse(&file[..length]).is_err(), "{length}");
    }
    let (expected, found) = (file.len() as u32, file.len() as u32 + 1);
    refused(&[&file[..], &[0]].concat(), Error::Length { expected, found });
    refused(b"", Error::NotAModel);
    refused(&file[1..], Error::NotAModel);
    refused(&file[..9], Error::Length { expected: 32, found: 9 });
}

#[test]
fn every_field_of_preamble_and_table_at_its_edges_is_survived() {
    let file = seeds().swap_remove(0);
    let count = u16::from_le_bytes([file[16], file[17]]) as usize;
    for at in (0..PREAMBLE_BYTES + count * ENTRY_BYTES).step_by(2) {
        for value in [0u16, 1, 2, 0x7FFF, 0x8000, 0xFFFF] {
            let mut changed = file.clone();
            changed[at..at + 2].copy_from_slice(&value.to_le_bytes());
            repair_checksums(&mut changed);
            check(&changed, "abc");
        }
    }
}

#[test]
fn every_byte_of_the_header_with_right_checksums_is_survived() {
    for file in seeds() {
        for at in header_range(&file) {
            for value in 0..=255 {
                let mut changed = file.clone();
                changed[at] = value;
                repair_checksums(&mut changed);
                check(&changed, "abc 中");
            }
        }
    }
}

#[test]
fn hostile_numbers_are_refused() {
    let joint = FloatModel::random(Sizes::SMALL, 1).build();
    let span = FloatModel::random(Sizes { head: HeadKind::Span, ..Sizes::SMALL }, 1).build();
    let kinds = [
        (&joint, Kind::WordTable, false),
        (&joint, Kind::EmbeddingNorm, true),
        (&joint, Kind::QueryKeyValue, false),
        (&joint, Kind::AttentionNorm, true),
        (&joint, Kind::FeedForwardOut, false),
        (&joint, Kind::Pooler, false),
        (&joint, Kind::ClassHead, false),
        (&joint, Kind::TagHead, false),
        (&span, Kind::SpanHead, false),
    ];
    for (file, kind, signed) in kinds {
        let at = section(file, kind, 0).offset as usize;
        for value in [f32::NAN, f32::INFINITY, -f32::INFINITY, 1e9, -1e9, -1.0] {
            let mut changed = file.clone();
            changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
            repair_checksums(&mut changed);
            match signed && value == -1.0 {
                true => assert!(Model::parse(&changed).is_ok()),
                false => refused(&changed, Error::Value { kind: kind as u16 }),
            }
        }
    }
}

#[test]
fn extreme_but_allowed_numbers_stay_finite() {
    HeadKind::ALL.into_iter().for_each(extreme_numbers_stay_finite);
}

fn extreme_numbers_stay_finite(head: HeadKind) {
    let mut file = FloatModel::random(Sizes { head, ..Sizes::SMALL }, 1).build();
    let model = Model::parse(&file).unwrap();
    let sections: Vec<Section> = model.sections().collect();
    for section in sections {
        let (start, length) = (section.offset as usize, section.length as usize);
        let bytes = &mut file[start..start + length];
        match section.kind {
            // Scales at their largest, biases at theirs, weights of one sign.
            4..=6 | 16 | 17 | 19 | 20 | 32..=35 => {
                let columns = if section.kind == 20 { 64 } else { 32 };
                let per_row = if section.kind <= 6 { 4 } else { 8 };
                let mut rows = length / (columns + per_row);
                while (per_row * rows).next_multiple_of(64) + rows * columns > length {
                    rows -= 1;
                }
                for i in 0..rows {
                    bytes[4 * i..4 * i + 4].copy_from_slice(&1024f32.to_le_bytes());
                    if per_row == 8 {
                        let at = 4 * (rows + i);
                        bytes[at..at + 4].copy_from_slice(&65536f32.to_le_bytes());
                    }
                }
                bytes[(per_row * rows).next_multiple_of(64)..].fill(0x80);
            }
            7 | 18 | 21 => {
                for (i, value) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    let sign = if i % 2 == 0 { 1.0f32 } else { -1.0 };
                    *value = (sign * 65536.0).to_le_bytes();
                }
            }
            _ => {}
        }
    }
    repair_checksums(&mut file);
    assert_eq!(check(&file, "abc def ghi"), Outcome::Answered);
}

#[test]
fn wrong_versions_are_named() {
    let mut file = FloatModel::random(Sizes::SMALL, 1).build();
    // A later writer whose files this reader may read.
    file[8..10].copy_from_slice(&9u16.to_le_bytes());
    repair_checksums(&mut file);
    assert!(Model::parse(&file).is_ok());
    file[10..12].copy_from_slice(&5u16.to_le_bytes());
    refused(&file, Error::Version { needed: 5, reader: 4 });
}

/// Files that the first reader understands still say so; those it would refuse name the one that
/// takes them.
#[test]
fn a_file_asks_for_the_oldest_reader_that_runs_its_head() {
    let int4 = WordEncoding::Int4;
    for head in HeadKind::ALL {
        let float = FloatModel::random(Sizes { head, ..Sizes::SMALL }, 1);
        let old = matches!(head, HeadKind::Classify | HeadKind::Tag | HeadKind::Joint);
        let version = if old { 1 } else { 2 };
        assert_eq!(float.build_with(Layout::Rows)[8..12], [version, 0, version, 0], "{head:?}");
        assert_eq!(float.build_with(Layout::Panels)[8..12], [3, 0, 3, 0], "{head:?}");
        for layout in [Layout::Rows, Layout::Panels] {
            assert_eq!(float.build_as(layout, int4)[8..12], [4, 0, 4, 0], "{head:?}");
        }
    }
    assert_eq!((FORMAT_VERSION, READER_VERSION), (4, 4));
}

#[test]
fn the_head_of_a_file_is_known_when_a_program_is_compiled() {
    for head in HeadKind::ALL {
        let file = FloatModel::random(Sizes { head, ..Sizes::SMALL }, 3).build();
        let model = Model::parse(&file).unwrap();
        let set = heads::of(&file);
        assert_eq!(set, model.config().head.set(), "{head:?}");
        // Programs of that head, and of any, give what one of another does not.
        let mut memory = ScratchVec::of(&model);
        let mut session = Session::new(&model, &mut memory).unwrap();
        let crc = session.output_crc("abc def").unwrap();
        let answers = [
            session.output_crc_of::<{ heads::CLASSIFY }>("abc def"),
            session.output_crc_of::<{ heads::TAG }>("abc def"),
            session.output_crc_of::<{ heads::JOINT }>("abc def"),
            session.output_crc_of::<{ heads::PAIR_CLASSIFY }>("abc def"),
            session.output_crc_of::<{ heads::REGRESS }>("abc def"),
            session.output_crc_of::<{ heads::SPAN }>("abc def"),
            session.output_crc_of::<{ heads::EMBED }>("abc def"),
            session.output_crc_of::<{ heads::MULTI_LABEL }>("abc def"),
        ];
        for (bit, answer) in answers.into_iter().enumerate() {
            let expected = if set == 1 << bit { Ok(crc) } else { Err(Error::WrongHead) };
            assert_eq!(answer, expected, "{head:?} {bit}");
        }
    }
}

#[test]
fn an_unknown_head_is_named() {
    let sizes = Sizes { head: HeadKind::Embed(Pooling::First), ..Sizes::SMALL };
    let file = FloatModel::random(sizes, 1).build();
    // The header ends with the number of the head and that of its pooling.
    let end = header_range(&file).end;
    assert_eq!(file[end - 2..end], [6, 1]);
    for (bytes, error) in [
        ([8, 0], Error::UnsupportedHead),
        ([0xFF, 0x7F], Error::UnsupportedHead),
        ([6, 2], Error::Header),
        ([0xFF, 0xFF], Error::Header),
        ([0, 0], Error::Config),
        ([4, 0], Error::Config),
        ([7, 0], Error::Config),
    ] {
        let mut changed = file.clone();
        changed[end - 2..end].copy_from_slice(&bytes);
        repair_checksums(&mut changed);
        refused(&changed, error);
    }
}

#[test]
fn heads_of_two_texts_need_two_segments() {
    for head in HeadKind::ALL {
        let float = FloatModel::random(Sizes { head, ..Sizes::SMALL }, 1);
        let mut builder = float.builder(&["a"]);
        builder.embeddings.segment = &float.segment[..32];
        match (head, builder.build()) {
            (HeadKind::PairClassify | HeadKind::Span, built) => {
                assert!(matches!(built, Err(BuildError::Model(Error::Config))), "{head:?}");
            }
            (_, built) => assert_eq!(check(&built.unwrap(), "abc"), Outcome::Answered),
        }
    }
}

#[test]
fn unknown_sections_are_skipped_and_missing_ones_named() {
    let mut file = FloatModel::random(Sizes::SMALL, 1).build();
    let count = u16::from_le_bytes([file[16], file[17]]) as usize;
    let entry = |i: usize| PREAMBLE_BYTES + i * ENTRY_BYTES;
    // The label section becomes one that only a later reader knows.
    let labels = (0..count).find(|&i| file[entry(i)] == Kind::Labels as u8).unwrap();
    file[entry(labels)..entry(labels) + 2].copy_from_slice(&999u16.to_le_bytes());
    repair_checksums(&mut file);
    refused(&file, Error::MissingSection { kind: Kind::Labels as u16 });
    file[entry(labels)..entry(labels) + 2].copy_from_slice(&3u16.to_le_bytes());
    file[entry(labels) + 4] = 7;
    repair_checksums(&mut file);
    refused(&file, Error::Encoding { kind: Kind::Labels as u16 });
    // Two sections of the same kind and index.
    file[entry(labels)..entry(labels) + 5].copy_from_slice(&[3, 0, 1, 0, 0]);
    repair_checksums(&mut file);
    refused(&file, Error::SectionTable);
}

#[test]
fn the_builder_names_what_is_wrong() {
    let mut float = FloatModel::random(Sizes::SMALL, 1);
    float.layers[1].qkv[2].weight[5] = f32::NAN;
    let error = float.builder(&["a"]).build().err().unwrap();
    assert!(error.to_string().starts_with("layer 1: value weight"), "{error}");
    float.layers[1].qkv[2].weight[5] = f32::INFINITY;
    assert!(matches!(float.builder(&["a"]).build(), Err(BuildError::Value { .. })));
    float.layers[1].qkv[2].weight.pop();
    let error = float.builder(&["a"]).build().err().unwrap();
    assert_eq!(error.to_string(), "layer 1: value weight: 1024 values expected, 1023 found");
    let float = FloatModel::random(Sizes { heads: 3, ..Sizes::SMALL }, 1);
    assert!(matches!(float.builder(&["a"]).build(), Err(BuildError::Model(Error::Config))));
    let float = FloatModel::random(Sizes::SMALL, 1);
    assert!(matches!(float.builder(&[]).build(), Err(BuildError::NoSelfTest)));
    let mut float = FloatModel::random(Sizes { head: HeadKind::Tag, ..Sizes::SMALL }, 1);
    float.pieces[2] = "[cls]".into();
    assert!(float.builder(&["a"]).build().is_err());
}

#[test]
fn a_self_test_of_another_output_fails() {
    let mut file = FloatModel::random(Sizes::SMALL, 1).build();
    let at = section(&file, Kind::SelfTest, 0).offset as usize;
    file[at + 4] ^= 1;
    repair_checksums(&mut file);
    let model = Model::parse(&file).unwrap();
    let mut scratch = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut scratch).unwrap();
    assert_eq!(session.self_test(), Err(Error::SelfTest { text: 0 }));
}

/// The first executions of `cargo run --release -p bert-core --features std --example fuzz`.
#[test]
fn mutated_files_and_texts_are_survived() {
    let seeds = seeds();
    let mut random = Random(1);
    let mut answered = 0;
    for _ in 0..20_000 {
        answered += (execute(&mut random, &seeds) == Outcome::Answered) as usize;
    }
    assert!(answered > 1_000, "{answered}");
}

#[test]
fn every_kind_stands_in_the_specification() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/model-file.md");
    let specification = std::fs::read_to_string(path).unwrap();
    for (kind, name) in Kind::NAMES {
        let row = format!("| {} | ", kind as u16);
        assert_eq!(specification.matches(&row).count(), 1, "{name}");
    }
    let magic: Vec<String> = MAGIC.iter().map(|b| format!("{b:02X}")).collect();
    assert!(specification.contains(&magic.join(" │ ")));
}
