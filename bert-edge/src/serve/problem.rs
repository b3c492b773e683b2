//! What is answered where there is no answer.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::json;

/// Seconds after which a refused request is worth another try: the queue is worked off by then.
const RETRY_SECONDS: u32 = 1;

/// An error as clients see it; the layer around all routes writes it out, with the request's id.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Status of the response.
    pub status: StatusCode,
    /// A word for programs, which stays.
    pub code: &'static str,
    /// A sentence for people, which may change.
    pub message: String,
}

impl Problem {
    /// A problem of the request.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Problem { status, code, message: message.into() }
    }

    /// A body that cannot be understood.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// A question that this model does not answer.
    pub fn unfit(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unfit", message)
    }

    /// The texts do not fit the queue now.
    pub fn queue_full(capacity: usize) -> Self {
        let message = format!("{capacity} texts may wait, and no more fit now: try again later");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message)
    }

    /// The answer did not come in time.
    pub fn deadline() -> Self {
        let message = "no answer within the service's time limit: try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "deadline", message)
    }

    /// A defect of ours.
    pub fn internal() -> Self {
        let message = "the service failed; its log has the request's id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// The response's body and headers.
    pub fn write(&self, id: &str) -> Response<Body> {
        let error = json!({ "code": self.code, "message": self.message, "request_id": id });
        let body = Body::from(json!({ "error": error }).to_string());
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_SECONDS.into());
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

/// Carried as an extension until the layer around all routes writes it out.
impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}
