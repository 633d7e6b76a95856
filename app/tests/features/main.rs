//! What real daemons use of a pod, on a real runtime: every manifest of `examples/features` is applied at once to one
//! node, and every row of the table is asserted from inside the containers or from the kernel, each with its negative
//! twin. `docs/pod-features.md` is the same table: `PERNODE_WRITE_DOCS=1` writes it.

#![expect(clippy::disallowed_methods, reason = "a real runtime is waited for in real time")]

#[path = "../harness/cluster.rs"]
mod cluster;
mod faults;
mod node;
mod outside;
mod registry;
mod rows;
mod table;

use cluster::Cluster;
use node::Node;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use table::Row;

/// How long the batch may take until every row holds.
const PATIENCE: Duration = Duration::from_secs(170);
/// How often everything is looked at: one look is some 200 ms of kubectl and files, and many conditions are waited for at once.
const LOOK: Duration = Duration::from_secs(2);
/// Pods that are deleted while they run, once they are ready; they leave their evidence on the node.
const DELETED: &[&str] = &["stops-hook", "stops-grace", "stops-long", "stops-order"];
/// Bytes after which the log of a flood is put aside.
const FLOOD_MIN: u64 = 10 << 20;
/// Pods to which something happens while they run.
const CHANGED: &[&str] = &[
    "changes",
    "gate-open",
    "debugged",
    "resized-cpu",
    "resized-memory",
    "image-changed",
    "floods",
];

#[test]
fn every_feature_of_real_daemons_works_and_its_twin_does_not() {
    let cluster = Cluster::up(1, &["--agents-network"]);
    let mut node = Node::of(&cluster);
    node.lay_out();
    let _registry = registry::Private::start(&node);
    node.kubectl(&["create", "namespace", node::NAMESPACE]);
    node.wait_for_account();
    node.wait_for_network();
    let _outside = outside::Outside::start(&node);
    faults::disk(&mut node);
    node.kubectl(&["apply", "-n", node::NAMESPACE, "-f", &node::examples().display().to_string()]);
    let mut open: Vec<(usize, String)> =
        (0..rows::all().len()).map(|index| (index, "not asked".to_owned())).collect();
    let all = rows::all();
    let begun = Instant::now();
    let mut is_acted = false;
    while !open.is_empty() && begun.elapsed() < PATIENCE {
        // half of the rows ask files and processes, which tell nobody of a change
        std::thread::sleep(LOOK);
        node.look();
        open.retain_mut(|(index, why)| match all[*index].ask(&node) {
            Ok(()) => false,
            Err(problem) => {
                *why = problem;
                true
            }
        });
        if !is_acted && DELETED.iter().chain(CHANGED).all(|pod| node.is_running(pod)) {
            is_acted = true;
            node.act();
        }
        // the flood ends only when the pod beside it was seen, and there was enough of it for a new log
        let flood: u64 = node.log_files("floods/c").iter().map(|(_, size)| size).sum();
        if is_acted && flood > FLOOD_MIN && node.is_running("beside-flood") {
            node.end_flood();
        }
        eprintln!("{} rows open after {:.0?}", open.len(), begun.elapsed());
    }
    eprintln!("{} of {} rows after {:.0?}", all.len() - open.len(), all.len(), begun.elapsed());
    let failed: BTreeSet<usize> = open.iter().map(|(index, _)| *index).collect();
    if std::env::var_os("PERNODE_WRITE_DOCS").is_some() {
        let text = table::document(&all, &node.runtime(), |index| !failed.contains(&index));
        std::fs::write(table::path(), text).expect("docs are written");
    }
    let text: Vec<String> = open
        .iter()
        .map(|(index, why)| format!("{}: {}\n    {why}", all[*index].manifest, all[*index].claim))
        .collect();
    assert!(
        text.is_empty(),
        "{} rows do not hold:\n{}\n{}",
        text.len(),
        text.join("\n"),
        cluster.logs()
    );
    let pods =
        ["delete", "pods", "--all", "-n", node::NAMESPACE, "--grace-period=1", "--wait=false"];
    node.kubectl(&pods);
    node.kubectl(&["delete", "namespace", node::NAMESPACE, "--wait=false"]);
    node.assert_nothing_is_left();
}

#[test]
fn every_feature_that_real_daemons_use_has_a_row_and_every_manifest_is_used() {
    let all: Vec<Row> = rows::all();
    for feature in table::USED {
        assert!(all.iter().any(|row| row.feature == *feature), "no row for {feature}");
    }
    for (feature, words) in table::SPELLED {
        let own = all.iter().filter(|row| row.feature == *feature);
        let text: String = own
            .map(|row| std::fs::read_to_string(node::manifest(row.manifest)).expect("a manifest"))
            .collect();
        for word in *words {
            assert!(text.contains(word), "no manifest of a row for {feature} has {word:?}");
        }
    }
    assert!(all.len() >= table::ROWS_MIN, "{} rows", all.len());
    for row in &all {
        let is_id = |id: &str| id.starts_with('E') && id[1..].parse::<u32>().is_ok();
        assert!(row.spec.split(' ').all(is_id), "{}: {:?} names no ID", row.claim, row.spec);
        assert!(table::USED.contains(&row.feature), "{}: an unknown feature", row.feature);
        assert!(node::manifest(row.manifest).exists(), "{}: no such manifest", row.manifest);
    }
    for entry in std::fs::read_dir(node::examples()).expect("examples are there").flatten() {
        let name = entry.path().file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(all.iter().any(|row| row.manifest == name), "{name}.yaml is used by no row");
    }
}

#[test]
fn the_document_of_pod_features_lists_every_row() {
    let text = std::fs::read_to_string(table::path()).expect("docs/pod-features.md is there");
    for row in rows::all() {
        let line = row.line();
        assert!(
            text.contains(&line),
            "docs/pod-features.md lacks the row\n{line}\nPERNODE_WRITE_DOCS=1 writes it"
        );
    }
}
