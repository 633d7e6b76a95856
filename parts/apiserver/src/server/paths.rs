//! Paths that are no resources: health, version, metrics, discovery, OpenAPI.

use super::{Inner, text};
use crate::decode::options::Query;
use crate::encode::Reply;
use crate::encode::negotiate::negotiate;
use crate::route::Target;
use crate::verbs::{method_not_allowed, no_such_path};
use crate::{discovery, health, openapi};
use api::Status;
use http::{HeaderMap, Method, header};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where the server says how it is.
const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// Paths that are there whatever is served.
const ALWAYS: [&str; 8] = [
    "/.well-known/openid-configuration",
    "/apis/",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/version",
];

/// What `/version` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `v1.36.2+pernode.<version>`.
    pub git_version: String,
    /// Commit the binary was built from, may be empty.
    pub git_commit: String,
    /// When it was built, may be empty.
    pub build_date: String,
}

impl Default for Version {
    fn default() -> Self {
        Self {
            git_version: concat!("v1.36.2+pernode.", env!("CARGO_PKG_VERSION")).to_owned(),
            git_commit: String::new(),
            build_date: String::new(),
        }
    }
}

impl Version {
    fn to_value(&self) -> Value {
        json!({
            "major": "1",
            "minor": "36",
            "emulationMajor": "1",
            "emulationMinor": "36",
            "minCompatibilityMajor": "1",
            "minCompatibilityMinor": "35",
            "gitVersion": self.git_version,
            "gitCommit": self.git_commit,
            "gitTreeState": "clean",
            "buildDate": self.build_date,
            "goVersion": "rust",
            "compiler": "rustc",
            "platform": "linux/amd64",
        })
    }
}

/// A plain path that was asked for.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) query: &'a Query,
    pub(super) headers: &'a HeaderMap,
}

impl Asked<'_> {
    /// Answers, or 404.
    pub(super) fn answer(&self, server: &Inner) -> Result<Reply, Status> {
        let accept = text(self.headers, header::ACCEPT);
        let path = if self.path.len() > 1 { self.path.trim_end_matches('/') } else { self.path };
        if *self.method != Method::GET && only_read(path) {
            let document = path.starts_with("/api") && self.documents(server, path).is_some();
            let there = known(path) || document;
            return if there { Err(method_not_allowed()) } else { Ok(missing()) };
        }
        if let Some(reply) = self.health(server, path) {
            return Ok(reply);
        }
        match path {
            "/" | "/index.html" => Ok(Reply::json(200, index(server).to_string())),
            "/version" => Ok(Reply::json(200, server.config.version.to_value().to_string())),
            "/metrics" => metrics(server),
            "/.well-known/openid-configuration" | "/openid/v1/jwks" => Ok(issuer(server, path)),
            "/api" | "/apis" if !discovery::acceptable(accept) => {
                Err(negotiate(accept, false).err().unwrap_or_else(no_such_path))
            }
            _ => match self.documents(server, path) {
                Some(reply) => Ok(reply),
                None if in_served_group(path) => Err(no_such_path()),
                None => Ok(missing()),
            },
        }
    }

    /// Discovery and OpenAPI.
    fn documents(&self, server: &Inner, path: &str) -> Option<Reply> {
        let kinds = server.kinds.now();
        let accept = text(self.headers, header::ACCEPT);
        let known = text(self.headers, header::IF_NONE_MATCH);
        let found = kinds.catalog.as_ref().map_or_else(
            || discovery::answer(path, accept, known),
            |catalog| catalog.answer(path, accept, known),
        );
        let hash = self.query.get("hash");
        let asked = openapi::Asked { path, accept, known, hash, now: server.now() };
        found.or_else(|| openapi::answer(&kinds.documents, &asked))
    }

    fn health(&self, server: &Inner, path: &str) -> Option<Reply> {
        let (endpoint, one) = match path.trim_start_matches('/').split_once('/') {
            Some((endpoint, one)) => (endpoint, Some(one)),
            None => (path.trim_start_matches('/'), None),
        };
        if !ENDPOINTS.contains(&endpoint) {
            return None;
        }
        let checks = server.health(endpoint);
        let (code, text) = if let Some(one) = one {
            health::alone(checks.iter().find(|(name, _)| *name == one)?)
        } else {
            let pairs = self.query.pairs().iter();
            let excluded = pairs.filter(|(key, _)| key == "exclude").map(|(_, name)| name.as_str());
            // Upstream looks whether the word is there, not at its value.
            let verbose = self.query.get("verbose").is_some();
            let asked = health::Asked { verbose, excluded: excluded.collect() };
            health::answer(endpoint, &checks, &asked)
        };
        Some(Reply::text(code, text))
    }
}

/// All paths there are but for those of resources, in order.
fn index(server: &Inner) -> Value {
    let kinds = server.kinds.now();
    let catalog = kinds.catalog.as_ref().map_or_else(discovery::paths, discovery::Catalog::paths);
    let mut all: BTreeSet<String> = catalog.into_iter().collect();
    all.extend(ALWAYS.map(str::to_owned));
    for endpoint in ENDPOINTS {
        all.insert(format!("/{endpoint}"));
        let checks = server.health(endpoint);
        all.extend(checks.iter().map(|(check, _)| format!("/{endpoint}/{check}")));
    }
    json!({"paths": all})
}

/// Whether a path lies in a group that is served: then what it asks for is a version or resource that is not.
fn in_served_group(path: &str) -> bool {
    match path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["api", _, ..] => true,
        ["apis", group, _, ..] => api::resource::has_group(group),
        _ => false,
    }
}

fn known(path: &str) -> bool {
    let known =
        ["/api", "/apis", "/version", "/openid/v1/jwks", "/.well-known/openid-configuration"];
    known.contains(&path)
}

/// Paths that upstream's table of routes answers, which knows methods. Health, metrics, OpenAPI and the root do not ask
/// for the method.
fn only_read(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    !ENDPOINTS.contains(&first) && !matches!(first, "" | "index.html" | "metrics" | "openapi")
}

/// 404 as text, for paths that lead nowhere.
pub(super) fn missing() -> Reply {
    Reply::text(404, "404 page not found\n")
}

/// 404 for a resource that is not served: a Status under a served group, a text elsewhere.
pub(super) fn unknown(target: &Target) -> Result<Reply, Status> {
    let group = &target.attributes.group;
    if api::resource::has_group(group) { Err(no_such_path()) } else { Ok(missing()) }
}

fn metrics(server: &Inner) -> Result<Reply, Status> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let custom = server.kinds.now().rows();
    for row in api::resource::ALL.iter().chain(custom).filter(|row| row.is_stored()) {
        let found = server.records.list(&crate::records::Query::all(row.storage));
        counts.insert(row.plural, found.map_or(0, |snapshot| snapshot.records.len()));
    }
    for (resource, count) in counts {
        server.metrics.objects(resource, count);
    }
    server.metrics.stats(&server.records.stats());
    let mut text = server.metrics.text().map_err(|error| Status::internal(&error.to_string()))?;
    if let Some(figures) = &server.config.figures {
        // the end is said once, by the last
        text.truncate(text.trim_end_matches("# EOF\n").len());
        text.push_str(&figures());
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(Reply { content_type, ..Reply::json(200, text) })
}

/// What others need to verify service account tokens by themselves.
fn issuer(server: &Inner, path: &str) -> Reply {
    let Some(key) = &server.config.signing_key else { return missing() };
    let (content_type, document) = if path == "/openid/v1/jwks" {
        ("application/jwk-set+json", key.key_set())
    } else {
        let document = json!({
            "issuer": server.config.audience,
            "jwks_uri": format!("https://{}/openid/v1/jwks", server.config.advertise),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        ("application/json", document)
    };
    Reply { content_type, ..Reply::json(200, document.to_string()) }
}
