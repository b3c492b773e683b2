//! What happens meanwhile: a full queue, another model, the end.

use std::fs;
use std::net::TcpStream;

use crate::client::Server;
use crate::command::common::{FloatModel, HeadKind, Sizes};
use crate::command::{Fixture, small};

/// A question that keeps a thread busy for a second or so; tests wait for its begin and its end,
/// not for a time.
fn long_question() -> String {
    format!(r#"{{"question":"a b","context":"{}"}}"#, "a b c d ".repeat(60_000))
}

fn one_thread(fixture: &Fixture, more: &[&str]) -> Server {
    let model = fixture.model(HeadKind::Span);
    let args = [model.to_str().unwrap(), "--threads=1", "--queue=1", "--max-texts=1"];
    let limits = ["--max-body=1000000", "--max-windows=1000000", "--timeout=60"];
    Server::start(&[&args[..], &limits, more].concat())
}

#[test]
fn a_full_queue_refuses_and_answers_what_it_took() {
    let server = one_thread(&Fixture::new(), &[]);
    let (long, short) = (long_question(), r#"{"question":"a","context":"b"}"#);
    let first = server.post_meanwhile("/v1/span", &long);
    server.wait_until("it is being answered", || server.metric("bert_edge_threads_busy") == 1.0);
    let second = server.post_meanwhile("/v1/span", short);
    server.wait_until("the second waits", || server.metric("bert_edge_queue_texts") == 1.0);
    let third = server.post("/v1/span", short);
    assert_eq!((third.status, &*third.error()), (429, "queue_full"), "{third:?}");
    assert_eq!(third.header("retry-after"), Some("1"));
    // What needs no thread is answered all the time.
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(first.join().unwrap().status, 200);
    assert_eq!(second.join().unwrap().status, 200);
    assert_eq!(server.post("/v1/span", short).status, 200);
}

#[test]
fn the_end_comes_after_the_answers() {
    let server = one_thread(&Fixture::new(), &["--log=json"]);
    let idle = server.connect();
    let asked = server.post_meanwhile("/v1/span", &long_question());
    server.wait_until("it is being answered", || server.metric("bert_edge_threads_busy") == 1.0);
    server.signal("TERM");
    let refused = || TcpStream::connect(server.address).is_err();
    server.wait_until("connections are refused", refused);
    let answer = asked.join().unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["results"][0]["has_answer"], true);
    let (status, log) = server.ended();
    assert!(status.success(), "{status} {log}");
    // An idle connection holds nothing up.
    drop(idle);
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| lines.iter().find(|line| line["event"] == name);
    assert_eq!(of("stop").unwrap()["in_flight"], 1, "{log}");
    let spans: Vec<_> = lines.iter().filter(|line| line["path"] == "/v1/span").collect();
    assert_eq!((spans.len(), &spans[0]["status"], &spans[0]["texts"]), (1, &200.into(), &1.into()));
    assert!(spans[0]["id"].is_string() && spans[0]["ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_grace_has_an_end() {
    let server = one_thread(&Fixture::new(), &["--grace=0.01"]);
    let asked = server.post_meanwhile("/v1/span", &long_question());
    server.wait_until("it is being answered", || server.metric("bert_edge_threads_busy") == 1.0);
    server.signal("INT");
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("1 requests were not finished within 0.01 s"), "{log}");
    // The client sees a connection that ends without an answer.
    assert!(asked.join().is_err());
}

/// Another model of the same head.
fn other() -> Vec<u8> {
    FloatModel::random(Sizes { head: HeadKind::Joint, ..Sizes::SMALL }, 5).build()
}

#[test]
fn a_new_file_takes_over_once_it_passed_its_test() {
    let fixture = Fixture::new();
    let path = fixture.model(HeadKind::Joint);
    let server = Server::start(&[path.to_str().unwrap(), "--watch=0"]);
    let ask = || server.post("/v1/tag", r#"{"text":"abc d"}"#).json();
    let (before, old) = (server.models()[0].clone(), ask());
    let replace = |bytes: &[u8]| {
        let new = fixture.file("new", bytes);
        fs::rename(new, &path).unwrap();
    };

    // A file that was changed, one whose test fails, one that is cut in place, none.
    let mut changed = other();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    replace(&changed);
    let reply = server.post("/v1/models/model/reload", "");
    assert_eq!((reply.status, &*reply.error()), (409, "reload_failed"));
    assert!(reply.text.contains("checksum"), "{reply:?}");
    assert_eq!(ask(), old);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    assert_eq!(server.post("/v1/models/model/reload", "").status, 409);
    fs::remove_file(&path).unwrap();
    let reply = server.post("/v1/models/model/reload", "");
    assert!(reply.status == 409 && reply.text.contains("No such file"), "{reply:?}");
    assert_eq!(ask(), old);
    let now = &server.models()[0];
    assert_eq!((&now["crc32"], &now["failed_reloads"]), (&before["crc32"], &3.into()));
    assert!(now["last_error"].as_str().unwrap().contains("No such file"), "{now}");
    assert_eq!(server.metric(r#"bert_edge_reloads_total{model="model",result="failed"}"#), 3.0);

    replace(&other());
    let reply = server.post("/v1/models/model/reload", "");
    assert_eq!(reply.status, 200, "{reply:?}");
    let now = &server.models()[0];
    assert_ne!(now["crc32"], before["crc32"]);
    assert_eq!((&now["reloads"], &now["last_error"]), (&1.into(), &serde_json::Value::Null));
    assert_ne!(ask(), old);

    // A signal does the same.
    replace(&small(HeadKind::Joint).build());
    server.signal("HUP");
    server.wait_until("the signal", || server.models()[0]["reloads"] == 2);
    assert_eq!(ask(), old);
    server.signal("TERM");
    let (status, log) = server.ended();
    assert!(status.success(), "{log}");
    assert_eq!(log.matches(" reload-failed model=model error=").count(), 3, "{log}");
    assert_eq!(log.matches(" reload model=model crc32=").count(), 2, "{log}");
}

#[test]
fn a_replaced_file_is_noticed() {
    let fixture = Fixture::new();
    let path = fixture.model(HeadKind::Joint);
    let server = Server::start(&[path.to_str().unwrap(), "--watch=0.01", "--log=quiet"]);
    fs::rename(fixture.file("bad", b"no model"), &path).unwrap();
    server.wait_until("a bad file", || server.models()[0]["failed_reloads"] == 1);
    fs::rename(fixture.file("new", &other()), &path).unwrap();
    server.wait_until("a good file", || server.models()[0]["reloads"] == 1);
    // A bad file is tried once, not every time.
    assert_eq!(server.models()[0]["failed_reloads"], 1);
    server.signal("TERM");
    let (_, log) = server.ended();
    assert!(!log.contains(" request "), "{log}");
}
