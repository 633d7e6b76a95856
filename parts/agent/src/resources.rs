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

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(crate) fn qos(spec: &PodSpec) -> &'static str {
    let all = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let (mut is_any, mut is_all) = (false, true);
    for container in all() {
        for name in ["cpu", "memory"] {
            let (request, limit) =
                (milli(container, name, Kind::Request), milli(container, name, Kind::Limit));
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
            let request = milli(container, "memory", Kind::Request) / 1000;
            let share = 1000 * request / i128::from(capacity.max(1));
            small(1000 - share).clamp(3, 999)
        }
    }
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

/// The sum over all containers that run together.
pub(crate) fn pod_limits(spec: &PodSpec) -> PodLimits {
    let requested = fit::Amounts::requested(spec);
    let sidecars = spec.init_containers.iter().flatten();
    let lasting =
        || spec.containers.iter().chain(sidecars.clone().filter(|c| crate::world::is_sidecar(c)));
    let largest = |name: &str| {
        let once = spec.init_containers.iter().flatten().filter(|c| !crate::world::is_sidecar(c));
        once.map(|c| milli(c, name, Kind::Limit)).max().unwrap_or(0)
    };
    let sum = |name: &str| {
        let limits: Vec<i128> = lasting().map(|c| milli(c, name, Kind::Limit)).collect();
        let is_all = !limits.is_empty() && limits.iter().all(|limit| *limit > 0);
        is_all.then(|| limits.iter().sum::<i128>().max(largest(name)))
    };
    PodLimits {
        shares: shares(requested.get("cpu")),
        quota: sum("cpu").map(quota),
        memory: sum("memory").map(|milli| small(milli / 1000)),
        pids: None,
    }
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
}
