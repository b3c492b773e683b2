#![allow(clippy::unwrap_used)]
use super::*;
use crate::data::tests::data_file;

fn read_bytes(bytes: impl AsRef<[u8]>) -> Result<SquadFile, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.json");
    std::fs::write(&path, bytes).unwrap();
    read_squad(&path)
}

fn check_error(bytes: impl AsRef<[u8]>, expected: &str) {
    let message = read_bytes(bytes).unwrap_err().to_string();
    let (_, found) = message.split_once("q.json").unwrap();
    assert_eq!(found, expected);
}

/// The file with one paragraph about 🦀 and é.
fn paragraph(questions: &str) -> String {
    format!(
        r#"{{"version": "v2.0", "data": [{{"title": "Crab", "paragraphs": [
           {{"context": "The 🦀 at café Cæsar.", "qas": [{questions}]}}]}}]}}"#
    )
}

const GOOD: &str = r#"
    {"id": "a", "question": "Who?", "is_impossible": false, "answers": [
        {"text": "🦀", "answer_start": 4}, {"text": "The 🦀", "answer_start": 0},
        {"text": "café Cæsar", "answer_start": 9}, {"text": "Cæsar.", "answer_start": 14}]},
    {"id": "b", "question": "Why?", "is_impossible": true, "answers": [],
     "plausible_answers": [{"text": 7}]},
    {"id": 3, "question": " "}"#;

#[test]
fn questions_with_answers_at_bytes() {
    for bytes in [paragraph(GOOD), format!("\u{feff}{}", paragraph(GOOD))] {
        let squad = read_bytes(bytes).unwrap();
        assert_eq!((squad.version.as_str(), squad.misplaced_answers), ("v2.0", 0));
        let [a, b, c] = &squad.questions[..] else { panic!("{squad:?}") };
        assert_eq!((a.id.as_str(), a.question.as_str(), a.title.as_str()), ("a", "Who?", "Crab"));
        let starts: Vec<Option<u32>> = a.answers.iter().map(|answer| answer.start).collect();
        assert_eq!(starts, [4, 0, 12, 18].map(Some));
        for answer in &a.answers {
            assert!(a.context[answer.start.unwrap() as usize..].starts_with(&answer.text));
        }
        assert!(b.is_impossible && b.answers.is_empty());
        assert!(!a.is_impossible && Arc::ptr_eq(&a.context, &c.context));
        assert_eq!((c.id.as_str(), c.number, c.answers.len()), ("3", 3, 0));
    }
}

#[test]
fn misplaced_answers_are_counted_and_kept_for_scoring() {
    for (text, start) in [
        ("crab", "4"),
        ("🦀", "5"),
        ("🦀", "-1"),
        ("Cæsar..", "14"),
        (".", "20"),
        ("x", "-9223372036854775808"),
    ] {
        let answers = format!(
            r#"{{"id": "a", "question": "?", "answers": [
                {{"text": "{text}", "answer_start": {start}}}, {{"text": "The", "answer_start": 0}}]}}"#
        );
        let squad = read_bytes(paragraph(&answers)).unwrap();
        assert_eq!(squad.misplaced_answers, 1, "{text} at {start}");
        let [wrong, right] = &squad.questions[0].answers[..] else { panic!("{squad:?}") };
        assert_eq!((wrong.text.as_str(), wrong.start, right.start), (text, None, Some(0)));
    }
}

#[test]
fn errors_name_the_place() {
    let changed = |from: &str, to: &str| {
        let good = paragraph(GOOD);
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let answer = "data[0].paragraphs[0].qas[0].answers[1]";
    for (from, to, expected) in [
        (r#""answer_start": 0"#, r#""answer_start": "0""#, format!("an integer at {answer}.answer_start, found a string")),
        (r#""answer_start": 0"#, r#""answer_start": 0.5"#, format!("an integer at {answer}.answer_start, found the number 0.5")),
        (r#", "answer_start": 0"#, "", format!("a field at {answer}.answer_start, found none")),
        (r#""The 🦀""#, "null", format!("a string at {answer}.text, found null")),
        (r#""The 🦀""#, r#"" ""#, format!("a text at {answer}.text, found a blank one")),
        (r#"{"text": "The 🦀", "answer_start": 0}"#, "[]", format!("an object at {answer}, found an array")),
        (r#""is_impossible": false"#, r#""is_impossible": 0"#, "true or false at data[0].paragraphs[0].qas[0].is_impossible, found the number 0".into()),
        (r#""is_impossible": false"#, r#""is_impossible": true"#, "no answer to an impossible question at data[0].paragraphs[0].qas[0].answers[0], found one".into()),
        (r#""answers": []"#, r#""answers": {}"#, "an array at data[0].paragraphs[0].qas[1].answers, found an object".into()),
        (r#""id": "b""#, r#""id": "a""#, "an id of its own at data[0].paragraphs[0].qas[1].id, found that of data[0].paragraphs[0].qas[0].id".into()),
        (r#""id": "b""#, r#""id": {}"#, "a string at data[0].paragraphs[0].qas[1].id, found an object".into()),
        (r#""id": "b", "#, "", "a field at data[0].paragraphs[0].qas[1].id, found none".into()),
        (r#""question": " ""#, r#""question": []"#, "a string at data[0].paragraphs[0].qas[2].question, found an array".into()),
        ("The 🦀 at café Cæsar.", "", "a text at data[0].paragraphs[0].context, found a blank one".into()),
        ("\"context\"", "\"text\"", "a field at data[0].paragraphs[0].context, found none".into()),
        ("\"Crab\"", "1", "a string at data[0].title, found the number 1".into()),
        ("\"v2.0\"", "[]", "a string at version, found an array".into()),
        ("\"data\"", "\"date\"", "a field at data, found none".into()),
    ] {
        check_error(changed(from, to), &format!(": expected {expected}"));
    }
    check_error("[]", ": expected an object at the top, found an array");
    check_error("{\"data\": 1}", ": expected an array at data, found the number 1");
    check_error("{\"data\": [[]]}", ": expected an object at data[0], found an array");
    let expected = ": expected questions in data[].paragraphs[].qas, found none";
    check_error("{\"data\": []}", expected);
    check_error(paragraph(""), expected);
}

#[test]
fn what_is_not_json_is_named_with_its_line() {
    check_error("", ":1: expected JSON, found EOF while parsing a value at column 0");
    check_error("{\n\"data\": nil", ":2: expected JSON, found expected ident at column 10");
    check_error("{\n\n ", ":3: expected JSON, found EOF while parsing an object at column 1");
    check_error(b"{\n\n \"da\xff\"}", ":3: expected UTF-8, found byte 0xff at column 5");
    let deep = "[".repeat(1 << 20);
    let error = read_bytes(deep).unwrap_err().to_string();
    assert!(error.contains("recursion limit exceeded"), "{error}");
    // Cut off anywhere, a file is an error and never less than it was.
    let whole = paragraph(GOOD);
    for end in 0..whole.len() {
        assert!(read_bytes(&whole.as_bytes()[..end]).is_err(), "{end}");
    }
}

#[test]
fn unreadable_files_are_named() {
    let error = read_squad(Path::new("/none.json.xz")).unwrap_err().to_string();
    assert!(error.starts_with("/none.json.xz: cannot read"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let error = read_squad(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("expected a file, found a directory"), "{error}");
    let path = dir.path().join("q.json.zst");
    std::fs::write(&path, zstd::encode_all(paragraph(GOOD).as_bytes(), 1).unwrap()).unwrap();
    assert_eq!(read_squad(&path).unwrap(), read_bytes(paragraph(GOOD)).unwrap());
    std::fs::write(&path, paragraph(GOOD)).unwrap();
    assert!(read_squad(&path).is_err());
}

#[test]
fn real_files_have_the_counts_of_their_descriptions() {
    let Some(path) = data_file("xquad_en/xquad.en.json") else { return };
    let xquad = read_squad(&path).unwrap();
    assert_eq!((xquad.questions.len(), xquad.misplaced_answers), (1_190, 0));
    let contexts: std::collections::HashSet<_> =
        xquad.questions.iter().map(|question| &question.context).collect();
    assert_eq!(contexts.len(), 240);
    assert!(contexts.iter().any(|context| !context.is_ascii()));
    let Some(path) = data_file("qamr/dev.json.xz") else { return };
    let qamr = read_squad(&path).unwrap();
    assert_eq!((qamr.questions.len(), qamr.misplaced_answers), (18_444, 0));
    for question in xquad.questions.iter().chain(&qamr.questions) {
        assert!(!question.answers.is_empty() && !question.is_impossible);
        for answer in &question.answers {
            let start = answer.start.unwrap() as usize;
            assert_eq!(&question.context[start..start + answer.text.len()], answer.text);
        }
    }
}
