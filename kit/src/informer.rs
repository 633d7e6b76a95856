//! Keeps a cache like the server: list, then watch, and again when the watch breaks.

use crate::backoff::Backoff;
use crate::cache::{Cache, Object, Scope, revision_of};
use futures::TryStreamExt;
use kube::api::{ListParams, WatchParams};
use kube::core::{ListMeta, Request, WatchEvent};
use serde::Deserialize;
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
    /// An object as it is held.
    fn trimmed<K: Object>(&self, mut object: K) -> K {
        if !self.keeps_managers {
            object.meta_mut().managed_fields = None;
        }
        object
    }
}

/// One page of a list.
#[derive(Deserialize)]
struct Page<K> {
    #[serde(default)]
    metadata: ListMeta,
    items: Option<Vec<K>>,
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
            Err(error) if expired(&error) => from = None,
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
        let page: Page<K> = source.client.request(request).await?;
        let items = page.items.unwrap_or_default().into_iter();
        objects.extend(items.map(|object| source.trimmed(object)));
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
    let request = request.map_err(kube::Error::BuildRequest)?;
    let started = tokio::time::Instant::now();
    let events = source.client.request_events::<K>(request).await?;
    let mut events = pin!(events);
    let mut useful = false;
    while let Ok(next) = tokio::time::timeout_at(started + WATCH_DEAD, events.try_next()).await {
        let Some(event) = next? else { break };
        let seen = match &event {
            WatchEvent::Added(object)
            | WatchEvent::Modified(object)
            | WatchEvent::Deleted(object) => object.meta().resource_version.clone(),
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version.clone()),
            WatchEvent::Error(_) => None,
        };
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                cache.apply(source.trimmed(object));
            }
            WatchEvent::Deleted(object) => cache.remove(&object),
            WatchEvent::Bookmark(bookmark) => {
                cache.bookmark(revision_of(Some(&bookmark.metadata.resource_version)));
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
        useful = true;
        if let Some(seen) = seen {
            *revision = seen;
        }
    }
    Ok(useful || started.elapsed() >= Duration::from_secs(1))
}

fn expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}
