//! The commands of pairs, several labels, numbers and answers: what a session gives, and one-line
//! errors.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

mod command;

use bert_core::{AnswerOptions, Model, ScratchVec, Session};
use command::common::{FloatModel, HeadKind};
use command::{Fixture, json, refused, run, small, stdout};
use serde_json::Value;

/// Calls `check` with the arguments' model and a session of the same file.
fn with(head: HeadKind, check: impl FnOnce(&Fixture, &str, &mut Session<'_, '_>)) {
    with_model(&small(head), check);
}

fn with_model(float: &FloatModel, check: impl FnOnce(&Fixture, &str, &mut Session<'_, '_>)) {
    let fixture = Fixture::new();
    let file = float.build();
    let path = fixture.file("model.bert", &file);
    let model = Model::parse(&file).unwrap();
    let mut memory = ScratchVec::of(&model);
    check(&fixture, path.to_str().unwrap(), &mut Session::new(&model, &mut memory).unwrap());
}

fn f32_of(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

/// Six decimals, as probabilities are printed.
fn near(value: &Value, probability: f32) {
    assert!((value.as_f64().unwrap() - probability as f64).abs() <= 5.1e-7, "{value}");
}

#[test]
fn several_labels_are_those_above_the_threshold() {
    with(HeadKind::MultiLabel, |_, model, session| {
        let (mut none, mut several) = (0, 0);
        for text in ["abc", "d e f", "", "x yz zzz", "hello"] {
            for threshold in [None, Some("0"), Some("0.6"), Some("1")] {
                let option: Vec<&str> = threshold.iter().flat_map(|t| ["--threshold", t]).collect();
                let args = [&["classify", model, text][..], &option].concat();
                let line = stdout(&args, b"");
                let answer = session.classify_labels(text).unwrap();
                let labels: Vec<_> =
                    answer.above(threshold.unwrap_or("0.5").parse().unwrap()).collect();
                let names: Vec<&str> = labels.iter().map(|l| l.name).collect();
                let shares: Vec<String> =
                    labels.iter().map(|l| format!("{:.4}", l.probability)).collect();
                assert_eq!(line, format!("{}\t{}\t{text}\n", names.join(","), shares.join(",")));
                none += labels.is_empty() as u32;
                several += (labels.len() > 1) as u32;

                let object = &json(&[&args[..], &["--json"]].concat())["results"][0];
                assert_eq!(object["text"], text);
                assert_eq!(object["tokens"], answer.tokens);
                let found: Vec<_> = object["labels"].as_array().unwrap().iter().collect();
                assert_eq!(found.len(), labels.len());
                for (found, label) in found.iter().zip(&labels) {
                    assert_eq!(found["label"], label.name);
                    near(&found["probability"], label.probability);
                }
                assert_eq!(object["probabilities"].as_object().unwrap().len(), 5);
                for label in answer.all() {
                    near(&object["probabilities"][label.name], label.probability);
                }
            }
        }
        assert!(none > 0 && several > 0);
        refused(&["classify", model, "--pair", "a\tb"], b"", &["model.bert", "leave out --pair"]);
    });
    with(HeadKind::Classify, |_, model, _| {
        let args = ["classify", model, "a", "--threshold", "0.5"];
        refused(&args, b"", &["model.bert", "--threshold"]);
    });
}

#[test]
fn pairs_are_two_texts_with_a_tab_between() {
    with(HeadKind::PairClassify, |_, model, session| {
        let pairs = [("abc", "d e"), ("", "x"), ("f g h", ""), ("", "")];
        let lines: Vec<String> = pairs.iter().map(|(a, b)| format!("{a}\t{b}")).collect();
        let mut expected = String::new();
        for (a, b) in pairs {
            let answer = session.classify_pair(a, b).unwrap();
            expected += &format!("{}\t{:.4}\t{a}\t{b}\n", answer.name(), answer.probability());
        }
        let mut args = vec!["classify", model, "--pair"];
        args.extend(lines.iter().map(String::as_str));
        assert_eq!(stdout(&args, b""), expected);
        let input = lines.join("\r\n");
        assert_eq!(stdout(&["classify", model, "--pair", "-"], input.as_bytes()), expected);

        let object = &json(&["classify", model, "--pair", "--json", "abc\td e"])["results"][0];
        let answer = session.classify_pair("abc", "d e").unwrap();
        assert_eq!((object["a"].as_str(), object["b"].as_str()), (Some("abc"), Some("d e")));
        assert_eq!((object["label"].as_str(), object.get("text")), (Some(answer.name()), None));
        assert_eq!(object["tokens"], answer.tokens);

        refused(&["classify", model, "a"], b"", &["model.bert", "two texts", "--pair"]);
        refused(&["classify", model, "--pair", "no tab"], b"", &["text 1", "0 tabs"]);
        refused(&["classify", model, "--pair", "a\tb\tc"], b"", &["text 1", "2 tabs"]);
        // What comes before a bad line was answered already.
        let output = run(&["classify", model, "--pair", "-"], b"a\tb\nc\n");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("standard input, line 2: two texts"), "{error}");
        refused(&["classify", model, "--pair", "-"], b"a\xff\tb\n", &["line 1", "UTF-8"]);
    });
    with(HeadKind::Joint, |_, model, _| {
        refused(&["classify", model, "--pair", "a\tb"], b"", &["model.bert", "leave out --pair"]);
    });
    with(HeadKind::Tag, |_, model, _| {
        refused(&["classify", model, "--pair", "a\tb"], b"", &["model.bert", "no head"]);
    });
}

#[test]
fn numbers_have_all_their_digits() {
    with(HeadKind::Regress, |_, model, session| {
        for text in ["abc", "", "d e f\tg"] {
            let values = session.regress(text).unwrap().values.to_vec();
            let line = stdout(&["regress", model, text], b"");
            let columns: Vec<&str> = line.trim_end_matches('\n').split('\t').collect();
            let (numbers, rest) = columns.split_at(values.len());
            let numbers: Vec<f32> = numbers.iter().map(|n| n.parse().unwrap()).collect();
            assert_eq!((numbers, rest), (values.clone(), &[&*text.replace('\t', " ")][..]));
            let object = &json(&["regress", model, text, "--json"])["results"][0];
            assert_eq!(object["text"], text);
            let found: Vec<f32> = object["values"].as_array().unwrap().iter().map(f32_of).collect();
            assert_eq!(found, values);
        }
        let values = session.regress_pair("abc", "d").unwrap().values.to_vec();
        let object = &json(&["regress", model, "--pair", "abc\td", "--json"])["results"][0];
        let found: Vec<f32> = object["values"].as_array().unwrap().iter().map(f32_of).collect();
        assert_eq!((found, &object["b"]), (values, &Value::from("d")));
        let line = stdout(&["regress", model, "--pair", "-"], b"abc\td\n");
        assert!(line.ends_with("\tabc\td\n"), "{line}");
        refused(&["regress", model, "--pair", "abc"], b"", &["text 1", "0 tabs"]);
    });
    let mut float = small(HeadKind::Regress);
    float.segment.truncate(float.sizes.hidden);
    with_model(&float, |_, model, _| {
        stdout(&["regress", model, "a"], b"");
        refused(&["regress", model, "--pair", "a\tb"], b"", &["model.bert", "leave out --pair"]);
    });
    with(HeadKind::Classify, |_, model, _| {
        refused(&["regress", model, "a"], b"", &["model.bert", "no head"]);
    });
}

#[test]
fn answers_are_passages_of_the_context() {
    with(HeadKind::Span, |fixture, model, session| {
        // Letters of two bytes, a tab and a line feed, more than one window of tokens.
        let context = "é abc\td\n\u{fe0f}xyz 中文 ".repeat(9);
        let file = fixture.file("context.txt", context.as_bytes());
        let file = file.to_str().unwrap();
        let ask = |options: &[&str]| {
            let args = ["span", model, "--question", "a b", "--context", file];
            json(&[&args[..], &["--json"], options].concat())
        };
        let check = |found: &Value, options: &AnswerOptions, session: &mut Session<'_, '_>| {
            let answers = session.answer::<20>("a b", &context, options).unwrap();
            let spans = found["answers"].as_array().unwrap();
            for (found, span) in spans.iter().zip(&answers.spans) {
                let (start, end) = (span.start as usize, span.end as usize);
                assert_eq!((&found["start"], &found["end"]), (&start.into(), &end.into()));
                assert_eq!(found["text"], context[start..end]);
                assert_eq!(f32_of(&found["score"]), span.score);
                near(&found["probability"], span.probability);
            }
            assert_eq!(found["has_answer"], answers.has_answer);
            assert_eq!(found["answer"].is_null(), !answers.has_answer);
            assert_eq!(f32_of(&found["no_answer_score"]), answers.null_score);
            near(&found["no_answer_probability"], answers.null_probability);
            assert_eq!(found["windows"], answers.windows);
            spans.len()
        };
        let plain = AnswerOptions::default();
        assert_eq!(check(&ask(&[]), &plain, session), 1);
        assert_eq!(check(&ask(&["--n-best", "20"]), &plain, session), 20);
        let options = ["--n-best=7", "--stride=2", "--max-answer-tokens=3"];
        let short = AnswerOptions { stride: 2, max_answer_tokens: 3, ..plain };
        assert_eq!(check(&ask(&options), &short, session), 7);
        for threshold in ["0", "-1.5", "1e30", "-1e30"] {
            let option = ["--no-answer-threshold", threshold];
            let no_answer_threshold = Some(threshold.parse().unwrap());
            check(&ask(&option), &AnswerOptions { no_answer_threshold, ..plain }, session);
        }

        // One line an answer, the same from every place.
        let line = |source: [&str; 2], input: &[u8]| {
            let args = ["span", model, "--question", "a b", source[0], source[1], "--n-best", "3"];
            stdout(&args, input)
        };
        let text = line(["--context", file], b"");
        assert_eq!(line(["--context", "-"], context.as_bytes()), text);
        assert_eq!(line(["--context-text", &context], b""), text);
        let answers = session.answer::<20>("a b", &context, &plain).unwrap();
        assert_eq!(text.lines().count(), 3);
        for (line, span) in text.lines().zip(&answers.spans) {
            let words = &context[span.start as usize..span.end as usize];
            let words = words.replace(['\t', '\n'], " ");
            let (start, end, score, share) = (span.start, span.end, span.score, span.probability);
            assert_eq!(line, format!("{words}\t{start}\t{end}\t{score:.4}\t{share:.4}"));
        }

        // No answer is no line.
        let args = ["span", model, "--question", "a", "--context-text"];
        let never = ["abc", "--no-answer-threshold=-1e30"];
        assert_eq!(stdout(&[&args[..], &never].concat(), b""), "");
        assert_eq!(stdout(&[&args[..], &[""]].concat(), b""), "");

        let asked = "a ".repeat(40);
        let args = ["span", model, "--question", &asked, "--context", file];
        refused(&args, b"", &["model.bert", "tokens"]);
        let args = ["span", model, "--question", "a", "--context"];
        let with = |path: &'static str| [&args[..], &[path]].concat();
        refused(&with("/no/such.txt"), b"", &["/no/such.txt", "cannot read"]);
        refused(&with("-"), b"ab\xff", &["standard input", "UTF-8 at byte 2"]);
        let bad = fixture.file("bad.txt", b"\xff");
        let args = [&args[..], &[bad.to_str().unwrap()]].concat();
        refused(&args, b"", &["bad.txt", "UTF-8 at byte 0"]);
    });
    with(HeadKind::Embed(bert_core::Pooling::Mean), |_, model, _| {
        let args = ["span", model, "--question", "a", "--context-text", "b"];
        refused(&args, b"", &["model.bert", "no head"]);
    });
}

#[test]
fn every_head_has_a_name_a_self_test_and_a_time() {
    for head in HeadKind::ALL {
        let (task, text) = match head {
            HeadKind::Classify => ("classify", "a"),
            HeadKind::Tag => ("tag", "a"),
            HeadKind::Joint => ("joint", "a"),
            HeadKind::PairClassify => ("pair", "a\tb c"),
            HeadKind::Regress => ("regress", "a"),
            HeadKind::Span => ("span", "a\tb c"),
            HeadKind::Embed(_) => ("embed", "a"),
            HeadKind::MultiLabel => ("multi-label", "a"),
        };
        with(head, |_, model, _| {
            let inside = json(&["inspect", model, "--json"]);
            assert_eq!((&inside["task"], &inside["segments"]), (&task.into(), &2.into()));
            let outputs = if head == HeadKind::Regress { 5.into() } else { Value::Null };
            assert_eq!(inside["outputs"], outputs);
            let pooling = match head {
                HeadKind::Embed(bert_core::Pooling::Mean) => "mean".into(),
                HeadKind::Embed(bert_core::Pooling::First) => "cls".into(),
                _ => Value::Null,
            };
            assert_eq!(inside["pooling"], pooling);
            assert!(stdout(&["inspect", model], b"").contains(task));
            stdout(&["selftest", model], b"");
            let bench = json(&["bench", model, text, "--iterations", "3", "--json"]);
            assert_eq!(bench["tokens"], if text == "a" { 3 } else { 6 }, "{task}");
            if text != "a" {
                refused(&["bench", model, "a"], b"", &["one tab"]);
            }
        });
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let span = ["span", "m", "--question", "q"];
    let asked = |rest: &[&'static str]| [&span[..], rest].concat();
    for args in [
        asked(&[]),
        asked(&["--context", "c", "--context-text", "c"]),
        vec!["span", "m", "--context", "c"],
        asked(&["--context", "c", "--n-best", "0"]),
        asked(&["--context", "c", "--n-best", "21"]),
        asked(&["--context", "c", "--max-answer-tokens", "0"]),
        asked(&["--context", "c", "--stride", "-1"]),
        asked(&["--context", "c", "--no-answer-threshold", "NaN"]),
        vec!["classify", "m", "a", "--threshold", "1.5"],
        vec!["classify", "m", "a", "--threshold", "nan"],
        vec!["regress", "m"],
        vec!["embed", "m"],
        vec!["embed", "m", "a", "--layers", "first"],
        vec!["embed", "m", "a", "--layers", "-1"],
        vec!["embed", "m", "a", "--layers", "70000"],
        vec!["embed", "m", "a", "--pooling", "max"],
    ] {
        let output = run(&args, b"");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty());
    }
    let help = stdout(&["--help"], b"");
    for command in ["classify", "tag", "regress", "span", "embed", "inspect", "selftest", "bench"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
}
