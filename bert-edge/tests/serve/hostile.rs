//! Clients that send what they should not, by the thousand: the service goes on serving.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::client::{Server, post_head, request};
use crate::command::Fixture;
use crate::command::common::{HeadKind, Random};

const REQUESTS: usize = 10_000;
/// Connections that are left open, at a time.
const SLOW: usize = 100;
/// Megabytes of growth that connections and their buffers may cost.
const GROWTH: f64 = 48.0;

#[test]
fn ten_thousand_hostile_requests_leave_it_serving() {
    let fixture = Fixture::new();
    let model = fixture.model(HeadKind::Joint);
    let server = Server::start(&[model.to_str().unwrap(), "--log=quiet"]);
    let good = r#"{"text":"abc d e"}"#;
    let expected = server.post("/v1/tag", good).json();
    let memory = || server.metric("process_resident_memory_bytes") / 1e6;
    let before = memory();
    let mut random = Random(0x5e7e);
    let mut slow: Vec<TcpStream> = Vec::new();
    let mut answered = 0;
    for number in 0..REQUESTS {
        let mut stream = server.connect();
        let bytes = hostile(&mut random);
        // The service may have closed it already.
        let _ = stream.write_all(&bytes);
        match random.below(8) {
            // Cut, with and without a word, or left as it is.
            0 => drop(stream),
            1 => {
                let _ = stream.shutdown(Shutdown::Both);
            }
            2 => {
                if slow.len() == SLOW {
                    slow.swap_remove(random.below(SLOW));
                }
                slow.push(stream);
            }
            _ => {
                let _ = stream.shutdown(Shutdown::Write);
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer);
                let status = answer.get(9..12).unwrap_or_default();
                assert!(status.is_empty() || status < b"500", "{}: {bytes:?}", number);
                answered += usize::from(!status.is_empty());
            }
        }
        if number % 1000 == 0 {
            assert_eq!(server.post("/v1/tag", good).json(), expected);
        }
    }
    assert!(answered > REQUESTS / 4, "{answered}");
    drop(slow);
    assert_eq!(server.post("/v1/tag", good).json(), expected);
    // The scrape's own connection is the last.
    server.wait_until("connections are closed", || server.metric("bert_edge_connections") == 1.0);
    assert_eq!(server.metric("bert_edge_in_flight"), 1.0);
    assert_eq!(server.metric("bert_edge_queue_texts"), 0.0);
    let after = memory();
    assert!(after < before + GROWTH, "{before} MB before, {after} MB after");
    server.signal("TERM");
    let (status, log) = server.ended();
    assert!(status.success() && !log.contains("panicked"), "{log}");
}

fn hostile(random: &mut Random) -> Vec<u8> {
    let path = ["/v1/tag", "/v1/classify", "/v1/span", "/v1/embed", "/", "/nope"][random.below(6)];
    let head = post_head(path);
    let bytes = |random: &mut Random, most: usize| -> Vec<u8> {
        let length = random.below(most) + 1;
        (0..length).map(|_| random.next() as u8).collect()
    };
    let good = br#"{"texts":["abc d","e"],"model":"model"}"#;
    match random.below(12) {
        // Broken JSON, JSON of another form, no UTF-8, deep nests, odd numbers.
        0 => {
            let cut = random.below(good.len());
            request(&head, &good[..cut])
        }
        1 => {
            let mut body = good.to_vec();
            let at = random.below(body.len());
            body[at] = random.next() as u8;
            request(&head, &body)
        }
        2 => request(&head, &bytes(random, 2000)),
        3 => request(&head, "[".repeat(random.below(100_000)).as_bytes()),
        4 => request(&head, br#"{"text":1e999,"threshold":-1e400,"layers":-1,"stride":1e30}"#),
        5 => {
            let text: String = (0..random.below(3000))
                .filter_map(|_| char::from_u32(random.below(0x11_0000) as u32))
                .collect();
            request(&head, serde_json::json!({ "text": text }).to_string().as_bytes())
        }
        // A body that is too large, in truth or in words, in one piece or in chunks.
        6 => request(&head, &vec![b' '; (256 << 10) + random.below(100_000)]),
        7 => format!("{head}Host: a\r\nContent-Length: 99999999999999\r\n\r\n{{").into_bytes(),
        8 => {
            let chunk = "fffffffff\r\n".repeat(random.below(4) + 1);
            format!("{head}Host: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}").into_bytes()
        }
        // A head that is none, or has no end.
        9 => bytes(random, 3000),
        10 => {
            let many = "X-A: b\r\n".repeat(random.below(20_000));
            format!("{head}{many}").into_bytes()
        }
        _ => {
            let whole = request(&head, good);
            let cut = random.below(whole.len());
            whole[..cut].to_vec()
        }
    }
}
