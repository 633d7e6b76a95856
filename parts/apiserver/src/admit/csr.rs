//! CertificateSigningRequests: the request itself never changes; approval and certificate have paths of their own.

use super::faults::{Faults, IMMUTABLE, needed, unsupported};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, configmap, table};
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Every usage a certificate may have.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Shortest life that may be asked for: 10 minutes.
const SECONDS_MIN: i64 = 600;

/// The strategy.
#[derive(Debug)]
pub(crate) struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn default(&self, object: &mut Value) {
        object.object("spec");
        object.object("status");
    }

    /// Who asks is what the server knows, not what the request says.
    fn prepare_create(&self, object: &mut Value, context: &Context<'_>) {
        object.set("status", json!({}));
        let identity = context.identity;
        let spec = object.object("spec");
        for key in ["username", "uid", "groups", "extra"] {
            spec.unset(key);
        }
        spec.set("username", identity.user.as_str());
        if !identity.uid.is_empty() {
            spec.set("uid", identity.uid.as_str());
        }
        if !identity.groups.is_empty() {
            spec.set("groups", json!(identity.groups));
        }
        if !identity.extra.is_empty() {
            spec.set("extra", json!(identity.extra));
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: &Context<'_>) {
        object.restore("spec", old);
        let (new_status, old_status) = (object.at("status").clone(), old.at("status"));
        match context.subresource {
            "status" => keep_decisions(object, old_status),
            "approval" => {
                object.set("status", old_status.clone());
                object.object("status").restore("conditions", &new_status);
            }
            _ => object.restore("status", old),
        }
        stamp(object, old_status, context.now);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate(object.at("spec"))
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        validate_status(object.at("status"), old.at("status"), context.subresource)
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", object.at("spec").text("signerName").to_owned())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let has = |kind: &str| status.list("conditions").iter().any(|c| c.text("type") == kind);
        let mut condition = match (has("Denied"), has("Approved")) {
            (true, _) => "Denied",
            (false, true) => "Approved",
            (false, false) => "Pending",
        }
        .to_owned();
        if has("Failed") {
            condition.push_str(",Failed");
        }
        if !status.text("certificate").is_empty() {
            condition.push_str(",Issued");
        }
        let life = spec.int("expirationSeconds").map_or_else(|| "<none>".to_owned(), table::human);
        let signer = match spec.text("signerName") {
            "" => "<none>",
            name => name,
        };
        vec![
            table::name(object),
            table::age(object, now),
            signer.into(),
            spec.at("username").clone(),
            life.into(),
            condition.into(),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::AGE,
    table::column("SignerName", "string", "Who is asked to sign."),
    table::column("Requestor", "string", "Who asks."),
    table::column("RequestedDuration", "string", "For how long the certificate should hold."),
    table::column("Condition", "string", "How far the request is."),
];

/// A signer writes the certificate and failures, but does not decide.
fn keep_decisions(object: &mut Value, old: &Value) {
    let decided = |condition: &&Value| matches!(condition.text("type"), "Approved" | "Denied");
    let mut conditions: Vec<Value> =
        old.list("conditions").iter().filter(decided).cloned().collect();
    let status = object.object("status");
    conditions.extend(status.list("conditions").iter().filter(|c| !decided(c)).cloned());
    if conditions.is_empty() {
        status.unset("conditions");
    } else {
        status.set("conditions", conditions);
    }
}

/// New conditions say when they came.
fn stamp(object: &mut Value, old: &Value, now: jiff::Timestamp) {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    // of several of one type the first counts
    let known: BTreeMap<&str, &Value> =
        old.list("conditions").iter().rev().map(|known| (known.text("type"), known)).collect();
    for condition in object.object("status").items("conditions") {
        let before = known.get(condition.text("type"));
        condition.fill_text("status", "True");
        if condition.text("lastUpdateTime").is_empty() {
            condition.set("lastUpdateTime", now.as_str());
        }
        if condition.text("lastTransitionTime").is_empty() {
            let since = before
                .filter(|before| before.text("status") == condition.text("status"))
                .map_or(now.as_str(), |before| before.text("lastTransitionTime"));
            condition.set("lastTransitionTime", since);
        }
    }
}

fn validate(spec: &Value) -> Faults {
    let path = Path::new("spec");
    let mut found = Faults::new();
    let request = configmap::decoded(spec.at("request"));
    let pem = String::from_utf8_lossy(&request);
    if !pem.contains("-----BEGIN CERTIFICATE REQUEST-----") {
        let why = "PEM block type must be CERTIFICATE REQUEST";
        let value = spec.at("request").clone();
        found.push(FieldError::invalid(path.child("request"), value, why));
    }
    let usages: Vec<&str> = spec.list("usages").iter().filter_map(Value::as_str).collect();
    if usages.is_empty() {
        let why = "usages must contain at least one usage";
        found.push(FieldError::required(path.child("usages"), why));
    }
    for (i, usage) in usages.iter().enumerate() {
        let at = path.child("usages").index(i);
        if !USAGES.contains(usage) {
            found.push(unsupported(at, usage, USAGES));
        } else if usages[..i].contains(usage) {
            found.push(FieldError::duplicate(at, *usage));
        }
    }
    signer(&mut found, spec.text("signerName"), &path.child("signerName"));
    if let Some(seconds) = spec.int("expirationSeconds")
        && seconds < SECONDS_MIN
    {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        found.push(FieldError::invalid(path.child("expirationSeconds"), seconds, why));
    }
    found
}

/// Faults of the name of a signer, `domain/path`: the domain has a dot, the path parts are subdomains.
pub(crate) fn signer(found: &mut Faults, name: &str, path: &Path) {
    if !needed(found, path.clone(), name) {
        return;
    }
    let Some((domain, rest)) = name.split_once('/') else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        found.push(FieldError::invalid(path.clone(), name, why));
        return;
    };
    for text in api::names::dns_subdomain(domain) {
        let why = format!("validating label {domain:?}: {text}");
        found.push(FieldError::invalid(path.clone(), domain, &why));
    }
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        found.push(FieldError::invalid(path.clone(), domain, why));
    }
    for part in rest.split('.') {
        for text in api::names::dns_subdomain(part) {
            let why = format!("validating label {part:?}: {text}");
            found.push(FieldError::invalid(path.clone(), rest, &why));
        }
    }
}

fn validate_status(status: &Value, old: &Value, subresource: &str) -> Faults {
    let path = Path::new("status");
    let mut found = Faults::new();
    let conditions = status.list("conditions");
    let kinds: BTreeSet<&str> = conditions.iter().map(|c| c.text("type")).collect();
    let has = |kind: &str| kinds.contains(kind);
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let at = path.child("conditions").index(i);
        let kind = condition.text("type");
        needed(&mut found, at.child("type"), kind);
        let value = condition.text("status");
        let decision = matches!(kind, "Approved" | "Denied" | "Failed");
        let words: &[&str] = if decision { &["True"] } else { &["False", "True", "Unknown"] };
        if !words.contains(&value) {
            found.push(unsupported(at.child("status"), value, words));
        }
        if kind == "Denied" && has("Approved") {
            let why = "Approved and Denied conditions are mutually exclusive";
            found.push(FieldError::invalid(at.child("type"), kind, why));
        }
        if !taken.insert(kind) {
            found.push(FieldError::duplicate(at.child("type"), kind));
        }
    }
    for kind in ["Approved", "Denied", "Failed"] {
        let had = old.list("conditions").iter().any(|c| c.text("type") == kind);
        if had && !has(kind) {
            let why = format!("updates may not remove a condition of type {kind:?}");
            found.push(FieldError::forbidden(path.child("conditions"), &why));
        } else if !had && has(kind) && kind != "Failed" && subresource == "status" {
            let why = format!("updates may not add a condition of type {kind:?}");
            found.push(FieldError::forbidden(path.child("conditions"), &why));
        }
    }
    let (new, before) = (status.at("certificate"), old.at("certificate"));
    if new != before && before.as_str().is_some_and(|text| !text.is_empty()) {
        found.push(FieldError::invalid(path.child("certificate"), new.clone(), IMMUTABLE));
    }
    found
}
