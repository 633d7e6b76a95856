//! Nodes.

use super::faults::{Faults, needed, qualified, texts, unsupported};
use super::json::{Json, JsonMut};
use super::pod::{defaults, tolerations};
use super::{Column, Context, Strategy, address, amount, table};
use api::names;
use api::{FieldError, Path};
use serde_json::{Value, json};

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

impl Strategy for Node {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        let range = spec.text("podCIDR").to_owned();
        if !range.is_empty() && spec.list("podCIDRs").is_empty() {
            spec.set("podCIDRs", json!([range]));
        }
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

    fn has_halves(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = taints(object);
        found.extend(amounts(object));
        let spec = object.at("spec");
        for (i, range) in spec.list("podCIDRs").iter().enumerate() {
            let range = range.as_str().unwrap_or_default();
            address::range(&mut found, &Path::new("spec").child("podCIDRs").index(i), range);
        }
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

/// Spec A92: the path says `metadata`, as upstream's does.
fn taints(object: &Value) -> Faults {
    let path = Path::new("metadata").child("taints");
    let mut found = Faults::new();
    let taints = object.at("spec").list("taints");
    for (i, taint) in taints.iter().enumerate() {
        let at = path.index(i);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        qualified(&mut found, &at.child("key"), key);
        texts(&mut found, &at.child("value"), value, names::label_value(value));
        if needed(&mut found, at.child("effect"), effect) && !tolerations::EFFECTS.contains(&effect)
        {
            found.push(unsupported(at.child("effect"), effect, &tolerations::EFFECTS));
        }
        let same = |other: &&Value| other.text("key") == key && other.text("effect") == effect;
        if !effect.is_empty() && taints[..i].iter().any(|other| same(&other)) {
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
            if amount::is_negative(value) {
                let path = Path::new("status").child(list).key(name);
                let shown = amount::canonical(value);
                found.push(FieldError::invalid(path, shown, super::faults::NEGATIVE));
            }
        }
    }
    found
}

fn addresses(object: &Value) -> Faults {
    let mut found = Faults::new();
    let all = object.at("status").list("addresses");
    for (i, address) in all.iter().enumerate() {
        if all[..i].contains(address) {
            let path = Path::new("status").child("addresses").index(i);
            found.push(FieldError::duplicate(path, address.clone()));
        }
    }
    found
}
