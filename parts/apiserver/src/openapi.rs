//! OpenAPI v3 documents, one for each group and version, made from the table of resources and the table of types:
//! what kubectl needs to validate, to explain and to compute patches. No descriptions yet.

mod custom;
mod legacy;
mod paths;
mod schemas;

pub(crate) use custom::Custom;

use api::resource;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// All documents by path, made at the first question: about 3 MiB of JSON in all.
static DOCUMENTS: LazyLock<BTreeMap<String, Bytes>> = LazyLock::new(documents);

/// Content type of [`legacy_answer`].
pub const LEGACY: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The answer to `/openapi/v2`, for clients too old for v3: protobuf, [`LEGACY`].
pub fn legacy_answer(path: &str) -> Option<Bytes> {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(legacy::document);
    (path == "/openapi/v2").then(|| Bytes::clone(&DOCUMENT))
}

/// The JSON document at an OpenAPI path: `/openapi/v3` and `/openapi/v3/apis/<group>/<version>`. `None` for
/// anything else.
pub fn answer(path: &str) -> Option<Bytes> {
    DOCUMENTS.get(path.trim_end_matches('/')).cloned()
}

fn documents() -> BTreeMap<String, Bytes> {
    let mut found = BTreeMap::new();
    let mut index = Map::new();
    for (group, version) in resource::group_versions() {
        let name = if group.is_empty() {
            format!("api/{version}")
        } else {
            format!("apis/{group}/{version}")
        };
        let body = Bytes::from(document(group, version).to_string());
        let url = format!("/openapi/v3/{name}?hash={}", hash(&body));
        index.insert(name.clone(), json!({"serverRelativeURL": url}));
        found.insert(format!("/openapi/v3/{name}"), body);
    }
    found.insert("/openapi/v3".to_owned(), Bytes::from(json!({"paths": index}).to_string()));
    found
}

/// Lets clients cache a document for good.
fn hash(body: &[u8]) -> String {
    Sha256::digest(body).iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

fn document(group: &str, version: &str) -> Value {
    let rows: Vec<_> =
        resource::ALL.iter().filter(|r| r.group == group && r.version == version).collect();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2"},
        "paths": paths::of(&rows),
        "components": {"schemas": schemas::of(&rows)},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Value {
        serde_json::from_slice(&answer(path).unwrap_or_else(|| panic!("{path}"))).unwrap()
    }

    #[test]
    fn the_index_leads_to_every_document() {
        let index = read("/openapi/v3");
        let paths = index["paths"].as_object().unwrap();
        assert_eq!(paths.len(), resource::group_versions().len());
        for entry in paths.values() {
            let url = entry["serverRelativeURL"].as_str().unwrap();
            assert_eq!(read(url.split('?').next().unwrap())["openapi"], "3.0.0");
        }
    }

    #[test]
    fn patch_says_that_it_takes_field_validation() {
        let document = read("/openapi/v3/apis/apps/v1");
        let patch =
            &document["paths"]["/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"]["patch"];
        let kind = json!({"group": "apps", "version": "v1", "kind": "DaemonSet"});
        assert_eq!(patch["x-kubernetes-group-version-kind"], kind);
        let named =
            |name: &str| patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == name);
        assert!(named("fieldValidation") && named("force") && named("fieldManager"));
        let content = &patch["requestBody"]["content"];
        assert!(content.get("application/strategic-merge-patch+json").is_some());
    }

    #[test]
    fn every_reference_leads_somewhere_in_the_same_document() {
        fn walk(value: &Value, schemas: &Map<String, Value>) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        let name = reference.trim_start_matches("#/components/schemas/");
                        assert!(schemas.contains_key(name), "{reference}");
                    }
                    fields.values().for_each(|value| walk(value, schemas));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, schemas)),
                _ => {}
            }
        }
        for (path, body) in DOCUMENTS.iter().filter(|(path, _)| *path != "/openapi/v3") {
            let document: Value = serde_json::from_slice(body).unwrap();
            let schemas = document["components"]["schemas"].as_object();
            walk(&document, schemas.unwrap_or_else(|| panic!("{path} has schemas")));
        }
    }

    #[test]
    fn lists_carry_what_patches_need() {
        let document = read("/openapi/v3/api/v1");
        let spec = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"];
        let containers = &spec["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(
            spec["properties"]["volumes"]["x-kubernetes-patch-strategy"],
            "merge,retainKeys"
        );
    }
}
