//! What a container may do, as the kernel says.

use crate::node::Node;
use crate::table::Expect::{All, Asks, Event, Says, Shows, Tells};
use crate::table::{Row, row};

/// Capabilities that every runtime gives an ordinary container.
const ORDINARY: &str = "CapEff: 00000000a80425fb";

fn privileged_has_all(node: &Node) -> Result<(), String> {
    let log = node.log("security/privileged");
    let mask = log.iter().find_map(|line| line.strip_prefix("CapEff: ")).ok_or("no mask yet")?;
    let mask = u64::from_str_radix(mask, 16).map_err(|error| error.to_string())?;
    let own = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    let own = u64::from_str_radix(own.trim(), 16).map_err(|error| error.to_string())?;
    (mask == own).then_some(()).ok_or_else(|| format!("{mask:x} is not this machine's {own:x}"))
}

pub(crate) const ROWS: &[Row] = &[
    row(
        "privileged",
        "security-context",
        "E63",
        "every capability of the machine, devices seen, nothing masked; an ordinary container has 14 capabilities",
        All(&[
            Asks(privileged_has_all),
            Says("security/privileged", "proc-sys=writable"),
            Says("security/privileged", "kmsg=seen"),
        ]),
        All(&[
            Says("security/plain", ORDINARY),
            Says("security/plain", "proc-sys=readonly"),
            Says("security/plain", "kmsg=hidden"),
        ]),
    ),
    row(
        "capabilities",
        "security-context",
        "E63",
        "drop ALL, add NET_ADMIN leaves just that bit",
        All(&[
            Says("security/capabilities", "CapEff: 0000000000001000"),
            Says("security/capabilities", "CapBnd: 0000000000001000"),
        ]),
        Says("security/plain", ORDINARY),
    ),
    row(
        "readOnlyRootFilesystem",
        "security-context",
        "E63",
        "nothing can be written below /",
        Says("security/hardened", "root=readonly"),
        Says("security/plain", "root=writable"),
    ),
    row(
        "allowPrivilegeEscalation",
        "security-context",
        "E63",
        "false sets NoNewPrivs",
        Says("security/hardened", "NoNewPrivs: 1"),
        Says("security/plain", "NoNewPrivs: 0"),
    ),
    row(
        "pod securityContext",
        "security-context",
        "E63",
        "runAsUser and runAsGroup of the container",
        All(&[
            Says("security/hardened", "Uid: 1234 1234 1234 1234"),
            Says("security/hardened", "Gid: 2345 2345 2345 2345"),
        ]),
        Says("security/plain", "Uid: 0 0 0 0"),
    ),
    row(
        "pod securityContext",
        "security-context",
        "E63",
        "user, group, supplemental groups and fsGroup of the pod; a container may say otherwise",
        All(&[
            Says("security-pod/inherits", "1000"),
            Says("security-pod/inherits", "3000"),
            Says("security-pod/inherits", "3000 4000 4001 5000"),
            Says("security-pod/inherits", "scratch=5000 2777"),
            Says("security-pod/inherits", "new=1000:5000"),
        ]),
        All(&[
            Says("security-pod/overrides", "0"),
            Says("security-pod/overrides", "3000 4000 4001 5000"),
        ]),
    ),
    row(
        "pod securityContext",
        "security-context",
        "E32",
        "runAsNonRoot refuses an image that runs as root, and the user 0",
        Shows(
            "security-root-refused",
            "/status/containerStatuses/0/state/waiting/reason",
            "CreateContainerConfigError",
        ),
        All(&[
            Event(
                "security-root-refused",
                "Failed",
                "Error: container has runAsNonRoot and image will run as root",
            ),
            Event(
                "security-zero-refused",
                "Failed",
                "Error: container's runAsUser breaks non-root policy",
            ),
            Says("security/hardened", "Uid: 1234 1234 1234 1234"),
        ]),
    ),
    row(
        "seccompProfile",
        "security-context",
        "E63",
        "RuntimeDefault filters; nothing said is unconfined",
        Says("security/seccomp", "Seccomp: 2"),
        Says("security/plain", "Seccomp: 0"),
    ),
    row(
        "seccompProfile",
        "security-context",
        "E63",
        "Localhost uses the node's profile: chown is refused by it alone; an absent profile is named",
        Says("security/seccomp-file", "chown=refused"),
        All(&[
            Says("security/plain", "chown=allowed"),
            Tells("security/seccomp-file", "Seccomp: 2"),
            Shows(
                "security-no-profile",
                "/status/containerStatuses/0/state/waiting/reason",
                "CreateContainerError",
            ),
        ]),
    ),
    row(
        "seccompProfile",
        "security-context",
        "E63",
        "the pod's profile is every container's; Unconfined takes it back",
        Says("security-pod/inherits", "Seccomp: 2"),
        Says("security-pod/overrides", "Seccomp: 0"),
    ),
];
