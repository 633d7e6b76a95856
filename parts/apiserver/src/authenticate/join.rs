//! The join token of a server: looked up, and filed as a Secret.

use super::JoinToken;
use super::bootstrap_token::{NAMESPACE, SECRET_PREFIX, holder};
use crate::records::{Key, Records};
use api::Status;
use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode, header};
use tower::ServiceExt;

/// Bytes of an answer that are read; a Secret of a token is below 1 KiB, a Status as well.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Whether a token lets agents in: its Secret is there and says so.
pub fn holds(records: &Records, token: &JoinToken, now: jiff::Timestamp) -> bool {
    let key = Key::new("/secrets", NAMESPACE, format!("{SECRET_PREFIX}{}", token.id));
    records.get(&key).is_some_and(|record| holder(&record.bytes, token, now).is_some())
}

/// Files a token as a Secret. `router` acts as somebody who may create Secrets in kube-system.
pub async fn file(router: Router, token: &JoinToken) -> Result<(), Status> {
    let request = Request::post(format!("/api/v1/namespaces/{NAMESPACE}/secrets"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "pernode-server")
        .body(Body::from(token.secret_object().to_string()))
        .map_err(|fault| Status::internal(&fault.to_string()))?;
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if response.status() == StatusCode::CREATED {
        return Ok(());
    }
    let bytes = axum::body::to_bytes(response.into_body(), ANSWER_BYTES_MAX).await;
    let status = bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Err(status.unwrap_or_else(|| Status::internal("the answer to a create cannot be read")))
}
