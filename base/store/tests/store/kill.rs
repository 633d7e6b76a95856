//! A process that writes and acknowledges, and another that kills it.

use crate::support::{LAZY, NOW, contents, key, number, open, put};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use store::{Expected, SqliteLog};

/// Names the folder to the child.
const FOLDER: &str = "PERNODE_KILL_FOLDER";

/// Not a test of its own: the child of the one below, which runs it by name.
#[test]
fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (_, mut writer) = open(SqliteLog::open(Path::new(&folder)).unwrap()).unwrap();
    let mut out = std::io::stdout();
    for n in 0_u64.. {
        let name = format!("k{}", n % 40);
        let changes = vec![
            put(key("/pods", &name), Expected::Any, &format!("{n}-{}", "y".repeat(700)), false),
            put(key("/nodes", &name), Expected::Any, &n.to_string(), false),
            put(key(LAZY, "beat"), Expected::Any, &n.to_string(), true),
        ];
        let outcomes = writer.commit(changes, NOW, n % 16 == 0).unwrap();
        let mut line = String::new();
        for event in outcomes.into_iter().flatten() {
            writeln!(line, "ack {} {}", event.row.key.to_text(), event.revision()).unwrap();
        }
        out.write_all(line.as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let mut highest = 0;
    let mut total = 0;
    for round in 0..number("store_kills") {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child_that_is_killed", "--nocapture", "--test-threads=1"])
            .env(FOLDER, home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
        let output = BufReader::new(child.stdout.take().unwrap());
        // A moment that differs from round to round, and falls into start, commits and checkpoints alike.
        // Every tenth round is long enough for a checkpoint.
        let lines = (round * 7_919) % if round % 10 == 9 { 900 } else { 200 };
        let mut killed = false;
        for line in output.lines() {
            let line = line.unwrap();
            if let Some((key, revision)) =
                line.strip_prefix("ack ").and_then(|rest| rest.split_once(' '))
            {
                acknowledged.insert(key.to_owned(), revision.parse().unwrap());
                total += 1;
            }
            if !killed && acknowledged.values().max().is_some_and(|r| r - highest >= lines) {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "round {round}: the child ended by itself");
        let seen = acknowledged.values().max().copied().unwrap_or(0);
        assert!(seen > highest, "round {round}: revisions went back");
        let (store, writer) = open(SqliteLog::open(home.path()).unwrap()).unwrap();
        assert!(store.revision() >= seen, "round {round}: {} < {seen}", store.revision());
        let found: BTreeMap<String, u64> =
            contents(&store).into_iter().map(|(key, revision, _)| (key, revision)).collect();
        for (key, revision) in &acknowledged {
            let there = found.get(key).copied().unwrap_or(0);
            let lazy = key.starts_with(LAZY) && there > 0;
            assert!(there >= *revision || lazy, "round {round}: {key} is {there}, not {revision}");
        }
        highest = store.revision();
        drop((store, writer));
    }
    assert!(total > 1_000, "only {total} writes were seen: too few to mean anything");
}

#[test]
fn an_orderly_end_leaves_no_wal_and_skips_no_revision() {
    let home = tempfile::tempdir().unwrap();
    let (store, mut writer) = open(SqliteLog::open(home.path()).unwrap()).unwrap();
    for n in 0..10 {
        let change = put(key(LAZY, "beat"), Expected::Any, &n.to_string(), true);
        writer.commit(vec![change], Duration::from_secs(n), false).unwrap();
    }
    writer.close().unwrap();
    let rows = contents(&store);
    drop(writer);
    assert!(!home.path().join("pernode.db-wal").exists());
    let (again, _writer) = open(SqliteLog::open(home.path()).unwrap()).unwrap();
    assert_eq!((contents(&again), again.revision()), (rows, 10));
}
