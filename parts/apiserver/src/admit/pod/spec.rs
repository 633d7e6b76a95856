//! Rules of a pod spec, in a pod or in a template: this file is the order in which they are looked at.

use super::{
    affinity, containers, environment, resources, security, tolerations, volumes, windows,
};
use crate::admit::faults::{self, Faults, unsupported};
use crate::admit::json::Json;
use crate::admit::{address, metadata, words};
use api::names;
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeSet;

/// The whole spec, and what its parts must know of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The pod spec.
    pub spec: &'a Value,
    /// Whether it is a pod's own; a template's is judged more mildly.
    pub is_pod: bool,
    /// The pod's name, for volumes that make claims named after it; empty in templates.
    pub pod_name: &'a str,
}

impl Scope<'_> {
    /// Whether the pod uses the node's user namespace.
    pub(crate) fn host_users(&self) -> bool {
        self.spec.at("hostUsers").as_bool().unwrap_or(true)
    }
}

/// Every fault of the spec, in upstream's order.
pub(crate) fn validate(scope: Scope<'_>, path: &Path) -> Faults {
    let spec = scope.spec;
    let mut found = Faults::new();
    let grace = "terminationGracePeriodSeconds";
    if !spec.has(grace) {
        found.push(FieldError::required(path.child(grace), ""));
    }
    let sound = volumes::validate(&mut found, scope, &path.child("volumes"));
    claims(&mut found, spec, &path.child("resourceClaims"));
    containers::validate_all(&mut found, scope, &sound, path);
    resources::validate_pod(&mut found, spec, &path.child("resources"));
    host_ports(&mut found, scope, &path.child("containers"));
    restart_policy(&mut found, spec, path);
    choice(&mut found, spec, path, "dnsPolicy", &DNS_POLICIES);
    found.extend(metadata::label_map(spec.at("nodeSelector"), &path.child("nodeSelector")));
    security::validate_pod(&mut found, spec, &path.child("securityContext"));
    if spec.has("affinity") {
        affinity::validate(&mut found, spec.at("affinity"), &path.child("affinity"));
    }
    dns_config(&mut found, spec, &path.child("dnsConfig"));
    gates(&mut found, spec, path);
    affinity::validate_spread(&mut found, spec, &path.child("topologySpreadConstraints"));
    windows::validate_host_process(&mut found, spec, path);
    security::validate_host_users(&mut found, spec, path);
    host_name(&mut found, spec, &path.child("hostnameOverride"));
    tail(&mut found, spec, path);
    environment::validate_file_volumes(&mut found, spec, path);
    found
}

const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// The simple fields at the end.
fn tail(found: &mut Faults, spec: &Value, path: &Path) {
    for key in ["serviceAccountName", "nodeName"] {
        if !spec.text(key).is_empty() {
            faults::dns_subdomain(found, &path.child(key), spec.text(key));
        }
    }
    if let Some(seconds) = spec.int("activeDeadlineSeconds") {
        let path = path.child("activeDeadlineSeconds");
        faults::range(found, path, seconds, 1, i64::from(i32::MAX));
    }
    for key in ["hostname", "subdomain"] {
        if !spec.text(key).is_empty() {
            faults::dns_label(found, &path.child(key), spec.text(key));
        }
    }
    tolerations::validate(found, spec.list("tolerations"), &path.child("tolerations"));
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        let path = path.child("hostAliases").index(i);
        address::validate(found, &path.child("ip"), alias.text("ip"));
        for (j, name) in alias.list("hostnames").iter().enumerate() {
            let path = path.child("hostnames").index(j);
            faults::dns_subdomain(found, &path, name.as_str().unwrap_or_default());
        }
    }
    if !spec.text("priorityClassName").is_empty() {
        let name = spec.text("priorityClassName");
        faults::dns_subdomain(found, &path.child("priorityClassName"), name);
    }
    if spec.has("runtimeClassName") {
        let name = spec.text("runtimeClassName");
        faults::dns_subdomain(found, &path.child("runtimeClassName"), name);
    }
    if spec.has("preemptionPolicy") {
        choice(found, spec, path, "preemptionPolicy", &["PreemptLowerPriority", "Never"]);
    }
    if spec.has("overhead") {
        resources::validate_overhead(found, spec.at("overhead"), &path.child("overhead"));
    }
    if spec.has("os") {
        let name = spec.at("os").text("name");
        if name.is_empty() {
            found.push(FieldError::required(path.child("os").child("name"), "cannot be empty"));
        } else if name != "linux" && name != "windows" {
            found.push(unsupported(path.child("os"), name, &["linux", "windows"]));
        }
        windows::validate_system(found, spec, path);
    }
}

/// Longest name of a host.
const HOST_NAME_MAX: usize = 64;

/// A host name in place of the one made of the pod's name.
fn host_name(found: &mut Faults, spec: &Value, path: &Path) {
    if !spec.has("hostnameOverride") {
        return;
    }
    for (key, why) in [
        ("setHostnameAsFQDN", "may not be specified when setHostnameAsFQDN is true"),
        ("hostNetwork", "may not be specified when hostNetwork is true"),
    ] {
        if spec.flag(key) {
            found.push(FieldError::forbidden(path.clone(), why));
        }
    }
    let name = spec.text("hostnameOverride");
    if name.len() > HOST_NAME_MAX {
        found.push(FieldError::too_long(path.clone(), HOST_NAME_MAX));
    }
    faults::dns_subdomain(found, path, name);
}

/// A field that takes one of a few words, and must be there.
pub(crate) fn choice(found: &mut Faults, of: &Value, path: &Path, key: &str, words: &[&str]) {
    match of.text(key) {
        "" => found.push(FieldError::required(path.child(key), "")),
        word if words.contains(&word) => {}
        word => found.push(unsupported(path.child(key), word, words)),
    }
}

fn restart_policy(found: &mut Faults, spec: &Value, path: &Path) {
    choice(found, spec, path, "restartPolicy", &["Always", "OnFailure", "Never"]);
}

fn claims(found: &mut Faults, spec: &Value, path: &Path) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (i, claim) in spec.list("resourceClaims").iter().enumerate() {
        let path = path.index(i);
        let name = claim.text("name");
        if name.is_empty() {
            found.push(FieldError::required(path.child("name"), ""));
        } else if names.contains(&name) {
            found.push(FieldError::duplicate(path.child("name"), name));
        } else {
            faults::dns_label(found, &path.child("name"), name);
            names.insert(name);
        }
        let (direct, template) = ("resourceClaimName", "resourceClaimTemplateName");
        let why = match (claim.has(direct), claim.has(template)) {
            (true, true) => {
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            }
            (false, false) => {
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            }
            _ => "",
        };
        if !why.is_empty() {
            let shown = format!(
                "{{\"Name\":{:?},\"ResourceClaimName\":{},\"ResourceClaimTemplateName\":{}}}",
                name,
                claim.at(direct),
                claim.at(template)
            );
            found.push(faults::invalid_shown(path.clone(), &shown, why));
        }
        for key in [direct, template] {
            if claim.has(key) {
                faults::dns_subdomain(found, &path.child(key), claim.text(key));
            }
        }
    }
}

/// Spec A72: on the host's network a container port is the host's port.
fn host_ports(found: &mut Faults, scope: Scope<'_>, path: &Path) {
    if !scope.spec.flag("hostNetwork") {
        return;
    }
    for (i, container) in scope.spec.list("containers").iter().enumerate() {
        for (j, port) in container.list("ports").iter().enumerate() {
            let host = port.int("hostPort").unwrap_or(0);
            let inner = port.int("containerPort").unwrap_or(0);
            if (scope.is_pod || host != 0) && host != inner {
                let path = path.index(i).child("ports").index(j).child("hostPort");
                let why = "must match `containerPort` when `hostNetwork` is true";
                found.push(FieldError::invalid(path, host, why));
            }
        }
    }
}

/// Name servers a resolver takes, upstream's `MaxDNSNameservers`.
const NAME_SERVERS_MAX: usize = 3;
/// Search domains, upstream's `MaxDNSSearchPaths`.
const SEARCH_DOMAINS_MAX: usize = 32;
/// Characters of all search domains with the spaces between, upstream's `MaxDNSSearchListChars`.
const SEARCH_CHARS_MAX: usize = 2048;

fn dns_config(found: &mut Faults, spec: &Value, path: &Path) {
    let config = spec.at("dnsConfig");
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            return found.push(FieldError::required(path.clone(), why));
        }
        if config.list("nameservers").is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return found.push(FieldError::required(path.child("nameservers"), why));
        }
    }
    let servers = config.list("nameservers");
    if servers.len() > NAME_SERVERS_MAX {
        let why = format!("must not have more than {NAME_SERVERS_MAX} nameservers");
        let all = config.at("nameservers").clone();
        found.push(FieldError::invalid(path.child("nameservers"), all, &why));
    }
    for (i, server) in servers.iter().enumerate() {
        let path = path.child("nameservers").index(i);
        address::validate(found, &path, server.as_str().unwrap_or_default());
    }
    let searches: Vec<&str> = config.list("searches").iter().filter_map(Value::as_str).collect();
    let all = || config.at("searches").clone();
    if searches.len() > SEARCH_DOMAINS_MAX {
        let why = format!("must not have more than {SEARCH_DOMAINS_MAX} search paths");
        found.push(FieldError::invalid(path.child("searches"), all(), &why));
    }
    if searches.join(" ").len() > SEARCH_CHARS_MAX {
        let why = format!(
            "must not have more than {SEARCH_CHARS_MAX} characters (including spaces) in the search list"
        );
        found.push(FieldError::invalid(path.child("searches"), all(), &why));
    }
    for (i, search) in searches.iter().enumerate() {
        if *search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            let mut all = words::search_domain(search);
            if search.len() > 253 {
                all.insert(0, "must be no more than 253 characters".to_owned());
            }
            faults::texts(found, &path.child("searches").index(i), search, all);
        }
    }
    for (i, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            found.push(FieldError::required(path.child("options").index(i), "must not be empty"));
        }
    }
}

fn gates(found: &mut Faults, spec: &Value, path: &Path) {
    for (i, gate) in spec.list("readinessGates").iter().enumerate() {
        let path = path.child("readinessGates").index(i).child("conditionType");
        faults::qualified(found, &path, gate.text("conditionType"));
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (i, gate) in spec.list("schedulingGates").iter().enumerate() {
        let path = path.child("schedulingGates").index(i);
        let name = gate.text("name");
        let all = names::qualified_name(name);
        faults::texts(found, &path, name, all);
        if !seen.insert(name) {
            found.push(FieldError::duplicate(path, name));
        }
    }
}
