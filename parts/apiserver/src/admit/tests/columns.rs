//! What tables tell.

use super::*;

/// Spec A101.
#[test]
fn a_pods_status_is_told_in_one_word() {
    let cells = |patch: Value| {
        let mut pod = json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-11-21T03:00:00Z"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
            "status": {"phase": "Running"},
        });
        merge(&mut pod, &patch);
        let cells = strategy_for(row("pods")).cells(&pod, now());
        let text = |i: usize| cells[i].as_str().unwrap_or_default().to_owned();
        (text(1), text(2), text(3))
    };
    let told =
        |ready: &str, status: &str, restarts: &str| (ready.into(), status.into(), restarts.into());
    let waiting = json!([
        {"name": "a", "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"finishedAt": "2026-11-21T02:55:20Z"}}},
        {"name": "b", "ready": true, "restartCount": 0, "state": {"running": {}}},
    ]);
    assert_eq!(
        cells(json!({"status": {"containerStatuses": waiting}})),
        told("1/2", "CrashLoopBackOff", "3 (5m ago)")
    );
    assert_eq!(
        cells(json!({"metadata": {"deletionTimestamp": "2026-11-21T03:00:10Z"}})),
        told("0/2", "Terminating", "0")
    );
    let init = json!({"spec": {"initContainers": [{"name": "i"}]}, "status": {"initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 2}}}]}});
    assert_eq!(cells(init), told("0/2", "Init:ExitCode:2", "0"));
    assert_eq!(
        cells(json!({"status": {"reason": "Evicted", "phase": "Failed"}})),
        told("0/2", "Evicted", "0")
    );
}

/// Spec A106.
#[test]
fn ages_are_told_shortly() {
    for (seconds, told) in [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (10_860, "3h1m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (176_400, "2d1h"),
        (691_200, "8d"),
        (63_072_000, "2y"),
    ] {
        assert_eq!(table::human(seconds), told, "{seconds}");
    }
}

#[test]
fn every_kind_has_as_many_cells_as_columns() {
    for resource in api::resource::ALL {
        let strategy = strategy_for(resource);
        let cells = strategy.cells(&json!({"metadata": {"name": "x"}}), now());
        assert_eq!(cells.len(), strategy.columns().len(), "{}", resource.qualified());
    }
}
