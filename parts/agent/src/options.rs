//! What the command line says.

use std::path::PathBuf;

/// Options of `pernode agent`, as they were typed: the agent reads and checks them itself, so that every message about
/// them comes from one place.
#[derive(Clone, Debug)]
pub struct Options {
    /// Clock, tasks, figures. The agent lives in these tasks and ends when they stop.
    pub setup: kit::Setup,
    /// Version of this binary, shown as the kubelet's version: `v1.36.2+pernode.0.1.0`.
    pub version: String,
    /// `--server`: the API server, `https://host:port`.
    pub server: String,
    /// `--token`: join token `ID.SECRET`. Needed only until the node has its certificate.
    pub token: Option<String>,
    /// `--token-file`: a file that holds the join token; read at each try.
    pub token_file: Option<PathBuf>,
    /// `--ca-file`: the server's certificate authority, PEM.
    pub ca_file: Option<PathBuf>,
    /// `--ca-hash`: `sha256:HEX` of the authority's public key (DER of SubjectPublicKeyInfo).
    pub ca_hash: Option<String>,
    /// `--node-name`: the host name in lower case if absent.
    pub node_name: Option<String>,
    /// `--node-ip`: the address of the route to the server if absent.
    pub node_ip: Option<String>,
    /// `--runtime-endpoint`: `unix:///path` or a path; the usual places if absent.
    pub runtime_endpoint: Option<String>,
    /// `--root-dir`: keys and volumes.
    pub root_dir: PathBuf,
    /// `--node-labels`: `key=value,key=value`.
    pub node_labels: Option<String>,
    /// `--node-taints`: `key=value:Effect,key:Effect`, set when the node is first registered.
    pub node_taints: Option<String>,
    /// `--cgroup-root`: cgroup below which all pods of this node live; `/pernode` if absent.
    pub cgroup_root: Option<String>,
    /// `--cni`: `auto` writes a pod network if nobody else brings one, `off` waits for a daemon that does.
    pub cni: String,
    /// `--max-pods`
    pub max_pods: u32,
    /// `--pod-max-pids`: most processes and threads of one pod; below one for no limit but the kernel's.
    pub pod_max_pids: i64,
    /// `--reserved`: `cpu=100m,memory=256Mi,ephemeral-storage=1Gi`, kept from pods.
    pub reserved: Option<String>,
    /// `--port`: logs, health and metrics; 0 for none.
    pub port: u16,
}
