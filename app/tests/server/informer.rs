//! An informer of kube-rs over TLS: its cache is what a list shows, whatever happened meanwhile. The same with the
//! official Python client is `app/tests/clients/informer.py`, run by `cargo xtask test`.

use crate::harness::{Place, administrator};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Objects that are made.
const OBJECTS: usize = 40;
/// How long an event may take.
const EVENT_DEADLINE: Duration = Duration::from_secs(60);

fn object(name: &str) -> ConfigMap {
    let text = json!({"metadata": {"name": name, "labels": {"informed": "rust"}}, "data": {"text": "new"}});
    serde_json::from_value(text).unwrap()
}

fn text(map: &ConfigMap) -> String {
    map.data.as_ref().and_then(|data| data.get("text")).cloned().unwrap_or_default()
}

/// Creates, updates in three ways, deletes every third, and ends with an object named `last`.
async fn change(api: Api<ConfigMap>) -> kube::Result<()> {
    let post = PostParams::default();
    for at in 0..OBJECTS {
        api.create(&post, &object(&format!("rs-{at}"))).await?;
    }
    for at in 0..OBJECTS {
        let name = format!("rs-{at}");
        match at % 4 {
            0 => drop(api.delete(&name, &DeleteParams::default()).await?),
            1 => {
                let patch = Patch::Merge(json!({"data": {"text": "patched"}}));
                api.patch(&name, &PatchParams::default(), &patch).await?;
            }
            2 => {
                let mut found = api.get(&name).await?;
                found.data.get_or_insert_default().insert("text".to_owned(), "replaced".to_owned());
                api.replace(&name, &post, &found).await?;
            }
            _ => {
                let mut applied = object(&name);
                applied
                    .data
                    .get_or_insert_default()
                    .insert("text".to_owned(), "applied".to_owned());
                let params = PatchParams::apply("informer").force();
                api.patch(&name, &params, &Patch::Apply(&applied)).await?;
            }
        }
    }
    api.create(&post, &object("last")).await.map(drop)
}

#[tokio::test]
async fn an_informer_of_kube_rs_ends_with_what_a_list_shows() {
    let place = Place::new();
    let _server = place.start();
    let api: Api<ConfigMap> = Api::default_namespaced(administrator(&place).await);
    let config = watcher::Config::default().labels("informed=rust");
    let mut events = watcher::watcher(api.clone(), config).boxed();
    let mut cache: BTreeMap<String, String> = BTreeMap::new();
    let mut changing = tokio::task::JoinSet::new();
    loop {
        let event = tokio::time::timeout(EVENT_DEADLINE, events.try_next()).await;
        let event = event.expect("the watch says nothing").unwrap().expect("it never ends");
        match event {
            Event::Init => cache.clear(),
            Event::InitDone if changing.is_empty() => drop(changing.spawn(change(api.clone()))),
            Event::InitDone => {}
            Event::InitApply(map) | Event::Apply(map) => {
                let is_last = map.name_any() == "last";
                cache.insert(map.name_any(), text(&map));
                if is_last {
                    break;
                }
            }
            Event::Delete(map) => drop(cache.remove(&map.name_any())),
        }
    }
    changing.join_next().await.expect("the first list came").unwrap().unwrap();
    let listed = api.list(&ListParams::default().labels("informed=rust")).await.unwrap();
    let listed: BTreeMap<String, String> =
        listed.iter().map(|map| (map.name_any(), text(map))).collect();
    assert_eq!(cache, listed);
    assert_eq!(cache.len(), OBJECTS - OBJECTS / 4 + 1);
}
