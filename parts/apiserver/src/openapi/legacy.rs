//! v2, for clients too old for v3 and those that never moved: kubectl up to 1.28 asks it which kinds can be validated,
//! `kubectl explain` before 1.27 read it. It says what v3 says in older words, and less: no defaults and no choices.

mod binary;

pub(super) use binary::binary;

use serde_json::{Map, Value, json};

const IN_V3: &str = "#/components/schemas/";
const IN_V2: &str = "#/definitions/";

/// Methods that a path can have.
const METHODS: &[&str] = &["get", "put", "post", "delete", "patch"];

/// One document of all.
pub(super) fn of(documents: impl Iterator<Item = Value>) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for document in documents {
        for (path, item) in fields(&document["paths"]) {
            paths.insert(path.clone(), path_item(item));
        }
        for (name, known) in fields(&document["components"]["schemas"]) {
            definitions.entry(name.clone()).or_insert_with(|| definition(name, known));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2"},
        "paths": paths,
        "definitions": definitions,
    })
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// A schema at the top. The types that are a text or a number are called a text.
fn definition(name: &str, known: &Value) -> Value {
    let mut found = schema(known);
    let either = name.ends_with(".IntOrString");
    if let (true, Some(out)) = (either || name.ends_with(".Quantity"), found.as_object_mut()) {
        out.insert("type".into(), "string".into());
    }
    found
}

fn schema(known: &Value) -> Value {
    let Some(words) = known.as_object() else { return known.clone() };
    let mut out = Map::new();
    let is = |key: &str| words.get(key) == Some(&Value::Bool(true));
    // What may hold anything, or nothing, has no type: clients of v2 would refuse what differs from it.
    let untyped = is("nullable") || is("x-kubernetes-int-or-string");
    let open = is("x-kubernetes-preserve-unknown-fields");
    for (key, value) in words {
        match key.as_str() {
            "default" | "nullable" | "oneOf" | "anyOf" | "not" => {}
            "type" if untyped => {}
            "properties" | "items" if untyped || open => {}
            "$ref" => {
                let name = value.as_str().unwrap_or_default();
                out.insert(key.clone(), name.replacen(IN_V3, IN_V2, 1).into());
            }
            // There only to let a reference stand beside other words, which v2 allows as it is.
            "allOf" => {
                let refer = value.get(0).filter(|first| first.get("$ref").is_some());
                out.extend(
                    refer
                        .map(schema)
                        .and_then(|refer| match refer {
                            Value::Object(refer) => Some(refer),
                            _ => None,
                        })
                        .into_iter()
                        .flatten(),
                );
            }
            "properties" => {
                let parts: Map<String, Value> =
                    fields(value).map(|(name, part)| (name.clone(), schema(part))).collect();
                out.insert(key.clone(), parts.into());
            }
            "items" | "additionalProperties" => {
                out.insert(key.clone(), schema(value));
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(out)
}

fn path_item(item: &Value) -> Value {
    let mut out = Map::new();
    for method in METHODS {
        if let Some(found) = item.get(method) {
            out.insert((*method).to_owned(), operation(found));
        }
    }
    out.insert("parameters".into(), parameters(item));
    Value::Object(out)
}

fn operation(known: &Value) -> Value {
    let mut out = Map::new();
    let media =
        |content: &Value| fields(content).map(|(media, _)| media.clone()).collect::<Vec<_>>();
    let mut all = parameters(known);
    if let Some(body) = known.get("requestBody") {
        let content = &body["content"];
        out.insert("consumes".into(), media(content).into());
        let of = fields(content).next().map(|(_, content)| schema(&content["schema"]));
        let body = json!({"name": "body", "in": "body", "required": true, "schema": of});
        if let Some(all) = all.as_array_mut() {
            all.push(body);
        }
    }
    out.insert("parameters".into(), all);
    out.insert("produces".into(), json!(["application/json", "application/yaml"]));
    let mut responses = Map::new();
    for (code, response) in fields(&known["responses"]) {
        let mut said = json!({"description": response["description"]});
        if let Some((_, content)) = fields(&response["content"]).next() {
            said["schema"] = schema(&content["schema"]);
        }
        responses.insert(code.clone(), said);
    }
    out.insert("responses".into(), responses.into());
    for (key, value) in fields(known).filter(|(key, _)| key.starts_with("x-")) {
        out.insert(key.clone(), value.clone());
    }
    Value::Object(out)
}

/// Parameters, whose type stands beside their name here.
fn parameters(of: &Value) -> Value {
    let flat = |parameter: &Value| {
        let mut out = parameter.as_object().cloned().unwrap_or_default();
        if let Some(Value::Object(schema)) = out.remove("schema") {
            out.extend(schema);
        }
        out.insert("uniqueItems".into(), true.into());
        Value::Object(out)
    };
    of["parameters"].as_array().into_iter().flatten().map(flat).collect()
}
