//! The `paths` of a document: what may be asked of which path, with which query parameters.

use api::{Resource, schema};
use serde_json::{Map, Value, json};

/// Query parameters of lists.
const LISTING: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];

/// Query parameters of creates and updates.
const WRITING: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];

/// Query parameters of patches.
const PATCHING: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
    ("force", "boolean"),
];

/// Query parameters of deletes.
const DELETING: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// Media types of patches.
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// What an operation works on.
struct Subject<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    schema: Option<&'a str>,
}

/// Paths with their operations.
pub(super) fn of(rows: &[&'static Resource]) -> Map<String, Value> {
    let mut paths = Map::new();
    for row in rows {
        let prefix = if row.group.is_empty() { "/api" } else { "/apis" };
        let root = format!("{prefix}/{}", row.api_version());
        let all = format!("{root}/{}", row.plural);
        let collection = if row.namespaced {
            format!("{root}/namespaces/{{namespace}}/{}", row.plural)
        } else {
            all.clone()
        };
        let subject = Subject {
            group: row.group,
            version: row.version,
            kind: row.kind,
            schema: Some(row.schema),
        };
        let on_all: &[&str] = &["list", "create", "deletecollection"];
        insert(&mut paths, &collection, operations(&subject, row.verbs, on_all, true));
        if row.namespaced {
            insert(&mut paths, &all, operations(&subject, row.verbs, &["list"], true));
        }
        let one = format!("{collection}/{{name}}");
        let on_one: &[&str] = &["get", "update", "patch", "delete"];
        insert(&mut paths, &one, operations(&subject, row.verbs, on_one, false));
        for below in row.subresources {
            let (group, version) = below.group_version.unwrap_or((row.group, row.version));
            let schema = schema::by_kind(group, version, below.kind).map(|found| found.name);
            let subject = Subject { group, version, kind: below.kind, schema };
            let on_part: &[&str] = &["get", "create", "update", "patch"];
            let found = operations(&subject, below.verbs, on_part, false);
            insert(&mut paths, &format!("{one}/{}", below.name), found);
        }
    }
    paths
}

fn insert(paths: &mut Map<String, Value>, path: &str, mut operations: Map<String, Value>) {
    if operations.is_empty() {
        return;
    }
    let named =
        ["namespace", "name"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
    let parameters: Vec<Value> = named
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    if !parameters.is_empty() {
        operations.insert("parameters".into(), parameters.into());
    }
    paths.insert(path.to_owned(), operations.into());
}

fn operations(
    subject: &Subject<'_>,
    verbs: &[&str],
    wanted: &[&str],
    collection: bool,
) -> Map<String, Value> {
    let mut found = Map::new();
    for verb in wanted.iter().filter(|verb| verbs.contains(verb)) {
        let (method, action, query): (&str, &str, &[(&str, &str)]) = match *verb {
            "list" => ("get", "list", LISTING),
            "get" => ("get", "get", &[]),
            "create" => ("post", "post", WRITING),
            "update" => ("put", "put", WRITING),
            "patch" => ("patch", "patch", PATCHING),
            _ if collection => ("delete", "deletecollection", DELETING),
            _ => ("delete", "delete", DELETING),
        };
        found.insert(method.to_owned(), operation(subject, action, query));
    }
    found
}

fn operation(subject: &Subject<'_>, action: &str, query: &[(&str, &str)]) -> Value {
    let parameters: Vec<Value> = query
        .iter()
        .map(|(name, kind)| json!({"name": name, "in": "query", "schema": {"type": kind}}))
        .collect();
    let mut operation = json!({
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": subject.group,
            "version": subject.version,
            "kind": subject.kind,
        },
    });
    let body = subject
        .schema
        .map(|name| json!({"schema": {"$ref": format!("#/components/schemas/{name}")}}));
    let content: Option<Map<String, Value>> = match action {
        "patch" => Some(
            PATCHES
                .iter()
                .map(|media| ((*media).to_owned(), json!({"schema": {"type": "object"}})))
                .collect(),
        ),
        "post" | "put" => body.map(|body| [("*/*".to_owned(), body)].into_iter().collect()),
        _ => None,
    };
    if let (Some(content), Some(out)) = (content, operation.as_object_mut()) {
        out.insert("requestBody".into(), json!({"content": content, "required": true}));
    }
    operation
}
