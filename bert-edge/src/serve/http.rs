//! Routes, what each of them does, and the layer around them: ids, token, metrics, log.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use serde_json::{Value, json};
use tokio::time::timeout_at;

use super::log::rfc3339;
use super::metrics;
use super::models::{Entry, Loaded};
use super::problem::Problem;
use super::question::{Kind, Question};
use super::service::Service;
use super::workers::{Work, divide};
use crate::commands::inspect::task;

type Shared = State<Arc<Service>>;

/// Every path. Those under `/v1/` and `/metrics` ask for the token.
pub const PATHS: [&str; 12] = [
    "/",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/models",
    RELOAD,
    "/v1/classify",
    "/v1/tag",
    "/v1/regress",
    "/v1/span",
    "/v1/embed",
];

const RELOAD: &str = "/v1/models/{name}/reload";
const JSON: &str = "application/json";
const REQUEST_ID: &str = "x-request-id";
const PAGE: &str = include_str!("page.html");
const OPENAPI: &str = include_str!("openapi.json");
/// Bytes of a request's id from outside.
const ID_BYTES: usize = 64;

/// The service as axum has it.
pub fn router(service: &Arc<Service>) -> Router {
    let mut router = Router::new();
    for path in PATHS {
        router = router.route(path, method(path));
    }
    router
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not_found", "no such path"))
        .method_not_allowed_fallback(async || {
            let message = "the path is there, not with this method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", message)
        })
        .layer(DefaultBodyLimit::max(service.limits.body))
        .layer(from_fn_with_state(Arc::clone(service), around))
        .with_state(Arc::clone(service))
}

fn method(path: &str) -> MethodRouter<Arc<Service>> {
    let ask = |kind| {
        post(move |service: Shared, request: Request| async move {
            ask(&service.0, kind, request).await
        })
    };
    match path {
        "/" => get(async || {
            // The page talks to nobody but this service.
            let policy = "default-src 'none'; style-src 'unsafe-inline'; \
                          script-src 'unsafe-inline'; connect-src 'self'";
            let html = (header::CONTENT_TYPE, "text/html; charset=utf-8");
            ([html, (header::CONTENT_SECURITY_POLICY, policy)], PAGE)
        }),
        "/openapi.json" => get(async || ([(header::CONTENT_TYPE, JSON)], OPENAPI)),
        "/healthz" => get(async || "ok\n"),
        "/readyz" => get(ready),
        "/metrics" => get(async |State(service): Shared| {
            let text = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, text)], metrics::page(&service))
        }),
        "/v1/models" => get(models),
        RELOAD => post(reload),
        "/v1/classify" => ask(Kind::Classify),
        "/v1/tag" => ask(Kind::Tag),
        "/v1/regress" => ask(Kind::Regress),
        "/v1/span" => ask(Kind::Span),
        _ => ask(Kind::Embed),
    }
}

/// What the log tells of a request beside what is in its head.
#[derive(Clone)]
struct Asked {
    model: String,
    texts: usize,
}

/// Goes around every request, known or not.
async fn around(State(service): Shared, request: Request, next: Next) -> Response<Body> {
    let began = Instant::now();
    service.metrics.in_flight.fetch_add(1, Relaxed);
    // Counted down too when the client goes away before its answer.
    let _in_flight = InFlight(&service);
    let id = id(&service, request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match allowed(&service, &path, request.headers()) {
        true => next.run(request).await,
        false => {
            let message = "the header Authorization: Bearer with the service's token is missing";
            Problem::new(StatusCode::UNAUTHORIZED, "token", message).into_response()
        }
    };
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        let written = problem.write(&id);
        let (parts, body) = written.into_parts();
        response.headers_mut().extend(parts.headers);
        // Its length is another than that of the empty one before.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = body;
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let (took, status) = (began.elapsed(), response.status().as_u16());
    service.metrics.count(registered(&path), status, took);
    let asked = response.extensions_mut().remove::<Asked>();
    let (model, texts) = asked.map(|asked| (asked.model, asked.texts)).unzip();
    service.log.request([
        ("method", method.as_str().into()),
        ("path", path.into()),
        ("status", status.into()),
        ("ms", json!(took.as_micros() as f64 / 1e3)),
        ("model", json!(model)),
        ("texts", json!(texts)),
        ("error", json!(problem.map(|problem| problem.code))),
        ("id", id.into()),
    ]);
    response
}

struct InFlight<'a>(&'a Service);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.metrics.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The path as it is registered, so that metrics have as many rows as there are routes.
fn registered(path: &str) -> &str {
    match path.strip_prefix("/v1/models/").and_then(|rest| rest.strip_suffix("/reload")) {
        Some(name) if !name.contains('/') => RELOAD,
        _ => path,
    }
}

/// The id that the client gives, if it is one for a log, or a new one.
fn id(service: &Service, headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match given {
        Some(id) if !id.is_empty() && id.len() <= ID_BYTES && id.bytes().all(plain) => id.into(),
        _ => format!("{}-{:x}", service.id_prefix, service.next_id.fetch_add(1, Relaxed)),
    }
}

fn allowed(service: &Service, path: &str, headers: &HeaderMap) -> bool {
    let Some(token) = &service.token else { return true };
    if !path.starts_with("/v1/") && path != "/metrics" {
        return true;
    }
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let given = given.and_then(|value| value.split_first_chunk::<7>());
    given.is_some_and(|(scheme, given)| {
        scheme.eq_ignore_ascii_case(b"bearer ") && same(given, token)
    })
}

/// Takes as long wherever two texts of one length differ, so that time tells nothing.
fn same(given: &[u8], token: &str) -> bool {
    let differences = given.iter().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == token.len() && std::hint::black_box(differences) == 0
}

async fn ask(service: &Service, kind: Kind, request: Request) -> Response<Body> {
    let deadline = Instant::now() + service.limits.time;
    let mut asked = None;
    let answer = answer(service, kind, request, deadline, &mut asked).await;
    let mut response = match answer {
        Ok(body) => ([(header::CONTENT_TYPE, JSON)], body).into_response(),
        Err(problem) => problem.into_response(),
    };
    if let Some(asked) = asked {
        response.extensions_mut().insert(asked);
    }
    response
}

async fn answer(
    service: &Service,
    kind: Kind,
    request: Request,
    deadline: Instant,
    asked: &mut Option<Asked>,
) -> Result<String, Problem> {
    let body = body(service, request, deadline).await?;
    let question = Question::read(kind, &body)?;
    drop(body);
    let most = service.limits.texts;
    if question.items.len() > most {
        let message = format!("{} texts given, at most {most} are taken", question.items.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_texts", message));
    }
    let entry = service.models.find(question.model.as_deref()).ok_or_else(|| {
        let names: Vec<_> = service.models.iter().map(|entry| entry.name.as_str()).collect();
        let message = format!("model: one of {} expected", names.join(", "));
        Problem::new(StatusCode::NOT_FOUND, "model", message)
    })?;
    let texts = question.items.len();
    *asked = Some(Asked { model: entry.name.clone(), texts });
    let model = entry.current();
    let (ask, items) = question.for_model(model.model().config(), service.limits.windows)?;
    let (jobs, replies) = divide(Work { model, ask, items, deadline });
    let full = |_| Problem::queue_full(service.queue.capacity());
    service.queue.push(jobs).map_err(full)?;
    let mut json = String::new();
    for reply in replies {
        let part = match timeout_at(deadline.into(), reply).await {
            Ok(Ok(part)) => part?,
            // A thread gives no answer only if it ends, which it does not while connections are open.
            Ok(Err(_)) => return Err(Problem::internal()),
            Err(_) => return Err(Problem::deadline()),
        };
        let comma = if json.is_empty() { "" } else { "," };
        json = json + comma + &part;
    }
    service.metrics.texts.fetch_add(texts as u64, Relaxed);
    // A name needs no escapes.
    Ok(format!("{{\"model\":\"{}\",\"results\":[{json}]}}\n", entry.name))
}

async fn body(service: &Service, request: Request, deadline: Instant) -> Result<Bytes, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = kind.unwrap_or_default().split(|&byte| byte == b';').next().unwrap_or_default();
    if !kind.trim_ascii().eq_ignore_ascii_case(JSON.as_bytes()) {
        let (status, message) =
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type: application/json expected");
        return Err(Problem::new(status, "content_type", message));
    }
    match timeout_at(deadline.into(), Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("a body has at most {} bytes here", service.limits.body);
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message))
        }
        Ok(Err(error)) => Err(Problem::malformed(error.body_text())),
        Err(_) => {
            let message = "the body did not come within the service's time limit";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "slow", message))
        }
    }
}

async fn ready(State(service): Shared) -> Result<&'static str, Problem> {
    match service.stopping.load(Relaxed) {
        false => Ok("ready\n"),
        true => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "the service is stopping",
        )),
    }
}

async fn models(State(service): Shared) -> impl IntoResponse {
    let all: Vec<Value> =
        service.models.iter().map(|entry| described(entry, &entry.current())).collect();
    ([(header::CONTENT_TYPE, JSON)], format!("{}\n", json!({ "models": all })))
}

fn described(entry: &Entry, loaded: &Loaded) -> Value {
    let (model, history) = (loaded.model(), entry.history());
    let config = model.config();
    json!({
        "name": entry.name,
        "task": task(config.head),
        "labels": model.labels().iter().collect::<Vec<_>>(),
        "tags": model.tags().iter().collect::<Vec<_>>(),
        "max_length": config.max_length,
        "hidden": config.hidden,
        "layers": config.layers,
        "bytes": loaded.bytes,
        "crc32": format!("{:08x}", loaded.crc),
        "loaded": rfc3339(loaded.since),
        "reloads": history.done,
        "failed_reloads": history.failed,
        "last_error": history.error,
    })
}

async fn reload(State(service): Shared, Path(name): Path<String>) -> Response<Body> {
    let known = service.models.find(Some(&name)).is_some();
    if !known {
        let message = "no model has this name";
        return Problem::new(StatusCode::NOT_FOUND, "model", message).into_response();
    }
    // Reading and testing take the time they take; a client that goes away does not stop them.
    let (shared, model) = (Arc::clone(&service), name.clone());
    let done = tokio::task::spawn_blocking(move || reload_logged(&shared, &model)).await;
    match done {
        Ok(Ok(body)) => ([(header::CONTENT_TYPE, JSON)], body).into_response(),
        Ok(Err(error)) => {
            Problem::new(StatusCode::CONFLICT, "reload_failed", error).into_response()
        }
        Err(_) => Problem::internal().into_response(),
    }
}

/// Reloads a model, and says in the log how it went.
///
/// # Errors
/// Why the file was refused, in words.
pub fn reload_logged(service: &Service, name: &str) -> Result<String, String> {
    let entry = service.models.find(Some(name)).ok_or("no model has this name")?;
    let began = Instant::now();
    let outcome = entry.reload();
    let ms = |took: Duration| json!(took.as_micros() as f64 / 1e3);
    match outcome {
        Ok(loaded) => {
            let crc = format!("{:08x}", loaded.crc);
            let took = ms(began.elapsed());
            service
                .log
                .event("reload", [("model", name.into()), ("crc32", crc.into()), ("ms", took)]);
            Ok(format!("{}\n", described(entry, &loaded)))
        }
        Err(error) => {
            let error = format!("{error:#}");
            let fields = [("model", name.into()), ("error", error.as_str().into())];
            service.log.event("reload-failed", fields);
            Err(error)
        }
    }
}
