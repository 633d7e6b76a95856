//! The server: who asks, for what, may they, and then the verb. One tower Service for callers of every kind.

pub(crate) mod bootstrap;
mod paths;

pub use paths::Version;

use crate::admit::{admission::Plugins, strategy_for};
use crate::authenticate::{
    Authenticator, Peer, ServiceAccountTokens, SigningKey, StaticTokens, impersonate,
};
use crate::authorize::{Authorizer, Lookup};
use crate::custom::{self, keeper::Keeper, kinds::Kinds};
use crate::decode::duration;
use crate::decode::options::Query;
use crate::encode::Reply;
use crate::encode::negotiate::{Format, negotiate};
use crate::encode::table::Include;
use crate::encode::warning::Warnings;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::records::{self, Committer, Key, Log, Options, Records};
use crate::relay;
use crate::route::{self, Attributes, Hints, Route};
use crate::verbs::services::Held;
use crate::verbs::{self, Call, shelf};
use api::Status;
use api::status::Details;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Tells the time.
pub type Now = records::Now;

/// Seconds after which a caller may come again when too many requests are being answered.
const CROWDED_RETRY_SECONDS: u32 = 1;

/// How a server is set up.
pub struct Config {
    /// The clock.
    pub now: Now,
    /// Seed of names and uids. Two servers with one seed, clock and order of requests give out the same.
    pub seed: u64,
    /// What clients are told as the server's address, `host:port`.
    pub advertise: String,
    /// Admission plugins.
    pub plugins: Plugins,
    /// Audience of tokens: the service account issuer.
    pub audience: String,
    /// Signs the tokens of service accounts; without it there are none.
    pub signing_key: Option<Arc<SigningKey>>,
    /// Users with a token in a file.
    pub tokens: Option<StaticTokens>,
    /// What `/version` answers.
    pub version: Version,
    /// Longest time a request may take; watches are asked separately. Default 60 s, as upstream.
    pub request_timeout: Duration,
    /// Requests answered at once, watches left out; one more is 429. Default 600, upstream's 400 reading and
    /// 200 writing: at 3 MiB a body that is 1.8 GiB at the very worst, and 2 MiB in practice.
    pub in_flight_max: usize,
    /// How long events are kept. Default one hour.
    pub event_ttl: Duration,
    /// How often an idle watch that asked for bookmarks gets one. Default one minute.
    pub bookmark_interval: Duration,
    /// What objects records keep in history.
    pub limits: records::Limits,
    /// Range of the addresses of Services: its first address and the length of the prefix.
    pub service_range: (IpAddr, u8),
    /// Lowest and highest port of nodes that Services may have.
    pub node_ports: (u16, u16),
    /// Figures of the process's other parts, in the text form of OpenMetrics; shown behind our own at `/metrics`.
    pub figures: Option<Figures>,
    /// What is shown to nodes when logs and streams are passed on; without it they are refused.
    pub kubelet: Option<relay::Kubelet>,
}

/// Writes figures when it is asked for them.
pub type Figures = Arc<dyn Fn() -> String + Send + Sync>;

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("advertise", &self.advertise).finish_non_exhaustive()
    }
}

impl Config {
    /// The defaults, with a clock and a seed.
    pub fn new(now: Now, seed: u64) -> Self {
        Self {
            now,
            seed,
            advertise: "127.0.0.1:6443".to_owned(),
            plugins: Plugins::default(),
            audience: "https://kubernetes.default.svc".to_owned(),
            signing_key: None,
            tokens: None,
            version: Version::default(),
            request_timeout: Duration::from_secs(60),
            in_flight_max: 600,
            event_ttl: Duration::from_secs(60 * 60),
            bookmark_interval: Duration::from_secs(60),
            limits: records::Limits::default(),
            service_range: (IpAddr::from([10, 96, 0, 0]), 16),
            node_ports: (30_000, 32_767),
            figures: None,
            kubelet: None,
        }
    }
}

/// What all requests share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) records: Records,
    pub(crate) authorizer: Authorizer,
    pub(crate) authenticator: Authenticator,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
    pub(crate) relays: relay::Relays,
    chance: Mutex<StdRng>,
    seats: Arc<Semaphore>,
    /// Held while the access rules take in an object, so that they never go back to an older one.
    observing: Mutex<()>,
    /// Addresses and ports of Services that are being written.
    pub(crate) held: Mutex<Held>,
    /// The kinds that definitions describe.
    pub(crate) kinds: Kinds,
    ready: AtomicBool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The API server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    inner: Arc<Inner>,
}

impl Server {
    /// Opens the store in `log` and serves it. The [`Work`] has to run for writes to happen; then call
    /// [`Server::bootstrap`].
    pub fn open(
        mut config: Config,
        log: Box<dyn Log>,
        stop: CancellationToken,
    ) -> Result<(Self, Work), records::OpenError> {
        let ttl = config.event_ttl;
        let options = Options { limits: config.limits, ..Options::new(Arc::clone(&config.now)) };
        let facts_of = |key: &Key, bytes: &[u8]| shelf::facts_of(key, bytes, ttl);
        let (records, committer) = Records::open(log, options, &facts_of)?;
        let lookup: Arc<dyn Lookup> = Arc::new(RecordsLookup(records.clone()));
        let authorizer = Authorizer::new(Arc::clone(&lookup));
        let mut authenticator = Authenticator::new(Arc::clone(&lookup), &config.audience);
        if let Some(key) = &config.signing_key {
            let tokens = ServiceAccountTokens::new(Arc::clone(key), &config.audience, lookup);
            authenticator = authenticator.with_service_accounts(tokens);
        }
        if let Some(tokens) = config.tokens.take() {
            authenticator = authenticator.with(tokens);
        }
        let inner = Inner {
            chance: Mutex::new(StdRng::seed_from_u64(config.seed)),
            seats: Arc::new(Semaphore::new(config.in_flight_max)),
            observing: Mutex::new(()),
            held: Mutex::new(Held::default()),
            kinds: Kinds::default(),
            ready: AtomicBool::new(false),
            relays: relay::Relays::default(),
            metrics: Metrics::default(),
            config,
            records,
            authorizer,
            authenticator,
            stop,
        };
        inner.observe_all();
        let inner = Arc::new(inner);
        let work = Work { committer, keeper: Keeper::new(Arc::clone(&inner)) };
        Ok((Self { inner }, work))
    }

    /// For callers from outside: who they are is found out for each request.
    pub fn router(&self) -> Router {
        self.routed(None)
    }

    /// For a part of this process that acts as `identity`. Rights are checked as for anybody.
    pub fn as_user(&self, identity: Identity) -> Router {
        self.routed(Some(identity))
    }

    /// Writes what must be there from the first start: namespaces, priority classes, roles and bindings. Does
    /// nothing when all is there. From here on `/readyz` is well.
    pub async fn bootstrap(&self) -> Result<(), Status> {
        bootstrap::write(self).await?;
        self.inner.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Writes where this server is reached: the service `kubernetes` in namespace `default` and what is behind it.
    pub async fn publish(&self) -> Result<(), Status> {
        bootstrap::publish(self).await
    }

    /// The objects behind the server.
    pub fn records(&self) -> &Records {
        &self.inner.records
    }

    fn routed(&self, identity: Option<Identity>) -> Router {
        let inner = Arc::clone(&self.inner);
        Router::new().fallback(move |request: Request<Body>| {
            let inner = Arc::clone(&inner);
            let identity = identity.clone();
            async move { inner.answer(request, identity).await }
        })
    }
}

/// What has to run for a [`Server`] to write: the committer, and the keeper of definitions.
#[derive(Debug)]
pub struct Work {
    committer: Committer,
    keeper: Keeper,
}

impl Work {
    /// Runs until `stop`, then writes what still waits and closes the store.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.committer.run(stop.clone()), self.keeper.run(stop));
    }
}

/// What the access rules look up.
#[derive(Debug)]
struct RecordsLookup(Records);

impl Lookup for RecordsLookup {
    fn object(&self, collection: &str, namespace: &str, name: &str) -> Option<Bytes> {
        self.0.get(&Key::new(collection, namespace, name)).map(|record| record.bytes.clone())
    }

    fn node_of_pod(&self, namespace: &str, name: &str) -> Option<String> {
        let record = self.0.get(&Key::new("/pods", namespace, name))?;
        Some(record.facts.fields.get("spec.nodeName").cloned().unwrap_or_default())
    }

    fn pods_of_node(&self, node: &str) -> Vec<(Arc<str>, Bytes)> {
        let query =
            records::Query { field: Some(("spec.nodeName", node)), ..records::Query::all("/pods") };
        let found = self.0.list(&query).map(|snapshot| snapshot.records).unwrap_or_default();
        found
            .iter()
            .map(|record| (Arc::clone(&record.key.namespace), record.bytes.clone()))
            .collect()
    }
}

/// What is said of a request in metrics, and to its sender beside the answer.
#[derive(Default)]
struct Said {
    verb: String,
    resource: &'static str,
    subresource: String,
    warnings: Arc<Warnings>,
}

impl Inner {
    pub(crate) fn now(&self) -> jiff::Timestamp {
        (self.config.now)()
    }

    /// Runs `draw` on the server's source of chance.
    pub(crate) fn chance<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.chance.lock())
    }

    /// Lets the access rules see what is now at a key, before the write is acknowledged.
    pub(crate) fn observe(&self, key: &Key) {
        let _one_at_a_time = self.observing.lock();
        let record = self.records.get(key);
        let bytes = record.as_ref().map(|record| record.bytes.as_ref());
        if &*key.collection == custom::kinds::COLLECTION {
            let read = |record: &records::Record| serde_json::from_slice(&record.bytes).ok();
            let definition: Option<serde_json::Value> = record.as_deref().and_then(read);
            let revision = record.as_ref().map_or(0, |record| record.revision);
            let definition = definition.as_ref().map(|definition| (definition, revision));
            self.kinds.observe(&key.name, definition);
            return;
        }
        if record.is_none()
            && let Some((group, plural)) = key.collection.split_once('/')
            && group.contains('.')
            && self.kinds.now().definition(&format!("{plural}.{group}")).is_some_and(|d| d.going)
        {
            // It may have been the last object that a definition waits for.
            self.kinds.poke.notify_one();
        }
        self.authorizer.observe(&key.collection, &key.namespace, &key.name, bytes);
    }

    fn observe_all(&self) {
        let watched = ["rbac.authorization.k8s.io", "apiextensions.k8s.io"];
        for row in api::resource::ALL.iter().filter(|row| watched.contains(&row.group)) {
            let found = self.records.list(&records::Query::all(row.storage));
            for record in found.map(|snapshot| snapshot.records).unwrap_or_default() {
                self.observe(&record.key);
            }
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Body>,
        identity: Option<Identity>,
    ) -> Response<Body> {
        let began = tokio::time::Instant::now();
        // A refusal is written as the answer would have been; where nothing was agreed on, as JSON.
        let agreed = negotiate(text(request.headers(), header::ACCEPT), false);
        let format = agreed.map_or(Format::Json, |form| form.format);
        let gzip = accepts_gzip(request.headers());
        let mut said = Said::default();
        let outcome = Self::serve(&self, request, identity, &mut said).await;
        let reply = match outcome {
            Ok(Answer::Whole(reply)) => Ok(reply),
            Ok(Answer::Stream(response)) => Err(response),
            Err(status) => Ok(Reply::status(&status, format)),
        };
        let response = match reply {
            // Who is refused learns all the same what was odd about the request.
            Ok(reply) => Reply { warnings: said.warnings.take(), ..reply }.into_response(gzip),
            Err(stream) => stream,
        };
        let code = response.status().as_u16();
        self.metrics.answered(&said.verb, said.resource, &said.subresource, code, began.elapsed());
        response
    }

    async fn serve(
        self: &Arc<Self>,
        request: Request<Body>,
        identity: Option<Identity>,
        said: &mut Said,
    ) -> Result<Answer, Status> {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let hints = Hints::read(query.pairs());
        let kinds = self.kinds.now();
        let find = |group: &str, version: &str, plural: &str| {
            let known = api::resource::by_plural(group, version, plural);
            known.or_else(|| kinds.find(group, version, plural))
        };
        let route = route::route(&parts.method, parts.uri.path(), &hints, find)?;
        let attributes = route.attributes();
        let limit = self.limit(attributes, &query)?;
        let now = self.now();
        let peer = parts.extensions.get::<Peer>();
        let identity = match identity {
            Some(identity) => identity,
            None => self.authenticator.authenticate(peer, &parts.headers, now)?,
        };
        said.verb = attributes.verb.clone().into_owned();
        let identity = impersonate(&self.authorizer, identity, &parts.headers, attributes)?;
        self.authorizer.authorize(&identity, attributes)?;
        let target = match route {
            Route::Path(attributes) => {
                let (path, headers) = (&attributes.path, &parts.headers);
                let paths = paths::Asked { method: &parts.method, path, query: &query, headers };
                return paths.answer(self).map(Answer::Whole);
            }
            Route::Resource(target) => *target,
        };
        let Some(row) = target.row else { return paths::unknown(&target).map(Answer::Whole) };
        if row.custom.is_some()
            && let Some(refused) = custom::refused(&target, row, kinds.going(row))
        {
            return refused.map(Answer::Whole);
        }
        said.resource = row.plural;
        said.subresource.clone_from(&target.attributes.subresource);
        if relay::is_for(&target) {
            let server = Arc::clone(self);
            let asked = relay::Asked { server, identity, target, parts, body };
            return Box::pin(relay::answer(asked)).await.map(Answer::Stream);
        }
        let streams = parts.method == Method::GET && target.name.is_empty();
        let form = negotiate(text(&parts.headers, header::ACCEPT), streams)?;
        let call = Call {
            server: Arc::clone(self),
            identity,
            row,
            strategy: strategy_for(row),
            form,
            include: Include::default(),
            headers: parts.headers,
            now,
            target,
            query,
            warnings: Arc::clone(&said.warnings),
        };
        call.check(&parts.method)?;
        Box::pin(self.run(call, &parts.method, body, limit)).await
    }

    /// Runs the verb within the bounds on time and number; a watch takes a seat only until its first byte.
    async fn run(
        self: &Arc<Self>,
        mut call: Call,
        method: &Method,
        body: Body,
        limit: Duration,
    ) -> Result<Answer, Status> {
        let Ok(_seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            self.metrics.refused();
            let message = "too many requests, please try again later";
            return Err(Status::too_many_requests(message, CROWDED_RETRY_SECONDS));
        };
        let _inside = self.metrics.enter();
        if matches!(call.form.view, crate::encode::negotiate::View::Table(_)) {
            call.include = Include::read(call.query.get("includeObject").unwrap_or_default())?;
        }
        tokio::time::timeout(limit, verbs::run(call, method, body)).await.unwrap_or_else(|_| {
            let message = "Timeout: request did not complete within requested timeout - context deadline exceeded";
            Err(Status::failure(504, "Timeout", message).with_details(Details::default()))
        })
    }

    /// How long a request may take: what it asks for itself, but never longer than the server allows. What lasts
    /// as long as somebody wants it to is not asked.
    fn limit(&self, attributes: &Attributes, query: &Query) -> Result<Duration, Status> {
        let most = self.config.request_timeout;
        let lasts = attributes.verb == "watch"
            || (attributes.is_resource()
                && ["attach", "exec", "log", "portforward", "proxy"]
                    .contains(&attributes.subresource.as_str()));
        let Some(asked) = query.get("timeout").filter(|asked| !lasts && !asked.is_empty()) else {
            return Ok(most);
        };
        let asked = duration::read(asked).map_err(|why| {
            Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
        })?;
        Ok(if asked.is_zero() { most } else { asked.min(most) })
    }

    pub(crate) fn health(&self, endpoint: &str) -> Vec<crate::health::Check> {
        // Nothing keeps lines of the log back, so it cannot hang as upstream's can. What upstream keeps in etcd is
        // in our store: who asks for either is told of it.
        let (ping, log, store) =
            (("ping", Ok(())), ("log", Ok(())), ("store", self.records.health()));
        let mut checks = vec![ping, log, ("etcd", store.1.clone()), store];
        if endpoint == "readyz" {
            let ready = self.ready.load(Ordering::Acquire);
            let done = || if ready { Ok(()) } else { Err("not finished".to_owned()) };
            // Definitions are read when the store is opened; roles and classes are written by the bootstrap.
            checks.push(("poststarthook/crd-informer-synced", Ok(())));
            checks.push(("poststarthook/rbac/bootstrap-roles", done()));
            checks.push(("poststarthook/scheduling/bootstrap-system-priority-classes", done()));
            checks.push(("bootstrap", done()));
            let stopping = self.stop.is_cancelled();
            checks.push(("shutdown", if stopping { Err("under way".to_owned()) } else { Ok(()) }));
        }
        checks
    }
}

/// An answer, whole or as a stream of events.
#[derive(Debug)]
pub(crate) enum Answer {
    /// All there.
    Whole(Reply),
    /// Coming.
    Stream(Response<Body>),
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    text(headers, header::ACCEPT_ENCODING).is_some_and(|value| {
        value.split(',').any(|word| word.trim().split(';').next() == Some("gzip"))
    })
}
