//! Caches and events against a server that answers from a script.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, also in what it shares")]

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use k8s_openapi::api::core::v1::ConfigMap;
use kit::{Caches, Change, Clock, Events, Key, Note, Setup, reference};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

type Body = UnsyncBoxBody<Bytes, Infallible>;

enum Reply {
    /// One answer with a status.
    Json(u16, Value),
    /// Lines after delays in milliseconds; the stream then stays open if `open`.
    Lines { lines: Vec<(u64, Value)>, open: bool },
}

/// What was asked, when (in milliseconds), with what body.
type Asked = Arc<Mutex<Vec<(u64, String, Value)>>>;

fn setup() -> Setup {
    Setup::new(Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()), 0)
}

fn body(chunks: impl futures::Stream<Item = Bytes> + Send + 'static) -> Body {
    let frames = chunks.map(|chunk| Ok(http_body::Frame::data(chunk)));
    UnsyncBoxBody::new(StreamBody::new(frames))
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

/// A client of a server that gives these replies one after another, and then none.
fn server(script: Vec<Reply>) -> (kube::Client, Asked) {
    let asked = Asked::default();
    let (log, started) = (Arc::clone(&asked), Instant::now());
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (log, script) = (Arc::clone(&log), Arc::clone(&script));
        async move {
            let at = u64::try_from(started.elapsed().as_millis()).unwrap();
            let what = format!("{} {}", request.method(), request.uri());
            let sent = request.into_body().collect().await.unwrap().to_bytes();
            log.lock().push((at, what, serde_json::from_slice(&sent).unwrap_or_default()));
            let reply = script.lock().pop_front();
            let (status, body) = match reply {
                None => std::future::pending().await,
                Some(Reply::Json(status, value)) => {
                    (status, body(futures::stream::iter([line(&value)])))
                }
                Some(Reply::Lines { lines, open }) => {
                    let lines = futures::stream::iter(lines).then(|(wait, value)| async move {
                        tokio::time::sleep(Duration::from_millis(wait)).await;
                        line(&value)
                    });
                    let rest = futures::stream::pending().take(usize::from(open));
                    (200, body(lines.chain(rest)))
                }
            };
            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
        }
    });
    (kube::Client::new(service, "default"), asked)
}

fn map(name: &str, revision: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": name, "namespace": "d", "uid": name, "resourceVersion": revision.to_string()}})
}

fn list(revision: u64, items: &[Value]) -> Reply {
    let metadata = json!({"resourceVersion": revision.to_string()});
    Reply::Json(200, json!({"kind": "ConfigMapList", "metadata": metadata, "items": items}))
}

fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

fn bookmark(revision: u64) -> Value {
    let metadata = json!({"resourceVersion": revision.to_string()});
    event("BOOKMARK", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason})
}

fn shown(change: &Change<ConfigMap>) -> String {
    let name = |object: &ConfigMap| {
        let meta = &object.metadata;
        format!("{}@{}", meta.name.as_deref().unwrap(), meta.resource_version.as_deref().unwrap())
    };
    match change {
        Change::Applied { old: None, new } => format!("+{}", name(new)),
        Change::Applied { old: Some(old), new } => format!("{}>{}", name(old), name(new)),
        Change::Deleted(old) => format!("-{}", name(old)),
        Change::Resync => "resync".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_follows_list_and_watch_and_lists_again_when_its_revision_is_too_old() {
    let first = Reply::Lines {
        lines: vec![
            (1000, event("ADDED", map("b", 6))),
            (1000, event("MODIFIED", map("a", 7))),
            (1000, bookmark(9)),
        ],
        open: false,
    };
    let expired =
        Reply::Lines { lines: vec![(0, event("ERROR", failure(410, "Expired")))], open: false };
    let last = Reply::Lines { lines: vec![(500, event("DELETED", map("c", 13)))], open: true };
    let second = list(12, &[map("b", 6), map("c", 11)]);
    let (client, asked) = server(vec![list(5, &[map("a", 4)]), first, expired, second, last]);
    let setup = setup();
    let caches = Caches::new(client, &setup);
    let cache = caches.of::<ConfigMap>();
    let mut changes = cache.subscribe();
    let mut seen = Vec::new();
    while seen.len() < 6 {
        seen.push(shown(&changes.next().await));
    }
    assert_eq!(seen, ["resync", "+b@6", "a@4>a@7", "+c@11", "-a@7", "-c@11"]);
    assert_eq!(cache.revision(), 13);
    assert_eq!(cache.list().len(), 1);
    assert!(cache.find("d", "b").is_some());
    let versions: Vec<_> = asked.lock().iter().map(|(at, what, _)| (*at, version(what))).collect();
    assert_eq!(
        versions,
        [
            (0, None),
            (0, Some("5".into())),
            (3000, Some("9".into())),
            (3000, None),
            (3000, Some("12".into()))
        ]
    );
    assert!(
        Arc::ptr_eq(&caches.of::<ConfigMap>().list()[0], &cache.list()[0]),
        "one cache per kind"
    );
}

fn version(what: &str) -> Option<String> {
    let (_, rest) = what.split_once("resourceVersion=")?;
    Some(rest.split('&').next().unwrap().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_asked_again_ever_more_slowly() {
    let down = || Reply::Json(503, failure(503, "ServiceUnavailable"));
    let (client, asked) = server(vec![down(), down(), down(), list(1, &[])]);
    let setup = setup();
    let cache = Caches::new(client, &setup).of::<ConfigMap>();
    cache.synced().await;
    let times: Vec<u64> = asked.lock().iter().map(|(at, ..)| *at).collect();
    assert_eq!(times[..4], [0, 50, 150, 350]);
    assert!(
        setup.metrics.encode().contains("pernode_cache_failures_total{name=\"v1/configmaps\"} 3")
    );
}

#[tokio::test(start_paused = true)]
async fn who_wrote_what_is_held_only_where_it_was_asked_for() {
    for wanted in [false, true] {
        let written = |name: &str, revision: u64| {
            let mut map = map(name, revision);
            map["metadata"]["managedFields"] =
                json!([{"manager": "someone", "operation": "Update"}]);
            map
        };
        let news = Reply::Lines { lines: vec![(10, event("ADDED", written("b", 2)))], open: true };
        let (client, _) = server(vec![list(1, &[written("a", 1)]), news]);
        let setup = setup();
        let caches = Caches::new(client, &setup);
        let caches = if wanted { caches.with_managers() } else { caches };
        let cache = caches.of::<ConfigMap>();
        cache.reached(2).await;
        for name in ["a", "b"] {
            let map = cache.find("d", name).unwrap();
            assert_eq!(map.metadata.managed_fields.is_some(), wanted, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_in_pages_is_one_list() {
    let mut page =
        json!({"metadata": {"resourceVersion": "8", "continue": "next"}, "items": [map("a", 1)]});
    page["kind"] = json!("ConfigMapList");
    let (client, asked) = server(vec![Reply::Json(200, page), list(8, &[map("b", 2)])]);
    let cache = Caches::new(client, &setup()).of::<ConfigMap>();
    cache.synced().await;
    let names: Vec<_> = cache.list().iter().map(|map| Key::of(map.as_ref()).to_string()).collect();
    assert_eq!(names, ["d/a", "d/b"]);
    assert!(asked.lock()[1].1.contains("continue=next"));
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_falls_behind_looks_again_and_then_follows() {
    let setup = setup();
    let object = |n: u64| serde_json::from_value::<ConfigMap>(map(&n.to_string(), n)).unwrap();
    let cache = kit::Cache::fixed(&setup, []);
    let mut changes = cache.subscribe();
    assert_eq!(shown(&changes.next().await), "resync");
    let many = u64::try_from(kit::cache::CHANGES_BEHIND_MAX).unwrap() + 10;
    (0..many).for_each(|n| cache.apply(object(n)));
    assert_eq!(shown(&changes.next().await), "resync");
    cache.apply(object(many));
    assert_eq!(shown(&changes.next().await), format!("+{many}@{many}"));
    assert!(setup.metrics.encode().contains("pernode_cache_lags_total{name=\"fixed\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn equal_events_are_one_object_with_a_count_and_nobody_waits() {
    let ok = || Reply::Json(200, json!({"metadata": {}, "involvedObject": {}}));
    let gone = Reply::Json(404, failure(404, "NotFound"));
    let (client, asked) = server(vec![ok(), ok(), gone, ok()]);
    let setup = setup();
    let events = Events::start(client, &setup, "tester", "");
    let object: ConfigMap = serde_json::from_value(map("a", 1)).unwrap();
    for _ in 0..3 {
        events.publish(Note::normal(reference(&object), "Tested", "once".to_owned()));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let asked: Vec<_> = asked.lock().clone();
    let name = asked[0].2["metadata"]["name"].as_str().unwrap().to_owned();
    let url = "/api/v1/namespaces/d/events";
    let verbs: Vec<_> = asked
        .iter()
        .map(|(_, what, body)| (what.trim_end_matches('?').to_owned(), body["count"].clone()))
        .collect();
    assert_eq!(
        verbs,
        [
            (format!("POST {url}"), json!(1)),
            (format!("PATCH {url}/{name}"), json!(2)),
            (format!("PATCH {url}/{name}"), json!(3)),
            (format!("POST {url}"), json!(1)),
        ]
    );
    // a server that hangs holds up nobody: the queue fills, the rest is dropped and counted
    for n in 0..2 * kit::events::WAITING_MAX {
        events.publish(Note::normal(reference(&object), "Tested", n.to_string()));
    }
    assert!(setup.metrics.encode().contains("pernode_events_dropped_total{name=\"tester\"} 1000"));
}
