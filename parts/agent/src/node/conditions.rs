//! The node's conditions (spec E65).

use crate::pressure::Conditions;
use crate::words;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Type, truth, reason and message of the node's conditions (spec E65).
pub(super) fn conditions(
    pressure: &Conditions,
    trouble: Option<&str>,
) -> [(&'static str, bool, &'static str, String); 4] {
    let pick =
        |is_bad: bool, bad: (&'static str, &'static str), good: (&'static str, &'static str)| {
            let (reason, text) = if is_bad { bad } else { good };
            (is_bad, reason, text.to_owned())
        };
    let memory = pick(
        pressure.contains("MemoryPressure"),
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    );
    let disk = pick(
        pressure.contains("DiskPressure"),
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    );
    let pids = pick(
        pressure.contains("PIDPressure"),
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    );
    let ready = match trouble {
        None => (true, words::KUBELET_READY, "kubelet is posting ready status".to_owned()),
        Some(trouble) => (false, words::KUBELET_NOT_READY, trouble.to_owned()),
    };
    let named = |name, (truth, reason, text)| (name, truth, reason, text);
    [
        named("MemoryPressure", memory),
        named("DiskPressure", disk),
        named("PIDPressure", pids),
        named("Ready", ready),
    ]
}

pub(super) fn second(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

/// A condition that is written now; it keeps the time of its status.
pub(super) fn condition(
    (name, truth, reason, message): (&'static str, bool, &'static str, String),
    now: &Time,
    before: Option<&NodeCondition>,
) -> NodeCondition {
    let status = if truth { "True" } else { "False" };
    let since = before.filter(|one| one.status == status);
    NodeCondition {
        type_: name.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_heartbeat_time: Some(now.clone()),
        last_transition_time: since
            .and_then(|one| one.last_transition_time.clone())
            .or_else(|| Some(now.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let time = |text: &str| Time(text.parse().unwrap());
        let (early, late) = (time("2026-01-01T00:00:00Z"), time("2026-01-01T00:05:00Z"));
        let first = condition(("Ready", true, words::KUBELET_READY, String::new()), &early, None);
        let same =
            condition(("Ready", true, words::KUBELET_READY, String::new()), &late, Some(&first));
        assert_eq!(same.last_transition_time, Some(early));
        assert_eq!(same.last_heartbeat_time, Some(late.clone()));
        let flipped = condition(
            ("Ready", false, words::KUBELET_NOT_READY, String::new()),
            &late,
            Some(&same),
        );
        assert_eq!(flipped.last_transition_time, Some(late));
    }

    #[test]
    fn pressure_is_shown_by_its_own_condition() {
        let pressure = Conditions::from(["MemoryPressure", "DiskPressure"]);
        let truths: Vec<bool> = conditions(&pressure, None).iter().map(|one| one.1).collect();
        assert_eq!(truths, [true, true, false, true]);
    }
}
