//! Endpoints and EndpointSlices: the addresses behind a service. Kept for those who make them; the server itself makes
//! those of the service `kubernetes`.

use super::faults::{
    Faults, IMMUTABLE, dns_label, dns_subdomain, needed, port, qualified, texts, unsupported,
};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, address, table};
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeSet;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// Kinds of addresses, as upstream lists them.
const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
/// Upstream's limits of one slice.
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const ENDPOINTS_MAX: usize = 1_000;
const ZONES_MAX: usize = 8;
/// Addresses and ports that are shown of all.
const SHOWN: usize = 3;

/// The strategy of Endpoints.
#[derive(Debug)]
pub(crate) struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, object: &mut Value) {
        for subset in object.items("subsets") {
            for port in subset.items("ports") {
                port.fill_text("protocol", "TCP");
            }
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = Faults::new();
        for (i, subset) in object.list("subsets").iter().enumerate() {
            let path = Path::new("subsets").index(i);
            let lists = ["addresses", "notReadyAddresses"];
            if lists.iter().all(|key| subset.list(key).is_empty()) {
                let why = "must specify `addresses` or `notReadyAddresses`";
                found.push(FieldError::required(path.clone(), why));
            }
            for key in lists {
                for (j, one) in subset.list(key).iter().enumerate() {
                    validate_address(&mut found, one, &path.child(key).index(j));
                }
            }
            let ports = subset.list("ports");
            for (j, one) in ports.iter().enumerate() {
                let (path, name) = (path.child("ports").index(j), one.text("name"));
                if (ports.len() > 1 || !name.is_empty())
                    && needed(&mut found, path.child("name"), name)
                {
                    dns_label(&mut found, &path.child("name"), name);
                }
                port(&mut found, path.child("port"), one.int("port").unwrap_or(0));
                protocol(&mut found, one, &path);
            }
        }
        found
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let mut all = Vec::new();
        for subset in object.list("subsets") {
            let addresses = subset.list("addresses").iter().map(|one| one.text("ip"));
            let ports = subset.list("ports");
            for ip in addresses {
                if ports.is_empty() {
                    all.push(ip.to_owned());
                }
                let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
                let each =
                    ports.iter().map(|port| format!("{host}:{}", port.int("port").unwrap_or(0)));
                all.extend(each);
            }
        }
        vec![table::name(object), shortened(&all, "<none>").into(), table::age(object, now)]
    }
}

const COLUMNS: &[Column] =
    &[table::NAME, table::column("Endpoints", "string", "Addresses with their ports."), table::AGE];

/// What upstream tells everybody who has to do with Endpoints.
pub(crate) const DEPRECATED: &str =
    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// The first few, and how many more there are.
fn shortened(all: &[String], nothing: &str) -> String {
    match all.len() {
        0 => nothing.to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
        _ => all.join(","),
    }
}

fn protocol(found: &mut Faults, one: &Value, path: &Path) {
    let (protocol, at) = (one.text("protocol"), path.child("protocol"));
    if needed(found, at.clone(), protocol) && !PROTOCOLS.contains(&protocol) {
        found.push(unsupported(at, protocol, &PROTOCOLS));
    }
    let name = one.text("appProtocol");
    if one.has("appProtocol") {
        qualified(found, &path.child("appProtocol"), name);
    }
}

fn validate_address(found: &mut Faults, one: &Value, path: &Path) {
    let (ip, at) = (one.text("ip"), path.child("ip"));
    if address::validate(found, &at, ip) {
        address::validate_target(found, &at, ip);
    }
    if !one.text("hostname").is_empty() {
        dns_label(found, &path.child("hostname"), one.text("hostname"));
    }
    if one.has("nodeName") {
        dns_subdomain(found, &path.child("nodeName"), one.text("nodeName"));
    }
}

/// The strategy of EndpointSlices.
#[derive(Debug)]
pub(crate) struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn default(&self, object: &mut Value) {
        object.fill("endpoints", Value::Null);
        object.fill("ports", Value::Null);
        for port in object.items("ports") {
            port.fill("name", "");
            port.fill("protocol", "TCP");
        }
    }

    fn counted(&self) -> &'static [&'static str] {
        &["/addressType", "/endpoints", "/ports"]
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = Faults::new();
        let (kind, path) = (object.text("addressType"), Path::new("addressType"));
        if needed(&mut found, path.clone(), kind) && !TYPES.contains(&kind) {
            found.push(unsupported(path, kind, &TYPES));
        }
        validate_endpoints(&mut found, object, kind);
        validate_ports(&mut found, object.list("ports"));
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        let mut found = self.validate_create(object, context);
        if object.at("addressType") != old.at("addressType") {
            let value = object.at("addressType").clone();
            found.push(FieldError::invalid(Path::new("addressType"), value, IMMUTABLE));
        }
        found
    }

    fn columns(&self) -> &'static [Column] {
        SLICE_COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let ports = object.list("ports").iter().map(|port| {
            port.int("port").map_or_else(|| "*".to_owned(), |number| number.to_string())
        });
        let endpoints = object.list("endpoints").iter();
        let addresses = endpoints.flat_map(|endpoint| endpoint.list("addresses"));
        let addresses: Vec<String> =
            addresses.filter_map(Value::as_str).map(str::to_owned).collect();
        vec![
            table::name(object),
            object.text("addressType").into(),
            shortened(&ports.collect::<Vec<_>>(), "<unset>").into(),
            shortened(&addresses, "<unset>").into(),
            table::age(object, now),
        ]
    }
}

const SLICE_COLUMNS: &[Column] = &[
    table::NAME,
    table::column("AddressType", "string", "Which kind of addresses these are."),
    table::column("Ports", "string", "Their ports."),
    table::column("Endpoints", "string", "The addresses."),
    table::AGE,
];

fn validate_endpoints(found: &mut Faults, object: &Value, kind: &str) {
    let (endpoints, path) = (object.list("endpoints"), Path::new("endpoints"));
    if endpoints.len() > ENDPOINTS_MAX {
        return found.push(FieldError::too_many(path, endpoints.len(), ENDPOINTS_MAX));
    }
    for (i, endpoint) in endpoints.iter().enumerate() {
        let path = path.index(i);
        let (addresses, at) = (endpoint.list("addresses"), path.child("addresses"));
        if addresses.is_empty() {
            let why = "must contain at least 1 address";
            found.push(FieldError::required(at.clone(), why));
        } else if addresses.len() > ADDRESSES_MAX {
            found.push(FieldError::too_many(at.clone(), addresses.len(), ADDRESSES_MAX));
        }
        for (j, one) in addresses.iter().enumerate() {
            of_type(found, one.as_str().unwrap_or_default(), kind, &at.index(j));
        }
        if endpoint.has("nodeName") {
            dns_subdomain(found, &path.child("nodeName"), endpoint.text("nodeName"));
        }
        if endpoint.has("hostname") {
            dns_label(found, &path.child("hostname"), endpoint.text("hostname"));
        }
        if endpoint.has("hints") {
            let hints = endpoint.at("hints");
            for key in ["forZones", "forNodes"] {
                validate_hints(found, hints.list(key), &path.child("hints").child(key));
            }
        }
    }
}

/// An address of the kind that the slice is of.
fn of_type(found: &mut Faults, text: &str, kind: &str, path: &Path) {
    if kind == "FQDN" {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return found.push(FieldError::required(path.clone(), ""));
        }
        let before = found.len();
        texts(found, path, text, api::names::dns_subdomain(name));
        if found.len() == before && name.split('.').count() < 2 {
            let why = "should be a domain with at least two segments separated by dots";
            found.push(FieldError::invalid(path.clone(), text, why));
        }
        return;
    }
    if !matches!(kind, "IPv4" | "IPv6") {
        return;
    }
    let wants_v6 = kind == "IPv6";
    if address::read(text).is_some() && address::is_v6(text) != wants_v6 {
        let why = format!("must be an {kind} address");
        found.push(FieldError::invalid(path.clone(), text, &why));
    } else {
        address::validate(found, path, text);
    }
    address::validate_target(found, path, text);
}

fn validate_hints(found: &mut Faults, hints: &[Value], path: &Path) {
    if hints.len() > ZONES_MAX {
        return found.push(FieldError::too_many(path.clone(), hints.len(), ZONES_MAX));
    }
    let mut taken = BTreeSet::new();
    for (i, hint) in hints.iter().enumerate() {
        let (name, path) = (hint.text("name"), path.index(i).child("name"));
        if !taken.insert(name) {
            found.push(FieldError::duplicate(path.clone(), name));
        }
        qualified(found, &path, name);
    }
}

fn validate_ports(found: &mut Faults, ports: &[Value]) {
    let path = Path::new("ports");
    if ports.len() > PORTS_MAX {
        return found.push(FieldError::too_many(path, ports.len(), PORTS_MAX));
    }
    let mut taken = BTreeSet::new();
    for (i, one) in ports.iter().enumerate() {
        let (path, name) = (path.index(i), one.text("name"));
        if !name.is_empty() {
            dns_label(found, &path.child("name"), name);
        }
        if !taken.insert(name) {
            found.push(FieldError::duplicate(path.child("name"), name));
        }
        if let Some(number) = one.int("port") {
            port(found, path.child("port"), number);
        }
        protocol(found, one, &path);
    }
}
