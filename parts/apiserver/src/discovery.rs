//! What is served, as clients ask for it: `/api`, `/apis`, groups, versions, and the aggregated form that needs
//! two requests only. Made from the table of resources.

use crate::encode::Reply;
use api::resource::{ALL, Resource, Subresource};
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, VARY};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// The media type of the aggregated form.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The documents of the table alone, made once.
static TABLE: LazyLock<Catalog> = LazyLock::new(|| Catalog::with(&[], &[]));

/// Verbs of a custom kind, in the order upstream lists them.
const CUSTOM_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// Verbs of a custom kind whose definition is being deleted.
const GOING_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];

/// All documents of what is served.
#[derive(Debug)]
pub struct Catalog {
    documents: BTreeMap<String, Bytes>,
    core: Tagged,
    groups: Tagged,
}

/// A document and the tag by which clients know it again.
#[derive(Debug)]
struct Tagged {
    body: Bytes,
    etag: String,
}

impl Tagged {
    fn of(document: &Value) -> Self {
        let body = bytes(document);
        Self { etag: crate::openapi::digest(&body), body }
    }
}

/// What documents are made from.
struct Maker {
    /// Rows by group and version, in the order in which they came.
    groups: IndexMap<&'static str, IndexMap<&'static str, Vec<&'static Resource>>>,
    /// Names of the kinds, by group, of which nothing new may be made.
    going: BTreeSet<(&'static str, &'static str, &'static str)>,
}

/// The answer for a discovery path (without a slash at its end); `None` for every other path, also for versions and
/// groups that are not served. `accept` is the request's header; only `/api` and `/apis` look at it, and at
/// `known`, which is `If-None-Match`. An `accept` that asks for nothing we have is the caller's to refuse: see
/// [`acceptable`].
pub fn answer(path: &str, accept: Option<&str>, known: Option<&str>) -> Option<Reply> {
    TABLE.answer(path, accept, known)
}

/// The paths of the table's documents.
pub fn paths() -> Vec<String> {
    TABLE.paths()
}

impl Catalog {
    /// The paths of the documents.
    pub fn paths(&self) -> Vec<String> {
        self.documents.keys().cloned().collect()
    }

    /// Documents of the table and of custom kinds, which come in the order given; of those `going` nothing new may be
    /// made.
    pub fn with(custom: &[&'static Resource], going: &[&'static Resource]) -> Self {
        let mut groups: IndexMap<_, IndexMap<_, Vec<_>>> = IndexMap::new();
        for row in ALL.iter().chain(custom.iter().copied()) {
            groups.entry(row.group).or_default().entry(row.version).or_default().push(row);
        }
        let going = going.iter().map(|row| (row.group, row.version, row.plural)).collect();
        let maker = Maker { groups, going };
        Self {
            documents: maker.documents(),
            core: Tagged::of(&maker.aggregated(true)),
            groups: Tagged::of(&maker.aggregated(false)),
        }
    }

    /// The same as [`answer`], of these documents.
    pub fn answer(&self, path: &str, accept: Option<&str>, known: Option<&str>) -> Option<Reply> {
        let path = path.trim_end_matches('/');
        if matches!(path, "/api" | "/apis") && chosen(accept) == Some(Form::Aggregated) {
            let document = if path == "/api" { &self.core } else { &self.groups };
            let reply = Reply::json(200, document.body.clone());
            let reply = Reply { content_type: AGGREGATED, ..reply }.tagged(&document.etag, known);
            return Some(
                reply
                    .with_header(VARY, HeaderValue::from_static("Accept"))
                    .with_header(CACHE_CONTROL, HeaderValue::from_static("public")),
            );
        }
        self.documents.get(path).map(|body| Reply::json(200, body.clone()))
    }
}

/// Whether any form of `/api` and `/apis` satisfies the header; 406 if not.
pub fn acceptable(accept: Option<&str>) -> bool {
    chosen(accept).is_some()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Aggregated,
}

/// The first range of the header that we can serve. Weights are not looked at: clients list by preference.
fn chosen(accept: Option<&str>) -> Option<Form> {
    let Some(accept) = accept.filter(|text| !text.trim().is_empty()) else {
        return Some(Form::Plain);
    };
    accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let parameters: BTreeMap<&str, &str> =
            parts.filter_map(|part| part.split_once('=')).collect();
        if !matches!(essence, "application/json" | "application/*" | "*/*") {
            return None;
        }
        let told = |key: &str| parameters.get(key).copied();
        match (told("g"), told("v"), told("as")) {
            (None, None, None) => Some(Form::Plain),
            (Some("apidiscovery.k8s.io"), Some("v2"), Some("APIGroupDiscoveryList")) => {
                Some(Form::Aggregated)
            }
            _ => None,
        }
    })
}

fn bytes(document: &Value) -> Bytes {
    Bytes::from(document.to_string())
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

impl Maker {
    fn documents(&self) -> BTreeMap<String, Bytes> {
        let mut found = BTreeMap::new();
        let core: Vec<&str> = self.versions("").map(|(version, _)| version).collect();
        let addresses = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]);
        found.insert(
            "/api".to_owned(),
            json!({"kind": "APIVersions", "versions": core, "serverAddressByClientCIDRs": addresses}),
        );
        let mut groups: Vec<Value> = Vec::new();
        for name in self.group_names() {
            let group = self.group_entry(name);
            let mut alone = group.clone();
            if let Some(fields) = alone.as_object_mut() {
                fields.insert("kind".into(), "APIGroup".into());
                fields.insert("apiVersion".into(), "v1".into());
            }
            found.insert(format!("/apis/{name}"), alone);
            groups.push(group);
        }
        let list = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups});
        found.insert("/apis".to_owned(), list);
        let all = self.groups.iter().flat_map(|(group, versions)| {
            versions.iter().map(|(version, rows)| (*group, *version, rows))
        });
        for (group, version, rows) in all {
            let prefix = if group.is_empty() { "/api" } else { "/apis" };
            let mut list = json!({
                "kind": "APIResourceList",
                "groupVersion": api_version(group, version),
                "resources": self.resources(rows),
            });
            // Upstream's core list has no apiVersion of its own, for clients older than the field.
            if let (Some(fields), false) = (list.as_object_mut(), group.is_empty()) {
                fields.insert("apiVersion".into(), "v1".into());
            }
            found.insert(format!("{prefix}/{}", api_version(group, version)), list);
        }
        found.into_iter().map(|(path, document)| (path, bytes(&document))).collect()
    }

    /// Named groups in the order of the rows.
    fn group_names(&self) -> impl Iterator<Item = &'static str> {
        self.groups.keys().copied().filter(|group| !group.is_empty())
    }

    /// The versions of a group and their rows, in the order of the rows.
    fn versions(&self, group: &str) -> impl Iterator<Item = (&'static str, &[&'static Resource])> {
        let all = self.groups.get(group).into_iter().flatten();
        all.map(|(version, rows)| (*version, rows.as_slice()))
    }

    fn group_entry(&self, name: &str) -> Value {
        let versions: Vec<Value> = self
            .versions(name)
            .map(|(version, _)| {
                json!({"groupVersion": api_version(name, version), "version": version})
            })
            .collect();
        json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
    }

    fn verbs(&self, row: &'static Resource) -> &'static [&'static str] {
        match row.custom {
            None => row.verbs,
            Some(_) if self.going.contains(&(row.group, row.version, row.plural)) => GOING_VERBS,
            Some(_) => CUSTOM_VERBS,
        }
    }

    /// Entries sorted by name, each resource followed by what is below it.
    fn resources(&self, rows: &[&'static Resource]) -> Vec<Value> {
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        for row in rows.iter().copied() {
            let mut entry = json!({
                "name": row.plural,
                "singularName": row.singular,
                "namespaced": row.namespaced,
                "kind": row.kind,
                "verbs": self.verbs(row),
            });
            if let Some(fields) = entry.as_object_mut() {
                add_names(fields, row);
                if !row.storage_version_hash.is_empty() {
                    fields.insert("storageVersionHash".into(), row.storage_version_hash.into());
                }
            }
            found.insert(row.plural.to_owned(), entry);
            for below in row.subresources {
                let name = format!("{}/{}", row.plural, below.name);
                found.insert(name.clone(), subresource(&name, row, below));
            }
        }
        found.into_values().collect()
    }

    fn aggregated(&self, core: bool) -> Value {
        let names: Vec<&str> = if core { vec![""] } else { self.group_names().collect() };
        let items: Vec<Value> = names.into_iter().map(|name| self.aggregated_group(name)).collect();
        json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": items,
        })
    }

    fn aggregated_group(&self, name: &str) -> Value {
        let versions: Vec<Value> = self
            .versions(name)
            .map(|(version, rows)| {
                let mut listed = rows.to_vec();
                listed.sort_by_key(|row| row.plural);
                let listed: Vec<Value> =
                    listed.into_iter().map(|row| self.aggregated_resource(row)).collect();
                json!({"version": version, "resources": listed, "freshness": "Current"})
            })
            .collect();
        let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
        json!({"metadata": metadata, "versions": versions})
    }

    fn aggregated_resource(&self, row: &'static Resource) -> Value {
        let kind = |group_version: Option<(&str, &str)>, kind: &str| {
            // Upstream leaves group and version empty where they are those around it, but for custom kinds.
            let around = row.custom.map(|_| (row.group, row.version)).unwrap_or_default();
            let (group, version) = group_version.unwrap_or(around);
            json!({"group": group, "version": version, "kind": kind})
        };
        let mut entry = json!({
            "resource": row.plural,
            "responseKind": kind(None, row.kind),
            "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": row.singular,
            "verbs": self.verbs(row),
        });
        if let Some(fields) = entry.as_object_mut() {
            add_names(fields, row);
            if !row.subresources.is_empty() {
                let below: Vec<Value> = row
                    .subresources
                    .iter()
                    .map(|below| {
                        json!({
                            "subresource": below.name,
                            "responseKind": kind(below.group_version, below.kind),
                            "verbs": below.verbs,
                        })
                    })
                    .collect();
                fields.insert("subresources".into(), below.into());
            }
        }
        entry
    }
}

fn add_names(fields: &mut Map<String, Value>, row: &Resource) {
    if !row.short_names.is_empty() {
        fields.insert("shortNames".into(), row.short_names.into());
    }
    if !row.categories.is_empty() {
        fields.insert("categories".into(), row.categories.into());
    }
}

fn subresource(name: &str, row: &Resource, below: &Subresource) -> Value {
    let mut entry = json!({
        "name": name,
        "singularName": "",
        "namespaced": row.namespaced,
        "kind": below.kind,
        "verbs": below.verbs,
    });
    if let (Some((group, version)), Some(fields)) = (below.group_version, entry.as_object_mut()) {
        fields.insert("group".into(), group.into());
        fields.insert("version".into(), version.into());
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, accept: Option<&str>) -> (&'static str, Value) {
        let reply = answer(path, accept, None).unwrap_or_else(|| panic!("{path} is served"));
        (reply.content_type, serde_json::from_slice(&reply.body).unwrap())
    }

    #[test]
    fn clients_that_list_the_aggregated_form_first_get_it() {
        let accept = format!(
            "{AGGREGATED},application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
        );
        assert_eq!(read("/apis", Some(&accept)).0, AGGREGATED);
        let (media, core) = read("/api", Some(&accept));
        assert_eq!(media, AGGREGATED);
        assert_eq!(core["items"][0]["versions"][0]["resources"][0]["resource"], "bindings");
    }

    #[test]
    fn an_older_form_falls_back_to_the_plain_one() {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let (media, list) = read("/apis", Some(accept));
        assert_eq!((media, &list["kind"]), ("application/json", &json!("APIGroupList")));
        assert!(!acceptable(Some(
            "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList"
        )));
    }

    #[test]
    fn a_daemonset_is_listed_with_its_names_and_status() {
        let (_, list) = read("/apis/apps/v1", None);
        let find = |name: &str| {
            let all = list["resources"].as_array().unwrap();
            all.iter().find(|r| r["name"] == name).cloned().unwrap_or_default()
        };
        assert_eq!(find("daemonsets")["shortNames"], json!(["ds"]));
        assert_eq!(find("daemonsets/status")["verbs"], json!(["get", "patch", "update"]));
        assert_eq!(find("replicasets/scale")["group"], "autoscaling");
        assert_eq!(read("/api/v1/", None).1["groupVersion"], "v1");
    }

    #[test]
    fn what_is_not_served_has_no_document() {
        for path in
            ["/apis/apps/v1beta1", "/apis/nope.example.com", "/api/v2", "/apis/apps/v1/pods"]
        {
            assert!(answer(path, None, None).is_none(), "{path}");
        }
    }

    #[test]
    fn who_has_the_aggregated_form_is_told_that_it_is_the_same() {
        let ask = |known: Option<&str>| answer("/apis", Some(AGGREGATED), known).unwrap();
        let first = ask(None);
        let tag = first.headers.iter().find(|(name, _)| name == http::header::ETAG).unwrap();
        let again = ask(Some(tag.1.to_str().unwrap()));
        assert_eq!((first.code, again.code, again.body.len()), (200, 304, 0));
        assert_eq!(ask(Some("\"other\"")).code, 200);
    }
}
