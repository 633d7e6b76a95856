//! Services: a name, an address and ports for pods that come and go.

pub(crate) mod allocate;
mod validate;

/// Ranges of addresses.
pub(crate) mod ranges {
    pub(crate) use crate::admit::address::Range;
}

use super::faults::Faults;
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, address, metadata, table};
use api::Path;
use serde_json::{Value, json};

/// The word for no address at all.
pub(crate) const HEADLESS: &str = "None";

/// Seconds that a client stays with one pod, unless said otherwise: three hours.
const AFFINITY_SECONDS: i64 = 10_800;

/// The strategy.
#[derive(Debug)]
pub(crate) struct Service;

impl Strategy for Service {
    fn default(&self, object: &mut Value) {
        fill_spec(object.object("spec"));
        let balanced = object.at("spec").text("type") == "LoadBalancer";
        let balancer = object.object("status").object("loadBalancer");
        for ingress in balancer.items("ingress") {
            if balanced && !ingress.text("ip").is_empty() {
                ingress.fill("ipMode", "VIP");
            }
        }
    }

    fn first_status(&self) -> Option<Value> {
        Some(json!({"loadBalancer": {}}))
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: &Context<'_>) {
        if context.subresource == "status" {
            return;
        }
        drop_what_no_longer_applies(object.object("spec"), old.at("spec"));
        if object.at("spec").text("type") != "LoadBalancer" {
            object.object("status").set("loadBalancer", json!({}));
        }
    }

    fn name_faults(&self, name: &str, prefix: bool) -> Vec<String> {
        metadata::name_is_label(name, prefix)
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate::new(object, &Value::Null)
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            return validate::status(object, old);
        }
        validate::changed(object, old)
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings(object)
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let spec = object.at("spec");
        vec![
            ("spec.clusterIP", spec.text("clusterIP").to_owned()),
            ("spec.type", spec.text("type").to_owned()),
        ]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn delete_answers_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let ports = spec.list("ports").iter().map(|port| {
            let (number, protocol) = (port.int("port").unwrap_or(0), port.text("protocol"));
            match port.int("nodePort").unwrap_or(0) {
                0 => format!("{number}/{protocol}"),
                node => format!("{number}:{node}/{protocol}"),
            }
        });
        let first = spec.list("clusterIPs").first().and_then(Value::as_str).unwrap_or("<none>");
        vec![
            table::name(object),
            spec.text("type").into(),
            first.into(),
            outside(object).into(),
            table::joined(&ports.collect::<Vec<_>>(), "<none>"),
            table::age(object, now),
            table::labels(spec.at("selector")),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Type", "string", "How far the service is reachable."),
    table::column("Cluster-IP", "string", "Its address inside the cluster."),
    table::column("External-IP", "string", "Its addresses outside."),
    table::column("Port(s)", "string", "Its ports, with those of nodes."),
    table::AGE,
    table::wide("Selector", "string", "Labels of the pods behind it."),
];

/// Whether there is no address, only pods.
pub(crate) fn is_headless(spec: &Value) -> bool {
    matches!(spec.list("clusterIPs"), [only] if only == HEADLESS)
}

/// Whether traffic comes from outside the cluster.
fn is_reachable_from_outside(spec: &Value) -> bool {
    match spec.text("type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.list("externalIPs").is_empty(),
        _ => false,
    }
}

/// Whether nodes tell a load balancer if they have a pod.
pub(crate) fn needs_health_check(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

fn needs_address(spec: &Value) -> bool {
    spec.text("type") != "ExternalName"
}

fn fill_spec(spec: &mut Value) {
    spec.fill_text("sessionAffinity", "None");
    match spec.text("sessionAffinity") {
        "None" => spec.unset("sessionAffinityConfig"),
        "ClientIP" => {
            let timeout = spec.dig(&["sessionAffinityConfig", "clientIP"]);
            if !timeout.has("timeoutSeconds") {
                let config = json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}});
                spec.set("sessionAffinityConfig", config);
            }
        }
        _ => {}
    }
    spec.fill_text("type", "ClusterIP");
    for port in spec.items("ports") {
        port.fill_text("protocol", "TCP");
        let target = port.at("targetPort");
        if target.is_null() || *target == 0 || *target == "" {
            let own = port.int("port").unwrap_or(0);
            port.set("targetPort", own);
        }
    }
    if is_reachable_from_outside(spec) {
        spec.fill_text("externalTrafficPolicy", "Cluster");
    }
    let kind = spec.text("type").to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        spec.fill("internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        spec.fill("allocateLoadBalancerNodePorts", true);
    }
}

/// A change of type takes away what the server gave for the old one, unless the change names it too.
fn drop_what_no_longer_applies(spec: &mut Value, old: &Value) {
    let same = |spec: &Value, key: &str| spec.at(key) == old.at(key);
    if needs_address(old) && !needs_address(spec) {
        if same(spec, "clusterIP") && same(spec, "clusterIPs") {
            spec.unset("clusterIP");
            spec.unset("clusterIPs");
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if same(spec, key) {
                spec.unset(key);
            }
        }
    }
    let on_nodes = |spec: &Value| matches!(spec.text("type"), "NodePort" | "LoadBalancer");
    let had = allocate::node_ports(old);
    let new = allocate::node_ports(spec);
    if on_nodes(old) && !on_nodes(spec) && new.iter().all(|port| had.contains(port)) {
        for port in spec.items("ports") {
            port.unset("nodePort");
        }
    }
    if needs_health_check(old) && !needs_health_check(spec) && same(spec, "healthCheckNodePort") {
        spec.unset("healthCheckNodePort");
    }
    if old.text("type") == "LoadBalancer" && spec.text("type") != "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(spec, key) {
                spec.unset(key);
            }
        }
    }
    if is_reachable_from_outside(old)
        && !is_reachable_from_outside(spec)
        && same(spec, "externalTrafficPolicy")
    {
        spec.unset("externalTrafficPolicy");
    }
}

/// What is allowed but probably not meant.
fn warnings(object: &Value) -> Vec<String> {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let (spec, path) = (object.at("spec"), Path::new("spec"));
    let mut all = Vec::new();
    if object.at("metadata").at("annotations").has(HINTS) {
        all.push(format!(
            "annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let addresses = |key: &str, all: &mut Vec<String>| {
        for (i, one) in spec.list(key).iter().enumerate() {
            let one = one.as_str().unwrap_or_default();
            all.extend(address::warning(one, &path.child(key).index(i)));
        }
    };
    if !is_headless(spec) {
        addresses("clusterIPs", &mut all);
    } else if spec.text("type") == "ClusterIP" {
        if !spec.text("loadBalancerIP").is_empty() {
            all.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !spec.list("externalIPs").is_empty() {
            all.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if spec.text("sessionAffinity") != "None" {
            all.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    if !spec.list("externalIPs").is_empty() {
        all.push("spec.externalIPs is deprecated".to_owned());
    }
    addresses("externalIPs", &mut all);
    all.extend(address::warning(spec.text("loadBalancerIP"), &path.child("loadBalancerIP")));
    for (i, range) in spec.list("loadBalancerSourceRanges").iter().enumerate() {
        let at = path.child("loadBalancerSourceRanges").index(i);
        all.extend(address::range_warning(range.as_str().unwrap_or_default(), &at));
    }
    if !needs_address(spec) && !spec.list("externalIPs").is_empty() {
        all.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if needs_address(spec) && !spec.text("externalName").is_empty() {
        all.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.text("trafficDistribution") == "PreferClose" {
        all.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .to_owned(),
        );
    }
    all
}

/// The cell for addresses outside.
fn outside(object: &Value) -> String {
    let spec = object.at("spec");
    let own: Vec<&str> = spec.list("externalIPs").iter().filter_map(Value::as_str).collect();
    match spec.text("type") {
        "ClusterIP" | "NodePort" if own.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => own.join(","),
        "ExternalName" => spec.text("externalName").to_owned(),
        "LoadBalancer" => {
            let given = object.at("status").at("loadBalancer").list("ingress").iter();
            let mut all: Vec<&str> = given
                .map(|one| match one.text("ip") {
                    "" => one.text("hostname"),
                    ip => ip,
                })
                .filter(|one| !one.is_empty())
                .collect();
            all.sort_unstable();
            all.dedup();
            all.extend(own);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ => "<unknown>".to_owned(),
    }
}
