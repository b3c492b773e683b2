//! Mutated model files and texts, and what must hold for each of them.

use bert_core::format::{
    ENTRY_BYTES, Kind, Layout, PREAMBLE_BYTES, Part, WordEncoding, repair_checksums,
};
use bert_core::{
    Activation, AnswerOptions, Classification, EmbedOptions, Error, Head, Layers, Model, Pooling,
    Rows, ScratchVec, Session,
};

use super::{FloatModel, HeadKind, Random, Sizes};

/// Most scratch a mutated file may ask for before it is skipped; files here are a few KiB, so more
/// would itself be a finding.
const MAX_SCRATCH_BYTES: usize = 1 << 30;

/// Numbers at the edges of what a field may hold.
const EDGES: [u32; 18] = [
    0,
    1,
    2,
    3,
    63,
    64,
    127,
    128,
    255,
    0x7C00,
    0xFC01,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0xFFFF_FFC0,
];

/// Floats a file must not smuggle into the arithmetic, and those it may at its limits.
const FLOATS: [f32; 14] = [
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    1e-45,
    -0.0,
    0.0,
    65536.0,
    -65536.0,
    1024.0,
    1e-20,
    1.0,
];

/// Valid small files to start from.
pub fn seeds() -> Vec<Vec<u8>> {
    let tiny = Sizes {
        layers: 1,
        hidden: 8,
        heads: 2,
        feed_forward: 8,
        max_length: 12,
        labels: 2,
        tags: 3,
        ..Sizes::SMALL
    };
    let variants = [
        tiny,
        Sizes { head: HeadKind::Classify, activation: Activation::GeluTanh, layers: 2, ..tiny },
        Sizes { head: HeadKind::Tag, activation: Activation::Relu, pooler: false, ..tiny },
        Sizes { head: HeadKind::PairClassify, ..tiny },
        Sizes { head: HeadKind::Regress, ..tiny },
        Sizes { head: HeadKind::Span, pooler: false, ..tiny },
        Sizes { head: HeadKind::Embed(Pooling::Mean), pooler: false, layers: 4, ..tiny },
        Sizes { head: HeadKind::MultiLabel, ..tiny },
    ];
    let float = |sizes: Sizes| FloatModel::random(sizes, 11);
    let int4 = Sizes { hidden: 36, heads: 3, ..tiny };
    let int4 = float(int4).build_as(Layout::Panels, WordEncoding::Int4);
    let halves = float(tiny).build_keeping(&[Part::Layer(0), Part::Head]);
    variants.into_iter().map(|sizes| float(sizes).build()).chain([int4, halves]).collect()
}

/// Changes a file in a few places; every second time its checksums are made right again.
pub fn mutate(random: &mut Random, file: &mut Vec<u8>, other: &[u8]) {
    let count = u16::from_le_bytes([file[16], file[17]]) as usize;
    let table_end = PREAMBLE_BYTES + count * ENTRY_BYTES;
    for _ in 0..1 + random.below(4) {
        if file.is_empty() {
            return;
        }
        // Half of the changes hit the preamble, the table or the header behind it.
        let front = (table_end + 128).min(file.len());
        let range = if random.below(2) == 0 { front } else { file.len() };
        let at = random.below(range);
        let edge = EDGES[random.below(EDGES.len())];
        match random.below(10) {
            0 => file[at] ^= 1 << random.below(8),
            1 => file[at] = random.next() as u8,
            2 => file[at] = edge as u8,
            // Among them the infinity of f16 and a NaN.
            3 => put(file, at & !1, &(edge as u16).to_le_bytes()),
            4 => put(file, at & !3, &edge.to_le_bytes()),
            5 => put(file, at & !3, &FLOATS[random.below(FLOATS.len())].to_le_bytes()),
            6 => file.truncate(at),
            7 => {
                let extra = random.below(200);
                file.extend((0..extra).map(|_| random.next() as u8));
            }
            8 => {
                let length = random.below(64).min(file.len() - at);
                let from = random.below(other.len().saturating_sub(length).max(1));
                let chunk = other.get(from..from + length).unwrap_or(&[]).to_vec();
                put(file, at, &chunk);
            }
            _ => {
                let value = u32::from_le_bytes([
                    file[at],
                    *file.get(at + 1).unwrap_or(&0),
                    *file.get(at + 2).unwrap_or(&0),
                    *file.get(at + 3).unwrap_or(&0),
                ]);
                let near = value.wrapping_add(random.below(5) as u32).wrapping_sub(2);
                put(file, at, &near.to_le_bytes());
            }
        }
    }
    if random.below(2) == 0 {
        if file.len() >= PREAMBLE_BYTES && random.below(4) != 0 {
            let length = file.len() as u32;
            put(file, 12, &length.to_le_bytes());
        }
        repair_checksums(file);
    }
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in file.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

/// A text of nasty pieces.
pub fn text(random: &mut Random) -> String {
    const PIECES: [&str; 24] = [
        "a", "abc", " ", "\t\n", "x", "é", "e\u{301}", "\u{301}", "中", "文字", "😀", "\u{200d}",
        "\u{0}", "\u{fffd}", "ﬁ", "İ", "ß", "…", "'", "#", "##b", "[CLS]", "\u{85}", "한",
    ];
    let mut text = String::new();
    for _ in 0..random.below(40) {
        match random.below(8) {
            0 => text.extend(char::from_u32(random.below(0x11_0000) as u32)),
            1 => text.extend(std::iter::repeat_n('q', random.below(300))),
            _ => text.push_str(PIECES[random.below(PIECES.len())]),
        }
    }
    text
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Refused(Error),
    Answered,
}

/// Parses a file and, if it is accepted, asks everything; panics on an output that is not finite, a
/// span outside the text or an error that an accepted file must not give.
pub fn check(file: &[u8], text: &str) -> Outcome {
    let model = match Model::parse(file) {
        Ok(model) => model,
        Err(error) => return Outcome::Refused(error),
    };
    let config = *model.config();
    let needed = model.scratch_bytes(config.max_length as usize);
    assert!(needed <= MAX_SCRATCH_BYTES, "{needed} bytes of scratch for {config:?}");
    let mut scratch = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut scratch).unwrap();
    // Two halves of the text, for the heads that take two.
    let middle = (text.len() / 2..).find(|&at| text.is_char_boundary(at)).unwrap();
    let (a, b) = text.split_at(middle);
    let classes = |answer: Classification<'_, '_>| {
        finite(answer.logits());
        let total: f32 = answer.probabilities().map(|(_, p)| p).sum();
        assert!((total - 1.0).abs() < 1e-3, "{total}");
        assert!(answer.label < config.head.labels() as usize);
    };
    match config.head {
        Head::Classify { .. } | Head::Joint { .. } => classes(session.classify(text).unwrap()),
        Head::PairClassify { .. } => classes(session.classify_pair(a, b).unwrap()),
        Head::Regress { outputs } => {
            finite(session.regress(text).unwrap().values);
            match session.regress_pair(a, b) {
                Ok(answer) => {
                    finite(answer.values);
                    assert_eq!(answer.values.len(), outputs as usize);
                }
                Err(error) => assert!(error == Error::TokenRange && config.segments < 2),
            }
        }
        Head::Span => spans(&mut session, a, b),
        Head::MultiLabel { labels } => {
            let answer = session.classify_labels(text).unwrap();
            finite(answer.logits());
            assert_eq!(answer.all().count(), labels as usize);
            assert!(answer.all().all(|label| (0.0..=1.0).contains(&label.probability)));
            assert!(answer.above(0.5).count() <= answer.above(-1.0).count());
            assert_eq!(answer.top::<3>().len(), 3.min(labels as usize));
        }
        _ => {}
    }
    let mut vector = vec![0.0; config.hidden as usize];
    for pooling in [Pooling::Mean, Pooling::First] {
        session.embed(text, pooling, &mut vector).unwrap();
        finite(&vector);
        session.embed(text, pooling, &mut vector).unwrap().normalize();
        let length: f64 = vector.iter().map(|&v| (v as f64).powi(2)).sum::<f64>().sqrt();
        assert!(length < 1.001, "{length}");
    }
    embeddings_of_layers(&mut session, text);
    if config.head.tags() > 0 {
        let mut tags = session.tag(text).unwrap();
        while let Some((tag, logits)) = tags.next_logits() {
            finite(logits);
            assert!(text.get(tag.start as usize..tag.end as usize).is_some_and(|t| !t.is_empty()));
        }
    }
    if let Head::Joint { .. } = config.head {
        session.joint(text).unwrap();
    }
    let last = config.vocabulary - 1;
    finite(&session.run(&[0, last, last / 2], &[], Rows::All).unwrap().hidden());
    match session.self_test() {
        Ok(()) | Err(Error::SelfTest { .. } | Error::Arithmetic { .. }) => {}
        Err(error) => panic!("self-test: {error}"),
    }
    for section in model.sections() {
        assert!(section.offset as usize + section.length as usize <= file.len());
        assert!(!section.name().is_empty());
    }
    assert_eq!(model.labels().len(), config.head.labels() as usize);
    assert!(model.labels().iter().count() == model.labels().len());
    for id in [0, last / 2, last, last.wrapping_add(1), u32::MAX] {
        let _ = model.vocabulary().piece(id);
    }
    Outcome::Answered
}

fn finite(values: &[f32]) {
    assert!(values.iter().all(|v| v.is_finite()), "{values:?}");
}

/// Asks for the vectors of all kinds of layers, those included that the model may not have.
fn embeddings_of_layers(session: &mut Session<'_, '_>, text: &str) {
    let (hidden, depth) = (session.model().config().hidden, session.model().config().layers);
    for (layers, needed) in [
        (Layers::One(0), 0),
        (Layers::One(depth / 2), 0),
        (Layers::One(depth + 1), depth + 1),
        (Layers::SumLastFour, 4),
        (Layers::ConcatLastFour, 4),
    ] {
        for pooling in [Pooling::Mean, Pooling::First] {
            let options = EmbedOptions { pooling, layers };
            let mut out = vec![f32::NAN; options.out_len(hidden as usize)];
            match session.embed(text, options, &mut out) {
                Ok(mut embedding) => embedding.normalize(),
                Err(error) => {
                    assert_eq!(error, Error::Layers { needed, found: depth });
                    assert!(needed > depth);
                    continue;
                }
            }
            assert!(needed <= depth);
            finite(&out);
        }
    }
}

/// Asks for spans with every kind of options.
fn spans(session: &mut Session<'_, '_>, question: &str, context: &str) {
    for (stride, max_answer_tokens, no_answer_threshold) in
        [(0, 30, None), (2, 3, Some(0.0)), (usize::MAX, usize::MAX, Some(f32::NEG_INFINITY))]
    {
        let options = AnswerOptions { stride, max_answer_tokens, no_answer_threshold };
        for question in [question, "a"] {
            let answers = match session.answer::<4>(question, context, &options) {
                Ok(answers) => answers,
                Err(Error::TooManyTokens { found, limit }) => {
                    assert!(found > limit);
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            finite(&[answers.null_score, answers.null_probability]);
            for span in &answers.spans {
                finite(&[span.score, span.probability]);
                let words = context.get(span.start as usize..span.end as usize);
                assert!(words.is_some_and(|words| !words.is_empty()));
            }
            assert!(answers.best().is_none() || !answers.spans.is_empty());
            assert!(answers.windows > 0);
        }
    }
}

/// One execution: a mutated (or, one time in eight, intact) file with a nasty text.
pub fn execute(random: &mut Random, seeds: &[Vec<u8>]) -> Outcome {
    let mut file = seeds[random.below(seeds.len())].clone();
    if random.below(8) != 0 {
        let other = random.below(seeds.len());
        mutate(random, &mut file, &seeds[other]);
    }
    check(&file, &text(random))
}

/// Offset and length of the header section of a valid file.
pub fn header_range(file: &[u8]) -> std::ops::Range<usize> {
    let model = Model::parse(file).unwrap();
    let header = model.sections().find(|s| s.kind == Kind::Header as u16).unwrap();
    header.offset as usize..(header.offset + header.length) as usize
}
