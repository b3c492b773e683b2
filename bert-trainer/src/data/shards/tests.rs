#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use super::prepare::CHUNK_BYTES;
use super::*;
use crate::data::TextTokenizer;
use crate::data::nsp::Documents;
use crate::data::rng::{Draws, Stream};
use crate::data::tests::{data_file, sample_corpus};
use crate::data::tokenizer::{SPECIAL_PIECES, TokenizerConfig};

/// Directories `tokenizer` and `data` made of random documents of the words w0 to w199, about
/// one in ten of which is two pieces.
pub(crate) struct Prepared {
    root: tempfile::TempDir,
    pub(crate) text: String,
}

impl Prepared {
    pub(crate) fn new(documents: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut pieces: Vec<String> = SPECIAL_PIECES.map(String::from).to_vec();
        pieces.extend((0..200).filter(|n| n % 10 != 0).map(|n| format!("w{n}")));
        pieces.extend(["w".to_owned()].into_iter().chain((0..20).map(|n| format!("##{n}0"))));
        pieces.push("##0".to_owned());
        let tokenizer = TextTokenizer::from_pieces(pieces, TokenizerConfig::uncased()).unwrap();
        std::fs::create_dir(root.path().join("tokenizer")).unwrap();
        for (name, text) in tokenizer.files(512) {
            std::fs::write(root.path().join("tokenizer").join(name), text).unwrap();
        }
        let mut draws = Draws::new(9, Stream::Pairs, 0, 0);
        let mut text = String::new();
        for _ in 0..documents {
            for _ in 0..draws.between(1, 30) {
                for _ in 0..draws.between(1, 25) {
                    text.push_str(&format!("w{} ", draws.below(200)));
                }
                text.push('\n');
            }
            text.push('\n');
        }
        std::fs::write(root.path().join("text.txt"), &text).unwrap();
        let prepared = Prepared { root, text };
        prepare(&prepared.options("data"), |_| ()).unwrap();
        prepared
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn options(&self, output: &str) -> PrepareOptions {
        PrepareOptions {
            shard_tokens: 2000,
            threads: 2,
            ..PrepareOptions::new(
                vec![self.path("text.txt")],
                self.path("tokenizer"),
                self.path(output),
            )
        }
    }

    fn names(&self) -> Vec<String> {
        names(self.root.path())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn shards_hold_the_corpus() {
    let prepared = Prepared::new(40);
    let shards = Shards::open(&prepared.path("data")).unwrap();
    let tokenizer = TextTokenizer::open(&prepared.path("data")).unwrap();
    assert!(shards.manifest().shards.len() > 3);
    let (mut document, mut sentence, mut tokens) = (0, 0, 0);
    let mut counts = vec![0; tokenizer.vocabulary_size() as usize];
    for part in prepared.text.split_terminator("\n\n") {
        let lines: Vec<&str> = part.lines().collect();
        assert_eq!(shards.sentences(document).len(), lines.len());
        assert_eq!(shards.sentences(document).start, sentence);
        for line in lines {
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            tokenizer.encode(line, &mut expected);
            shards.append_sentence(sentence, &mut found);
            assert_eq!(found, expected);
            assert_eq!(shards.sentence_length(sentence) as usize, expected.len());
            expected.iter().for_each(|&id| counts[id as usize] += 1);
            tokens += expected.len() as u64;
            sentence += 1;
        }
        document += 1;
    }
    let manifest = shards.manifest();
    assert_eq!(
        (manifest.documents, manifest.sentences, manifest.tokens),
        (u64::from(document), u64::from(sentence), tokens)
    );
    assert_eq!(shards.unigram_counts(), counts);
    let entropy: f64 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| count as f64 / tokens as f64)
        .map(|share| -share * share.ln())
        .sum();
    assert!((manifest.unigram_entropy - entropy).abs() < 1e-9);
    // Adding one to every count changes little on the same data, and never for the better.
    let on_itself = shards.unigram_loss_on(&shards);
    assert!(on_itself >= entropy && on_itself < entropy + 0.01, "{on_itself} {entropy}");
}

#[test]
fn the_result_depends_on_text_and_tokenizer_alone() {
    let prepared = Prepared::new(30);
    for (output, threads) in [("one", 1), ("five", 5)] {
        let options = PrepareOptions { threads, ..prepared.options(output) };
        prepare(&options, |_| ()).unwrap();
        assert_eq!(names(&prepared.path(output)), names(&prepared.path("data")));
        for name in names(&prepared.path("data")) {
            let expected = std::fs::read(prepared.path("data").join(&name)).unwrap();
            assert_eq!(std::fs::read(prepared.path(output).join(&name)).unwrap(), expected);
        }
    }
}

#[test]
fn a_document_longer_than_a_chunk_stays_whole() {
    let prepared = Prepared::new(1);
    let line = "w1 w2 w3 w4 w5 w6 w7 w8 w9 w11 w12\n";
    let lines = CHUNK_BYTES / line.len() * 2 + 7;
    std::fs::write(prepared.path("text.txt"), line.repeat(lines) + "\nw1\n").unwrap();
    let manifest = prepare(&prepared.options("data"), |_| ()).unwrap();
    assert_eq!((manifest.documents, manifest.sentences), (2, lines as u64 + 1));
    let shards = Shards::open(&prepared.path("data")).unwrap();
    assert_eq!(shards.sentences(0), 0..lines as u32);
    assert_eq!(shards.sentences(1).len(), 1);
}

#[test]
fn a_failed_preparation_leaves_nothing() {
    let prepared = Prepared::new(3);
    let before = prepared.names();
    std::fs::write(prepared.path("bad.txt"), b"w1\n\xff\n").unwrap();
    let mut options = prepared.options("new");
    options.inputs.push(prepared.path("bad.txt"));
    let error = prepare(&options, |_| ()).unwrap_err().to_string();
    assert!(error.contains("bad.txt:2: expected UTF-8"), "{error}");
    options.inputs[1] = prepared.path("missing.txt");
    let error = prepare(&options, |_| ()).unwrap_err().to_string();
    assert!(error.contains("missing.txt: cannot read"), "{error}");
    std::fs::write(prepared.path("bad.txt"), "\u{200b}\n").unwrap();
    options.inputs = vec![prepared.path("bad.txt")];
    let error = prepare(&options, |_| ()).unwrap_err().to_string();
    assert!(error.contains("bad.txt: expected at least one sentence"), "{error}");
    std::fs::remove_file(prepared.path("bad.txt")).unwrap();
    assert_eq!(prepared.names(), before);

    options.output = prepared.path("tokenizer");
    let error = prepare(&options, |_| ()).unwrap_err().to_string();
    assert!(error.contains("tokenizer: expected a new or empty directory"), "{error}");
}

#[test]
fn damage_is_found_and_named() {
    let prepared = Prepared::new(20);
    let check = |name: &str, edit: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let path = prepared.path("data").join(name);
        let original = std::fs::read(&path).unwrap();
        let mut bytes = original.clone();
        edit(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let error = Shards::open(&prepared.path("data")).err().unwrap().to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
        std::fs::write(&path, original).unwrap();
    };
    let replace = |from: &'static str, to: &'static str| {
        move |bytes: &mut Vec<u8>| {
            *bytes = String::from_utf8(bytes.clone()).unwrap().replacen(from, to, 1).into();
        }
    };
    check("shard-00000.bin", &|bytes| bytes.truncate(bytes.len() - 1), "truncated");
    check("shard-00001.bin", &|bytes| bytes.clear(), "truncated");
    check("shard-00001.bin", &|bytes| bytes[200] ^= 1, "SHA-256");
    check("unigram.json", &|bytes| bytes[1] = b'7', "SHA-256");
    check("manifest.json", &|bytes| bytes.truncate(50), "expected a manifest");
    check("manifest.json", &replace("\"format_version\": 1", "\"format_version\": 2"), "version");
    check("manifest.json", &replace("\"documents\": 20", "\"documents\": 21"), "expected shards");
    let missing = prepared.path("data").join("shard-00000.bin");
    std::fs::rename(&missing, prepared.path("aside")).unwrap();
    let error = Shards::open(&prepared.path("data")).err().unwrap().to_string();
    assert!(error.contains("shard-00000.bin: cannot read"), "{error}");
    std::fs::rename(prepared.path("aside"), &missing).unwrap();

    // A shard that agrees with an edited manifest but not with itself.
    let mut bytes = std::fs::read(&missing).unwrap();
    bytes[16] ^= 1;
    std::fs::write(&missing, &bytes).unwrap();
    let manifest = prepared.path("data").join(MANIFEST);
    let text = std::fs::read_to_string(&manifest).unwrap();
    let entry = Shards::open(&prepared.path("data")).err().unwrap().to_string();
    let expected = entry.split("expected SHA-256 ").nth(1).unwrap();
    let (old, new) = expected.split_once(", found ").unwrap();
    std::fs::write(&manifest, text.replace(old, new)).unwrap();
    let error = Shards::open(&prepared.path("data")).err().unwrap().to_string();
    assert!(error.contains("shard-00000.bin: expected a shard of version 1"), "{error}");
}

#[test]
fn counts_of_a_real_corpus_are_those_of_hugging_face() {
    let (Some(corpus), Some(vocabulary)) =
        (sample_corpus(), data_file("vocab/bert-base-uncased-vocab.txt"))
    else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let tokenizer = root.path().join("tokenizer");
    std::fs::create_dir(&tokenizer).unwrap();
    std::fs::copy(vocabulary, tokenizer.join("vocab.txt")).unwrap();
    let output = root.path().join("data");
    let options = PrepareOptions::new(vec![corpus], tokenizer, output.clone());
    let manifest = prepare(&options, |_| ()).unwrap();
    // The figures of the corpus' own description, made with `tokenizers`.
    assert_eq!((manifest.documents, manifest.sentences, manifest.tokens), (182, 7_755, 219_450));
    let unk = TextTokenizer::open(&output).unwrap().special().unk;
    assert_eq!(Shards::open(&output).unwrap().unigram_counts()[unk as usize], 9);
}
