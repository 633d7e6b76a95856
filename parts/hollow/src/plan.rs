//! Which stage a pod is in, and what is reported at its end. Pure.

use crate::stage::{Next, Stage, When, spin};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// The first stage that matches.
pub fn stage_of<'a>(pod: &Pod, stages: &'a [Stage], salt: u64) -> Option<&'a Stage> {
    stages.iter().find(|stage| matches(pod, &stage.when, &stage.name, salt))
}

fn matches(pod: &Pod, when: &When, stage: &str, salt: u64) -> bool {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let labels = pod.metadata.labels.as_ref();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    when.deleting == pod.metadata.deletion_timestamp.is_some()
        && when.phase.as_deref().is_none_or(|wanted| wanted == phase)
        && when.ready.is_none_or(|wanted| wanted == is_ready(pod))
        && when.labels.iter().all(|(key, value)| labels.and_then(|own| own.get(key)) == Some(value))
        && (when.nodes.is_empty() || when.nodes.iter().any(|name| name == node))
        && when.permille.is_none_or(|permille| spin(stage, uid, salt) % 1000 < permille)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The strategic merge patch of the status that reports `next`; `None` when nothing is to be reported.
pub fn report(
    pod: &Pod,
    next: &Next,
    host_ip: &str,
    pod_ip: &str,
    now: Timestamp,
) -> Option<Value> {
    let (phase, ready, exit, reason) = match next {
        Next::Running { ready } | Next::Ready(ready) => ("Running", *ready, None, ""),
        Next::Failed { reason, exit_code } => ("Failed", false, Some(*exit_code), reason.as_str()),
        Next::Succeeded => ("Succeeded", false, Some(0), ""),
        Next::Gone | Next::Stay => return None,
    };
    let spec = pod.spec.as_ref()?;
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now);
    let old = pod.status.as_ref();
    let started = old.and_then(|status| status.start_time.clone()).unwrap_or_else(|| now.clone());
    let why = match exit {
        Some(0) => "PodCompleted",
        Some(_) => "PodFailed",
        None if !ready => "ContainersNotReady",
        None => "",
    };
    let condition = |kind: &str, holds: bool, why: &str| {
        let status = if holds { "True" } else { "False" };
        let mut conditions = old.iter().flat_map(|status| status.conditions.iter().flatten());
        let same = conditions.find(|c| c.type_ == kind && c.status == status);
        let since =
            same.and_then(|c| c.last_transition_time.clone()).unwrap_or_else(|| now.clone());
        let reason = if why.is_empty() { Value::Null } else { json!(why) };
        json!({"type": kind, "status": status, "lastTransitionTime": since, "lastProbeTime": null, "reason": reason,
               "observedGeneration": pod.metadata.generation})
    };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let container = |name: &str, image: Option<&str>, ready: bool, exit: Option<i32>| {
        let id = format!("hollow://{uid}/{name}");
        let state = match exit {
            None => json!({"running": {"startedAt": started}}),
            Some(code) => json!({"terminated": {
                "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
                "startedAt": started, "finishedAt": now, "containerID": id,
            }}),
        };
        json!({
            "name": name, "image": image.unwrap_or_default(), "imageID": format!("hollow://{}", image.unwrap_or_default()),
            "containerID": id, "ready": ready, "started": exit.is_none(), "restartCount": 0, "state": state,
            "lastState": {},
        })
    };
    let pod_ip = if spec.host_network == Some(true) { host_ip } else { pod_ip };
    let mains = spec.containers.iter().map(|c| container(&c.name, c.image.as_deref(), ready, exit));
    let inits = spec.init_containers.iter().flatten();
    let inits = inits.map(|c| container(&c.name, c.image.as_deref(), true, Some(0)));
    Some(json!({
        "metadata": {"uid": uid},
        "status": {
            "observedGeneration": pod.metadata.generation,
            "phase": phase,
            "reason": if reason.is_empty() { Value::Null } else { json!(reason) },
            "startTime": started,
            "hostIP": host_ip, "hostIPs": [{"ip": host_ip}],
            "podIP": pod_ip, "podIPs": [{"ip": pod_ip}],
            "conditions": [
                condition("PodReadyToStartContainers", exit.is_none(), ""),
                condition("Initialized", true, ""),
                condition("Ready", ready, why),
                condition("ContainersReady", ready, why),
            ],
            "containerStatuses": mains.collect::<Vec<_>>(),
            "initContainerStatuses": inits.collect::<Vec<_>>(),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(phase: &str, ready: &str, deleting: bool) -> Pod {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u", "labels": {"app": "x"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}],
                     "initContainers": [{"name": "init", "image": "i"}]},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap();
        if deleting {
            pod.metadata.deletion_timestamp =
                Some(serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap());
        }
        pod
    }

    fn stage(pod: &Pod) -> Option<String> {
        stage_of(pod, &Stage::ordinary(), 0).map(|stage| stage.name.clone())
    }

    #[test]
    fn an_ordinary_pod_starts_stays_and_stops() {
        assert_eq!(stage(&pod("Pending", "False", false)).as_deref(), Some("start"));
        assert_eq!(stage(&pod("Running", "True", false)), None);
        assert_eq!(stage(&pod("Running", "False", false)).as_deref(), Some("report"));
        assert_eq!(stage(&pod("Running", "True", true)).as_deref(), Some("stop"));
        assert_eq!(stage(&pod("Pending", "False", true)).as_deref(), Some("stop"));
        assert_eq!(stage(&pod("Failed", "False", false)), None);
    }

    #[test]
    fn what_is_reported_leads_to_the_next_stage() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut before = pod("Pending", "False", false);
        let next = Next::Running { ready: true };
        let patch = report(&before, &next, "10.0.0.1", "10.1.0.1", now).unwrap();
        before.status = Some(serde_json::from_value(patch["status"].clone()).unwrap());
        assert_eq!(stage(&before), None);
        let failed = Next::Failed { reason: "Evicted".into(), exit_code: 3 };
        let patch = report(&before, &failed, "10.0.0.1", "10.1.0.1", now).unwrap();
        assert_eq!(patch["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
        assert_eq!(patch["status"]["reason"], "Evicted");
        assert_eq!(report(&before, &Next::Gone, "", "", now), None);
    }

    #[test]
    fn a_share_of_pods_is_chosen_by_uid_and_salt() {
        let when = When { permille: Some(300), ..When::default() };
        let chosen = |salt: u64| {
            let mut pod = pod("Running", "True", false);
            (0..1000)
                .filter(|n| {
                    pod.metadata.uid = Some(format!("uid-{n}"));
                    matches(&pod, &when, "s", salt)
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        assert!((250..350).contains(&chosen(1).len()), "{}", chosen(1).len());
    }
}
