//! `--check`: what this machine has of what is needed, and how to mend what is missing. Changes nothing.

use crate::cgroups::{self, Layout};
use crate::cri::{self, Runtime};
use crate::host::{self, Room};
use crate::{Options, start, tls};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The table of `--check`, and whether everything needed was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Printed as it is.
    pub table: String,
    /// Nothing needed is missing. If false, the process exits with 1.
    pub is_ready: bool,
}

/// How a row came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Good,
    /// Works, with less.
    Less,
    Missing,
}

#[derive(Clone, Debug)]
struct Row {
    mark: Mark,
    what: &'static str,
    found: String,
    needed: &'static str,
    mend: String,
}

fn row(
    mark: Mark,
    what: &'static str,
    found: impl Into<String>,
    needed: &'static str,
    mend: &str,
) -> Row {
    let mend = if mark == Mark::Good { String::new() } else { mend.to_owned() };
    Row { mark, what, found: found.into(), needed, mend }
}

fn good(is_good: bool) -> Mark {
    if is_good { Mark::Good } else { Mark::Missing }
}

/// Looks at this machine and at the server, and changes nothing.
pub async fn check(options: Options) -> Report {
    let mut rows = vec![root()];
    rows.push(match start::node_name(&options) {
        Ok(name) => row(Mark::Good, "node name", name, "a DNS name", ""),
        Err(error) => {
            row(Mark::Missing, "node name", error.to_string(), "a DNS name", "give --node-name")
        }
    });
    rows.extend(runtime(&options).await);
    rows.extend(control_groups());
    rows.push(oom());
    rows.push(shared());
    rows.push(disk(&options.root_dir));
    rows.push(memory());
    rows.extend(server(&options).await);
    let is_ready = rows.iter().all(|row| row.mark != Mark::Missing);
    Report { table: table(&rows), is_ready }
}

fn table(rows: &[Row]) -> String {
    let width =
        |of: fn(&Row) -> usize, head: &str| rows.iter().map(of).max().unwrap_or(0).max(head.len());
    let what = width(|row| row.what.len(), "WHAT");
    let found = width(|row| row.found.chars().count(), "FOUND").min(60);
    let needed = width(|row| row.needed.len(), "NEEDED");
    let mut text = String::new();
    let mut add = |mark: &str, a: &str, b: &str, c: &str, d: &str| {
        let line = format!("{mark:<8}  {a:<what$}  {b:<found$}  {c:<needed$}  {d}");
        let _ = writeln!(text, "{}", line.trim_end());
    };
    add("", "WHAT", "FOUND", "NEEDED", "HOW TO MEND");
    for row in rows {
        let mark = match row.mark {
            Mark::Good => "ok",
            Mark::Less => "less",
            Mark::Missing => "MISSING",
        };
        add(mark, row.what, &row.found, row.needed, &row.mend);
    }
    text
}

fn root() -> Row {
    let is_root = rustix::process::geteuid().is_root();
    let found = if is_root { "root" } else { "an ordinary user" };
    row(good(is_root), "user", found, "root", "run the agent as root")
}

async fn runtime(options: &Options) -> Vec<Row> {
    const NEEDED: &str = "CRI v1 (containerd 1.6 or later)";
    let socket = match cri::socket(options.runtime_endpoint.as_deref()) {
        Ok(socket) => socket,
        Err(tried) => {
            let tried: Vec<String> = tried.iter().map(|path| path.display().to_string()).collect();
            let found = format!("no socket at {}", tried.join(", "));
            let mend = "apt-get install containerd runc; systemctl start containerd; or give --runtime-endpoint";
            return vec![row(Mark::Missing, "container runtime", found, NEEDED, mend)];
        }
    };
    let runtime = Runtime::new(&socket);
    let mut rows = Vec::new();
    match runtime.version().await {
        Ok(version) => {
            let found = format!(
                "{} {} at {}",
                version.runtime_name,
                version.runtime_version,
                socket.display()
            );
            rows.push(row(Mark::Good, "container runtime", found, NEEDED, ""));
        }
        Err(failure) => {
            let found = format!("{}: {failure}", socket.display());
            let mend =
                "start the runtime; in its configuration \"cri\" must not be in disabled_plugins";
            rows.push(row(Mark::Missing, "container runtime", found, NEEDED, mend));
            return rows;
        }
    }
    let status = runtime.status(true).await.unwrap_or_default();
    let conditions = status.status.clone().unwrap_or_default().conditions;
    let network = conditions.iter().find(|one| one.r#type == "NetworkReady");
    let config: serde_json::Value = status
        .info
        .get("config")
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    rows.push(pod_network(options, network, &config));
    rows.push(match runtime.uses_systemd().await {
        Ok(true) => {
            let mend = "limits of whole pods are not set; set SystemdCgroup = false in the runtime for them";
            row(Mark::Less, "cgroup driver", "systemd", "cgroupfs", mend)
        }
        Ok(false) => row(Mark::Good, "cgroup driver", "cgroupfs", "cgroupfs", ""),
        Err(failure) => row(Mark::Less, "cgroup driver", failure.message, "cgroupfs", "see the runtime's log"),
    });
    if let Some(is_on) = config["restrictOOMScoreAdj"].as_bool() {
        let needs = !may_lower_oom();
        let found = if is_on { "on" } else { "off" };
        let mend = "set restrict_oom_score_adj = true in containerd's CRI plugin: without it no sandbox starts here";
        let needed = if needs { "on (this machine refuses negative scores)" } else { "on or off" };
        rows.push(row(good(is_on || !needs), "restrict_oom_score_adj", found, needed, mend));
    }
    rows
}

fn pod_network(
    options: &Options,
    condition: Option<&cri::v1::RuntimeCondition>,
    config: &serde_json::Value,
) -> Row {
    let dir = |key: &str, default: &str| {
        PathBuf::from(config["cni"][key].as_str().filter(|dir| !dir.is_empty()).unwrap_or(default))
    };
    let (conf, bin) = (dir("confDir", "/etc/cni/net.d"), dir("binDir", "/opt/cni/bin"));
    let count = |dir: &Path| std::fs::read_dir(dir).map_or(0, Iterator::count);
    let state = match condition {
        Some(one) if one.status => "ready".to_owned(),
        Some(one) => format!("not ready: {}", one.message),
        None => "unknown".to_owned(),
    };
    let found = format!(
        "{state}; {} files in {}, {} plugins in {}",
        count(&conf),
        conf.display(),
        count(&bin),
        bin.display()
    );
    if options.cni == "off" {
        return row(
            Mark::Less,
            "pod network",
            found,
            "none (--cni off)",
            "only hostNetwork pods run",
        );
    }
    let mend = format!(
        "apt-get install containernetworking-plugins, and put a network configuration into {}; or give --cni off",
        conf.display()
    );
    let is_ready = condition.is_some_and(|one| one.status);
    row(good(is_ready), "pod network", found, "ready", &mend)
}

fn control_groups() -> Vec<Row> {
    let layout = match Layout::read() {
        Ok(layout) => layout,
        Err(error) => {
            let mend = "mount /proc";
            return vec![row(
                Mark::Missing,
                "cgroups",
                error.to_string(),
                "v1, hybrid or v2",
                mend,
            )];
        }
    };
    let name = layout.name();
    let mut rows = vec![row(
        good(name != "none"),
        "cgroups",
        name,
        "v1, hybrid or v2",
        "mount -t cgroup2 none /sys/fs/cgroup",
    )];
    let has = layout.controllers();
    let missing: Vec<&str> =
        cgroups::NEEDED.iter().copied().filter(|one| !has.iter().any(|own| own == one)).collect();
    let found = if missing.is_empty() {
        "all".to_owned()
    } else {
        format!("without {}", missing.join(", "))
    };
    let mend = "the kernel's command line may turn them on: cgroup_enable=memory";
    rows.push(row(
        good(missing.is_empty()),
        "cgroup controllers",
        found,
        "cpu, memory, pids, cpuset",
        mend,
    ));
    rows
}

/// Whether this process has CAP_SYS_RESOURCE (bit 24), without which scores cannot be lowered.
fn may_lower_oom() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits >> 24 & 1 == 1)
}

fn oom() -> Row {
    let may = may_lower_oom();
    let found = if may { "CAP_SYS_RESOURCE" } else { "no CAP_SYS_RESOURCE" };
    let mark = if may { Mark::Good } else { Mark::Less };
    let mend = "pods cannot be given a negative oom_score_adj: important ones are not spared when memory is out";
    row(mark, "oom scores", found, "CAP_SYS_RESOURCE", mend)
}

fn shared() -> Row {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_shared = table.lines().any(|line| {
        let mut fields = line.split(' ').skip(4);
        fields.next() == Some("/") && fields.any(|field| field.starts_with("shared:"))
    });
    let found = if is_shared { "shared" } else { "private" };
    let mend = "mount --make-rshared /  (needed by mountPropagation)";
    row(if is_shared { Mark::Good } else { Mark::Less }, "mount of /", found, "shared", mend)
}

fn disk(root: &Path) -> Row {
    let place = root.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
    let room = Room::read(place);
    let found = format!(
        "{} GiB free ({} %) at {}",
        room.disk_free >> 30,
        room.disk_free_percent(),
        place.display()
    );
    let is_good = room.disk_free_percent() >= host::DISK_LOW_PERCENT
        && room.files_free_percent >= host::FILES_LOW_PERCENT;
    row(
        if is_good { Mark::Good } else { Mark::Less },
        "disk",
        found,
        "10 % free",
        "below, the node has DiskPressure",
    )
}

fn memory() -> Row {
    let free = Room::read(Path::new("/")).memory_free;
    let found = format!("{} MiB free", free >> 20);
    row(good(free >= host::MEMORY_LOW), "memory", found, "100 MiB free", "free some memory")
}

async fn server(options: &Options) -> Vec<Row> {
    let parsed = match tls::Server::parse(&options.server) {
        Ok(server) => server,
        Err(error) => {
            return vec![row(
                Mark::Missing,
                "server",
                error.to_string(),
                "https://HOST:PORT",
                "correct --server",
            )];
        }
    };
    let chain = match tls::chain_of(&parsed).await {
        Ok(chain) => chain,
        Err(error) => {
            let mend = "start the server, and see that its port can be reached from here";
            return vec![row(Mark::Missing, "server", error.to_string(), "an answer", mend)];
        }
    };
    let mut rows =
        vec![row(Mark::Good, "server", format!("{} answers", parsed.base), "an answer", "")];
    let now = options.setup.clock.now().as_second();
    let Some((_, leaf)) =
        chain.first().and_then(|one| x509_parser::parse_x509_certificate(one).ok())
    else {
        return rows;
    };
    let life = leaf.validity();
    let is_in_time = life.not_before.timestamp() <= now && now <= life.not_after.timestamp();
    let found = if is_in_time {
        "within the server certificate's life"
    } else {
        "outside the server certificate's life"
    };
    rows.push(row(
        good(is_in_time),
        "time of day",
        found,
        "the server's",
        "set this machine's clock (timedatectl)",
    ));
    let shown: Vec<String> = chain.iter().filter_map(|one| tls::public_key_hash(one)).collect();
    if let Some(hash) = &options.ca_hash {
        let is_there = shown.iter().any(|one| one == &hash.to_ascii_lowercase());
        let found = if is_there {
            "in the server's chain".to_owned()
        } else {
            format!("the chain has {}", shown.join(", "))
        };
        rows.push(row(
            good(is_there),
            "--ca-hash",
            found,
            "in the server's chain",
            "correct --ca-hash",
        ));
    }
    if let Some(path) = &options.ca_file {
        let roots = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let roots = roots.and_then(|pem| tls::authority(&pem));
        rows.push(match roots {
            Ok(_) => row(Mark::Good, "--ca-file", path.display().to_string(), "a certificate", ""),
            Err(problem) => {
                row(Mark::Missing, "--ca-file", problem, "a certificate", "correct --ca-file")
            }
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_how_to_mend_only_what_is_missing() {
        let rows = [
            row(Mark::Good, "a", "x", "y", "never shown"),
            row(Mark::Missing, "bb", "none", "y", "do this"),
        ];
        let text = table(&rows);
        assert!(!text.contains("never shown"));
        assert!(
            text.lines().any(|line| line.starts_with("MISSING") && line.ends_with("do this")),
            "{text}"
        );
    }

    #[tokio::test]
    async fn without_runtime_and_server_the_check_fails_and_names_both() {
        let report = check(Options {
            setup: kit::Setup::new(kit::Clock::system(), 0),
            version: "v".to_owned(),
            server: "https://127.0.0.1:1".to_owned(),
            token: None,
            token_file: None,
            ca_file: None,
            ca_hash: None,
            node_name: Some("n".to_owned()),
            node_ip: None,
            runtime_endpoint: Some("/nowhere.sock".to_owned()),
            root_dir: "/nonexistent/agent".into(),
            node_labels: None,
            node_taints: None,
            cgroup_root: None,
            cni: "auto".to_owned(),
            max_pods: 110,
            pod_max_pids: -1,
            reserved: None,
            port: 0,
        })
        .await;
        assert!(!report.is_ready);
        assert!(report.table.contains("no socket at /nowhere.sock"), "{}", report.table);
        assert!(report.table.contains("--runtime-endpoint"), "{}", report.table);
    }
}
