//! The life of pods: order, ends, restarts, probes, hooks.

use crate::table::Expect::{All, Event, File, Says, Shows};
use crate::table::{Expect, Row, row};

const PROBED: &str = "probes-ready";
const UNREADY: &str = "probes-unready";

const fn unhealthy(part: &'static str) -> Expect {
    Event(UNREADY, "Unhealthy", part)
}

pub(crate) const ROWS: &[Row] = &[
    row(
        "initContainers",
        "init-containers",
        "E30",
        "six run one by one, in order, before the main containers; one that fails ends a pod that never restarts",
        Says(
            "init-order/main",
            "order=init-order-1 init-order-2 init-order-3 init-order-4 init-order-5 init-order-6",
        ),
        All(&[
            Shows("init-fails", "/status/phase", "Failed"),
            Shows("init-fails", "/status/initContainerStatuses/0/state/terminated/exitCode", "7"),
            Shows(
                "init-fails",
                "/status/containerStatuses/0/state/waiting/reason",
                "PodInitializing",
            ),
        ]),
    ),
    row(
        "initContainers",
        "init-containers",
        "E30 E33",
        "one that fails is tried again where the pod restarts",
        All(&[
            Shows("init-retries", "/status/initContainerStatuses/0/restartCount", "1"),
            Says("init-retries/main", "started"),
        ]),
        Shows("init-fails", "/status/initContainerStatuses/0/restartCount", "0"),
    ),
    row(
        "several containers",
        "init-containers",
        "E10",
        "all ended well is Succeeded",
        All(&[
            Shows("init-order", "/status/phase", "Succeeded"),
            Shows(
                "init-order",
                "/status/containerStatuses/second/state/terminated/reason",
                "Completed",
            ),
        ]),
        Shows("ends", "/status/phase", "Failed"),
    ),
    row(
        "native sidecars",
        "init-containers",
        "E30",
        "a sidecar has started before the next init container begins, and ends after the main one",
        All(&[
            File("evidence/sidecar-order", "main side"),
            Shows("sidecar", "/status/initContainerStatuses/1/state/terminated/exitCode", "0"),
        ]),
        Shows("sidecar", "/status/phase", "Succeeded"),
    ),
    row(
        "native sidecars",
        "lifecycle",
        "E34",
        "on deletion main containers stop first, then sidecars, the last one first",
        File("evidence/stop-order", "main second first"),
        Shows("stops-order", "/status/initContainerStatuses/0/restartCount", "0"),
    ),
    row(
        "ends of containers",
        "ends",
        "E14",
        "exit codes and reasons: 0 is Completed, all others Error",
        All(&[
            Shows("ends", "/status/containerStatuses/fine/state/terminated/reason", "Completed"),
            Shows("ends", "/status/containerStatuses/killed/state/terminated/exitCode", "137"),
        ]),
        All(&[
            Shows("ends", "/status/containerStatuses/fails/state/terminated/exitCode", "3"),
            Shows("ends", "/status/containerStatuses/fails/state/terminated/reason", "Error"),
        ]),
    ),
    row(
        "ends of containers",
        "ends",
        "E14 E61",
        "out of memory is OOMKilled and 137; a plain SIGKILL is not",
        All(&[
            Shows("ends", "/status/containerStatuses/memory/state/terminated/reason", "OOMKilled"),
            Shows("ends", "/status/containerStatuses/memory/state/terminated/exitCode", "137"),
        ]),
        Shows("ends", "/status/containerStatuses/killed/state/terminated/reason", "Error"),
    ),
    row(
        "ends of containers",
        "ends",
        "E14",
        "last words come from the message file, wherever it is; 4096 bytes of it at most",
        All(&[
            Shows("ends", "/status/containerStatuses/fine/state/terminated/message", "good\n"),
            Shows("ends", "/status/containerStatuses/fails/state/terminated/message", "why\n"),
        ]),
        Expect::Asks(|node| {
            let length =
                node.field("ends", "/status/containerStatuses/long/state/terminated/message").len();
            (length == 4096).then_some(()).ok_or_else(|| format!("{length} bytes"))
        }),
    ),
    row(
        "ends of containers",
        "ends",
        "E14",
        "FallbackToLogsOnError takes the end of the log, and only on error",
        Shows("ends", "/status/containerStatuses/log/state/terminated/message", "from the log\n"),
        Shows("ends", "/status/containerStatuses/log-fine/state/terminated/message", ""),
    ),
    row(
        "ends of containers",
        "ends",
        "E33",
        "Always restarts also after 0, with CrashLoopBackOff in between; OnFailure only after an error",
        All(&[
            Shows(
                "ends-loops",
                "/status/containerStatuses/0/state/waiting/reason",
                "CrashLoopBackOff",
            ),
            Event(
                "ends-loops",
                "BackOff",
                "Back-off restarting failed container c in pod ends-loops_features(",
            ),
        ]),
        All(&[
            Shows("ends-well", "/status/phase", "Succeeded"),
            Shows("ends-well", "/status/containerStatuses/0/restartCount", "1"),
            Shows("ends-well", "/status/containerStatuses/0/lastState/terminated/exitCode", "5"),
        ]),
    ),
    row(
        "ends of containers",
        "ends",
        "E32",
        "a program that does not exist is RunContainerError or CrashLoopBackOff, with StartError as the end",
        Event("ends-no-command", "Failed", "no such file or directory"),
        Expect::Asks(|node| {
            let last = node.field(
                "ends-no-command",
                "/status/containerStatuses/0/lastState/terminated/reason",
            );
            (last == "StartError").then_some(()).ok_or_else(|| node.status("ends-no-command"))
        }),
    ),
    row(
        "ends of containers",
        "ends",
        "E10",
        "activeDeadlineSeconds ends the pod as DeadlineExceeded; others go on",
        All(&[
            Shows("ends-deadline", "/status/phase", "Failed"),
            Shows("ends-deadline", "/status/reason", "DeadlineExceeded"),
            Shows(
                "ends-deadline",
                "/status/message",
                "Pod was active on the node longer than the specified deadline",
            ),
        ]),
        Shows("best-effort", "/status/phase", "Running"),
    ),
    row(
        "readinessProbe",
        "probes",
        "E42 E44",
        "httpGet by a named port succeeds; a 404 is told with its status code and the pod is not ready",
        Shows(PROBED, "/status/containerStatuses/http/ready", "true"),
        All(&[
            unhealthy("Readiness probe failed: HTTP probe failed with statuscode: 404"),
            Shows(UNREADY, "/status/containerStatuses/http/ready", "false"),
        ]),
    ),
    row(
        "readinessProbe",
        "probes",
        "E42",
        "tcpSocket connects; a closed port is refused",
        Shows(PROBED, "/status/containerStatuses/tcp/ready", "true"),
        unhealthy("connect: connection refused"),
    ),
    row(
        "readinessProbe",
        "probes",
        "E42 E43",
        "exec 0 is success; another code is told with its output",
        Shows(PROBED, "/status/containerStatuses/exec/ready", "true"),
        unhealthy("Readiness probe failed: not yet"),
    ),
    row(
        "readinessProbe",
        "probes",
        "E43",
        "an exec that takes too long has failed; readiness never restarts",
        Shows(UNREADY, "/status/containerStatuses/slow/restartCount", "0"),
        unhealthy("Readiness probe failed: command timed out: \"sleep 5\" timed out after 1s"),
    ),
    row(
        "readinessProbe",
        "probes-places",
        "E42",
        "grpc asks the health protocol: SERVING is success, NOT_SERVING is told by its name",
        Shows("probes-grpc", "/status/containerStatuses/serves/ready", "true"),
        All(&[
            Event(
                "probes-grpc",
                "Unhealthy",
                "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")",
            ),
            Shows("probes-grpc", "/status/containerStatuses/serves-not/ready", "false"),
        ]),
    ),
    row(
        "readinessProbe",
        "probes-places",
        "E42",
        "httpGet with a host goes there, from the node; a pod of another network is not found there",
        Shows("probes-host", "/status/containerStatuses/0/ready", "true"),
        All(&[
            Event("probes-elsewhere", "Unhealthy", "127.0.0.1:18092: connect: connection refused"),
            Shows("probes-elsewhere", "/status/containerStatuses/0/ready", "false"),
        ]),
    ),
    row(
        "livenessProbe",
        "probes-places",
        "E42",
        "without a host httpGet goes to the pod's own address",
        All(&[
            Shows("probes-elsewhere", "/status/containerStatuses/0/restartCount", "0"),
            Shows("probes-elsewhere", "/status/containerStatuses/0/started", "true"),
        ]),
        Event(
            "probes-elsewhere",
            "Unhealthy",
            "Readiness probe failed: Get \"http://127.0.0.1:18092/health\"",
        ),
    ),
    row(
        "livenessProbe",
        "probes",
        "E43",
        "at the threshold the container is killed and started again; its neighbour is left alone",
        All(&[
            Event(
                "probes-alive",
                "Killing",
                "Container dies failed liveness probe, will be restarted",
            ),
            Event("probes-alive", "Unhealthy", "Liveness probe failed: sick"),
        ]),
        Shows("probes-alive", "/status/containerStatuses/lives/restartCount", "0"),
    ),
    row(
        "terminationGracePeriodSeconds",
        "probes",
        "E43",
        "the probe's own grace (1 s) overrides the pod's (300 s)",
        Expect::Asks(|node| {
            let count = node.field("probes-alive", "/status/containerStatuses/dies/restartCount");
            (count.parse::<u32>().unwrap_or(0) > 0)
                .then_some(())
                .ok_or_else(|| format!("restarts: {count}"))
        }),
        Shows(
            "probes-alive",
            "/status/containerStatuses/dies/lastState/terminated/exitCode",
            "137",
        ),
    ),
    row(
        "terminationGracePeriodSeconds",
        "lifecycle",
        "E34",
        "1200 s are a limit, not a wait: who obeys SIGTERM, after a hook that sleeps, has ended; who does not is asked first",
        File("evidence/long", "obeyed"),
        File("evidence/grace", "asked"),
    ),
    row(
        "startupProbe",
        "probes",
        "E40",
        "until it succeeds liveness is not asked; at its threshold the container is killed",
        Event(
            "probes-startup",
            "Killing",
            "Container never failed startup probe, will be restarted",
        ),
        All(&[
            Shows("probes-startup", "/status/containerStatuses/never/started", "false"),
            Expect::Asks(|node| {
                let log = node.log("probes-startup/gated");
                log.is_empty().then_some(()).ok_or_else(|| format!("{log:?}"))
            }),
        ]),
    ),
    row(
        "preStop",
        "lifecycle",
        "E34",
        "runs inside the grace period, before SIGTERM",
        File("evidence/hook-order", "post pre term"),
        File("evidence/grace", "asked"),
    ),
    row(
        "postStart",
        "lifecycle",
        "E31",
        "by httpGet to the pod's address; one that fails is told and the container is stopped",
        Expect::Asks(|node| {
            let log = node.log("hook-http/answers");
            log.iter()
                .any(|line| line.contains("response:200"))
                .then_some(())
                .ok_or_else(|| format!("{log:?}"))
        }),
        Event("hook-fails", "FailedPostStartHook", "PostStartHook failed"),
    ),
    row(
        "terminationGracePeriodSeconds",
        "lifecycle",
        "E34",
        "SIGTERM, then SIGKILL when the period is over",
        File("evidence/grace", "asked"),
        File("evidence/hook-order", "post pre term"),
    ),
];
