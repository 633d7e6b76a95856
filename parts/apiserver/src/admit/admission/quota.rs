//! ResourceQuota: what a new object costs, and whether the quotas of its namespace have that much left.
//!
//! Only [`charges`] is here: which quotas change, and to what. Writing them, before the object is written, is the
//! caller's: each with the revision it was read at, so that two requests never spend the same rest. An object
//! that then fails to be stored stays charged until the quota is counted anew, as upstream has it.

mod claim;

use super::totals::{self, Amounts};
use super::{Attributes, Operation, View};
use crate::admit::json::{Json, JsonMut};
use crate::admit::pod::quality;
use api::{Quantity, Status};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Amounts that containers have to state where a quota counts them. Upstream calls it a mistake not to be repeated
/// for others.
const STATED: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// What a quota counts of pods by a fixed name.
const OF_PODS: [&str; 11] = [
    "count/pods",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "pods",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// What a quota counts of services.
const OF_SERVICES: [&str; 4] =
    ["count/services", "services", "services.loadbalancers", "services.nodeports"];

/// Kinds that may be counted by their plain plural.
const BY_PLURAL: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

/// A quota with new usage, still with the resourceVersion it was read at.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// The quota as it is.
    pub old: Value,
    /// As it is to be.
    pub new: Value,
}

/// Whether any quota could change by a request.
pub fn concern(attributes: &Attributes<'_>) -> bool {
    let resource = attributes.resource;
    if !resource.namespaced || resource.plural == "events" || !resource.is_stored() {
        return false;
    }
    let service = (resource.group, resource.plural) == ("", "services");
    let pod = (resource.group, resource.plural) == ("", "pods");
    let claim = (resource.group, resource.plural) == ("", "persistentvolumeclaims");
    match (attributes.operation, attributes.subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, "") => service || claim,
        (Operation::Update, "status") => claim,
        (Operation::Update, "resize") => pod,
        _ => false,
    }
}

/// What is to be written so that the object is paid for; 403 when a quota has not enough left. Quotas named as
/// paid are not judged: their usage counts the object already.
pub fn charges(
    object: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
    paid: &BTreeSet<String>,
) -> Result<Vec<Charge>, Status> {
    let mut found = Vec::new();
    if !concern(attributes) {
        return Ok(found);
    }
    let meter = Meter::of(attributes);
    let quotas = view.list("", "resourcequotas", attributes.namespace);
    let mut pertinent = Vec::new();
    let owed = |quota: &Arc<Value>| !paid.contains(quota.at("metadata").text("name"));
    for quota in quotas.into_iter().filter(owed) {
        let hard = totals::read(quota.at("status").at("hard"));
        let counted: BTreeSet<&str> =
            hard.keys().map(String::as_str).filter(|name| meter.counts(name)).collect();
        if counted.is_empty() || !meter.in_scope(&quota, object) {
            continue;
        }
        let name = quota.at("metadata").text("name").to_owned();
        if let Some(why) = meter.unstated(object, &counted) {
            return Err(attributes.forbidden(&format!("failed quota: {name}: {why}")));
        }
        let used = totals::read(quota.at("status").at("used"));
        if counted.iter().any(|counted| !used.contains_key(*counted)) {
            let counted: Vec<&str> = counted.into_iter().collect();
            let list = counted.join(",");
            let why = format!("status unknown for quota: {name}, resources: {list}");
            return Err(attributes.forbidden(&why));
        }
        pertinent.push(quota);
    }
    let usage = meter.usage(object);
    let negative: Vec<&str> = usage
        .iter()
        .filter(|(_, amount)| amount.is_negative())
        .map(|(name, _)| name.as_str())
        .collect();
    if !negative.is_empty() {
        let list = negative.join(",");
        return Err(
            attributes.forbidden(&format!("quota usage is negative for resource(s): {list}"))
        );
    }
    for quota in pertinent {
        let before = attributes.old.filter(|old| meter.in_scope(&quota, old));
        let delta = before.map_or_else(|| usage.clone(), |old| rise(&usage, &meter.usage(old)));
        found.extend(charge(&quota, delta, attributes)?);
    }
    Ok(found)
}

/// What is more than before.
fn rise(usage: &Amounts, before: &Amounts) -> Amounts {
    let mut rise = usage.clone();
    for (name, amount) in &mut rise {
        let less = before.get(name).copied().unwrap_or(Quantity::ZERO);
        *amount = if *amount > less { amount.minus(&less) } else { Quantity::ZERO };
    }
    rise
}

fn charge(
    quota: &Value,
    mut delta: Amounts,
    attributes: &Attributes<'_>,
) -> Result<Option<Charge>, Status> {
    let status = quota.at("status");
    let (hard, mut used) = (totals::read(status.at("hard")), totals::read(status.at("used")));
    delta.retain(|name, amount| !amount.is_zero() && hard.contains_key(name));
    if delta.is_empty() {
        return Ok(None);
    }
    let before = used.clone();
    totals::add(&mut used, &delta);
    let exceeded: BTreeSet<&String> =
        delta.keys().filter(|name| used.get(*name) > hard.get(*name)).collect();
    if !exceeded.is_empty() {
        let only = |amounts: &Amounts| {
            let kept: Amounts = amounts
                .iter()
                .filter(|(name, _)| exceeded.contains(name))
                .map(|(name, amount)| (name.clone(), *amount))
                .collect();
            totals::shown(&kept)
        };
        return Err(attributes.forbidden(&format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            quota.at("metadata").text("name"),
            only(&delta),
            only(&before),
            only(&hard)
        )));
    }
    let mut new = quota.clone();
    new.object("status").set("used", totals::write(&used));
    Ok(Some(Charge { old: quota.clone(), new }))
}

/// How objects of one kind are counted.
enum Meter {
    Pods,
    Services,
    Claims,
    /// Every other kind is counted by number, under one or two names.
    Number(Vec<String>),
}

impl Meter {
    fn of(attributes: &Attributes<'_>) -> Self {
        let resource = attributes.resource;
        match (resource.group, resource.plural) {
            ("", "pods") => Self::Pods,
            ("", "services") => Self::Services,
            ("", "persistentvolumeclaims") => Self::Claims,
            (group, plural) => {
                let mut names = vec![format!("count/{}", resource.qualified())];
                if group.is_empty() && BY_PLURAL.contains(&plural) {
                    names.push(plural.to_owned());
                }
                Self::Number(names)
            }
        }
    }

    /// Whether a name in a quota is about these objects.
    fn counts(&self, name: &str) -> bool {
        match self {
            Self::Pods => {
                OF_PODS.contains(&name)
                    || name.starts_with("hugepages-")
                    || name.strip_prefix("requests.").is_some_and(is_extended_or_huge)
            }
            Self::Services => OF_SERVICES.contains(&name),
            Self::Claims => claim::counts(name),
            Self::Number(names) => names.iter().any(|known| known == name),
        }
    }

    fn usage(&self, object: &Value) -> Amounts {
        let one = Quantity::from_units(1);
        match self {
            Self::Pods => of_pod(object),
            Self::Services => of_service(object),
            Self::Claims => claim::usage(object),
            Self::Number(names) => names.iter().map(|name| (name.clone(), one)).collect(),
        }
    }

    /// What containers fail to state.
    fn unstated(&self, object: &Value, counted: &BTreeSet<&str>) -> Option<String> {
        if !matches!(self, Self::Pods) {
            return None;
        }
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let spec = object.at("spec");
        for container in spec.list("containers").iter().chain(spec.list("initContainers")) {
            let resources = container.at("resources");
            let stated = computed(
                &totals::read(resources.at("requests")),
                &totals::read(resources.at("limits")),
            );
            for name in STATED.iter().filter(|name| counted.contains(*name)) {
                if !stated.contains_key(*name) && !stated_by_pod(spec, name) {
                    missing.entry(name).or_default().insert(container.text("name"));
                }
            }
        }
        let parts: Vec<String> = missing
            .into_iter()
            .map(|(name, containers)| {
                let containers: Vec<&str> = containers.into_iter().collect();
                format!("{name} for: {}", containers.join(","))
            })
            .collect();
        (!parts.is_empty()).then(|| format!("must specify {}", parts.join("; ")))
    }

    /// Whether the scopes of a quota hold for an object.
    fn in_scope(&self, quota: &Value, object: &Value) -> bool {
        let spec = quota.at("spec");
        let exists = spec.list("scopes").iter().filter_map(Value::as_str);
        let selected = spec.at("scopeSelector").list("matchExpressions");
        let holds = |scope: &str, requirement: &Value| match self {
            Self::Pods => pod_in_scope(scope, requirement, object),
            Self::Claims => claim::in_scope(scope, requirement, object),
            Self::Services | Self::Number(_) => false,
        };
        exists.into_iter().all(|scope| holds(scope, &Value::Null))
            && selected.iter().all(|term| holds(term.text("scopeName"), term))
    }
}

/// A pod that states an amount as a whole states it for its containers.
fn stated_by_pod(spec: &Value, name: &str) -> bool {
    let resources = spec.at("resources");
    let whole =
        computed(&totals::read(resources.at("requests")), &totals::read(resources.at("limits")));
    whole.contains_key(name)
}

fn is_extended_or_huge(name: &str) -> bool {
    name.starts_with("hugepages-") || is_extended(name)
}

/// A resource of somebody's domain, as devices are.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// What a pod's or container's amounts count as in quotas.
fn computed(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::new();
    for (name, amount) in requests {
        match name.as_str() {
            "cpu" | "memory" | "ephemeral-storage" => {
                usage.insert(name.clone(), *amount);
                usage.insert(format!("requests.{name}"), *amount);
            }
            huge if huge.starts_with("hugepages-") => {
                usage.insert(name.clone(), *amount);
                usage.insert(format!("requests.{name}"), *amount);
            }
            other if is_extended(other) => {
                usage.insert(format!("requests.{name}"), *amount);
            }
            _ => {}
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    usage
}

fn of_pod(pod: &Value) -> Amounts {
    let one = Quantity::from_units(1);
    let mut usage = Amounts::from([("count/pods".to_owned(), one)]);
    if matches!(pod.at("status").text("phase"), "Failed" | "Succeeded") {
        return usage;
    }
    let spec = pod.at("spec");
    let (mut requests, mut limits) =
        (totals::of_pod(spec, "requests"), totals::of_pod(spec, "limits"));
    let overhead = totals::read(spec.at("overhead"));
    totals::add(&mut requests, &overhead);
    for (name, amount) in &overhead {
        limits.entry(name.clone()).and_modify(|limit| *limit = limit.plus(amount));
    }
    usage.extend(computed(&requests, &limits));
    usage.insert("pods".to_owned(), one);
    usage
}

fn of_service(service: &Value) -> Amounts {
    let spec = service.at("spec");
    let ports = spec.list("ports");
    let number = |count: usize| Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX));
    let with_node_port = ports.iter().filter(|port| port.int("nodePort").unwrap_or(0) != 0).count();
    let suppressed = spec.at("allocateLoadBalancerNodePorts") == &Value::Bool(false);
    let (balancers, node_ports) = match spec.text("type") {
        "NodePort" => (0, ports.len()),
        "LoadBalancer" if suppressed => (1, with_node_port),
        "LoadBalancer" => (1, ports.len()),
        _ => (0, 0),
    };
    Amounts::from([
        ("count/services".to_owned(), number(1)),
        ("services".to_owned(), number(1)),
        ("services.loadbalancers".to_owned(), number(balancers)),
        ("services.nodeports".to_owned(), number(node_ports)),
    ])
}

fn pod_in_scope(scope: &str, requirement: &Value, pod: &Value) -> bool {
    let spec = pod.at("spec");
    let ends = spec.int("activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0);
    let best_effort = quality::class(spec) == "BestEffort";
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => {
            let class = spec.text("priorityClassName");
            let listed = requirement.list("values").iter().any(|value| value == class);
            match requirement.text("operator") {
                "" | "Exists" => !class.is_empty(),
                "DoesNotExist" => class.is_empty(),
                "In" => !class.is_empty() && listed,
                "NotIn" => class.is_empty() || !listed,
                _ => false,
            }
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(spec.at("affinity")),
        _ => false,
    }
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let crosses =
        |term: &Value| !term.list("namespaces").is_empty() || term.has("namespaceSelector");
    ["podAffinity", "podAntiAffinity"].iter().map(|kind| affinity.at(kind)).any(|side| {
        side.list("requiredDuringSchedulingIgnoredDuringExecution").iter().any(crosses)
            || side
                .list("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|term| crosses(term.at("podAffinityTerm")))
    })
}
