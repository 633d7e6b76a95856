//! End to end on real containers: a server, nodes that are namespaces of this machine, containerd and kubectl, driven by
//! `xtask cluster` and `xtask walk` as a person would.
//!
//! Each test has a cluster of its own in a temporary folder, on a free network, and undoes it also when it fails.

#[path = "harness/cluster.rs"]
mod cluster;

use cluster::Cluster;
use std::process::Command;

fn walk(nodes: usize, chapter: &str) {
    let cluster = Cluster::up(nodes, &[]);
    cluster.xtask(&["walk", chapter]);
}

#[test]
fn every_manifest_of_the_seeds_is_ready_on_every_node_in_its_turn() {
    walk(3, "seeds");
}

#[test]
fn kubectl_works_unmodified_and_bad_input_is_refused_field_by_field() {
    walk(2, "tool");
}

#[test]
fn pods_follow_labels_taints_cordons_joins_and_departures() {
    walk(2, "nodes");
}

#[test]
fn pods_wait_for_room_and_more_important_ones_are_given_it() {
    walk(1, "room");
}

#[test]
fn updates_roll_out_are_undone_restarted_and_wait_on_delete() {
    walk(2, "updates");
}

#[test]
fn logs_commands_copies_and_ports_reach_into_the_pods() {
    walk(1, "streams");
}

#[test]
fn what_real_clusters_run_on_every_node_does_its_work() {
    walk(1, "daemons");
}

#[test]
fn a_node_is_shut_down_in_order_and_comes_back() {
    walk(1, "shutdown");
}

#[test]
fn containers_outlive_the_kill_of_server_and_agents() {
    walk(2, "kills");
}

#[test]
fn an_agent_killed_at_any_moment_restarts_nothing_and_leaves_nothing() {
    walk(1, "lives");
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("a tool of this machine runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What is on this machine that a cluster in `dir` could leave behind.
fn traces(dir: &str) -> Vec<String> {
    let links = output("ip", &["-br", "link"]);
    let mut list: Vec<String> =
        links.lines().filter(|l| l.starts_with("pn")).map(|l| format!("link {l}")).collect();
    list.extend(output("ip", &["netns", "list"]).lines().map(|l| format!("netns {l}")));
    let groups = output("find", &["/sys/fs/cgroup", "-type", "d", "-name", "pernode-*"]);
    list.extend(groups.lines().map(|l| format!("cgroup {l}")));
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc reads");
    list.extend(mounts.lines().filter(|l| l.contains(dir)).map(|l| format!("mount {l}")));
    let processes = output("ps", &["-e", "-ww", "-o", "stat=,args="]);
    let ours = |l: &&str| !l.trim_start().starts_with('Z') && l.contains(dir);
    list.extend(processes.lines().filter(ours).map(|l| format!("process {l}")));
    list
}

#[test]
fn a_cluster_that_is_taken_down_leaves_no_trace() {
    let cluster_dir;
    let before;
    {
        let cluster =
            Cluster { dir: tempfile::Builder::new().prefix("pernode-e2e-").tempdir().unwrap() };
        cluster_dir = cluster.path().display().to_string();
        before = traces(&cluster_dir);
        cluster.xtask(&[
            "cluster",
            "up",
            "--nodes",
            "1",
            "--pernode",
            env!("CARGO_BIN_EXE_pernode"),
        ]);
        let during = traces(&cluster_dir);
        for kind in ["link", "netns", "process"] {
            let count = |list: &[String]| list.iter().filter(|l| l.starts_with(kind)).count();
            assert!(count(&during) > count(&before), "no {kind} is seen while it runs: {during:?}");
        }
        cluster.xtask(&["cluster", "down"]);
        assert!(!cluster.path().exists());
    }
    assert_eq!(traces(&cluster_dir), before);
}
