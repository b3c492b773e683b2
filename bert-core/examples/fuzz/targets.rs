//! What is hostile, and what is done with it.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;

use bert_core::Model;
use bert_core::format::repair_checksums;
use bert_core::tokenizer::{
    Token, Tokenizer, TokenizerConfig, Vocabulary, basic_words, pack_vocabulary,
};

use crate::common::hostile::{self, Outcome};
use crate::common::{FloatModel, HeadKind, Random, Sizes};
use crate::hostile_text::hostile_text;
use crate::{calls, guard, reference};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The bytes of a model file, mutated; every second file has its checksums made right again.
    Model,
    /// The text, for valid models of all heads; and the tokenizer must equal `tokenizers`.
    Text,
    /// Both: a mutated file whose checksums are right, and a hostile text.
    Pair,
}

impl Target {
    pub const ALL: [Target; 3] = [Target::Model, Target::Text, Target::Pair];

    fn name(self) -> &'static str {
        match self {
            Target::Model => "model",
            Target::Text => "text",
            Target::Pair => "pair",
        }
    }

    pub fn named(name: &str) -> Option<Target> {
        Target::ALL.into_iter().find(|target| target.name() == name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What executions start from.
pub struct Fixtures {
    /// Valid files with a vocabulary of plain letters.
    plain: Vec<Vec<u8>>,
    /// Valid files, one a head, with characters of all scripts in their vocabularies.
    rich: Vec<Vec<u8>>,
    tokenizers: Vec<Compared>,
}

/// Our tokenizer beside that of Hugging Face.
struct Compared {
    packed: Vec<u8>,
    config: TokenizerConfig,
    theirs: tokenizers::Tokenizer,
}

impl Fixtures {
    pub fn new() -> Self {
        let configs = configs();
        let pieces = pieces(&configs);
        let packed = pack_vocabulary(&pieces).unwrap();
        let compared = |config: &TokenizerConfig| Compared {
            packed: packed.clone(),
            config: *config,
            theirs: reference::tokenizer(&pieces, config),
        };
        let rich = HeadKind::ALL.iter().zip(configs.iter().cycle());
        Fixtures {
            plain: hostile::seeds(),
            rich: rich.map(|(&head, config)| rich_file(head, config, &pieces)).collect(),
            tokenizers: configs.iter().map(compared).collect(),
        }
    }
}

/// All ways to treat case, accents and Chinese, with limits of words that differ.
fn configs() -> Vec<TokenizerConfig> {
    (0..8u16)
        .map(|bits| TokenizerConfig {
            lower_case: bits & 1 == 0,
            strip_accents: bits & 2 == 0,
            split_chinese: bits & 4 == 0,
            max_word_chars: [100, 200, 7, 33][usize::from(bits % 4)],
        })
        .collect()
}

/// The special tokens, then characters and pairs of characters of hostile texts, as beginning and as
/// continuation of a word. One in eleven characters is missing.
fn pieces(configs: &[TokenizerConfig]) -> Vec<String> {
    const TEXTS: usize = 300;
    let mut random = Random(1);
    let mut pieces = BTreeSet::new();
    for (config, _) in configs.iter().cycle().zip(0..TEXTS) {
        let add = |word: &bert_core::tokenizer::Word, _| {
            let chars: Vec<char> = word.text().unwrap_or("").chars().collect();
            for (at, part) in chars.windows(2).enumerate() {
                let prefix = if at == 0 { "" } else { "##" };
                if u32::from(part[0]) % 11 != 7 {
                    pieces.insert(format!("{prefix}{}", part[0]));
                    pieces.insert(format!("{prefix}{}{}", part[0], part[1]));
                    pieces.insert(format!("##{}", part[1]));
                }
            }
            ControlFlow::Continue(())
        };
        basic_words(&hostile_text(&mut random), config, add).unwrap();
    }
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    special.into_iter().chain(pieces).collect()
}

fn rich_file(head: HeadKind, config: &TokenizerConfig, pieces: &[String]) -> Vec<u8> {
    const MOST_PIECES: usize = 500;
    let step = pieces.len().div_ceil(MOST_PIECES);
    let special = pieces[..5].iter();
    let pieces: Vec<String> = special.chain(pieces[5..].iter().step_by(step)).cloned().collect();
    let sizes = Sizes {
        layers: 1,
        hidden: 16,
        heads: 2,
        feed_forward: 16,
        vocabulary: pieces.len(),
        max_length: 20,
        head,
        ..Sizes::SMALL
    };
    let mut float = FloatModel::random(sizes, 7);
    float.pieces = pieces;
    let mut builder = float.builder(&["abc 中 é"]);
    builder.tokenizer = *config;
    builder.build().unwrap()
}

/// One execution, and what became of it in a word.
pub fn execute(target: Target, random: &mut Random, fixtures: &Fixtures) -> String {
    match target {
        Target::Model => {
            guard::call("the checks of a file");
            match hostile::execute(random, &fixtures.plain) {
                Outcome::Refused(error) => refused(error),
                Outcome::Answered => "answered".into(),
            }
        }
        Target::Text => {
            let texts = (hostile_text(random), hostile_text(random));
            compare(&fixtures.tokenizers[random.below(fixtures.tokenizers.len())], &texts.0);
            let file = &fixtures.rich[random.below(fixtures.rich.len())];
            let model = Model::parse(file).unwrap();
            calls::every_call(random, &model, &texts.0, &texts.1);
            "answered".into()
        }
        Target::Pair => {
            let files = if random.below(2) == 0 { &fixtures.plain } else { &fixtures.rich };
            let mut file = files[random.below(files.len())].clone();
            if random.below(4) == 0 {
                let other = random.below(files.len());
                hostile::mutate(random, &mut file, &files[other]);
            } else {
                mutate_inside(random, &mut file);
            }
            repair_checksums(&mut file);
            let texts = (hostile_text(random), hostile_text(random));
            guard::call("parse");
            match Model::parse(&file) {
                Err(error) => refused(error),
                Ok(model) => {
                    calls::every_call(random, &model, &texts.0, &texts.1);
                    "answered".into()
                }
            }
        }
    }
}

/// The name of an error, without its numbers.
fn refused(error: bert_core::Error) -> String {
    let text = format!("{error:?}");
    format!("refused: {}", text.split([' ', '{']).next().unwrap_or(""))
}

/// Changes a few numbers of one section and nothing around it, so that more files are accepted.
fn mutate_inside(random: &mut Random, file: &mut [u8]) {
    const WORDS: [u32; 14] = [
        0,
        1,
        0xFF,
        0x7F7F_7F7F,
        0x8080_8080,
        0x8181_8181,
        0xFFFF_FFFF,
        0x7F80_0000, // infinity
        0x7FC0_0000, // not a number
        0x7F7F_FFFF, // the largest f32
        0x0000_0001, // the smallest
        0x4780_0000, // 65536
        0xC780_0000,
        0x3F80_0000, // 1
    ];
    let sections: Vec<_> = Model::parse(file).unwrap().sections().collect();
    let section = sections[random.below(sections.len())];
    let (start, length) = (section.offset as usize, section.length as usize);
    for _ in 0..1 + random.below(4) {
        if length == 0 {
            return;
        }
        let at = start + random.below(length);
        if random.below(2) == 0 {
            file[at] = random.next() as u8;
            continue;
        }
        let at = at & !3;
        let word = WORDS[random.below(WORDS.len())].to_le_bytes();
        // One number, or all from here on.
        let end = if random.below(4) == 0 { start + length } else { at + 4 };
        for (place, byte) in file[at..end.min(start + length)].iter_mut().zip(word.iter().cycle()) {
            *place = *byte;
        }
    }
}

/// The tokens of a text must be those of `tokenizers`, to the byte.
fn compare(compared: &Compared, text: &str) {
    guard::call("tokenize");
    let vocabulary = Vocabulary::parse(&compared.packed).unwrap();
    let tokenizer = Tokenizer::new(vocabulary, compared.config).unwrap();
    let mut ours: Vec<Token> = Vec::new();
    let sink = |token| {
        ours.push(token);
        ControlFlow::Continue(())
    };
    tokenizer.tokenize(text, sink).unwrap();
    guard::call("encode of tokenizers");
    let theirs = compared.theirs.encode(text, false).unwrap();
    let ids: Vec<u32> = ours.iter().map(|token| token.id).collect();
    let words: Vec<Option<u32>> = ours.iter().map(|token| Some(token.word)).collect();
    let spans: Vec<(usize, usize)> =
        ours.iter().map(|token| (token.start as usize, token.end as usize)).collect();
    assert_eq!(
        (&ids[..], &spans[..], &words[..]),
        (theirs.get_ids(), theirs.get_offsets(), theirs.get_word_ids()),
        "{:?} {text:?}",
        compared.config
    );
}
