//! What is wrong with a request is said with a status, a word and a sentence.

use std::io::Write;
use std::process::Command;

use crate::client::{Server, post_head, reply};
use crate::command::common::HeadKind;
use crate::command::{Fixture, refused, small};

#[test]
fn wrong_requests_are_named() {
    let fixture = Fixture::new();
    let mut models = Vec::new();
    for (name, head) in [
        ("joint", HeadKind::Joint),
        ("pair", HeadKind::PairClassify),
        ("span", HeadKind::Span),
        ("numbers", HeadKind::Regress),
    ] {
        let path = fixture.file(&format!("{name}.bert"), &small(head).build());
        models.push(path.to_str().unwrap().to_owned());
    }
    let limits = ["--max-texts=3", "--max-body=2000", "--max-windows=9"];
    let mut args: Vec<&str> = models.iter().map(String::as_str).collect();
    args.extend(limits);
    let server = Server::start(&args);
    let long = "a ".repeat(300);
    let wide = format!(r#"{{"model":"span","question":"a","context":"{long}"}}"#);
    let asked = format!(r#"{{"model":"span","question":"{}","context":"a"}}"#, "a ".repeat(40));
    let huge = format!(r#"{{"model":"joint","text":"{}"}}"#, "a".repeat(2000));
    for (path, body, status, code, words) in [
        ("tag", "", 400, "malformed", "EOF"),
        ("tag", "{", 400, "malformed", "EOF"),
        ("tag", "[\"joint\",\"a\",null]", 400, "malformed", "object"),
        ("tag", "{}", 400, "malformed", "text"),
        ("tag", r#"{"text":"a","txt":"b"}"#, 400, "malformed", "txt"),
        ("tag", r#"{"text":"a","texts":["b"]}"#, 400, "malformed", "one of text"),
        ("tag", r#"{"text":"a"} x"#, 400, "malformed", "trailing"),
        ("tag", r#"{"text":"\ud800"}"#, 400, "malformed", "column"),
        ("tag", r#"{"texts":[]}"#, 400, "malformed", "no text"),
        ("tag", r#"{"texts":[1]}"#, 400, "malformed", "string"),
        ("tag", r#"{"text":"a"}"#, 404, "model", "joint, pair"),
        ("tag", r#"{"model":"x","text":"a"}"#, 404, "model", "joint, pair"),
        ("tag", r#"{"model":"joint","texts":["a","a","a","a"]}"#, 413, "too_many_texts", "4 texts"),
        ("tag", &huge, 413, "too_large", "2000 bytes"),
        ("tag", r#"{"model":"span","text":"a"}"#, 422, "unfit", "no head"),
        ("classify", r#"{"model":"joint","pair":["a","b"]}"#, 422, "unfit", "one text"),
        ("classify", r#"{"model":"pair","text":"a"}"#, 422, "unfit", "two texts"),
        ("classify", r#"{"model":"pair","pair":["a"]}"#, 400, "malformed", "length"),
        ("classify", r#"{"model":"joint","text":"a","threshold":0.5}"#, 422, "unfit", "threshold"),
        ("classify", r#"{"model":"joint","text":"a","threshold":2}"#, 400, "malformed", "0 to 1"),
        ("regress", r#"{"model":"joint","text":"a"}"#, 422, "unfit", "no head"),
        ("span", r#"{"model":"joint","question":"a","context":"b"}"#, 422, "unfit", "no head"),
        ("span", r#"{"model":"span","question":"a"}"#, 400, "malformed", "context"),
        ("span", r#"{"model":"span","context":"a"}"#, 400, "malformed", "question"),
        ("span", r#"{"question":"a","context":"a","n_best":0}"#, 400, "malformed", "1 to 20"),
        (
            "span",
            r#"{"question":"a","context":"a","no_answer_threshold":1e39}"#,
            400,
            "malformed",
            "range",
        ),
        ("span", &wide, 413, "too_long", "windows"),
        ("span", &asked, 422, "unfit", "tokens"),
        ("embed", r#"{"model":"joint","text":"a","layers":3}"#, 422, "unfit", "layer 3"),
        (
            "embed",
            r#"{"model":"joint","text":"a","layers":"sum-last-four"}"#,
            422,
            "unfit",
            "layer",
        ),
        ("embed", r#"{"model":"joint","text":"a","layers":"first"}"#, 400, "malformed", "column"),
        ("embed", r#"{"model":"joint","text":"a","pooling":"max"}"#, 400, "malformed", "mean"),
    ] {
        let reply = server.post(&format!("/v1/{path}"), body);
        assert_eq!((reply.status, &*reply.error()), (status, code), "{path} {body}: {reply:?}");
        assert!(reply.text.contains(words), "{path} {body}: {reply:?}");
    }

    let reply = server.send(&post_head("/v1/tag"), b"{\"text\":\"\xff\"}");
    assert_eq!((reply.status, &*reply.error()), (400, "malformed"));
    assert!(reply.text.contains("UTF-8 at byte 9"), "{reply:?}");
    let reply = server.send("POST /v1/tag HTTP/1.1\r\nContent-Type: text/plain\r\n", b"{}");
    assert_eq!((reply.status, &*reply.error()), (415, "content_type"));
    let json = "POST /v1/tag HTTP/1.1\r\nContent-Type: Application/JSON; charset=utf-8\r\n";
    let body = br#"{"model":"joint","text":"a"}"#;
    assert_eq!(server.send(json, body).status, 200);
    let reply = server.send("GET /v1/tag HTTP/1.1\r\n", b"");
    assert_eq!(
        (reply.status, &*reply.error(), reply.header("allow")),
        (405, "method", Some("POST"))
    );
    for path in ["/v2/tag", "/v1/models/joint", "/v1/models/a/b/reload", "/../etc/passwd"] {
        let reply = server.get(path);
        assert_eq!((reply.status, &*reply.error()), (404, "not_found"), "{path}");
    }
    let reply = server.post("/v1/models/x/reload", "");
    assert_eq!((reply.status, &*reply.error()), (404, "model"));
}

#[test]
fn time_has_a_limit() {
    let fixture = Fixture::new();
    let model = fixture.model(HeadKind::Joint);
    let model = model.to_str().unwrap();
    let server = Server::start(&[model, "--timeout=0.05"]);
    let mut slow = server.connect();
    write!(slow, "{}Host: a\r\nContent-Length: 99\r\n\r\n{{", post_head("/v1/tag")).unwrap();
    let answer = reply(&mut slow);
    assert_eq!((answer.status, &*answer.error()), (408, "slow"));

    let server = Server::start(&[model, "--timeout=0"]);
    let answer = server.post("/v1/tag", r#"{"text":"a"}"#);
    assert_eq!((answer.status, &*answer.error()), (503, "deadline"));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[test]
fn a_token_opens_what_is_behind_it() {
    let fixture = Fixture::new();
    let model = fixture.model(HeadKind::Joint);
    let token = fixture.file("token", b"s3cret-token\n");
    let server = Server::start(&[model.to_str().unwrap(), "--token-file", token.to_str().unwrap()]);
    for path in ["/", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let with = |authorization: &str, path: &str| {
        server.send(&format!("GET {path} HTTP/1.1\r\n{authorization}"), b"")
    };
    for path in ["/metrics", "/v1/models", "/v1/tag", "/v1/nothing"] {
        for wrong in [
            "",
            "Authorization: Bearer s3cret-toke\r\n",
            "Authorization: Bearer s3cret-tokem\r\n",
            "Authorization: Bearer s3cret-token2\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Basic s3cret-token\r\n",
            "Authorization: s3cret-token\r\n",
        ] {
            let reply = with(wrong, path);
            assert_eq!((reply.status, &*reply.error()), (401, "token"), "{path} {wrong}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(with("Authorization: bearer s3cret-token\r\n", "/v1/models").status, 200);
    assert_eq!(with("Authorization: Bearer s3cret-token\r\n", "/metrics").status, 200);
}

#[test]
fn what_cannot_be_served_is_refused_at_once() {
    let fixture = Fixture::new();
    let good = fixture.model(HeadKind::Joint);
    let good = good.to_str().unwrap();
    let mut bytes = small(HeadKind::Joint).build();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let bad = fixture.file("bad.bert", &bytes);
    let serve = |args: &[&str], parts: &[&str]| {
        refused(&[&["serve", "--listen", "127.0.0.1:0"], args].concat(), b"", parts);
    };
    serve(&[bad.to_str().unwrap()], &["bad.bert", "checksum"]);
    serve(&["/no/such.bert"], &["/no/such.bert", "No such file"]);
    serve(&["/"], &["is no name", "NAME="]);
    serve(&["x=/"], &["/: not a file"]);
    serve(&[good, good], &["two models", "model", "NAME="]);
    serve(&[good, "--max-texts=9", "--queue=8"], &["--max-texts 9", "--queue 8"]);
    serve(&[good, "--token-file=/no/token"], &["/no/token", "cannot read"]);
    let empty = fixture.file("empty", b"\n");
    serve(&[good, "--token-file", empty.to_str().unwrap()], &["empty", "one token"]);
    let server = Server::start(&[good]);
    let output = Command::new(env!("CARGO_BIN_EXE_bert-edge"))
        .args(["serve", good, "--listen", &server.address.to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("cannot listen at") && error.lines().count() == 1, "{error}");
}
