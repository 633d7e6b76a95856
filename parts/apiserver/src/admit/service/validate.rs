//! Rules of Services.

use super::{HEADLESS, is_headless, is_reachable_from_outside, needs_health_check};
use crate::admit::faults::{
    Faults, IMMUTABLE, dns_label, dns_subdomain, duplicate_shown, port, qualified, texts,
    unsupported,
};
use crate::admit::json::Json;
use crate::admit::{address, metadata, words};
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const BALANCED_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const KEPT: &str = "may not change once set";
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
/// Longest time that a client stays with one pod: a day.
const AFFINITY_SECONDS_MAX: i64 = 86_400;

/// Faults of a new Service, or of one as it would be after a change of `old`.
pub(super) fn new(object: &Value, old: &Value) -> Faults {
    let (spec, path) = (object.at("spec"), Path::new("spec"));
    let mut found = Faults::new();
    let annotations = object.at("metadata").at("annotations");
    if annotations.has(MODE)
        && annotations.has(HINTS)
        && annotations.at(MODE) != annotations.at(HINTS)
    {
        let why = format!("must match annotations[{HINTS}] when both are specified");
        let at = Path::new("metadata").child("annotations").key(MODE);
        found.push(FieldError::invalid(at, annotations.text(MODE), &why));
    }
    of_type(&mut found, spec, &path);
    ports(&mut found, spec, &path.child("ports"));
    found.extend(metadata::label_map(spec.at("selector"), &path.child("selector")));
    affinity(&mut found, spec, &path);
    found.extend(families(spec, old.at("spec")));
    external_addresses(&mut found, spec, old.at("spec"), &path.child("externalIPs"));
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    word(&mut found, spec, "type", &kinds, &path);
    port_numbers(&mut found, spec, &path.child("ports"));
    source_ranges(&mut found, object, old);
    let balanced = spec.text("type") == "LoadBalancer";
    let given = "allocateLoadBalancerNodePorts";
    if spec.has(given) && !balanced {
        found.push(FieldError::forbidden(path.child(given), BALANCED_ONLY));
    }
    balancer_class(&mut found, spec, None, &path);
    policies(&mut found, spec, &path);
    found
}

/// Faults of a change.
pub(super) fn changed(object: &Value, old: &Value) -> Faults {
    let (spec, before, path) = (object.at("spec"), old.at("spec"), Path::new("spec"));
    let mut found = Faults::new();
    kept_addresses(&mut found, spec, before, &path);
    kept_families(&mut found, spec, before, &path);
    balancer_class(&mut found, spec, Some(before), &path);
    let check = "healthCheckNodePort";
    let both = needs_health_check(spec) && needs_health_check(before);
    if both && spec.at(check) != before.at(check) {
        found.push(FieldError::forbidden(path.child(check), IMMUTABLE));
    }
    found.extend(new(object, old));
    found
}

/// Faults of a change of status.
pub(super) fn status(object: &Value, old: &Value) -> Faults {
    let mut found = Faults::new();
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let ingress = |of: &Value| of.at("status").at("loadBalancer").list("ingress").to_vec();
    let (new, before) = (ingress(object), ingress(old));
    if object.at("spec").text("type") != "LoadBalancer" && !new.is_empty() {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        found.push(FieldError::forbidden(path, why));
        return found;
    }
    let known: BTreeSet<&str> = before.iter().map(|other| other.text("ip")).collect();
    for (i, one) in new.iter().enumerate() {
        let at = path.index(i);
        let (ip, name) = (one.text("ip"), one.text("hostname"));
        if !ip.is_empty() && !known.contains(ip) {
            address::validate(&mut found, &at.child("ip"), ip);
        }
        let mode = at.child("ipMode");
        match (one.at("ipMode").as_str(), ip.is_empty()) {
            (None, false) => {
                found.push(FieldError::required(mode, "must be specified when `ip` is set"));
            }
            (Some(_), true) => {
                let why = "may not be specified when `ip` is not set";
                found.push(FieldError::forbidden(mode, why));
            }
            (Some("VIP" | "Proxy") | None, _) => {}
            (Some(other), false) => found.push(unsupported(mode, other, &["Proxy", "VIP"])),
        }
        if !name.is_empty() {
            dns_subdomain(&mut found, &at.child("hostname"), name);
            if address::read(name).is_some() {
                let why = "must be a DNS name, not an IP address";
                found.push(FieldError::invalid(at.child("hostname"), name, why));
            }
        }
    }
    found
}

/// A word that must be there and be one of a few.
fn word(found: &mut Faults, spec: &Value, key: &str, words: &[&str], path: &Path) {
    crate::admit::pod::spec::choice(found, spec, path, key, words);
}

fn of_type(found: &mut Faults, spec: &Value, path: &Path) {
    let kind = spec.text("type");
    if spec.list("ports").is_empty() && !is_headless(spec) && kind != "ExternalName" {
        found.push(FieldError::required(path.child("ports"), ""));
    }
    let at = path.child("clusterIPs");
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let why = format!("may not be set to 'None' for {kind} services");
            found.push(FieldError::invalid(at.index(0), HEADLESS, &why));
        }
        "ExternalName" => {
            for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if spec.has(key) {
                    let why = "may not be set for ExternalName services";
                    found.push(FieldError::forbidden(path.child(key), why));
                }
            }
            let (name, at) = (spec.text("externalName"), path.child("externalName"));
            match name.strip_suffix('.').unwrap_or(name) {
                "" => found.push(FieldError::required(at, "")),
                name => dns_subdomain(found, &at, name),
            }
        }
        _ => {}
    }
}

fn ports(found: &mut Faults, spec: &Value, path: &Path) {
    let all = spec.list("ports");
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (i, one) in all.iter().enumerate() {
        let at = path.index(i);
        let name = one.text("name");
        if name.is_empty() && all.len() > 1 {
            found.push(FieldError::required(at.child("name"), ""));
        } else if !name.is_empty() {
            dns_label(found, &at.child("name"), name);
            if !taken.insert(name) {
                found.push(FieldError::duplicate(at.child("name"), name));
            }
        }
        port(found, at.child("port"), one.int("port").unwrap_or(0));
        word(found, one, "protocol", &["SCTP", "TCP", "UDP"], &at);
        match one.at("targetPort") {
            Value::String(name) => {
                texts(found, &at.child("targetPort"), name, words::port_name(name));
            }
            number => port(found, at.child("targetPort"), number.as_i64().unwrap_or(0)),
        }
        if one.has("appProtocol") {
            qualified(found, &at.child("appProtocol"), one.text("appProtocol"));
        }
    }
}

fn affinity(found: &mut Faults, spec: &Value, path: &Path) {
    word(found, spec, "sessionAffinity", &["ClientIP", "None"], path);
    let (config, at) = (spec.at("sessionAffinityConfig"), path.child("sessionAffinityConfig"));
    match spec.text("sessionAffinity") {
        "ClientIP" => {
            let at = at.child("clientIP").child("timeoutSeconds");
            let seconds = config.at("clientIP").int("timeoutSeconds").unwrap_or(0);
            if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
                let why = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                found.push(FieldError::invalid(at, seconds, &why));
            }
        }
        "None" if !config.is_null() => {
            let why = "must not be set when session affinity is None";
            found.push(FieldError::forbidden(at, why));
        }
        _ => {}
    }
}

/// Faults among addresses, families and their policy. Looked at before anything is given out, too.
pub(super) fn families(spec: &Value, old: &Value) -> Faults {
    let mut found = Faults::new();
    if spec.text("type") == "ExternalName" {
        return found;
    }
    let path = Path::new("spec");
    let (at, single) = (path.child("clusterIPs"), spec.text("clusterIP"));
    let all = spec.list("clusterIPs");
    let shown = || spec.at("clusterIPs").clone();
    match (single.is_empty(), all.first()) {
        (false, None) => found.push(FieldError::required(at.clone(), "")),
        (false, Some(first)) if first != single => {
            let why = "first value must match `clusterIP`";
            found.push(FieldError::invalid(at.clone(), shown(), why));
        }
        (true, Some(_)) => {
            let why = "must be empty when `clusterIP` is not specified";
            found.push(FieldError::invalid(at.clone(), shown(), why));
        }
        _ => {}
    }
    let families = spec.list("ipFamilies");
    for (i, family) in families.iter().enumerate() {
        let (at, word) = (path.child("ipFamilies").index(i), family.as_str().unwrap_or_default());
        if !["IPv4", "IPv6"].contains(&word) {
            found.push(unsupported(at.clone(), word, &["IPv4", "IPv6"]));
        }
        if families[..i].contains(family) {
            found.push(FieldError::duplicate(at, word));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if spec.has("ipFamilyPolicy") {
        word(&mut found, spec, "ipFamilyPolicy", &policies, &path);
    }
    if addresses_are_sound(&mut found, spec, old, &at) {
        pairs(&mut found, spec, &at);
    }
    found
}

/// Faults of the addresses on their own. Answers whether there was none.
fn addresses_are_sound(found: &mut Faults, spec: &Value, old: &Value, path: &Path) -> bool {
    let all = spec.list("clusterIPs");
    let mut sound = true;
    for (i, one) in all.iter().enumerate() {
        if i == 0 && one == HEADLESS {
            if all.len() > 1 {
                sound = false;
                let why = "'None' must be the first and only value";
                found.push(FieldError::invalid(path.clone(), spec.at("clusterIPs").clone(), why));
            }
            continue;
        }
        let kept = old.list("clusterIPs").contains(one);
        let text = one.as_str().unwrap_or_default();
        sound &= kept || address::validate(found, &path.index(i), text);
    }
    if all.len() > 2 {
        let why = "may only hold up to 2 values";
        found.push(FieldError::invalid(path.clone(), spec.at("clusterIPs").clone(), why));
    }
    sound
}

/// Two addresses are one of each family, and each fits the family said at its place.
fn pairs(found: &mut Faults, spec: &Value, path: &Path) {
    let all: Vec<&str> = spec.list("clusterIPs").iter().filter_map(Value::as_str).collect();
    let is_v6: Vec<bool> = all.iter().map(|one| address::is_v6(one)).collect();
    if all.len() > 1 && is_v6.iter().all(|v6| *v6 == is_v6[0]) {
        let why = "may specify no more than one IP for each IP family";
        found.push(FieldError::invalid(path.clone(), spec.at("clusterIPs").clone(), why));
    }
    if is_headless(spec) {
        return;
    }
    for (i, (one, family)) in all.iter().zip(spec.list("ipFamilies")).enumerate() {
        let wanted = family.as_str().unwrap_or_default();
        if (wanted == "IPv4" && is_v6[i]) || (wanted == "IPv6" && !is_v6[i]) {
            let why = format!("expected an {wanted} value as indicated by `ipFamilies[{i}]`");
            found.push(FieldError::invalid(path.index(i), *one, &why));
        }
    }
}

fn external_addresses(found: &mut Faults, spec: &Value, old: &Value, path: &Path) {
    for (i, one) in spec.list("externalIPs").iter().enumerate() {
        let (at, text) = (path.index(i), one.as_str().unwrap_or_default());
        if old.list("externalIPs").contains(one) || address::validate(found, &at, text) {
            address::validate_target(found, &at, text);
        }
    }
}

/// Ports of nodes where there are none, and ports that are there twice.
fn port_numbers(found: &mut Faults, spec: &Value, path: &Path) {
    let all = spec.list("ports");
    let node = |one: &Value| one.int("nodePort").unwrap_or(0);
    if spec.text("type") == "ClusterIP" {
        for (i, _) in all.iter().enumerate().filter(|(_, one)| node(one) != 0) {
            let why = "may not be used when `type` is 'ClusterIP'";
            found.push(FieldError::forbidden(path.index(i).child("nodePort"), why));
        }
    }
    let twice = |i: usize, same: &dyn Fn(&Value, &Value) -> bool| {
        all[..i]
            .iter()
            .any(|other| same(other, &all[i]) && other.text("protocol") == all[i].text("protocol"))
    };
    for (i, one) in all.iter().enumerate() {
        if node(one) != 0 && twice(i, &|a, b| node(a) == node(b)) {
            found.push(FieldError::duplicate(path.index(i).child("nodePort"), node(one)));
        }
    }
    for (i, one) in all.iter().enumerate() {
        if twice(i, &|a, b| a.int("port") == b.int("port")) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{:?},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                one.text("protocol"),
                one.int("port").unwrap_or(0)
            );
            found.push(duplicate_shown(path.index(i), &shown));
        }
    }
}

/// Who may reach a load balancer, said in the field or in its old annotation.
fn source_ranges(found: &mut Faults, object: &Value, old: &Value) {
    let spec = object.at("spec");
    let balanced = spec.text("type") == "LoadBalancer";
    let ranges = |of: &Value| -> Vec<String> {
        let all = of.at("spec").list("loadBalancerSourceRanges").iter();
        all.filter_map(Value::as_str).map(|one| one.trim().to_owned()).collect()
    };
    let annotation = |of: &Value| of.at("metadata").at("annotations").at(RANGES).clone();
    if !ranges(object).is_empty() {
        let path = Path::new("spec").child("LoadBalancerSourceRanges");
        if !balanced {
            found.push(FieldError::forbidden(path.clone(), BALANCED_ONLY));
        }
        let before = ranges(old);
        for (i, one) in ranges(object).iter().enumerate() {
            if !before.contains(one) {
                address::range(found, &path.index(i), one);
            }
        }
    } else if let Some(text) = annotation(object).as_str() {
        let path = Path::new("metadata").child("annotations").key(RANGES);
        if !balanced {
            found.push(FieldError::forbidden(path.clone(), BALANCED_ONLY));
        }
        if annotation(object) != annotation(old) && !text.trim().is_empty() {
            for one in text.split(',') {
                address::range(found, &path, one.trim());
            }
        }
    }
}

fn balancer_class(found: &mut Faults, spec: &Value, old: Option<&Value>, path: &Path) {
    let (class, at) = (spec.at("loadBalancerClass"), path.child("loadBalancerClass"));
    let balanced = |spec: &Value| spec.text("type") == "LoadBalancer";
    if let Some(old) = old
        && balanced(old)
        && balanced(spec)
        && old.at("loadBalancerClass") != class
    {
        found.push(FieldError::invalid(at.clone(), class.clone(), KEPT));
    }
    match class.as_str() {
        Some(name) if balanced(spec) => qualified(found, &at, name),
        Some(_) => found.push(FieldError::forbidden(at, BALANCED_ONLY)),
        None => {}
    }
}

/// Where traffic goes.
fn policies(found: &mut Faults, spec: &Value, path: &Path) {
    let (key, words) = ("externalTrafficPolicy", ["Cluster", "Local"]);
    if is_reachable_from_outside(spec) {
        word(found, spec, key, &words, path);
    } else if !spec.text(key).is_empty() {
        let why = "may only be set for externally-accessible services";
        found.push(FieldError::invalid(path.child(key), spec.text(key), why));
    }
    let check = path.child("healthCheckNodePort");
    match (needs_health_check(spec), spec.int("healthCheckNodePort").unwrap_or(0)) {
        (false, 0) => {}
        (false, number) => {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            found.push(FieldError::invalid(check, number, why));
        }
        (true, 0) => found.push(FieldError::required(check, "")),
        (true, number) => port(found, check, number),
    }
    let key = "internalTrafficPolicy";
    if spec.has(key) && !words.contains(&spec.text(key)) {
        found.push(unsupported(path.child(key), spec.text(key), &words));
    }
    let (key, words) = ("trafficDistribution", ["PreferClose", "PreferSameZone", "PreferSameNode"]);
    if spec.has(key) && !words.contains(&spec.text(key)) {
        found.push(unsupported(path.child(key), spec.text(key), &words));
    }
}

/// Addresses stay; only a second one may come or go.
fn kept_addresses(found: &mut Faults, spec: &Value, old: &Value, path: &Path) {
    let external = |spec: &Value| spec.text("type") == "ExternalName";
    if external(spec) || external(old) || (is_headless(spec) && is_headless(old)) {
        return;
    }
    let (new, before) = (spec.list("clusterIPs"), old.list("clusterIPs"));
    let at = path.child("clusterIPs");
    let mut wrong = |i: usize, why: &str| {
        let shown = if new.is_empty() { json!([]) } else { spec.at("clusterIPs").clone() };
        found.push(FieldError::invalid(at.index(i), shown, why));
    };
    if new.len() == before.len() {
        for (i, _) in new.iter().zip(before).enumerate().filter(|(_, (new, old))| new != old) {
            wrong(i, KEPT);
        }
        return;
    }
    if new.is_empty() {
        wrong(0, "primary clusterIP can not be unset");
    }
    if let (Some(first), Some(old)) = (new.first(), before.first())
        && first != old
    {
        wrong(0, KEPT);
    }
    released(found, spec, before.len() > new.len() && new.len() == 1, "clusterIP", path);
}

/// Families stay; only a second one may come or go.
fn kept_families(found: &mut Faults, spec: &Value, old: &Value, path: &Path) {
    let external = |spec: &Value| spec.text("type") == "ExternalName";
    if external(spec) || external(old) || is_headless(spec) || is_headless(old) {
        return;
    }
    let (new, before) = (spec.list("ipFamilies"), old.list("ipFamilies"));
    let at = path.child("ipFamilies").index(0);
    let differ = |i: usize| new.get(i).is_some_and(|new| before.get(i).is_some_and(|o| o != new));
    if new.len() == before.len() {
        for _ in (0..new.len()).filter(|i| differ(*i)) {
            found.push(FieldError::invalid(at.clone(), spec.at("ipFamilies").clone(), KEPT));
        }
        return;
    }
    if differ(0) {
        // Upstream shows the addresses here.
        found.push(FieldError::invalid(at, spec.at("clusterIPs").clone(), KEPT));
    }
    released(found, spec, before.len() > new.len() && new.len() == 1, "ipFamily", path);
}

/// Who gives up the second of two says so in the policy too.
fn released(found: &mut Faults, spec: &Value, gone: bool, what: &str, path: &Path) {
    if gone && spec.text("ipFamilyPolicy") != "SingleStack" {
        let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        let policy = spec.at("ipFamilyPolicy").clone();
        found.push(FieldError::invalid(path.child("ipFamilyPolicy"), policy, &why));
    }
}
