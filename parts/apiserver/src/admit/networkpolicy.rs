//! NetworkPolicies: who may talk to whom.

use super::faults::{Faults, port, texts, unsupported};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, address, selector, table, words};
use api::{FieldError, Path};
use serde_json::{Value, json};

const TYPES: [&str; 2] = ["Ingress", "Egress"];

/// The two directions: a list of rules, and where its peers stand.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

/// The strategy.
#[derive(Debug)]
pub(crate) struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.fill("podSelector", json!({}));
        for (direction, _) in DIRECTIONS {
            for rule in spec.items(direction) {
                for port in rule.items("ports") {
                    port.fill("protocol", "TCP");
                }
            }
        }
        if spec.list("policyTypes").is_empty() {
            let both = !spec.list("egress").is_empty();
            spec.set("policyTypes", if both { json!(TYPES) } else { json!(["Ingress"]) });
        }
    }

    fn counted(&self) -> &'static [&'static str] {
        &["/spec"]
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate(object.at("spec"))
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut all = Vec::new();
        each_peer(object.at("spec"), &mut |peer, path| {
            let (block, path) = (peer.at("ipBlock"), path.child("ipBlock"));
            all.extend(address::range_warning(block.text("cidr"), &path.child("cidr")));
            for (i, except) in block.list("except").iter().enumerate() {
                let except = except.as_str().unwrap_or_default();
                all.extend(address::range_warning(except, &path.child("except").index(i)));
            }
        });
        all
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let chosen = table::selector(object.at("spec").at("podSelector"));
        vec![table::name(object), chosen, table::age(object, now)]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Pod-Selector", "string", "Labels of the pods it is about."),
    table::AGE,
];

fn each_peer(spec: &Value, act: &mut dyn FnMut(&Value, &Path)) {
    for (direction, peers) in DIRECTIONS {
        for (i, rule) in spec.list(direction).iter().enumerate() {
            let path = Path::new("spec").child(direction).index(i).child(peers);
            for (j, peer) in rule.list(peers).iter().enumerate() {
                act(peer, &path.index(j));
            }
        }
    }
}

fn validate(spec: &Value) -> Faults {
    let path = Path::new("spec");
    let mut found = selector::validate(spec.at("podSelector"), &path.child("podSelector"));
    for (direction, peers) in DIRECTIONS {
        for (i, rule) in spec.list(direction).iter().enumerate() {
            let path = path.child(direction).index(i);
            for (j, port) in rule.list("ports").iter().enumerate() {
                validate_port(&mut found, port, &path.child("ports").index(j));
            }
            for (j, peer) in rule.list(peers).iter().enumerate() {
                validate_peer(&mut found, peer, &path.child(peers).index(j));
            }
        }
    }
    let (types, path) = (spec.list("policyTypes"), path.child("policyTypes"));
    if types.len() > TYPES.len() {
        let why = "may not specify more than two policyTypes";
        found.push(FieldError::invalid(path, spec.at("policyTypes").clone(), why));
        return found;
    }
    for (i, kind) in types.iter().filter_map(Value::as_str).enumerate() {
        if !TYPES.contains(&kind) {
            found.push(unsupported(path.index(i), kind, &TYPES));
        }
    }
    found
}

fn validate_port(found: &mut Faults, of: &Value, path: &Path) {
    let protocols = ["TCP", "UDP", "SCTP"];
    if of.has("protocol") && !protocols.contains(&of.text("protocol")) {
        found.push(unsupported(path.child("protocol"), of.text("protocol"), &protocols));
    }
    let (at, end_at) = (path.child("port"), path.child("endPort"));
    let end = of.int("endPort");
    match of.at("port") {
        Value::Null => {
            if let Some(end) = end {
                let why = "may not be specified when `port` is not specified";
                found.push(FieldError::invalid(end_at, end, why));
            }
        }
        Value::String(name) => {
            if let Some(end) = end {
                let why = "may not be specified when `port` is non-numeric";
                found.push(FieldError::invalid(end_at, end, why));
            }
            texts(found, &at, name, words::port_name(name));
        }
        number => {
            let number = number.as_i64().unwrap_or(0);
            port(found, at, number);
            if let Some(end) = end {
                if end < number {
                    let why = "must be greater than or equal to `port`";
                    found.push(FieldError::invalid(end_at.clone(), number, why));
                }
                port(found, end_at, end);
            }
        }
    }
}

fn validate_peer(found: &mut Faults, peer: &Value, path: &Path) {
    let mut count = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if peer.has(key) {
            count += 1;
            found.extend(selector::validate(peer.at(key), &path.child(key)));
        }
    }
    if peer.has("ipBlock") {
        count += 1;
        validate_block(found, peer.at("ipBlock"), &path.child("ipBlock"));
    }
    if count == 0 {
        found.push(FieldError::required(path.clone(), "must specify a peer"));
    } else if count > 1 && peer.has("ipBlock") {
        let why = "may not specify both ipBlock and another peer";
        found.push(FieldError::forbidden(path.clone(), why));
    }
}

fn validate_block(found: &mut Faults, block: &Value, path: &Path) {
    let cidr = block.text("cidr");
    if cidr.is_empty() {
        return found.push(FieldError::required(path.child("cidr"), ""));
    }
    address::range(found, &path.child("cidr"), cidr);
    let Some(all) = address::Range::read(cidr) else { return };
    for (i, except) in block.list("except").iter().enumerate() {
        let at = path.child("except").index(i);
        let except = except.as_str().unwrap_or_default();
        address::range(found, &at, except);
        if address::Range::read(except).is_some_and(|part| !part.is_strictly_inside(&all)) {
            let why = "must be a strict subset of `cidr`";
            found.push(FieldError::invalid(at, except, why));
        }
    }
}
