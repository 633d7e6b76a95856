//! Requests and limits as the kernel wants them (spec E60, E61). Pure.

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use std::collections::BTreeMap;

/// Shares of a container that asks for no CPU.
const SHARES_MIN: i64 = 2;
/// Shares of one core.
const SHARES_PER_CORE: i64 = 1024;
/// Most that the kernel takes.
const SHARES_MAX: i64 = 262_144;
/// Length of a CPU accounting period in microseconds.
pub(crate) const CPU_PERIOD: i64 = 100_000;
/// Least quota that the kernel takes, in microseconds.
const QUOTA_MIN: i64 = 1000;
/// Priority from which a pod is node-critical.
pub(crate) const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// `Guaranteed`, `Burstable` or `BestEffort`: of the pod's own resources where it has them, else of its containers'.
pub(crate) fn qos(spec: &PodSpec) -> &'static str {
    let nothing = ResourceRequirements::default();
    let of_containers = || {
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        all.map(|container| container.resources.as_ref().unwrap_or(&nothing)).collect()
    };
    // an empty struct says no more than none
    let is_set = |whole: &&ResourceRequirements| {
        [&whole.requests, &whole.limits].into_iter().flatten().any(|list| !list.is_empty())
    };
    let whole = spec.resources.as_ref().filter(is_set);
    let all: Vec<&ResourceRequirements> = whole.map_or_else(of_containers, |whole| vec![whole]);
    let (mut is_any, mut is_all) = (false, true);
    for resources in all {
        for name in ["cpu", "memory"] {
            let (request, limit) =
                (of(resources, name, Kind::Request), of(resources, name, Kind::Limit));
            is_any |= request > 0 || limit > 0;
            is_all &= limit > 0 && (request == limit || request == 0);
        }
    }
    match (is_any, is_all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Which side of the resources.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// What is asked for.
    Request,
    /// What is allowed.
    Limit,
}

/// Thousandths of a resource of one container; zero if absent.
pub(crate) fn milli(container: &Container, name: &str, kind: Kind) -> i128 {
    container.resources.as_ref().map_or(0, |resources| of(resources, name, kind))
}

/// The limit of one container in thousandths: its own, or that of the whole pod where it has none; zero if neither is there.
pub(crate) fn limit(spec: &PodSpec, container: &Container, name: &str) -> i128 {
    match milli(container, name, Kind::Limit) {
        0 => whole(spec, name, Kind::Limit),
        own => own,
    }
}

/// Thousandths of a resource of the pod as a whole; zero if absent.
fn whole(spec: &PodSpec, name: &str, kind: Kind) -> i128 {
    spec.resources.as_ref().map_or(0, |resources| of(resources, name, kind))
}

fn of(resources: &ResourceRequirements, name: &str, kind: Kind) -> i128 {
    let list: Option<&BTreeMap<_, _>> = match kind {
        Kind::Request => resources.requests.as_ref(),
        Kind::Limit => resources.limits.as_ref(),
    };
    fit::Amounts::parse(list).get(name)
}

fn small(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// CPU shares of so many thousandths of a core.
pub(crate) fn shares(millicores: i128) -> i64 {
    (small(millicores).saturating_mul(SHARES_PER_CORE) / 1000).clamp(SHARES_MIN, SHARES_MAX)
}

/// CPU quota in microseconds for each period; zero: none.
pub(crate) fn quota(millicores: i128) -> i64 {
    if millicores <= 0 {
        return 0;
    }
    (small(millicores).saturating_mul(CPU_PERIOD) / 1000).max(QUOTA_MIN)
}

/// How willingly the kernel kills a container when memory is out (spec E61). `capacity` is the node's memory in bytes.
pub(crate) fn oom_score(spec: &PodSpec, container: &Container, capacity: u64) -> i64 {
    if spec.priority.is_some_and(|priority| priority >= CRITICAL_PRIORITY) {
        return -997;
    }
    match qos(spec) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let own = milli(container, "memory", Kind::Request);
            // a sidecar goes no sooner than any of those that it serves
            let mains = spec.containers.iter().map(|one| milli(one, "memory", Kind::Request));
            let least = mains.min().filter(|_| crate::world::is_sidecar(container)).unwrap_or(0);
            let request = (own.max(least) + share_of_the_rest(spec)) / 1000;
            let share = 1000 * request / i128::from(capacity.max(1));
            small(1000 - share).clamp(3, 999)
        }
    }
}

/// Memory that the pod as a whole asks for beyond its containers, for each of them alike; thousandths of a byte.
fn share_of_the_rest(spec: &PodSpec) -> i128 {
    let asked = whole(spec, "memory", Kind::Request);
    if asked == 0 {
        return 0;
    }
    let count = spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len);
    let rest = asked - fit::Amounts::of_containers(spec).get("memory");
    rest.max(0) / i128::try_from(count.max(1)).unwrap_or(1)
}

/// Limits of a whole pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodLimits {
    /// CPU shares.
    pub(crate) shares: i64,
    /// CPU quota in microseconds, if every container has a limit.
    pub(crate) quota: Option<i64>,
    /// Memory in bytes, if every container has a limit.
    pub(crate) memory: Option<i64>,
    /// Processes and threads; the node's word, as no pod asks for them.
    pub(crate) pids: Option<u64>,
}

/// Of the pod as a whole, else the sum over all containers that run together.
pub(crate) fn pod_limits(spec: &PodSpec) -> PodLimits {
    let limits = fit::Amounts::limited(spec);
    let limit = |name: &str| is_limited(spec, name).then(|| limits.get(name));
    PodLimits {
        shares: shares(fit::Amounts::requested(spec).get("cpu")),
        quota: limit("cpu").map(quota),
        memory: limit("memory").map(|milli| small(milli / 1000)),
        pids: None,
    }
}

/// Whether the pod as a whole has a limit, or all that ever runs in it: a container with none would otherwise be held by
/// those of its neighbours.
fn is_limited(spec: &PodSpec, name: &str) -> bool {
    if whole(spec, name, Kind::Limit) > 0 {
        return true;
    }
    let has = |one: &Container| milli(one, name, Kind::Limit) > 0;
    // upstream counts the sidecars before an init container as running with it
    let mut is_served = false;
    let mut inits = spec.init_containers.iter().flatten();
    let is_every_init = inits.all(|one| {
        is_served |= crate::world::is_sidecar(one) && has(one);
        is_served || has(one)
    });
    is_every_init && !spec.containers.is_empty() && spec.containers.iter().all(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> PodSpec {
        serde_json::from_value(
            serde_json::json!({ "containers": [{ "name": "c", "resources": json }] }),
        )
        .unwrap()
    }

    #[test]
    fn limits_equal_to_requests_are_guaranteed_and_nothing_is_best_effort() {
        let both = serde_json::json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(qos(&spec(serde_json::json!({"limits": both, "requests": both}))), "Guaranteed");
        assert_eq!(qos(&spec(serde_json::json!({"requests": both}))), "Burstable");
        assert_eq!(qos(&spec(serde_json::json!({}))), "BestEffort");
    }

    #[test]
    fn cpu_becomes_shares_and_quota() {
        assert_eq!((shares(0), shares(100), shares(2000)), (2, 102, 2048));
        assert_eq!((quota(0), quota(1), quota(500), quota(2000)), (0, 1000, 50_000, 200_000));
    }

    #[test]
    fn a_burstable_container_is_killed_the_later_the_more_it_asked_for() {
        let asks = spec(serde_json::json!({"requests": {"memory": "1Gi"}}));
        assert_eq!(oom_score(&asks, &asks.containers[0], 4 << 30), 750);
        assert_eq!(oom_score(&asks, &asks.containers[0], 1 << 30), 3);
        let nothing = spec(serde_json::json!({}));
        assert_eq!(oom_score(&nothing, &nothing.containers[0], 4 << 30), 1000);
    }

    #[test]
    fn a_pod_has_a_memory_limit_only_if_every_container_has() {
        let two: PodSpec = serde_json::from_value(serde_json::json!({"containers": [
            {"name": "a", "resources": {"limits": {"memory": "200Mi"}}}, {"name": "b"}]}))
        .unwrap();
        assert_eq!(pod_limits(&two).memory, None);
        let one =
            spec(serde_json::json!({"limits": {"memory": "200Mi"}, "requests": {"cpu": "100m"}}));
        assert_eq!(
            pod_limits(&one),
            PodLimits { shares: 102, quota: None, memory: Some(200 << 20), pids: None }
        );
    }

    fn whole_spec(json: serde_json::Value) -> PodSpec {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_pods_own_resources_decide_its_class_whatever_its_containers_say() {
        let of = |whole: serde_json::Value, own: serde_json::Value| {
            qos(&whole_spec(serde_json::json!({"resources": whole, "containers": [
                {"name": "c", "resources": own}, {"name": "d"}]})))
        };
        let both = serde_json::json!({"cpu": "1", "memory": "1Gi"});
        let small = serde_json::json!({"requests": {"cpu": "100m"}});
        assert_eq!(
            of(serde_json::json!({"limits": both, "requests": both}), small.clone()),
            "Guaranteed"
        );
        assert_eq!(
            of(serde_json::json!({"limits": both, "requests": {"cpu": "1"}}), small.clone()),
            "Guaranteed"
        );
        assert_eq!(
            of(serde_json::json!({"requests": both}), serde_json::json!({"limits": both})),
            "Burstable"
        );
        assert_eq!(of(serde_json::json!({"limits": {"memory": "1Gi"}}), small), "Burstable");
    }

    #[test]
    fn an_empty_struct_of_the_pods_own_resources_leaves_its_class_to_its_containers() {
        let both = serde_json::json!({"cpu": "1", "memory": "1Gi"});
        for empty in [serde_json::json!({}), serde_json::json!({"requests": {}, "limits": {}})] {
            let of = |own: serde_json::Value| {
                qos(&whole_spec(serde_json::json!({"resources": empty, "containers": [
                    {"name": "c", "resources": own}]})))
            };
            assert_eq!(of(serde_json::json!({"limits": both})), "Guaranteed");
            assert_eq!(of(serde_json::json!({"requests": both})), "Burstable");
            assert_eq!(of(serde_json::json!({})), "BestEffort");
        }
    }

    #[test]
    fn a_pods_own_limits_are_its_groups_and_those_of_containers_without() {
        let spec = whole_spec(serde_json::json!({
            "resources": {"requests": {"cpu": "500m", "memory": "100Mi"}, "limits": {"cpu": "1", "memory": "200Mi"}},
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "200m"}, "requests": {"cpu": "200m"}}},
                {"name": "d"}]}));
        let wanted =
            PodLimits { shares: 512, quota: Some(100_000), memory: Some(200 << 20), pids: None };
        assert_eq!(pod_limits(&spec), wanted);
        assert_eq!(limit(&spec, &spec.containers[0], "cpu"), 200);
        assert_eq!(limit(&spec, &spec.containers[1], "cpu"), 1000);
        assert_eq!(limit(&spec, &spec.containers[0], "memory"), (200 << 20) * 1000);
    }

    #[test]
    fn what_a_pod_asks_for_beyond_its_containers_is_shared_among_them() {
        let spec = whole_spec(serde_json::json!({
            "resources": {"requests": {"memory": "1Gi"}},
            "containers": [{"name": "c", "resources": {"requests": {"memory": "512Mi"}}}, {"name": "d"}]}));
        assert_eq!(oom_score(&spec, &spec.containers[0], 4 << 30), 1000 - 187);
        assert_eq!(oom_score(&spec, &spec.containers[1], 4 << 30), 1000 - 62);
    }

    #[test]
    fn a_sidecar_is_killed_no_sooner_than_those_it_serves() {
        let spec = whole_spec(serde_json::json!({
            "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}],
            "containers": [{"name": "c", "resources": {"requests": {"memory": "1Gi"}}},
                {"name": "d", "resources": {"requests": {"memory": "2Gi"}}}]}));
        let inits = spec.init_containers.clone().unwrap();
        assert_eq!(oom_score(&spec, &inits[0], 4 << 30), 750);
        assert_eq!(oom_score(&spec, &inits[1], 4 << 30), 999);
    }

    #[test]
    fn an_init_container_without_a_limit_leaves_the_pod_without_one() {
        let main = serde_json::json!({"name": "c", "resources": {"limits": {"memory": "64Mi"}}});
        let sidecar = serde_json::json!({"name": "s", "restartPolicy": "Always", "resources": {"limits": {"memory": "8Mi"}}});
        let of = |inits: serde_json::Value| {
            pod_limits(&whole_spec(
                serde_json::json!({"initContainers": inits, "containers": [main]}),
            ))
            .memory
        };
        assert_eq!(of(serde_json::json!([])), Some(64 << 20));
        assert_eq!(of(serde_json::json!([{"name": "i"}])), None);
        assert_eq!(of(serde_json::json!([sidecar, {"name": "i"}])), Some(72 << 20));
        let large = serde_json::json!({"name": "i", "resources": {"limits": {"memory": "128Mi"}}});
        assert_eq!(of(serde_json::json!([sidecar, large])), Some(136 << 20));
    }
}
