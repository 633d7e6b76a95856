//! Which container's log is meant. Pure; upstream's rules and words.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// Whether the pod has a container of this name, of any kind.
pub(crate) fn has(pod: &Pod, name: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let ephemerals = spec.ephemeral_containers.iter().flatten().map(|one| &one.name);
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.map(|one| &one.name).chain(ephemerals).any(|own| own == name)
}

fn status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    lists.into_iter().flatten().flatten().find(|one| one.name == name)
}

/// The runtime's id of the container to read: the one that runs, else the last one that ran; with `previous` the one
/// before. Or why there is none.
pub(super) fn container(pod: &Pod, name: &str, previous: bool) -> Result<String, String> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let what = format!("container {name:?} in pod {pod_name:?}");
    let Some(status) = status(pod, name) else { return Err(format!("{what} is not available")) };
    let bare = |id: &Option<String>| {
        let id = id.as_deref().unwrap_or_default();
        let bare = id.split_once("://").map_or(id, |(_, id)| id);
        (!bare.is_empty()).then(|| bare.to_owned())
    };
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let last_id = last.and_then(|ended| bare(&ended.container_id));
    if previous {
        return last_id.ok_or_else(|| format!("previous terminated {what} not found"));
    }
    let state = status.state.clone().unwrap_or_default();
    if state.running.is_some() {
        return bare(&status.container_id).ok_or_else(|| format!("{what} is not available"));
    }
    if let Some(ended) = &state.terminated {
        let id = bare(&ended.container_id).or(last_id);
        return id.ok_or_else(|| format!("{what} is terminated"));
    }
    if let Some(id) = last_id {
        return Ok(id);
    }
    let waiting = state.waiting.unwrap_or_default();
    Err(match waiting.reason.as_deref().unwrap_or_default() {
        "ErrImagePull" => format!("{what} is waiting to start: image can't be pulled"),
        "ImagePullBackOff" => {
            format!("{what} is waiting to start: trying and failing to pull image")
        }
        "" => format!("{what} is waiting to start - no logs yet"),
        reason => format!("{what} is waiting to start: {reason}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(state: Value, last: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]},
            "status": {"containerStatuses": [{
                "name": "c", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
                "containerID": "containerd://now", "state": state, "lastState": last,
            }]},
        }))
        .unwrap()
    }

    fn ask(state: Value, last: Value, previous: bool) -> Result<String, String> {
        container(&pod(state, last), "c", previous)
    }

    #[test]
    fn the_running_container_is_read_and_else_the_last_one() {
        let ended = |id: &str| json!({"terminated": {"exitCode": 0, "containerID": id}});
        let running = json!({"running": {}});
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        assert_eq!(ask(running.clone(), json!({}), false).unwrap(), "now");
        assert_eq!(ask(ended("containerd://over"), json!({}), false).unwrap(), "over");
        assert_eq!(
            ask(waiting("CrashLoopBackOff"), ended("containerd://last"), false).unwrap(),
            "last"
        );
        assert_eq!(ask(running.clone(), ended("containerd://last"), true).unwrap(), "last");
        for (answer, message) in [
            (
                ask(running, json!({}), true),
                "previous terminated container \"c\" in pod \"p\" not found",
            ),
            (
                ask(waiting("ContainerCreating"), json!({}), false),
                "container \"c\" in pod \"p\" is waiting to start: ContainerCreating",
            ),
            (
                ask(waiting("ErrImagePull"), json!({}), false),
                "container \"c\" in pod \"p\" is waiting to start: image can't be pulled",
            ),
            (
                ask(waiting("ImagePullBackOff"), json!({}), false),
                "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image",
            ),
        ] {
            assert_eq!(answer.unwrap_err(), message);
        }
        let unknown = container(&pod(json!({}), json!({})), "i", false);
        assert_eq!(unknown.unwrap_err(), "container \"i\" in pod \"p\" is not available");
        assert!(has(&pod(json!({}), json!({})), "i") && !has(&pod(json!({}), json!({})), "z"));
    }
}
