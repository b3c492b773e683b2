//! Model files whose word table is int4: written, read, refused, and the same bits everywhere.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bert_core::arch;
use bert_core::format::{
    ENTRY_BYTES, Encoding, Kind, Layout, PREAMBLE_BYTES, Section, WORD_GROUP, WordEncoding,
    repair_checksums,
};
use bert_core::{EmbedOptions, Error, Layers, Model, Pooling, Rows, ScratchVec, Session};
use common::hostile::{Outcome, check};
use common::{FloatModel, HeadKind, Random, Sizes};

fn int4(float: &FloatModel) -> Vec<u8> {
    float.build_as(Layout::default(), WordEncoding::Int4)
}

/// Hidden sizes around a group, even and odd.
const WIDTHS: [(usize, usize); 9] =
    [(1, 1), (2, 1), (15, 3), (30, 3), (31, 1), (32, 4), (33, 3), (96, 2), (136, 4)];

fn sized((hidden, heads): (usize, usize)) -> Sizes {
    Sizes { hidden, heads, ..Sizes::SMALL }
}

fn sections(file: &[u8]) -> Vec<Section> {
    Model::parse(file).unwrap().sections().collect()
}

fn payload(file: &[u8], section: Section) -> &[u8] {
    &file[section.offset as usize..][..section.length as usize]
}

/// Where the word table's entry stands, and the table.
fn words(file: &[u8]) -> (usize, Section) {
    let all = sections(file);
    let place = all.iter().position(|s| s.kind == Kind::WordTable as u16).unwrap();
    (PREAMBLE_BYTES + place * ENTRY_BYTES, all[place])
}

#[test]
fn nothing_but_the_word_table_and_the_self_test_is_stored_otherwise() {
    for widths in WIDTHS {
        let float = FloatModel::random(sized(widths), 3);
        let (small, large) = (int4(&float), float.build());
        for (a, b) in sections(&small).into_iter().zip(sections(&large)) {
            assert_eq!((a.kind, a.index), (b.kind, b.index));
            let same = (a.encoding, payload(&small, a)) == (b.encoding, payload(&large, b));
            let other = [Kind::WordTable as u16, Kind::SelfTest as u16].contains(&a.kind);
            assert!(same || other, "{widths:?} {}", a.name());
        }
        let (rows, hidden) = (float.pieces.len(), widths.0);
        let front = rows * (2 + hidden.div_ceil(WORD_GROUP));
        let bytes = front.next_multiple_of(64) + rows * hidden.div_ceil(2);
        let (_, table) = words(&small);
        assert_eq!((table.encoding, table.length), (Encoding::Int4Groups as u16, bytes as u32));
        for (words, file) in [(WordEncoding::Int4, &small), (WordEncoding::Int8, &large)] {
            assert_eq!(words.bytes(rows, hidden), u64::from(self::words(file).1.length));
        }
        assert_eq!(int4(&float), small, "the same weights give the same bytes");
    }
}

/// Rows of the embeddings and of the last layer, logits of labels and tags.
fn bits(session: &mut Session<'_, '_>, sizes: Sizes) -> Vec<u32> {
    let mut bits = Vec::new();
    for count in [1, 2, 17, sizes.max_length] {
        let mut random = Random(count as u64);
        let ids: Vec<u32> = (0..count).map(|_| random.below(sizes.vocabulary) as u32).collect();
        let mut output = session.run(&ids, &[], Rows::All).unwrap();
        bits.extend(output.hidden().iter().map(|v| v.to_bits()));
        bits.extend(output.label_logits().iter().map(|v| v.to_bits()));
        bits.extend(output.tag_logits(0).unwrap_or_default().iter().map(|v| v.to_bits()));
    }
    for text in ["abc", "x yz aaax baax"] {
        let mut vector = vec![0.0; sizes.hidden];
        let options = EmbedOptions { pooling: Pooling::Mean, layers: Layers::One(0) };
        session.embed(text, options, &mut vector).unwrap();
        bits.extend(vector.iter().map(|v| v.to_bits()));
    }
    bits
}

/// Invariant 2, for this encoding.
#[test]
fn every_instruction_set_gives_the_bits_of_the_definition() {
    for (seed, widths) in WIDTHS.into_iter().enumerate() {
        let sizes = sized(widths);
        let float = FloatModel::random(sizes, seed as u64);
        let mut outputs: Vec<(String, Vec<u32>)> = Vec::new();
        for layout in [Layout::Panels, Layout::Rows] {
            let file = float.build_as(layout, WordEncoding::Int4);
            let model = Model::parse(&file).unwrap();
            for kernels in arch::available() {
                let mut memory = ScratchVec::of(&model);
                let mut session = Session::new(&model, &mut memory).unwrap();
                session.use_kernels(kernels);
                session.self_test().unwrap();
                outputs.push((format!("{} {layout:?}", kernels.name()), bits(&mut session, sizes)));
            }
        }
        for (name, bits) in &outputs {
            assert!(*bits == outputs[0].1, "{widths:?}: {name} differs from {}", outputs[0].0);
        }
    }
}

#[test]
fn the_embeddings_are_close_to_those_of_the_floats() {
    let norm = |a: &[f64]| a.iter().map(|v| v * v).sum::<f64>().sqrt();
    for widths in [(30, 3), (64, 4), (128, 2)] {
        let sizes = Sizes { layers: 1, ..sized(widths) };
        let float = FloatModel::random(sizes, 5);
        let distance = |file: &[u8]| {
            let model = Model::parse(file).unwrap();
            let mut memory = ScratchVec::of(&model);
            let mut session = Session::new(&model, &mut memory).unwrap();
            let mut found = vec![0.0; sizes.hidden];
            let options = EmbedOptions { pooling: Pooling::Mean, layers: Layers::One(0) };
            session.embed("abc aaax", options, &mut found).unwrap();
            let id = |piece: &str| float.pieces.iter().position(|p| p == piece).unwrap() as u32;
            let ids = ["[CLS]", "a", "##b", "##c", "aaax", "[SEP]"].map(id);
            let rows = &float.reference(&ids, &[]).layers[0];
            let mean = (0..sizes.hidden)
                .map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / rows.len() as f64);
            let mean: Vec<f64> = mean.collect();
            let apart: Vec<f64> = mean.iter().zip(&found).map(|(a, b)| a - *b as f64).collect();
            norm(&apart) / norm(&mean)
        };
        let (small, large) = (distance(&int4(&float)), distance(&float.build()));
        assert!(large < 0.01 && small < 0.08, "{widths:?}: int4 {small}, int8 {large}");
    }
}

fn refused(file: &[u8], error: Error) {
    assert_eq!(Model::parse(file).err(), Some(error));
}

#[test]
fn hostile_tables_are_refused() {
    let float = FloatModel::random(sized((33, 3)), 1);
    let (small, large) = (int4(&float), float.build());
    let kind = Kind::WordTable as u16;
    // Halves that are not a number, infinite, beyond 1024, or negative, also zero.
    let (_, table) = words(&small);
    for half in [0x7E00u16, 0xFE01, 0x7C00, 0xFC00, 0x7BFF, 0x6401, 0xBC00, 0x8000] {
        for row in [0, float.pieces.len() - 1] {
            let mut changed = small.clone();
            let at = table.offset as usize + 2 * row;
            changed[at..at + 2].copy_from_slice(&half.to_le_bytes());
            repair_checksums(&mut changed);
            refused(&changed, Error::Value { kind });
        }
    }
    // Each table under the other's number, and under numbers that no word table has.
    for (file, wrong, error) in [
        (&small, 1, Error::SectionSize { kind }),
        (&large, 3, Error::SectionSize { kind }),
        (&small, 0, Error::Encoding { kind }),
        (&small, 2, Error::Encoding { kind }),
        (&small, 4, Error::Encoding { kind }),
    ] {
        let mut changed = file.clone();
        changed[words(file).0 + 4] = wrong;
        repair_checksums(&mut changed);
        refused(&changed, error);
    }
    // The encoding is the word table's alone.
    for (place, section) in sections(&small).into_iter().enumerate() {
        if section.kind == kind {
            continue;
        }
        let mut changed = small.clone();
        changed[PREAMBLE_BYTES + place * ENTRY_BYTES + 4] = Encoding::Int4Groups as u8;
        repair_checksums(&mut changed);
        refused(&changed, Error::Encoding { kind: section.kind });
    }
}

#[test]
fn extreme_but_allowed_numbers_stay_finite() {
    for head in HeadKind::ALL {
        let mut file = int4(&FloatModel::random(Sizes { head, ..sized((33, 3)) }, 1));
        let (_, table) = words(&file);
        let bytes = &mut file[table.offset as usize..][..table.length as usize];
        let (scales, rest) = bytes.split_at_mut(2 * Sizes::SMALL.vocabulary);
        scales.as_chunks_mut::<2>().0.fill([0x00, 0x64]); // 1024
        let (multipliers, nibbles) = rest.split_at_mut(2 * Sizes::SMALL.vocabulary);
        multipliers.fill(0x80); // -128
        nibbles.fill(0x00); // -8
        repair_checksums(&mut file);
        assert_eq!(check(&file, "abc def ghi"), Outcome::Answered, "{head:?}");
    }
}

#[test]
fn weights_beyond_the_format_are_named() {
    let float = FloatModel::random(Sizes::SMALL, 1);
    for (at, wrong) in [(0, f32::NAN), (5, f32::INFINITY), (40, 8000.0)] {
        let mut float = FloatModel::random(Sizes::SMALL, 1);
        float.word[at] = wrong;
        let mut builder = float.builder(&["a"]);
        builder.words = WordEncoding::Int4;
        let error = builder.build().err().unwrap().to_string();
        assert!(error.starts_with("word embeddings: a value is not finite"), "{error}");
    }
    let mut builder = float.builder(&["a"]);
    builder.words = WordEncoding::Int4;
    builder.embeddings.word = &float.word[1..];
    let error = builder.build().err().unwrap().to_string();
    assert_eq!(error, "word embeddings: 2048 values expected, 2047 found");
}
