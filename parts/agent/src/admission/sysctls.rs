//! Settings of the kernel that a pod may change: those that reach no further than its own namespaces (spec E2).

use k8s_openapi::api::core::v1::Pod;

/// Safe ones of the pod's IPC namespace.
const IPC: &[&str] = &["kernel.shm_rmid_forced"];
/// Safe ones of the pod's network (upstream's list).
const NET: &[&str] = &[
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Why the pod's settings are refused.
pub(crate) fn refusal(pod: &Pod) -> Option<(String, String)> {
    let spec = pod.spec.as_ref()?;
    let security = spec.security_context.as_ref()?;
    let problem = security.sysctls.iter().flatten().find_map(|one| {
        let name = crate::config::sysctl_name(&one.name);
        let (is_ipc, is_net) = (IPC.contains(&name.as_str()), NET.contains(&name.as_str()));
        let shown = &one.name;
        if !is_ipc && !is_net {
            return Some(format!("forbidden sysctl: \"{shown}\" not allowlisted"));
        }
        if is_net && spec.host_network == Some(true) {
            return Some(format!(
                "forbidden sysctl: \"{shown}\" not allowed with host net enabled"
            ));
        }
        if is_ipc && spec.host_ipc == Some(true) {
            return Some(format!(
                "forbidden sysctl: \"{shown}\" not allowed with host ipc enabled"
            ));
        }
        None
    })?;
    Some(("SysctlForbidden".to_owned(), format!("Pod was rejected: {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_settings_that_stay_inside_the_pod_are_taken() {
        let ask = |name: &str, is_host: bool| {
            let spec = json!({"hostNetwork": is_host, "containers": [],
                "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            refusal(&pod).map(|(_, text)| text)
        };
        assert_eq!(ask("net.ipv4.tcp_syncookies", false), None);
        assert_eq!(ask("kernel.shm_rmid_forced", true), None);
        let text = "Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted";
        assert_eq!(ask("kernel.msgmax", false).as_deref(), Some(text));
        let text = ask("net.ipv4.tcp_syncookies", true).unwrap();
        assert!(text.ends_with("not allowed with host net enabled"), "{text}");
    }
}
