//! Keeps a cache like the server: list, then watch, and again when the watch breaks.

use crate::backoff::Backoff;
use crate::cache::{Cache, Object, Scope, revision_of};
use futures::{AsyncBufReadExt, TryStreamExt};
use http::HeaderValue;
use kube::api::{ListParams, WatchParams};
use kube::core::{ListMeta, Request};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

/// Objects per page of a list: upstream's own number, so that no answer has to be whole in memory twice.
const PAGE_MAX: u32 = 500;
/// Asked for with each watch; the server ends it after this long.
const WATCH_SECONDS: u32 = 290;
/// A watch that the server did not end by then is taken for dead: what was asked for and 15 s of grace.
const WATCH_DEAD: Duration = Duration::from_secs(305);
/// First and longest wait after a failure. Short, so that a restarted server is seen soon.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// What to list and watch, and through whom.
pub(crate) struct Source {
    pub(crate) client: kube::Client,
    pub(crate) request: Request,
    pub(crate) scope: Scope,
    pub(crate) metadata_only: bool,
    pub(crate) keeps_managers: bool,
    pub(crate) salt: u64,
}

impl Source {
    /// An object as it is held. `managedFields` that nobody asks for are cut out before anything is read: they are half
    /// of many an object, and the half that takes longest.
    fn read<K: Object>(&self, object: &str, outline: &Outline<'_>) -> Result<K, kube::Error> {
        let cut = outline.metadata.managed_fields.filter(|_| !self.keeps_managers);
        let lean = cut.map(RawValue::get).and_then(|cut| {
            // a part of the object's text, so its place is the distance between the two
            let at = cut.as_ptr().addr().checked_sub(object.as_ptr().addr())?;
            Some([object.get(..at)?, "null", object.get(at + cut.len()..)?].concat())
        });
        parse(lean.as_deref().unwrap_or(object))
    }
}

/// What is read of an object before the rest.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    resource_version: Option<String>,
    #[serde(borrow)]
    managed_fields: Option<&'a RawValue>,
}

/// One page of a list.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    items: Option<Vec<Box<RawValue>>>,
}

/// One line of a watch.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, kube::Error> {
    serde_json::from_str(text).map_err(kube::Error::SerdeError)
}

/// Runs until dropped.
pub(crate) async fn run<K: Object>(source: Source, cache: Cache<K>) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1, source.salt);
    let mut from: Option<String> = None;
    loop {
        let outcome = match &mut from {
            None => list(&source, &cache).await.map(|revision| {
                from = Some(revision);
                true
            }),
            Some(revision) => watch(&source, &cache, revision).await,
        };
        match outcome {
            Ok(true) => backoff.succeeded(),
            // a server that ends watches before saying anything must not be asked in a tight loop
            Ok(false) => tokio::time::sleep(backoff.failed()).await,
            // expired
            Err(kube::Error::Api(status)) if status.code == 410 => from = None,
            Err(error) => {
                let wait = backoff.failed();
                cache.failed(&error, backoff.failures(), wait);
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Fills the cache and answers the revision to watch from.
async fn list<K: Object>(source: &Source, cache: &Cache<K>) -> Result<String, kube::Error> {
    let mut objects = Vec::new();
    let mut params = ListParams {
        label_selector: source.scope.labels.clone(),
        field_selector: source.scope.fields.clone(),
        limit: Some(PAGE_MAX),
        ..ListParams::default()
    };
    loop {
        let request = if source.metadata_only {
            source.request.list_metadata(&params)
        } else {
            source.request.list(&params)
        };
        let request = request.map_err(kube::Error::BuildRequest)?;
        let page: Page = source.client.request(request).await?;
        for item in page.items.unwrap_or_default() {
            objects.push(source.read(item.get(), &parse(item.get())?)?);
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            let revision = page.metadata.resource_version.unwrap_or_default();
            cache.replace(objects, revision_of(Some(&revision)));
            return Ok(revision);
        }
    }
}

/// Follows changes from `revision` and moves it along. Answers whether the watch was of any use.
async fn watch<K: Object>(
    source: &Source,
    cache: &Cache<K>,
    revision: &mut String,
) -> Result<bool, kube::Error> {
    let params = WatchParams {
        label_selector: source.scope.labels.clone(),
        field_selector: source.scope.fields.clone(),
        timeout: Some(WATCH_SECONDS),
        bookmarks: true,
        send_initial_events: false,
    };
    let request = if source.metadata_only {
        source.request.watch_metadata(&params, revision)
    } else {
        source.request.watch(&params, revision)
    };
    let mut request = request.map_err(kube::Error::BuildRequest)?;
    // a watch is read line by line, and a compressed one cannot be
    request.headers_mut().insert("accept-encoding", HeaderValue::from_static("identity"));
    let started = tokio::time::Instant::now();
    let mut lines = pin!(source.client.request_stream(request).await?.lines());
    let mut useful = false;
    while let Ok(next) = tokio::time::timeout_at(started + WATCH_DEAD, lines.try_next()).await {
        let line = match next {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(kube::Error::ReadEvents(error)),
        };
        let Line { kind, object } = match parse(&line) {
            // cut off with its connection
            Err(kube::Error::SerdeError(error)) if error.is_eof() => break,
            other => other?,
        };
        let object = object.get();
        if kind == "ERROR" {
            return Err(kube::Error::Api(parse(object)?));
        }
        let outline: Outline<'_> = parse(object)?;
        match kind.as_str() {
            "ADDED" | "MODIFIED" => cache.apply(source.read(object, &outline)?),
            "DELETED" => cache.remove(&source.read(object, &outline)?),
            _ => cache.bookmark(revision_of(outline.metadata.resource_version.as_deref())),
        }
        useful = true;
        if let Some(seen) = outline.metadata.resource_version {
            *revision = seen;
        }
    }
    Ok(useful || started.elapsed() >= Duration::from_secs(1))
}
