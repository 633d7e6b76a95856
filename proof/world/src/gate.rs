//! Every request passes here: it is delayed, refused or cut by chance, written on the tape, and shown to the witness.

mod stream;

use crate::witness::Witness;
use apiserver::Server;
use apiserver::identity::Identity;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use kit::Clock;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tower::ServiceExt;

/// Largest body read whole.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A fault of the kind that a server or an engine could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A pod is created twice.
    DoubleCreate,
    /// A watch skips an event.
    LostWatchEvent,
    /// An answer carries an older revision than one before it.
    RevisionBack,
    /// The engine believes that more nodes may be unavailable than the set allows.
    OverBudget,
    /// A pod is created for a node that should have none.
    IneligibleNode,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DoubleCreate,
        Self::LostWatchEvent,
        Self::RevisionBack,
        Self::OverBudget,
        Self::IneligibleNode,
    ];
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Who {
    /// For the tape.
    pub name: String,
    /// For the server.
    pub identity: Identity,
    /// Whether faults concern them.
    pub is_spared: bool,
}

/// What all clients of a run share.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    /// Ends watches. (A `watch` channel would wake them in an order of its own chance.)
    cut: broadcast::Sender<()>,
    clock: Clock,
    start: jiff::Timestamp,
}

struct State {
    server: Option<Server>,
    chance: StdRng,
    is_faulty: bool,
    bug: Option<Bug>,
    tape: Vec<String>,
    witness: Witness,
    changing: usize,
    /// Changes the engine has asked for.
    acts: usize,
    /// Requests that will be answered with an error, each once: who, how the path ends, the code.
    refusals: Vec<(&'static str, &'static str, StatusCode)>,
    /// Until when the engine's watches are held up.
    stalled_until: Option<Instant>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("tape", &self.tape.len()).finish_non_exhaustive()
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What chance has in store for a request.
enum Fate {
    Pass,
    /// Refused before the server saw it.
    Refused,
    /// Carried out, but the answer is lost.
    AnswerLost,
    /// Answered with an error, before the server saw it.
    Answered(StatusCode),
}

impl Gate {
    /// A gate with no server behind it yet.
    pub fn new(seed: u64, clock: Clock, bug: Option<Bug>) -> Arc<Self> {
        let state = State {
            server: None,
            chance: StdRng::seed_from_u64(seed ^ 0x6761_7465),
            is_faulty: true,
            bug,
            tape: Vec::new(),
            witness: Witness::default(),
            changing: 0,
            acts: 0,
            refusals: Vec::new(),
            stalled_until: None,
        };
        let start = clock.now();
        Arc::new(Self { state: Mutex::new(state), cut: broadcast::channel(1).0, clock, start })
    }

    /// A client for somebody.
    pub fn client(self: &Arc<Self>, who: Who) -> kube::Client {
        let gate = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (gate, who) = (Arc::clone(&gate), who.clone());
            async move { gate.pass(&who, request.map(Body::new)).await }
        });
        kube::Client::new(service, "default")
    }

    /// Puts a server behind the gate.
    pub fn open(&self, server: Server) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.witness.reopened(server.records(), now);
        state.server = Some(server);
    }

    /// Takes the server away. Every watch ends.
    pub fn close(&self) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if let Some(server) = state.server.take() {
            let is_sure = state.changing == 0;
            state.witness.closed(server.records(), is_sure, now);
        }
        drop(state);
        self.cut_watches();
    }

    /// Ends every watch.
    pub fn cut_watches(&self) {
        let _nobody = self.cut.send(());
    }

    /// Has the next change that somebody asks for, by how its path ends, answered with this code.
    pub fn refuse(&self, who: &'static str, path_end: &'static str, code: StatusCode) {
        self.state.lock().refusals.push((who, path_end, code));
    }

    /// Holds up what the engine watches.
    pub fn stall(&self, time: Duration) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.stalled_until = Some(Instant::now() + time);
        state.witness.stalled(now);
    }

    /// Ends all faults and bugs of chance.
    pub fn calm(&self) {
        self.state.lock().is_faulty = false;
    }

    /// Writes on the tape.
    pub fn note(&self, line: &str) {
        let at = self.clock.now().duration_since(self.start).as_millis();
        self.state.lock().tape.push(format!("{at:>7} {line}"));
    }

    /// How many lines of the tape have this in them.
    pub fn said(&self, words: &str) -> usize {
        self.state.lock().tape.iter().filter(|line| line.contains(words)).count()
    }

    /// Asks the witness.
    pub fn witness<T>(&self, ask: impl FnOnce(&mut Witness) -> T) -> T {
        ask(&mut self.state.lock().witness)
    }

    /// How many changes the engine has made, events aside.
    pub fn acts(&self) -> usize {
        self.state.lock().acts
    }

    /// The tape and what the witness found wrong.
    pub fn end(&self) -> (Vec<String>, Vec<String>) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.tape), state.witness.faults())
    }

    async fn pass(
        self: Arc<Self>,
        who: &Who,
        request: Request<Body>,
    ) -> Result<Response<Body>, BoxError> {
        let what = format!("{} {} {}", who.name, request.method(), request.uri());
        let is_watch = is_watch(&request);
        let (delay, fate) = self.fate(who, &request, is_watch);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let server = self.state.lock().server.clone();
        let (Some(server), false) = (server, matches!(fate, Fate::Refused)) else {
            self.note(&format!("{what} -> refused"));
            return Err("connection refused".into());
        };
        if let Fate::Answered(code) = fate {
            self.note(&format!("{what} -> {} by chance", code.as_u16()));
            return Ok(error(code));
        }
        if is_watch {
            let response = server.as_user(who.identity.clone()).oneshot(request).await?;
            self.note(&format!("{what} -> {}", response.status().as_u16()));
            if response.status().is_success() {
                return Ok(stream::wrap(self, who, &what, response));
            }
            return Ok(response);
        }
        let response = self.exchange(who, &server, request, &what).await?;
        if matches!(fate, Fate::AnswerLost) {
            self.note(&format!("{what} -> answer lost"));
            return Err("connection reset".into());
        }
        Ok(response)
    }

    /// What happens to a request. Creates are never left in doubt: what a client does then is another story, since a
    /// generated name cannot be asked for again.
    fn fate(&self, who: &Who, request: &Request<Body>, is_watch: bool) -> (Duration, Fate) {
        const SOON: Duration = Duration::from_millis(1);
        let (method, path) = (request.method(), request.uri().path());
        let mut state = self.state.lock();
        let is_meant = |(name, end, _): &(&str, &str, StatusCode)| {
            *name == who.name && method != Method::GET && path.ends_with(end)
        };
        if let Some(at) = state.refusals.iter().position(is_meant) {
            return (SOON, Fate::Answered(state.refusals.remove(at).2));
        }
        if who.is_spared || !state.is_faulty {
            return (SOON, Fate::Pass);
        }
        let chance = &mut state.chance;
        let delay = match chance.random_range(0..100) {
            0 => chance.random_range(500..3000),
            1..=9 => chance.random_range(20..200),
            _ => chance.random_range(1..5),
        };
        let is_change = method != Method::GET;
        let fate = match chance.random_range(0..400) {
            0..=5 => Fate::Refused,
            6..=9 if is_change && method != Method::POST => Fate::AnswerLost,
            10..=29 if is_watch => Fate::Answered(StatusCode::GONE),
            10..=13 if is_change => Fate::Answered(StatusCode::INTERNAL_SERVER_ERROR),
            14..=17 if !is_watch => Fate::Answered(StatusCode::TOO_MANY_REQUESTS),
            // others take it as said: something newer is on its way to them
            18..=25 if is_change && method != Method::POST && who.name == "engine" => {
                Fate::Answered(StatusCode::CONFLICT)
            }
            _ => Fate::Pass,
        };
        (Duration::from_millis(delay), fate)
    }

    /// One request with a whole answer, bugs included.
    async fn exchange(
        &self,
        who: &Who,
        server: &Server,
        request: Request<Body>,
        what: &str,
    ) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let changes = parts.method != Method::GET;
        let mut body = axum::body::to_bytes(body, BODY_BYTES_MAX).await?.to_vec();
        let is_create = parts.method == Method::POST && parts.uri.path().ends_with("/pods");
        let is_engines = who.name == "engine";
        if is_create && is_engines && self.has(Bug::IneligibleNode) {
            self.misplace(&mut body);
        }
        let twice = is_create && is_engines && self.take(Bug::DoubleCreate);
        let mut answer = None;
        for _ in 0..if twice { 2 } else { 1 } {
            let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
            let before = changes.then(|| Changing::begin(self));
            let begun = self.state.lock().witness.answers();
            let response = server.as_user(who.identity.clone()).oneshot(request).await?;
            let (head, bytes) = response.into_parts();
            let bytes = axum::body::to_bytes(bytes, BODY_BYTES_MAX).await?;
            drop(before);
            self.note(&format!("{what} -> {}", head.status.as_u16()));
            let mut bytes = bytes.to_vec();
            if changes && head.status.is_success() {
                self.show(who, (&parts, begun), server, &mut bytes);
            }
            if is_engines && parts.uri.path().contains("/daemonsets") && self.has(Bug::OverBudget) {
                bytes = stream::generous(&bytes);
            }
            answer = Some(Response::from_parts(head, Body::from(bytes)));
        }
        answer.ok_or_else(|| "no answer".into())
    }

    /// Lets the witness look at what an acknowledged change has made of the store, and at the answer.
    fn show(
        &self,
        who: &Who,
        (parts, begun): (&http::request::Parts, u64),
        server: &Server,
        bytes: &mut Vec<u8>,
    ) {
        let now = self.clock.now();
        let mut answer: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let mut state = self.state.lock();
        let is_update = parts.method == Method::PUT || parts.method == Method::PATCH;
        if state.bug == Some(Bug::RevisionBack)
            && is_update
            && state.witness.may_go_back(&answer, begun)
        {
            state.bug = None;
            answer["metadata"]["resourceVersion"] = json!("1");
            *bytes = serde_json::to_vec(&answer).unwrap_or_default();
        }
        let is_act = who.name == "engine" && !parts.uri.path().contains("/events");
        state.acts += usize::from(is_act);
        let act = is_act.then_some((&parts.method, parts.uri.path()));
        state.witness.saw(server.records(), act, (&answer, begun), now);
    }

    fn has(&self, bug: Bug) -> bool {
        self.state.lock().bug == Some(bug)
    }

    /// Whether the bug is planted; it shows once.
    fn take(&self, bug: Bug) -> bool {
        let mut state = self.state.lock();
        let is_it = state.bug == Some(bug);
        if is_it {
            state.bug = None;
        }
        is_it
    }

    /// Aims the pod of the set `zoned` at the first node, which is in another zone.
    fn misplace(&self, body: &mut Vec<u8>) {
        let mut pod: Value = serde_json::from_slice(body).unwrap_or_default();
        if pod["metadata"]["labels"]["app"] == "zoned" {
            let affinity = &mut pod["spec"]["affinity"]["nodeAffinity"];
            let required = &mut affinity["requiredDuringSchedulingIgnoredDuringExecution"];
            self.state.lock().bug = None;
            required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0] = json!("node-0");
            *body = serde_json::to_vec(&pod).unwrap_or_default();
        }
    }
}

/// Counts requests that may have changed something without saying so yet.
struct Changing<'a>(&'a Gate);

impl<'a> Changing<'a> {
    fn begin(gate: &'a Gate) -> Self {
        gate.state.lock().changing += 1;
        Self(gate)
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.state.lock().changing -= 1;
    }
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == "watch=1" || pair == "watch=true")
}

/// An error as the server would word it.
fn error(code: StatusCode) -> Response<Body> {
    let (reason, message) = match code {
        StatusCode::GONE => ("Expired", "too old resource version"),
        StatusCode::CONFLICT => ("Conflict", "the object has been modified"),
        StatusCode::TOO_MANY_REQUESTS => ("TooManyRequests", "the server has too much to do"),
        _ => ("InternalError", "an error on the server"),
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code.as_u16(), "reason": reason, "message": message,
    });
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    if code == StatusCode::TOO_MANY_REQUESTS {
        headers.insert("retry-after", http::HeaderValue::from_static("1"));
    }
    response
}
