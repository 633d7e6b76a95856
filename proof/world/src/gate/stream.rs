//! Watches: each event a line, delayed now and then, never out of order, until the stream is cut.

use super::{Bug, Gate, Who};
use axum::body::{Body, BodyDataStream, Bytes};
use futures::StreamExt;
use http::Response;
use rand::Rng;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// One watch under way.
struct Stream {
    gate: Arc<Gate>,
    data: BodyDataStream,
    cut: broadcast::Receiver<()>,
    rest: Vec<u8>,
    lines: VecDeque<Vec<u8>>,
    what: String,
    is_engines: bool,
    is_spared: bool,
    /// The collection and the last revision, where the whole collection is watched.
    seen: Option<(String, Option<u64>)>,
}

/// Puts faults and checks around the answer of a watch.
pub(super) fn wrap(
    gate: Arc<Gate>,
    who: &Who,
    what: &str,
    response: Response<Body>,
) -> Response<Body> {
    let (head, body) = response.into_parts();
    let stream = Stream {
        cut: gate.cut.subscribe(),
        gate,
        data: body.into_data_stream(),
        rest: Vec::new(),
        lines: VecDeque::new(),
        is_engines: who.name == "engine",
        is_spared: who.is_spared,
        seen: whole(what),
        what: what.to_owned(),
    };
    let stream = futures::stream::unfold(stream, |mut stream| async move {
        let next = stream.next().await?;
        Some((next, stream))
    });
    Response::from_parts(head, Body::from_stream(stream))
}

impl Stream {
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                if !self.cut.is_empty() || self.wait().await.is_err() {
                    return Some(Err(std::io::Error::other("cut")));
                }
                match self.check(line) {
                    Some(line) => return Some(Ok(line.into())),
                    None => continue,
                }
            }
            tokio::select! {
                biased;
                _ = self.cut.recv() => return Some(Err(std::io::Error::other("cut"))),
                data = self.data.next() => match data? {
                    Ok(bytes) => self.take(&bytes),
                    Err(error) => return Some(Err(std::io::Error::other(error))),
                },
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            self.lines.push_back(self.rest.drain(..=end).collect());
        }
    }

    /// A line in hundred is held up for seconds, and with it all that follow; the engine's all while it is stalled.
    async fn wait(&mut self) -> Result<(), ()> {
        let until = {
            let mut state = self.gate.state.lock();
            if self.is_spared || !state.is_faulty {
                return Ok(());
            }
            let wait = match state.chance.random_range(0..100) {
                0 => state.chance.random_range(500..5000),
                1..=9 => state.chance.random_range(5..100),
                _ => 0,
            };
            let now = Instant::now();
            let stalled = state.stalled_until.filter(|until| self.is_engines && *until > now);
            match (wait, stalled) {
                (0, None) => return Ok(()),
                (wait, stalled) => stalled.unwrap_or(now) + Duration::from_millis(wait),
            }
        };
        tokio::select! {
            biased;
            _ = self.cut.recv() => Err(()),
            () = tokio::time::sleep_until(until) => Ok(()),
        }
    }

    /// Shows the event to the witness as the client will see it.
    fn check(&mut self, mut line: Vec<u8>) -> Option<Vec<u8>> {
        let event: Value = serde_json::from_slice(&line).unwrap_or_default();
        let meta = &event["object"]["metadata"];
        let kind = event["type"].as_str().unwrap_or_default();
        let revision = meta["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
        let name = meta["name"].as_str().unwrap_or_default();
        self.gate.note(&format!("  {} {kind} {name} {}", self.what, revision.unwrap_or(0)));
        let mut state = self.gate.state.lock();
        let is_whole = self.seen.is_some();
        if state.bug == Some(Bug::LostWatchEvent)
            && self.is_engines
            && is_whole
            && kind == "MODIFIED"
        {
            // once is enough
            state.bug = None;
            return None;
        }
        if let (Some((collection, last)), Some(revision)) = (&mut self.seen, revision) {
            state.witness.delivered(collection, *last, revision, kind == "BOOKMARK");
            *last = Some(revision);
        }
        if state.bug == Some(Bug::OverBudget)
            && self.is_engines
            && self.what.contains("/daemonsets")
        {
            line = generous(&line);
        }
        Some(line)
    }
}

/// The collection of a watch without selectors, and the revision it starts from.
fn whole(what: &str) -> Option<(String, Option<u64>)> {
    let uri = what.rsplit(' ').next()?;
    let (path, query) = uri.split_once('?')?;
    if query.contains("Selector") {
        return None;
    }
    let collection = match path {
        "/api/v1/pods" => "/pods",
        "/api/v1/nodes" => "/nodes",
        "/apis/apps/v1/daemonsets" => "apps/daemonsets",
        _ => return None,
    };
    let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
    Some((collection.to_owned(), from.and_then(|text| text.parse().ok()).filter(|from| *from > 0)))
}

/// The same bytes with a larger budget.
pub(super) fn generous(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    ["1", "2"]
        .iter()
        .fold(text.into_owned(), |text, found| {
            text.replace(&format!("\"maxUnavailable\":{found}"), "\"maxUnavailable\":4")
        })
        .into_bytes()
}
