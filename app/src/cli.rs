//! The command line: names and defaults of the design's §9.

pub(crate) mod ask;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The Kubernetes version that is spoken.
pub(crate) const KUBERNETES: &str = "v1.36.2";

/// One pod on every node that should have one.
#[derive(Debug, Parser)]
#[command(name = "pernode", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: LogFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to log.
#[derive(Debug, Args)]
pub(crate) struct LogFlags {
    /// What to log: error, warn, info, debug, trace, or per module as in `info,apiserver=debug`
    #[arg(long, global = true, default_value = "info", value_parser = log_level)]
    pub(crate) log_level: String,
    /// How to write logs, on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn log_level(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|fault| fault.to_string())
}

/// What to be.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the control plane: API server, DaemonSet engine, scheduler and caretaker
    Server(ServerFlags),
    /// Run the DaemonSet engine as a controller of any Kubernetes cluster
    Engine(EngineFlags),
    /// Join this machine as a node and run its pods
    Agent(AgentFlags),
    /// Run pretend nodes, for trials at scale
    Hollow(HollowFlags),
    /// Measure what a fleet of pretend nodes costs, in this process
    Bench(BenchFlags),
    /// Say why each node has a pod of a DaemonSet, gets one, or does not
    Explain(ask::ExplainFlags),
    /// Say what applying a DaemonSet would do, node by node, without changing anything
    Plan(ask::PlanFlags),
    /// Explain and plan as kubectl's plugin: link this binary as kubectl-pernode on PATH
    KubectlPlugin {
        /// What is asked
        #[command(subcommand)]
        question: ask::Question,
    },
    /// Print the version
    Version,
}

/// A part of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Part {
    /// The API.
    Apiserver,
    /// The DaemonSet engine.
    Daemonset,
    /// The scheduler.
    Scheduler,
    /// All other controllers.
    Caretaker,
}

/// Flags of `pernode server`.
#[derive(Debug, Args)]
pub(crate) struct ServerFlags {
    /// Where everything is kept
    #[arg(long, default_value = "/var/lib/pernode/server")]
    pub(crate) data_dir: PathBuf,
    /// Address to serve HTTPS on; port 0 takes a free one
    #[arg(long, default_value = "0.0.0.0:6443")]
    pub(crate) listen: SocketAddr,
    /// Address that nodes and kubeconfigs use [default: the address of --listen, or that of the default route]
    #[arg(long)]
    pub(crate) advertise_address: Option<IpAddr>,
    /// Parts to run; the apiserver is always needed
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "apiserver,daemonset,scheduler,caretaker"
    )]
    pub(crate) parts: Vec<Part>,
    /// File of bearer tokens: token,user,uid[,"group1,group2"] a line
    #[arg(long)]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// Admission plugins to add to the default ones
    #[arg(long, value_delimiter = ',')]
    pub(crate) enable_admission_plugins: Vec<String>,
    /// Admission plugins to leave out
    #[arg(long, value_delimiter = ',')]
    pub(crate) disable_admission_plugins: Vec<String>,
    /// Range of service addresses; its first one is among the names of the serving certificate
    #[arg(long, default_value = "10.96.0.0/16")]
    pub(crate) service_cluster_ip_range: Range,
    /// Range of pod addresses; each node gets a part of it as its podCIDR
    #[arg(long, default_value = "10.244.0.0/16")]
    pub(crate) cluster_cidr: Range,
    /// Bits of a node's part of --cluster-cidr [default: 24, or 64 for IPv6]
    #[arg(long)]
    pub(crate) node_cidr_mask_size: Option<u8>,
    /// Range of node ports
    #[arg(long, default_value = "30000-32767", value_parser = node_ports)]
    pub(crate) service_node_port_range: (u16, u16),
    /// Issuer and audience of service account tokens
    #[arg(long, default_value = "https://kubernetes.default.svc")]
    pub(crate) service_account_issuer: String,
    /// Longest life of the certificates that are signed for nodes, at least 1m [default: a year]
    #[arg(long, value_parser = signing_duration)]
    pub(crate) cluster_signing_duration: Option<Duration>,
    /// How long events are kept
    #[arg(long, default_value = "1h", value_parser = duration)]
    pub(crate) event_ttl: Duration,
    /// Behave as upstream where pernode chose better
    #[arg(long, value_parser = ["upstream"])]
    pub(crate) compat: Option<String>,
}

impl ServerFlags {
    pub(crate) fn parts(&self) -> BTreeSet<Part> {
        self.parts.iter().copied().collect()
    }
}

/// Flags of `pernode engine`.
#[derive(Debug, Args)]
pub(crate) struct EngineFlags {
    /// Kubeconfig of the cluster; its user needs the rights of system:controller:daemon-set-controller, and to list and
    /// watch pods, nodes, daemonsets and controllerrevisions
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    /// Parts to run; scheduler and caretaker only where the cluster has none
    #[arg(long, value_enum, value_delimiter = ',', default_value = "daemonset")]
    pub(crate) parts: Vec<Part>,
    /// Address for /healthz and /metrics, without TLS; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:10257")]
    pub(crate) listen: SocketAddr,
    /// Work only while holding the Lease pernode-PART, so that several engines may run
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) leader_elect: bool,
    /// Namespace of the Leases
    #[arg(long, default_value = "kube-system")]
    pub(crate) lease_namespace: String,
    /// A Lease that is not renewed for this long is free
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub(crate) leader_elect_lease_duration: Duration,
    /// A leader that cannot renew for this long stops
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) leader_elect_renew_deadline: Duration,
    /// Time between two tries to take or renew a Lease
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) leader_elect_retry_period: Duration,
    /// Requests a second for each part; watches count when they begin
    #[arg(long, default_value_t = 100.0)]
    pub(crate) kube_api_qps: f64,
    /// Requests that may be made at once
    #[arg(long, default_value_t = 200)]
    pub(crate) kube_api_burst: u32,
    /// Behave as upstream where pernode chose better
    #[arg(long, value_parser = ["upstream"])]
    pub(crate) compat: Option<String>,
}

impl EngineFlags {
    pub(crate) fn parts(&self) -> BTreeSet<Part> {
        self.parts.iter().copied().collect()
    }

    pub(crate) fn timings(&self) -> anyhow::Result<crate::engine::Timings> {
        let timings = crate::engine::Timings {
            duration: self.leader_elect_lease_duration,
            deadline: self.leader_elect_renew_deadline,
            retry: self.leader_elect_retry_period,
        };
        anyhow::ensure!(
            timings.retry < timings.deadline
                && timings.deadline < timings.duration
                && !timings.retry.is_zero(),
            "--leader-elect-retry-period must be below --leader-elect-renew-deadline, and that below \
             --leader-elect-lease-duration"
        );
        Ok(timings)
    }
}

/// Flags of `pernode agent`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct AgentFlags {
    /// What the running agent is told
    #[command(subcommand)]
    pub(crate) act: Option<AgentAct>,
    /// The API server, https://host:port
    #[arg(long, required = true)]
    pub(crate) server: Option<String>,
    /// Join token, ID.SECRET; needed until the node has its certificate
    #[arg(long, conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// File that holds the join token
    #[arg(long)]
    pub(crate) token_file: Option<PathBuf>,
    /// The server's CA certificate, PEM
    #[arg(long)]
    pub(crate) ca_file: Option<PathBuf>,
    /// sha256:HEX of the CA's public key
    #[arg(long)]
    pub(crate) ca_hash: Option<String>,
    /// Name of the node [default: the host name]
    #[arg(long)]
    pub(crate) node_name: Option<String>,
    /// Address of the node [default: that of the route to the server]
    #[arg(long)]
    pub(crate) node_ip: Option<String>,
    /// The container runtime's socket [default: found at the usual places]
    #[arg(long)]
    pub(crate) runtime_endpoint: Option<String>,
    /// Where keys and volumes are kept
    #[arg(long, default_value = "/var/lib/pernode/agent")]
    pub(crate) root_dir: PathBuf,
    /// Labels to register with: key=value,key=value
    #[arg(long)]
    pub(crate) node_labels: Option<String>,
    /// Taints to register with: key=value:Effect,key:Effect
    #[arg(long)]
    pub(crate) node_taints: Option<String>,
    /// Cgroup below which all pods of this node live
    #[arg(long)]
    pub(crate) cgroup_root: Option<String>,
    /// auto writes a pod network (99-pernode.conflist) if nobody brings one within 10 s and the node has addresses for
    /// pods; off waits for a daemon that brings one
    #[arg(long, default_value = "auto", value_parser = ["auto", "off"])]
    pub(crate) cni: String,
    /// Most pods on this node
    #[arg(long, default_value_t = 110)]
    pub(crate) max_pods: u32,
    /// Most processes and threads of one pod, where the agent makes the cgroups; -1 for no limit but the kernel's
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) pod_max_pids: i64,
    /// Kept from pods: cpu=100m,memory=256Mi,ephemeral-storage=1Gi
    #[arg(long)]
    pub(crate) reserved: Option<String>,
    /// Port for logs, streams, health and metrics; 0 for none
    #[arg(long, default_value_t = 10250)]
    pub(crate) port: u16,
    /// Look at this machine and at the server, print what is missing, change nothing
    #[arg(long)]
    pub(crate) check: bool,
}

/// What the agent of this machine can be told.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentAct {
    /// End the node's pods in order, before the machine is switched off: ordinary ones, daemons, critical ones
    Shutdown {
        /// How long that may take in all: 60s, 5m
        #[arg(long, default_value = "60s", value_parser = seconds)]
        grace: Duration,
        /// Where the agent keeps keys and volumes
        #[arg(long, default_value = "/var/lib/pernode/agent")]
        root_dir: PathBuf,
    },
}

fn seconds(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(number) => (number, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number: u64 = number.parse().map_err(|_| format!("\"{text}\" is no time such as 60s"))?;
    Ok(Duration::from_secs(number.saturating_mul(unit)))
}

/// Flags of `pernode hollow`.
#[derive(Debug, Args)]
pub(crate) struct HollowFlags {
    /// How many nodes to pretend
    #[arg(long)]
    pub(crate) nodes: usize,
    /// What their names begin with
    #[arg(long, default_value = "hollow")]
    pub(crate) prefix: String,
    /// Kubeconfig of somebody who may act for all nodes, such as admin.kubeconfig
    #[arg(long, required_unless_present = "server", conflicts_with_all = ["server", "token_file", "ca_file"])]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The API server, https://host:port
    #[arg(long, requires = "token_file", requires = "ca_file")]
    pub(crate) server: Option<String>,
    /// File with a bearer token of somebody who may act for all nodes (a join token may not)
    #[arg(long)]
    pub(crate) token_file: Option<PathBuf>,
    /// The server's CA certificate, PEM
    #[arg(long)]
    pub(crate) ca_file: Option<PathBuf>,
}

/// Flags of `pernode bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchFlags {
    /// Sizes of the fleets, one after another
    #[arg(long, value_delimiter = ',', default_value = "1000,5000,10000")]
    pub(crate) nodes: Vec<usize>,
    /// Measure requests instead of fleets: creates, updates, patches, lists and watches of the API server alone
    #[arg(long)]
    pub(crate) requests: bool,
    /// Pods that --requests makes and lists, and watchers of nodes [default: 10000]
    #[arg(long, requires = "requests")]
    pub(crate) pods: Option<usize>,
    /// Where the stores are kept; they stay there [default: a temporary folder that is removed]
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

/// A range of addresses, `10.96.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    base: IpAddr,
    bits: u8,
}

impl Range {
    /// The address of the range itself, and the length of its prefix.
    pub(crate) fn parts(self) -> (IpAddr, u8) {
        (self.base, self.bits)
    }

    /// The first address after that of the range itself: where the API is found inside the cluster.
    pub(crate) fn first(self) -> IpAddr {
        match self.base {
            IpAddr::V4(ip) => IpAddr::from((u32::from(ip) + 1).to_be_bytes()),
            IpAddr::V6(ip) => IpAddr::from((u128::from(ip) + 1).to_be_bytes()),
        }
    }
}

impl Range {
    /// What nodes get their ranges from.
    pub(crate) fn for_nodes(
        self,
        mask: Option<u8>,
    ) -> Result<caretaker::ClusterRange, caretaker::BadRange> {
        let usual = if self.base.is_ipv4() { 24 } else { 64 };
        caretaker::ClusterRange::new(self.base, self.bits, mask.unwrap_or(usual).max(self.bits))
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "expected a range such as 10.96.0.0/16".to_owned();
        let (base, bits) = text.split_once('/').ok_or_else(wanted)?;
        let base: IpAddr = base.parse().map_err(|_| wanted())?;
        let bits: u8 = bits.parse().map_err(|_| wanted())?;
        let (width, value) = match base {
            IpAddr::V4(ip) => (32, u128::from(u32::from(ip))),
            IpAddr::V6(ip) => (128, u128::from(ip)),
        };
        // two addresses are the least: the range's own and the API's
        if bits == 0 || bits >= width {
            return Err(format!("the prefix must be between 1 and {}", width - 1));
        }
        let host = (1_u128 << (width - bits)) - 1;
        if value & host != 0 {
            return Err("the address has bits set beyond the prefix".to_owned());
        }
        Ok(Self { base, bits })
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

fn node_ports(text: &str) -> Result<(u16, u16), String> {
    let pair =
        text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match pair {
        Some((from, to)) if 0 < from && from <= to => Ok((from, to)),
        _ => Err("expected two ports such as 30000-32767".to_owned()),
    }
}

/// A life that nodes can renew in time.
fn signing_duration(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_mins(1);
    let life = duration(text)?;
    if life < LEAST {
        return Err("nodes could not renew their certificates in time: 1m at least".to_owned());
    }
    Ok(life)
}

/// A length of time as Go writes it: `1h`, `90m`, `1h30m`, `45s`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration such as 1h, 90m or 1h30m".to_owned();
    let mut total = 0_u64;
    let mut digits = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        total = count.checked_mul(unit).and_then(|n| n.checked_add(total)).ok_or_else(wrong)?;
        digits.clear();
    }
    if text.is_empty() || !digits.is_empty() {
        return Err(wrong());
    }
    Ok(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_has_the_designs_defaults() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["pernode", "server"]).unwrap();
        let Command::Server(flags) = cli.command else { panic!("not the server") };
        assert_eq!(flags.data_dir.to_str(), Some("/var/lib/pernode/server"));
        assert_eq!(flags.listen.to_string(), "0.0.0.0:6443");
        assert_eq!(flags.parts().len(), 4);
        assert_eq!(flags.service_cluster_ip_range.first().to_string(), "10.96.0.1");
        assert_eq!(flags.service_node_port_range, (30000, 32767));
        assert_eq!(flags.event_ttl, Duration::from_secs(3600));
    }

    #[test]
    fn bad_values_are_refused_with_an_example() {
        for (flag, value, says) in [
            ("--event-ttl", "soon", "1h, 90m or 1h30m"),
            ("--event-ttl", "5", "1h, 90m or 1h30m"),
            ("--event-ttl", "99999999999999999999h", "1h, 90m or 1h30m"),
            ("--service-cluster-ip-range", "10.96.0.1/16", "bits set beyond the prefix"),
            ("--service-cluster-ip-range", "10.96.0.0", "such as 10.96.0.0/16"),
            ("--service-node-port-range", "5-4", "such as 30000-32767"),
            ("--parts", "apiserver,kitchen", "kitchen"),
            ("--compat", "downstream", "upstream"),
            ("--listen", "6443", "6443"),
            ("--log-level", "x=loudest", "invalid"),
        ] {
            let fault =
                Cli::try_parse_from(["pernode", "server", flag, value]).unwrap_err().to_string();
            assert!(fault.contains(says), "{flag} {value}: {fault}");
        }
    }

    #[test]
    fn certificates_live_long_enough_to_be_renewed() {
        assert_eq!(signing_duration("90s"), Ok(Duration::from_secs(90)));
        assert!(signing_duration("59s").is_err() && signing_duration("soon").is_err());
    }

    #[test]
    fn durations_read_as_in_go() {
        for (text, seconds) in
            [("1h", 3600), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }
}
