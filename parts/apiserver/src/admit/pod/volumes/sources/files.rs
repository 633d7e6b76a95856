//! Sources that are files from the API: Secrets, ConfigMaps, fields of the pod, tokens, and all together.

use super::local;
use crate::admit::faults::{Faults, needed, unsupported};
use crate::admit::json::Json;
use crate::admit::pod::environment;
use crate::admit::{csr, selector};
use api::names;
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeSet;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Shortest life of a projected token.
const TOKEN_SECONDS_MIN: i64 = 600;
/// Longest life of a projected token.
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

fn mode(found: &mut Faults, path: Path, of: &Value, key: &str) {
    if let Some(bits) = of.int(key)
        && !(0..=0o777).contains(&bits)
    {
        found.push(FieldError::invalid(path.child(key), bits, MODE));
    }
}

fn items(found: &mut Faults, source: &Value, path: &Path) {
    for (i, item) in source.list("items").iter().enumerate() {
        let path = path.child("items").index(i);
        needed(found, path.child("key"), item.text("key"));
        file_path(found, &path.child("path"), item.text("path"));
        mode(found, path.clone(), item, "mode");
    }
}

/// Where a file goes below the volume.
fn file_path(found: &mut Faults, path: &Path, target: &str) {
    needed(found, path.clone(), target);
    unreserved(found, path, target);
}

/// A path below the volume whose first name is not one that volumes keep for themselves.
fn unreserved(found: &mut Faults, path: &Path, target: &str) {
    local(found, path, target);
    if target.starts_with("..") && !target.starts_with("../") {
        found.push(FieldError::invalid(path.clone(), target, "must not start with '..'"));
    }
}

pub(in super::super) fn secret(found: &mut Faults, source: &Value, path: &Path) {
    needed(found, path.child("secretName"), source.text("secretName"));
    mode(found, path.clone(), source, "defaultMode");
    items(found, source, path);
}

pub(in super::super) fn config_map(found: &mut Faults, source: &Value, path: &Path) {
    needed(found, path.child("name"), source.text("name"));
    mode(found, path.clone(), source, "defaultMode");
    items(found, source, path);
}

pub(in super::super) fn downward(found: &mut Faults, source: &Value, path: &Path) {
    mode(found, path.clone(), source, "defaultMode");
    for file in source.list("items") {
        downward_file(found, file, path);
    }
}

fn downward_file(found: &mut Faults, file: &Value, path: &Path) {
    file_path(found, &path.child("path"), file.text("path"));
    match (file.has("fieldRef"), file.has("resourceFieldRef")) {
        (true, both) => {
            let at = path.child("fieldRef");
            environment::field(found, file.at("fieldRef"), environment::FIELDS_OF_FILES, &at);
            if both {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                found.push(FieldError::invalid(path.clone(), "resource", why));
            }
        }
        (false, true) => {
            let at = path.child("resourceFieldRef");
            environment::resource(found, file.at("resourceFieldRef"), true, &at);
        }
        (false, false) => {
            let why = "one of fieldRef and resourceFieldRef is required";
            found.push(FieldError::required(path.clone(), why));
        }
    }
    mode(found, path.clone(), file, "mode");
}

pub(in super::super) fn projected(found: &mut Faults, source: &Value, path: &Path) {
    mode(found, path.clone(), source, "defaultMode");
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (i, one) in source.list("sources").iter().enumerate() {
        let at = path.child("sources").index(i);
        let kinds: Vec<&str> = SOURCES.into_iter().filter(|key| one.has(key)).collect();
        for key in &kinds {
            // Upstream files paths of tokens under the volume.
            let here = if *key == "serviceAccountToken" { path } else { &at.child(key) };
            projection(found, one.at(key), key, &at.child(key), here);
            for target in targets(one.at(key), key) {
                if !taken.insert(target) {
                    found.push(conflict(one.at(key), key, path, target));
                }
            }
        }
        if kinds.len() > 1 {
            let why = "may not specify more than 1 volume type per source";
            found.push(FieldError::forbidden(at, why));
        }
    }
}

const SOURCES: [&str; 6] = [
    "secret",
    "configMap",
    "downwardAPI",
    "serviceAccountToken",
    "clusterTrustBundle",
    "podCertificate",
];

/// Paths of the files that a projection makes.
fn targets<'a>(projection: &'a Value, key: &str) -> Vec<&'a str> {
    match key {
        "secret" | "configMap" | "downwardAPI" => projection
            .list("items")
            .iter()
            .map(|item| item.text("path"))
            .filter(|path| !path.is_empty())
            .collect(),
        "clusterTrustBundle" => vec![projection.text("path")],
        "podCertificate" => {
            CERTIFICATE.iter().map(|key| projection.text(key)).filter(|p| !p.is_empty()).collect()
        }
        _ => Vec::new(),
    }
}

/// Two files at one path: the value shown is the second source's name, or the path where sources have none.
fn conflict(projection: &Value, key: &str, path: &Path, target: &str) -> FieldError {
    let shown = match key {
        "secret" | "configMap" => projection.text("name"),
        _ => target,
    };
    FieldError::invalid(path.clone(), shown, "conflicting duplicate paths")
}

/// Files that a pod's certificate is written to.
const CERTIFICATE: [&str; 3] = ["credentialBundlePath", "keyPath", "certificateChainPath"];
/// Keys that a pod's certificate can be for.
const KEY_TYPES: [&str; 6] =
    ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
/// Shortest life that may be asked for a pod's certificate.
const CERTIFICATE_SECONDS_MIN: i64 = 3600;
/// Longest life of a pod's certificate, 91 days.
const CERTIFICATE_SECONDS_MAX: i64 = 91 * 86400;
/// The same with a signer of Kubernetes' own.
const KUBERNETES_SECONDS_MAX: i64 = 86400;

fn projection(found: &mut Faults, projection: &Value, key: &str, path: &Path, here: &Path) {
    match key {
        "secret" | "configMap" => {
            needed(found, path.child("name"), projection.text("name"));
            items(found, projection, path);
        }
        "downwardAPI" => {
            for file in projection.list("items") {
                downward_file(found, file, path);
            }
        }
        "serviceAccountToken" => {
            let seconds = projection.int("expirationSeconds").unwrap_or(0);
            let at = path.child("expirationSeconds");
            if seconds < TOKEN_SECONDS_MIN {
                let why = "may not specify a duration less than 10 minutes";
                found.push(FieldError::invalid(at, seconds, why));
            } else if seconds > TOKEN_SECONDS_MAX {
                let why = "may not specify a duration larger than 2^32 seconds";
                found.push(FieldError::invalid(at, seconds, why));
            }
            file_path(found, &here.child("path"), projection.text("path"));
        }
        "clusterTrustBundle" => trust_bundle(found, projection, path),
        _ => certificate(found, projection, path),
    }
}

fn trust_bundle(found: &mut Faults, bundle: &Value, path: &Path) {
    match (bundle.at("name").as_str(), bundle.at("signerName").as_str()) {
        (Some(_), Some(_)) => {
            let why = "only one of name and signerName may be used";
            found.push(FieldError::invalid(path.clone(), bundle.clone(), why));
        }
        (Some(name), None) => {
            if name.is_empty() {
                let why = "must be a valid object name";
                found.push(FieldError::required(path.child("name"), why));
            }
            for text in names::dns_subdomain(name.rsplit(':').next().unwrap_or_default()) {
                let why = format!("not a valid clustertrustbundlename: {text}");
                found.push(FieldError::invalid(path.child("name"), name, &why));
            }
            if bundle.has("labelSelector") {
                let why = "labelSelector must be unset if name is specified";
                let selector = bundle.at("labelSelector").clone();
                found.push(FieldError::invalid(path.child("labelSelector"), selector, why));
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                let why = "must be a valid signer name";
                found.push(FieldError::required(path.child("signerName"), why));
            }
            csr::signer(found, signer, &path.child("signerName"));
            let at = path.child("labelSelector");
            found.extend(selector::validate(bundle.at("labelSelector"), &at));
        }
        (None, None) => {
            let why = "either name or signerName must be specified";
            found.push(FieldError::required(path.clone(), why));
        }
    }
    file_path(found, &path.child("path"), bundle.text("path"));
}

fn certificate(found: &mut Faults, wanted: &Value, path: &Path) {
    let signer = wanted.text("signerName");
    csr::signer(found, signer, &path.child("signerName"));
    let key_type = wanted.text("keyType");
    if !KEY_TYPES.contains(&key_type) {
        found.push(unsupported(path.child("keyType"), key_type, &KEY_TYPES));
    }
    if let Some(seconds) = wanted.int("maxExpirationSeconds") {
        let own = signer
            .split('/')
            .next()
            .is_some_and(|host| format!(".{host}").ends_with(".kubernetes.io"));
        let most = if own { KUBERNETES_SECONDS_MAX } else { CERTIFICATE_SECONDS_MAX };
        let bound = match seconds {
            _ if seconds < CERTIFICATE_SECONDS_MIN => format!(">= {CERTIFICATE_SECONDS_MIN}"),
            _ if seconds > most => format!("<= {most}"),
            _ => String::new(),
        };
        if !bound.is_empty() {
            let why = format!("if provided, maxExpirationSeconds must be {bound}");
            found.push(FieldError::invalid(path.child("maxExpirationSeconds"), seconds, &why));
        }
    }
    for key in CERTIFICATE {
        unreserved(found, &path.child(key), wanted.text(key));
    }
    if CERTIFICATE.iter().all(|key| wanted.text(key).is_empty()) {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        found.push(FieldError::required(path.clone(), why));
    }
}
