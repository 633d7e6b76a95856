//! Tests of the documents.

use super::*;
use crate::encode::Reply;
use std::io::Read;

fn ask(path: &str, accept: Option<&str>, known: Option<&str>) -> Reply {
    let (path, hash) =
        path.split_once("?hash=").map_or((path, None), |(path, hash)| (path, Some(hash)));
    let now = jiff::Timestamp::UNIX_EPOCH;
    let asked = Asked { path, accept, known, hash, now };
    answer(&Documents::default(), &asked).unwrap_or_else(|| panic!("{path} is served"))
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    let mut found = reply.headers.iter().filter(|(key, _)| key == name);
    found.next().map_or("", |(_, value)| value.to_str().unwrap())
}

fn body(reply: &Reply) -> Vec<u8> {
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(&reply.body[..]).read_to_end(&mut body).unwrap();
    body
}

fn read(path: &str) -> Value {
    serde_json::from_slice(&body(&ask(path, None, None))).unwrap()
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
    for (name, rows) in versions(&TABLE.rows) {
        let document = document(&rows, &Descriptions::default());
        let schemas = document["components"]["schemas"].as_object();
        walk(&document, schemas.unwrap_or_else(|| panic!("{name} has schemas")));
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
    assert_eq!(spec["properties"]["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
}

#[test]
fn every_type_of_every_document_says_what_it_is() {
    // Kubernetes itself has no words for what OpenAPI says of schemas, nor for these.
    const SILENT: &str = "apiextensions.v1.JSONSchemaProps.";
    let said = Descriptions::read();
    let mut silent = Vec::new();
    for rows in versions(&TABLE.rows).into_values() {
        for (name, schema) in schemas::of(&rows, &said) {
            // lists are made from the kinds that they hold
            let is_list = rows.iter().any(|row| name == format!("{}List", row.schema));
            if schema.get("description").is_none() && !is_list {
                silent.push(name.clone());
            }
            for (field, part) in schema["properties"].as_object().into_iter().flatten() {
                if part.get("description").is_none() && !is_list {
                    silent.push(format!("{name}.{field}"));
                }
            }
        }
    }
    silent.retain(|name| {
        let known =
            [".ExternalDocumentation.", "CertificateSigningRequest.metadata", ".IngressRule.http"];
        !name.contains(SILENT) && !known.iter().any(|known| name.contains(known))
    });
    assert!(silent.is_empty(), "add them to build.rs: {silent:#?}");
}

#[test]
fn a_document_is_sent_once_and_kept_for_good_under_its_hash() {
    let index = read("/openapi/v3");
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let first = ask(url, Some("application/json"), None);
    assert_eq!((first.code, header(&first, "cache-control")), (200, "public, immutable"));
    assert_eq!(header(&first, "expires"), "Fri, 01 Jan 1971 00:00:00 UTC");
    let again = ask(url, None, Some(header(&first, "etag")));
    assert_eq!((again.code, again.body.len()), (304, 0));
    let moved = ask("/openapi/v3/apis/apps/v1?hash=OLD", None, None);
    assert_eq!((moved.code, header(&moved, "location")), (301, url));
    let plain = ask("/openapi/v3/apis/apps/v1", None, Some("\"other\""));
    assert_eq!((plain.code, header(&plain, "cache-control")), (200, ""));
    assert_eq!(ask("/openapi/v3/apis/apps/v1", Some("text/html"), None).code, 406);
}

#[test]
fn the_old_document_is_there_in_both_forms() {
    let json = ask("/openapi/v2", Some("application/json"), None);
    let document: Value = serde_json::from_slice(&body(&json)).unwrap();
    assert_eq!(document["swagger"], "2.0");
    let spec = &document["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"];
    assert_eq!(spec["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
    assert!(spec["description"].as_str().is_some_and(|text| text.len() > 20));
    let limit = &document["definitions"]["io.k8s.api.core.v1.LimitRangeItem"]["properties"];
    assert_eq!(limit["default"]["type"], "object", "a field of that name is no default");
    let patch = &document["paths"]["/api/v1/nodes/{name}"]["patch"];
    let validates = |one: &Value| one["name"] == "fieldValidation" && one["type"] == "string";
    assert!(patch["parameters"].as_array().unwrap().iter().any(validates));
    for accept in [
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf, application/json",
    ] {
        let binary = ask("/openapi/v2", Some(accept), None);
        assert!(binary.content_type.ends_with("spec.v2.v1.0+protobuf"), "{accept}");
        assert_eq!(header(&binary, "etag"), header(&json, "etag"));
        // field 1, the version, and field 2, what it is about
        assert!(body(&binary).starts_with(b"\x0a\x032.0\x12\x15\x0a\x0aKubernetes\x12\x07v1.36.2"));
    }
    assert_eq!(ask("/openapi/v2", Some("text/html"), None).code, 406);
}
