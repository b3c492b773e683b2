//! Every endpoint answers what the command line prints, in the form that the description has.

use bert_core::Pooling;
use serde_json::{Value, json};

use crate::client::Server;
use crate::command::common::HeadKind;
use crate::command::{Fixture, json as printed, small};

/// A model, a path, a body, and the command that prints the same results.
type Case = (HeadKind, &'static str, Value, Vec<&'static str>);

fn cases() -> Vec<Case> {
    // One text more than a job holds.
    let many = ["abc", "d e f", "", "x yz", "é\u{301} z", "a", "b", "c", "hello there"];
    let with = |first: &[&'static str], rest: &[&'static str]| [first, rest].concat();
    let layers = json!({ "texts": many, "pooling": "cls", "layers": 1, "normalize": true });
    let context = "a b c d e f g h i j k l m n o p q r s t u v w x y z é";
    let span = json!({ "question": "a b", "context": context, "n_best": 3, "stride": 4,
                       "max_answer_tokens": 5, "no_answer_threshold": 0 });
    vec![
        (HeadKind::Classify, "classify", json!({ "text": "abc" }), vec!["classify", "abc"]),
        (HeadKind::Classify, "classify", json!({ "texts": many }), with(&["classify"], &many)),
        (HeadKind::Joint, "classify", json!({ "texts": many }), with(&["classify"], &many)),
        (
            HeadKind::MultiLabel,
            "classify",
            json!({ "texts": many, "threshold": 0.4 }),
            with(&["classify", "--threshold", "0.4"], &many),
        ),
        (
            HeadKind::PairClassify,
            "classify",
            json!({ "pairs": [["abc", "d"], ["", "e"]] }),
            vec!["classify", "--pair", "abc\td", "\te"],
        ),
        (HeadKind::Tag, "tag", json!({ "texts": many }), with(&["tag"], &many)),
        (HeadKind::Joint, "tag", json!({ "texts": many }), with(&["tag"], &many)),
        (HeadKind::Joint, "tag", json!({ "text": "abc d" }), vec!["tag", "abc d"]),
        (HeadKind::Regress, "regress", json!({ "texts": many }), with(&["regress"], &many)),
        (
            HeadKind::Regress,
            "regress",
            json!({ "pair": ["abc", "d"] }),
            vec!["regress", "--pair", "abc\td"],
        ),
        (
            HeadKind::Span,
            "span",
            span,
            vec![
                "span",
                "--question",
                "a b",
                "--context-text",
                context,
                "--n-best=3",
                "--stride=4",
                "--max-answer-tokens=5",
                "--no-answer-threshold=0",
            ],
        ),
        (
            HeadKind::Embed(Pooling::First),
            "embed",
            json!({ "texts": many }),
            with(&["embed"], &many),
        ),
        (
            HeadKind::Embed(Pooling::Mean),
            "embed",
            layers,
            with(&["embed", "--pooling=cls", "--layers=1", "--normalize"], &many),
        ),
        (HeadKind::Tag, "embed", json!({ "text": "abc" }), vec!["embed", "abc"]),
    ]
}

#[test]
fn answers_are_those_of_the_commands() {
    let fixture = Fixture::new();
    for (head, path, body, command) in cases() {
        let model = fixture.model(head);
        let model = model.to_str().unwrap();
        let server = Server::start(&[model]);
        let reply = server.post(&format!("/v1/{path}"), &body.to_string());
        assert_eq!(reply.status, 200, "{reply:?}");
        let found = reply.json();
        let schema = description();
        conforms(
            &schema["paths"][format!("/v1/{path}")]["post"]["responses"]["200"]["content"]["application/json"]
                ["schema"],
            &found,
            &schema,
        );
        let args = [&command[..1], &[model, "--json"], &command[1..]].concat();
        let mut expected = printed(&args);
        if path == "span" {
            expected = json!({ "results": [expected] });
        }
        for result in expected["results"].as_array_mut().unwrap() {
            // The command repeats what was asked.
            let result = result.as_object_mut().unwrap();
            for key in ["text", "a", "b", "question"] {
                result.shift_remove(key);
            }
        }
        assert_eq!(found["model"], "model");
        assert_eq!(found["results"], expected["results"], "{head:?} {path}");
    }
}

fn description() -> Value {
    serde_json::from_str(include_str!("../../src/serve/openapi.json")).unwrap()
}

/// Checks the words of JSON Schema that the description uses.
fn conforms(schema: &Value, value: &Value, all: &Value) {
    if let Some(reference) = schema["$ref"].as_str() {
        return conforms(all.pointer(&reference[1..]).unwrap(), value, all);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let null = |schema: &&Value| schema["type"] == "null";
        let choice = choices.iter().find(|schema| null(schema) == value.is_null());
        return conforms(choice.unwrap(), value, all);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() && schema["type"] == "integer" => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|allowed| allowed == kind),
        allowed => allowed == kind,
    };
    assert!(allowed, "{value} is not {schema}");
    if let Some(values) = schema["enum"].as_array() {
        assert!(values.contains(value), "{value} is not among {values:?}");
    }
    for item in value.as_array().into_iter().flatten() {
        conforms(&schema["items"], item, all);
    }
    let Some(object) = value.as_object() else { return };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(object.contains_key(required.as_str().unwrap()), "{value} lacks {required}");
    }
    for (key, value) in object {
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => panic!("{key} is not in {schema}"),
            (Value::Null, others) => conforms(others, value, all),
            (property, _) => conforms(property, value, all),
        }
    }
}

#[test]
fn the_description_has_every_path_and_no_other() {
    let fixture = Fixture::new();
    let model = fixture.model(HeadKind::Joint);
    let server = Server::start(&[model.to_str().unwrap()]);
    let description = server.get("/openapi.json").json();
    let source = include_str!("../../src/serve/http.rs");
    let list = source.split_once("PATHS: ").unwrap().1.split_once("];").unwrap().0;
    let described = description["paths"].as_object().unwrap();
    // A path is registered by its name in the list, or by the constant for the one that is used twice.
    let registered = list.lines().skip(1).count();
    assert_eq!(described.len(), registered, "{list}");
    for (path, methods) in described {
        assert!(source.contains(&format!("\"{path}\"")), "{path}");
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{name}", "model");
            let head = format!("{} {path} HTTP/1.1\r\n", method.to_uppercase());
            let status = server.send(&head, b"").status;
            assert!(![404, 405].contains(&status), "{method} {path}: {status}");
            let statuses = methods[method]["responses"].as_object().unwrap();
            assert!(statuses.contains_key(&status.to_string()), "{method} {path}: {status}");
        }
    }
    // References lead somewhere.
    let text = description.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(description.pointer(pointer).is_some(), "{pointer}");
    }
    let models = server.get("/v1/models").json();
    conforms(&json!({ "$ref": "#/components/schemas/Model" }), &models["models"][0], &description);
}

#[test]
fn the_rest_of_the_paths_answer() {
    let fixture = Fixture::new();
    let (first, second) = (small(HeadKind::Joint).build(), small(HeadKind::Span).build());
    let joint = fixture.file("joint.bert", &first);
    let named = format!("other={}", fixture.file("x.bert", &second).display());
    let server = Server::start(&[joint.to_str().unwrap(), &named]);
    assert_eq!(server.get("/healthz").text, "ok\n");
    assert_eq!(server.get("/readyz").text, "ready\n");
    let page = server.get("/");
    assert!(page.text.contains("/v1/models") && page.header("content-security-policy").is_some());

    let models = server.models();
    assert_eq!((&models[0]["name"], &models[1]["name"]), (&json!("joint"), &json!("other")));
    assert_eq!((&models[0]["task"], &models[1]["task"]), (&json!("joint"), &json!("span")));
    assert_eq!(models[0]["bytes"], first.len());
    assert_eq!(server.post("/v1/tag", r#"{"model":"joint","text":"a"}"#).status, 200);
    let reply = server.post("/v1/tag", r#"{"text":"a"}"#);
    assert_eq!((reply.status, &*reply.error()), (404, "model"));
    assert!(reply.text.contains("joint, other"), "{reply:?}");

    // Ids: the client's where it is one, else a new one each time.
    let id = |value: &str| {
        let head = format!("GET /healthz HTTP/1.1\r\nX-Request-Id: {value}\r\n");
        server.send(&head, b"").header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id("abc-1.2_3"), "abc-1.2_3");
    let long = "a".repeat(65);
    let new = [id("a b"), id("é"), id(&long), id("")];
    for (i, one) in new.iter().enumerate() {
        assert!(one.len() < 40 && new[..i].iter().all(|other| other != one), "{new:?}");
    }

    let count = |name: &str| server.metric(name);
    let answered = r#"bert_edge_requests_total{path="/v1/tag",status="200"}"#;
    let refused = r#"bert_edge_requests_total{path="/v1/tag",status="404"}"#;
    let (texts, limit) = ("bert_edge_texts_total", "bert_edge_queue_limit");
    assert_eq!([answered, refused, texts, limit].map(count), [1.0, 1.0, 1.0, 256.0]);
    assert_eq!(count(r#"bert_edge_request_seconds_count{path="/v1/tag"}"#), 2.0);
    // A page for machines: every line is a comment or a name, labels and a number.
    for line in server.get("/metrics").text.lines().filter(|line| !line.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("bert_edge_") || name.starts_with("process_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}
