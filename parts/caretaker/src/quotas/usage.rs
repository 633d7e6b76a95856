//! What pods and services use, in the names that quotas have for it. Pure.

use api::Quantity;
use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaim, Pod, PodSpec, ResourceRequirements, Service,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::BTreeMap;

type Amounts = BTreeMap<String, Quantity>;
type List = fn(&ResourceRequirements) -> Option<&BTreeMap<String, Text>>;

/// What some pods use together.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// All of them.
    pods: i64,
    /// Those that have not ended: only they take anything else.
    living: i64,
    requests: Amounts,
    limits: Amounts,
}

impl Totals {
    pub(super) fn add(&mut self, pod: &Pod) {
        self.pods += 1;
        let Some(spec) = pod.spec.as_ref().filter(|_| !fit::filter::is_finished(pod)) else {
            return;
        };
        self.living += 1;
        add(&mut self.requests, &whole(spec, |list| list.requests.as_ref(), true));
        add(&mut self.limits, &whole(spec, |list| list.limits.as_ref(), false));
    }

    /// The amount under a quota's name for it.
    pub(super) fn of(&self, name: &str) -> Quantity {
        let amount =
            |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or(Quantity::ZERO);
        match name {
            "count/pods" => Quantity::from_units(self.pods),
            "pods" => Quantity::from_units(self.living),
            _ => match (name.strip_prefix("limits."), name.strip_prefix("requests.")) {
                (Some(resource), _) => amount(&self.limits, resource),
                (None, Some(resource)) => amount(&self.requests, resource),
                (None, None) => amount(&self.requests, name),
            },
        }
    }
}

fn parse(list: Option<&BTreeMap<String, Text>>) -> Amounts {
    let read = |(name, text): (&String, &Text)| {
        Quantity::parse(&text.0).ok().map(|amount| (name.clone(), amount))
    };
    list.into_iter().flatten().filter_map(read).collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).unwrap_or(&Quantity::ZERO).plus(amount);
        to.insert(name.clone(), sum);
    }
}

fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        if to.get(name).is_none_or(|known| known < amount) {
            to.insert(name.clone(), *amount);
        }
    }
}

/// Spec C7, with amounts in their own notation: containers and sidecars, or the largest start; pod-level amounts win;
/// overhead comes on top, but limits nothing that was without a limit.
fn whole(spec: &PodSpec, list: List, always_overhead: bool) -> Amounts {
    let of = |container: &Container| parse(container.resources.as_ref().and_then(list));
    let mut total = Amounts::new();
    for container in &spec.containers {
        add(&mut total, &of(container));
    }
    let (mut sidecars, mut start) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let mut own = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut start, &sidecars);
        } else {
            add(&mut own, &sidecars);
            raise(&mut start, &own);
        }
    }
    raise(&mut total, &start);
    total.extend(parse(spec.resources.as_ref().and_then(list)));
    for (name, amount) in parse(spec.overhead.as_ref()) {
        if always_overhead || total.contains_key(&name) {
            add(&mut total, &Amounts::from([(name, amount)]));
        }
    }
    total
}

/// Nobody asked for cpu or memory, and nobody limited it.
pub(super) fn is_best_effort(spec: &PodSpec) -> bool {
    let inits = spec.init_containers.iter().flatten();
    let lists = spec.containers.iter().chain(inits).filter_map(|c| c.resources.as_ref());
    lists.chain(spec.resources.as_ref()).all(|list| {
        let amounts = parse(list.requests.as_ref()).into_iter().chain(parse(list.limits.as_ref()));
        amounts
            .into_iter()
            .all(|(name, amount)| !["cpu", "memory"].contains(&name.as_str()) || amount.is_zero())
    })
}

/// Whether a change of a pod can make usage smaller.
pub(super) fn gives_back(old: &Pod, new: &Pod) -> bool {
    let resources = |pod: &Pod| -> Option<Vec<Option<ResourceRequirements>>> {
        Some(pod.spec.as_ref()?.containers.iter().map(|c| c.resources.clone()).collect())
    };
    fit::filter::is_finished(old) != fit::filter::is_finished(new)
        || resources(old) != resources(new)
}

/// The class of claims that a quota's name is about, and what it counts of them.
pub(super) fn of_class(name: &str) -> Option<(&str, &str)> {
    let (class, counted) = name.split_once(".storageclass.storage.k8s.io/")?;
    ["persistentvolumeclaims", "requests.storage"].contains(&counted).then_some((class, counted))
}

/// How much of `name` a claim uses.
pub(super) fn of_claim(claim: &PersistentVolumeClaim, name: &str) -> Quantity {
    let spec = claim.spec.as_ref();
    let (wanted, counted) = match of_class(name) {
        Some((class, counted)) => (Some(class), counted),
        None => (None, name),
    };
    let annotations = claim.metadata.annotations.as_ref();
    let old = annotations.and_then(|all| all.get("volume.beta.kubernetes.io/storage-class"));
    let class = old.or_else(|| spec?.storage_class_name.as_ref()).map(String::as_str);
    if wanted.is_some() && wanted != class {
        return Quantity::ZERO;
    }
    if counted != "requests.storage" {
        return Quantity::from_units(1);
    }
    let storage = |list: Option<&BTreeMap<String, Text>>| parse(list).get("storage").copied();
    let asked = storage(spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref()));
    let given =
        storage(claim.status.as_ref().and_then(|status| status.allocated_resources.as_ref()));
    // what is being given may be more than is asked for since
    asked.map_or(Quantity::ZERO, |asked| given.filter(|given| *given > asked).unwrap_or(asked))
}

/// How much of `name` a service uses.
pub(super) fn of_service(service: &Service, name: &str) -> i64 {
    let spec = service.spec.as_ref();
    let kind = spec.and_then(|spec| spec.type_.as_deref()).unwrap_or_default();
    let ports = spec.and_then(|spec| spec.ports.as_ref()).map_or(0, Vec::len);
    let balanced = kind == "LoadBalancer";
    let without = spec.and_then(|s| s.allocate_load_balancer_node_ports) == Some(false);
    match name {
        "services.loadbalancers" => i64::from(balanced),
        "services.nodeports" if kind == "NodePort" || (balanced && !without) => {
            i64::try_from(ports).unwrap_or(i64::MAX)
        }
        "services.nodeports" if balanced => {
            let ports = spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            let given = ports.filter(|port| port.node_port.is_some_and(|port| port != 0));
            i64::try_from(given.count()).unwrap_or(i64::MAX)
        }
        "services.nodeports" => 0,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(phase: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "status": {"phase": phase}, "spec": {
            "overhead": {"cpu": "10m", "memory": "1Mi"},
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "i", "resources": {"requests": {"memory": "2Gi", "cpu": "1"}}}],
            "containers": [{"name": "c", "resources": {
                "requests": {"cpu": "500m", "memory": "1Gi", "example.com/x": "2"}, "limits": {"cpu": "1"}}}]}}))
        .unwrap()
    }

    #[test]
    fn usage_follows_the_pods_that_live() {
        let mut totals = Totals::default();
        totals.add(&pod("Running"));
        totals.add(&pod("Succeeded"));
        let shown = |name: &str| totals.of(name).to_string();
        for (name, expected) in [
            ("count/pods", "2"),
            ("pods", "1"),
            ("cpu", "1110m"),
            ("requests.cpu", "1110m"),
            ("memory", "2049Mi"),
            ("limits.cpu", "1010m"),
            ("limits.memory", "0"),
            ("requests.example.com/x", "2"),
        ] {
            assert_eq!(shown(name), expected, "{name}");
        }
    }

    #[test]
    fn claims_count_in_all_and_by_their_class() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({"metadata": {},
            "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}))
        .unwrap();
        for (name, used) in [
            ("persistentvolumeclaims", "1"),
            ("count/persistentvolumeclaims", "1"),
            ("requests.storage", "1Gi"),
            ("gold.storageclass.storage.k8s.io/persistentvolumeclaims", "1"),
            ("gold.storageclass.storage.k8s.io/requests.storage", "1Gi"),
            ("tin.storageclass.storage.k8s.io/persistentvolumeclaims", "0"),
            ("tin.storageclass.storage.k8s.io/requests.storage", "0"),
        ] {
            assert_eq!(of_claim(&claim, name).to_string(), used, "{name}");
        }
    }

    #[test]
    fn services_count_by_their_type() {
        let service = |kind: &str| -> Service {
            serde_json::from_value(json!({"metadata": {}, "spec": {"type": kind, "ports": [
                {"port": 1, "nodePort": 30001}, {"port": 2}]}}))
            .unwrap()
        };
        let names = ["services", "services.nodeports", "services.loadbalancers"];
        let counts = |kind: &str| names.map(|name| of_service(&service(kind), name));
        assert_eq!(counts("ClusterIP"), [1, 0, 0]);
        assert_eq!(counts("NodePort"), [1, 2, 0]);
        assert_eq!(counts("LoadBalancer"), [1, 2, 1]);
    }
}
