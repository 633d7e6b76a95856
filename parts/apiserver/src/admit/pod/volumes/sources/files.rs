//! Sources that are files from the API: Secrets, ConfigMaps, fields of the pod, tokens, and all together.

use super::local;
use crate::admit::faults::{self, Faults, needed};
use crate::admit::json::Json;
use crate::admit::pod::environment;
use api::{FieldError, Path};
use serde_json::Value;

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
    if needed(found, path.clone(), target) {
        let before = found.len();
        local(found, path, target);
        if found.len() == before && target.starts_with("..") {
            found.push(FieldError::invalid(path.clone(), target, "must not start with '..'"));
        }
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
    let mut taken: Vec<&str> = Vec::new();
    for (i, one) in source.list("sources").iter().enumerate() {
        let at = path.child("sources").index(i);
        let mut count = 0;
        for key in SOURCES {
            if !one.has(key) {
                continue;
            }
            count += 1;
            if count > 1 {
                let why = "may not specify more than 1 volume type";
                found.push(FieldError::forbidden(at.child(key), why));
                continue;
            }
            projection(found, one.at(key), key, &at.child(key));
            for target in targets(one.at(key), key) {
                if taken.contains(&target) {
                    found.push(conflict(one.at(key), key, path, target));
                }
                taken.push(target);
            }
        }
        if count == 0 {
            found.push(FieldError::required(at, "must specify a volume type"));
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
        _ => vec![projection.text("path")].into_iter().filter(|p| !p.is_empty()).collect(),
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

fn projection(found: &mut Faults, projection: &Value, key: &str, path: &Path) {
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
            if needed(found, path.child("path"), projection.text("path")) {
                local(found, &path.child("path"), projection.text("path"));
            }
        }
        _ => {
            file_path(found, &path.child("path"), projection.text("path"));
            if projection.has("name") {
                faults::dns_subdomain(found, &path.child("name"), projection.text("name"));
            }
        }
    }
}
