//! `models FOLDER` writes small models with random weights, one a task, and `expected.json`: what
//! bert-core answers. Numbers there are f32, exactly.
#![allow(clippy::unwrap_used)]

#[path = "../../../../../bert-core/tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::PathBuf;

use bert_core::{AnswerOptions, Head, Model, Pooling, ScratchVec, Session};
use common::{FloatModel, HeadKind, Sizes};
use serde_json::{Map, Value, json};

/// Characters of one to four bytes, so that bytes and characters differ.
const TEXTS: [&str; 5] = ["abc x yz", "", "Ünï çödé 日本 x", "🙂 a b 🙂🙂 c", "hello, world d e f"];

fn main() {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("a folder is given"));
    fs::create_dir_all(&folder).unwrap();
    let heads = [
        ("classify", HeadKind::Classify),
        ("pair", HeadKind::PairClassify),
        ("multi-label", HeadKind::MultiLabel),
        ("tag", HeadKind::Tag),
        ("joint", HeadKind::Joint),
        ("regress", HeadKind::Regress),
        ("span", HeadKind::Span),
        ("embed", HeadKind::Embed(Pooling::First)),
    ];
    let mut expected = Map::new();
    for (name, head) in heads {
        let file = FloatModel::random(Sizes { head, ..Sizes::SMALL }, 4).build();
        fs::write(folder.join(format!("{name}.bert")), &file).unwrap();
        expected.insert(name.into(), answers(&file));
    }
    let all = json!({ "texts": TEXTS, "answers": expected });
    fs::write(folder.join("expected.json"), all.to_string()).unwrap();
}

fn answers(file: &[u8]) -> Value {
    let model = Model::parse(file).unwrap();
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory).unwrap();
    let next = |i: usize| TEXTS[(i + 1) % TEXTS.len()];
    TEXTS.iter().enumerate().map(|(i, text)| answer(&mut session, text, next(i))).collect()
}

fn exact(number: f32) -> Value {
    json!(f64::from(number))
}

fn all(numbers: &[f32]) -> Value {
    numbers.iter().map(|&number| exact(number)).collect()
}

/// What the head answers, and the vector of the text.
fn answer(session: &mut Session<'_, '_>, text: &str, next: &str) -> Value {
    // The bytes themselves: Python compares them with its characters.
    let words = |start: u32, end: u32| &text[start as usize..end as usize];
    let answer = match session.model().config().head {
        Head::Classify { .. } => {
            let answer = session.classify(text).unwrap();
            json!({ "label": answer.name(), "probability": exact(answer.probability()) })
        }
        Head::PairClassify { .. } => {
            let answer = session.classify_pair(text, next).unwrap();
            json!({ "label": answer.name(), "probability": exact(answer.probability()) })
        }
        Head::MultiLabel { .. } => {
            let answer = session.classify_labels(text).unwrap();
            let named = answer.above(0.5).map(|l| json!([l.name, exact(l.probability)]));
            json!({ "labels": named.collect::<Value>() })
        }
        Head::Tag { .. } => {
            let tags = session.tag(text).unwrap();
            let tags = tags.map(|t| json!([t.word, words(t.start, t.end), t.name]));
            json!({ "tags": tags.collect::<Value>() })
        }
        Head::Joint { .. } => {
            let joint = session.joint(text).unwrap();
            let label = joint.label.name();
            let slots = joint.tags.spans::<64>().unwrap();
            let slots = slots.iter().map(|s| json!([s.name, words(s.start, s.end)]));
            json!({ "label": label, "slots": slots.collect::<Value>() })
        }
        Head::Regress { .. } => {
            let one = all(session.regress(text).unwrap().values);
            json!({ "values": one, "pair": all(session.regress_pair(text, next).unwrap().values) })
        }
        Head::Span => {
            // The text is the context.
            let options = AnswerOptions { no_answer_threshold: Some(0.5), ..Default::default() };
            let found = session.answer::<20>("what", text, &options).unwrap();
            let passages = found
                .spans
                .iter()
                .map(|s| json!([words(s.start, s.end), exact(s.score), exact(s.probability)]));
            json!({ "passages": passages.collect::<Value>(), "has_answer": found.has_answer })
        }
        _ => json!({}),
    };
    let pooling = match session.model().config().head {
        Head::Embed { pooling } => pooling,
        _ => Pooling::Mean,
    };
    let mut vector = vec![0.0; session.model().config().hidden.into()];
    session.embed(text, pooling, &mut vector).unwrap();
    let mut answer = answer;
    answer["vector"] = all(&vector);
    answer
}
