//! `ort-server MODEL.onnx CHECKPOINT THREADS`: `POST /v1/tag` of a joint model, and nothing else.
//!
//! As much like `bert-edge serve` as its few lines allow: axum on tokio, a bounded queue, a fixed
//! number of threads with a session of one thread each, the same JSON with words, tags, offsets in
//! bytes and the label. No limits, no log, no metrics.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;
use tokio::sync::oneshot;

/// As many as `bert-edge serve` lets wait.
const QUEUE: usize = 256;

#[derive(Deserialize)]
struct Request {
    text: String,
}

#[derive(Serialize)]
struct Answer {
    label: String,
    probability: f32,
    words: Vec<Word>,
}

#[derive(Serialize)]
struct Word {
    word: String,
    start: usize,
    end: usize,
    tag: String,
    probability: f32,
}

struct Job {
    text: String,
    reply: oneshot::Sender<Result<Answer>>,
}

struct Labels {
    intents: Vec<String>,
    tags: Vec<String>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, checkpoint, threads] = &arguments[..] else {
        anyhow::bail!("three arguments expected: MODEL.onnx CHECKPOINT THREADS");
    };
    let checkpoint = Path::new(checkpoint);
    let tokenizer = Tokenizer::from_file(checkpoint.join("tokenizer.json")).map_err(anyhow_of)?;
    let labels: serde_json::Value =
        serde_json::from_slice(&std::fs::read(Path::new(model).with_extension("json"))?)?;
    let names = |key: &str| -> Result<Vec<String>> {
        serde_json::from_value(labels[key].clone()).with_context(|| format!("no {key}"))
    };
    let labels = Arc::new(Labels { intents: names("intents")?, tags: names("tags")? });
    let (sender, receiver) = sync_channel(QUEUE);
    let receiver = Arc::new(Mutex::new(receiver));
    let environment = ort::init().build().map_err(anyhow_of)?;
    for _ in 0..threads.parse::<usize>()? {
        let session = Session::builder(&environment)
            .map_err(anyhow_of)?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(anyhow_of)?
            .with_intra_threads(1)
            .map_err(anyhow_of)?
            .commit_from_file(model)
            .map_err(anyhow_of)?;
        let (receiver, tokenizer) = (Arc::clone(&receiver), tokenizer.clone());
        let labels = Arc::clone(&labels);
        std::thread::spawn(move || work(&receiver, session, &tokenizer, &labels));
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("listening at http://{}", listener.local_addr()?);
        let router = Router::new().route("/v1/tag", post(tag)).with_state(sender);
        axum::serve(listener, router).await?;
        Ok(())
    })
}

async fn tag(
    State(queue): State<SyncSender<Job>>,
    Json(request): Json<Request>,
) -> Result<Json<serde_json::Map<String, serde_json::Value>>, StatusCode> {
    let (reply, answer) = oneshot::channel();
    queue.try_send(Job { text: request.text, reply }).map_err(|error| match error {
        TrySendError::Full(_) => StatusCode::TOO_MANY_REQUESTS,
        TrySendError::Disconnected(_) => StatusCode::SERVICE_UNAVAILABLE,
    })?;
    let answer = answer.await.ok().and_then(Result::ok).ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    let result = serde_json::to_value(answer).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json([("results".to_string(), vec![result].into())].into_iter().collect()))
}

fn work(
    queue: &Mutex<Receiver<Job>>,
    mut session: Session,
    tokenizer: &Tokenizer,
    labels: &Labels,
) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { text, reply }) = job else { return };
        // Whoever asked may be gone.
        let _ = reply.send(answer(&mut session, tokenizer, labels, &text));
    }
}

fn answer(
    session: &mut Session,
    tokenizer: &Tokenizer,
    labels: &Labels,
    text: &str,
) -> Result<Answer> {
    let encoding = tokenizer.encode(text, true).map_err(anyhow_of)?;
    let ids: Vec<i32> = encoding.get_ids().iter().map(|&id| id as i32).collect();
    let shape = [1, ids.len()];
    let zeros = vec![0i32; ids.len()];
    let inputs = ort::inputs![
        "input_ids" => Tensor::from_array((shape, ids)).map_err(anyhow_of)?,
        "token_type_ids" => Tensor::from_array((shape, zeros)).map_err(anyhow_of)?,
    ];
    let outputs = session.run(inputs).map_err(anyhow_of)?;
    let (_, intents) = outputs["intents"].try_extract_tensor::<f32>().map_err(anyhow_of)?;
    let (_, tags) = outputs["tags"].try_extract_tensor::<f32>().map_err(anyhow_of)?;
    let (label, probability) = best(intents);
    let mut words: Vec<Word> = Vec::new();
    for (token, &(start, end)) in encoding.get_offsets().iter().enumerate() {
        // Special tokens have no letters.
        if start == end {
            continue;
        }
        // Words are separated by white space, and have the tag of their first token.
        let inside = text[..start].ends_with(|letter: char| !letter.is_whitespace());
        if let Some(word) = words.last_mut().filter(|_| inside) {
            word.end = end;
            word.word = text.get(word.start..end).unwrap_or_default().into();
            continue;
        }
        let (tag, probability) = best(&tags[token * labels.tags.len()..][..labels.tags.len()]);
        let word = text.get(start..end).unwrap_or_default().into();
        words.push(Word { word, start, end, tag: labels.tags[tag].clone(), probability });
    }
    Ok(Answer { label: labels.intents[label].clone(), probability, words })
}

/// Place of the largest logit and its share of the softmax.
fn best(logits: &[f32]) -> (usize, f32) {
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    let place = logits.iter().position(|&logit| logit == largest).unwrap_or(0);
    (place, 1.0 / logits.iter().map(|logit| (logit - largest).exp()).sum::<f32>())
}

/// Errors of these crates carry what may not leave its thread; their text may.
fn anyhow_of(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}
