//! Nodes.

use super::faults::{Faults, needed, qualified, texts, unsupported};
use super::json::{Json, JsonMut};
use super::pod::{defaults, resources, tolerations};
use super::{Column, Context, Strategy, address, table};
use api::names;
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The strategy.
#[derive(Debug)]
pub(crate) struct Node;

/// Parts of `status.nodeInfo`, all of which are always printed.
const INFO: [&str; 10] = [
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
];

/// Configuration by way of the API is no more; only where it is still set does it stay.
fn drop_removed(object: &mut Value, old: &Value) {
    for (half, key) in [("spec", "configSource"), ("status", "config")] {
        if !old.at(half).has(key)
            && let Some(half) = object.present(half)
        {
            half.unset(key);
        }
    }
}

impl Strategy for Node {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        settle_ranges(spec);
        let status = object.object("status");
        let endpoint = status.object("daemonEndpoints").object("kubeletEndpoint");
        endpoint.fill("Port", 0);
        let info = status.object("nodeInfo");
        for key in INFO {
            info.fill(key, "");
        }
        for list in ["capacity", "allocatable"] {
            if let Some(list) = status.present(list) {
                defaults::round_all(list);
            }
        }
        if status.has("capacity") && !status.has("allocatable") {
            let all = status.at("capacity").clone();
            status.set("allocatable", all);
        }
        for condition in status.items("conditions") {
            for key in ["lastHeartbeatTime", "lastTransitionTime"] {
                if !condition.has(key) {
                    condition.set(key, Value::Null);
                }
            }
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        drop_removed(object, &Value::Null);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: &Context<'_>) {
        drop_removed(object, old);
    }

    fn has_halves(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = taints(object);
        found.extend(amounts(object));
        let spec = object.at("spec");
        ranges(&mut found, spec, &Path::new("spec").child("podCIDRs"));
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        // Upstream looks at the taints of the new object twice on the way.
        let mut found = taints(object);
        found.extend(amounts(object));
        found.extend(addresses(object));
        let (new, old) = (object.at("spec"), old.at("spec"));
        let path = Path::new("spec");
        if !old.list("podCIDRs").is_empty() && new.list("podCIDRs") != old.list("podCIDRs") {
            let why = "node updates may not change podCIDR except from \"\" to valid";
            found.push(FieldError::forbidden(path.child("podCIDRs"), why));
        }
        let id = "providerID";
        if !old.text(id).is_empty() && new.text(id) != old.text(id) {
            let why = "node updates may not change providerID except from \"\" to valid";
            found.push(FieldError::forbidden(path.child(id), why));
        }
        found.extend(taints(object));
        found
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let (spec, path) = (object.at("spec"), Path::new("spec"));
        let mut all = Vec::new();
        if spec.has("configSource") {
            all.push("spec.configSource: the feature is removed".to_owned());
        }
        if !spec.text("externalID").is_empty() {
            let why = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
            all.push(why.to_owned());
        }
        for (i, range) in spec.list("podCIDRs").iter().filter_map(Value::as_str).enumerate() {
            all.extend(address::range_warning(range, &path.child("podCIDRs").index(i)));
        }
        all
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", object.at("spec").flag("unschedulable").to_string())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let info = object.at("status").at("nodeInfo");
        let address = |kind: &str| {
            let all = object.at("status").list("addresses");
            let found = all.iter().find(|address| address.text("type") == kind);
            table::or_none(found.map_or("", |address| address.text("address")))
        };
        let kernel = match (info.text("kernelVersion"), info.text("architecture")) {
            ("", _) => String::new(),
            (kernel, "") => kernel.to_owned(),
            (kernel, architecture) => format!("{kernel} ({architecture})"),
        };
        let or_unknown = |text: &str| -> Value {
            if text.is_empty() { "<unknown>".into() } else { text.into() }
        };
        vec![
            table::name(object),
            condition(object).into(),
            table::joined(&roles(object), "<none>"),
            table::age(object, now),
            info.at("kubeletVersion").clone(),
            address("InternalIP"),
            address("ExternalIP"),
            or_unknown(info.text("osImage")),
            or_unknown(&kernel),
            or_unknown(info.text("containerRuntimeVersion")),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Status", "string", "Whether pods can run there."),
    table::column("Roles", "string", "What the node is for."),
    table::AGE,
    table::column("Version", "string", "Version of the node's agent."),
    table::wide("Internal-IP", "string", "Address inside the cluster."),
    table::wide("External-IP", "string", "Address outside the cluster."),
    table::wide("OS-Image", "string", "Operating system."),
    table::wide("Kernel-Version", "string", "Kernel."),
    table::wide("Container-Runtime", "string", "What runs the containers."),
];

/// Spec A102: the Ready condition, and whether new pods are wanted.
fn condition(object: &Value) -> String {
    let conditions = object.at("status").list("conditions");
    let ready = conditions.iter().find(|condition| condition.text("type") == "Ready");
    let mut text = match ready.map(|condition| condition.text("status")) {
        None => "Unknown",
        Some("True") => "Ready",
        Some(_) => "NotReady",
    }
    .to_owned();
    if object.at("spec").flag("unschedulable") {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn roles(object: &Value) -> Vec<String> {
    let mut roles: Vec<String> = object
        .at("metadata")
        .entries("labels")
        .into_iter()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role.to_owned()),
            None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort();
    roles.dedup();
    roles
}

/// The list says what the single field says, which is the first of the list; where they differ, the single one wins.
fn settle_ranges(spec: &mut Value) {
    let single = spec.text("podCIDR").to_owned();
    let first = spec.list("podCIDRs").first().and_then(Value::as_str).map(str::to_owned);
    match first {
        Some(first) if single.is_empty() => spec.set("podCIDR", first),
        Some(first) if first == single => {}
        _ if single.is_empty() => {}
        _ => spec.set("podCIDRs", json!([single])),
    }
}

/// Faults of a node's ranges of pod addresses: one of each family at most.
fn ranges(found: &mut Faults, spec: &Value, path: &Path) {
    let all: Vec<&str> = spec.list("podCIDRs").iter().filter_map(Value::as_str).collect();
    for (i, range) in all.iter().enumerate() {
        address::range(found, &path.index(i), range);
    }
    if all.len() < 2 {
        return;
    }
    if let Some(wrong) = all.iter().find(|range| address::Range::read(range).is_none()) {
        let why = format!(
            "Internal error: invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR address: {wrong}"
        );
        found.push(FieldError {
            path: path.clone(),
            fault: api::field::Fault::InternalError,
            body: why,
        });
    }
    let sixth = all.iter().filter_map(|range| address::Range::read(range)).map(|one| one.is_v6());
    let sixth: Vec<bool> = sixth.collect();
    let both = sixth.contains(&true) && sixth.contains(&false) && sixth.len() == all.len();
    if !both || all.len() > 2 {
        let why = "may specify no more than one CIDR for each IP family";
        found.push(FieldError::invalid(path.clone(), spec.at("podCIDRs").clone(), why));
    }
}

/// Spec A92: the path says `metadata`, as upstream's does.
fn taints(object: &Value) -> Faults {
    let path = Path::new("metadata").child("taints");
    let mut found = Faults::new();
    let taints = object.at("spec").list("taints");
    let mut taken = BTreeSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let at = path.index(i);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        qualified(&mut found, &at.child("key"), key);
        texts(&mut found, &at.child("value"), value, names::label_value(value));
        if needed(&mut found, at.child("effect"), effect) && !tolerations::EFFECTS.contains(&effect)
        {
            found.push(unsupported(at.child("effect"), effect, &tolerations::EFFECTS));
        }
        if !effect.is_empty() && !taken.insert((key, effect)) {
            let shown = format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{}}}",
                json!(key),
                json!(value),
                json!(effect),
                taint.at("timeAdded")
            );
            let mut fault = super::faults::duplicate_shown(at, &shown);
            fault.body.push_str(": taints must be unique by key and effect pair");
            found.push(fault);
        }
    }
    found
}

fn amounts(object: &Value) -> Faults {
    let mut found = Faults::new();
    for list in ["capacity", "allocatable"] {
        for (name, value) in object.at("status").entries(list) {
            resources::amount(
                &mut found,
                name,
                value,
                &Path::new("status").child(list).child(name),
            );
        }
    }
    found
}

fn addresses(object: &Value) -> Faults {
    let mut found = Faults::new();
    let all = object.at("status").list("addresses");
    let mut taken = BTreeSet::new();
    for (i, address) in all.iter().enumerate() {
        if !taken.insert(address.to_string()) {
            let path = Path::new("status").child("addresses").index(i);
            let (kind, place) = (json!(address.text("type")), json!(address.text("address")));
            let shown = format!("{{\"Type\":{kind},\"Address\":{place}}}");
            found.push(super::faults::duplicate_shown(path, &shown));
        }
    }
    found
}
