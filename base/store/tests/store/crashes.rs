//! A medium that forgets everything since its last sync, refuses, or does not know.

use crate::support::{Dice, LAZY, NOW, contents, delete, key, number, open, put};
use std::collections::BTreeMap;
use store::{CommitError, Disk, Expected};

type Found = BTreeMap<String, (u64, String)>;

fn found(store: &crate::support::Text) -> Found {
    contents(store).into_iter().map(|(key, revision, bytes)| (key, (revision, bytes))).collect()
}

/// Writes random batches until the machine stops; gives back what was acknowledged and the highest revision
/// anybody has seen.
fn write_until_the_end(disk: &Disk, dice: &mut Dice, start: Found) -> (Found, u64) {
    let (store, mut writer) = open(disk.log()).expect("opens");
    disk.crash_after(dice.below(60));
    let (mut acknowledged, mut highest) = (start, store.revision());
    loop {
        let mut changes = Vec::new();
        for _ in 0..=dice.below(4) {
            let name = format!("k{}", dice.below(12));
            changes.push(if dice.below(4) == 0 {
                delete(key("/pods", &name), Expected::Any)
            } else {
                put(key("/pods", &name), Expected::Any, &dice.below(100).to_string(), false)
            });
        }
        if dice.below(3) == 0 {
            changes.push(put(key(LAZY, "beat"), Expected::Any, "beat", true));
        }
        let Ok(outcomes) = writer.commit(changes, NOW, dice.below(5) == 0) else {
            return (acknowledged, highest);
        };
        for event in outcomes.into_iter().flatten() {
            highest = highest.max(event.revision());
            if &*event.row.key.collection == LAZY {
                continue;
            }
            let text = event.row.key.to_text();
            if event.happened == store::Happened::Deleted {
                acknowledged.remove(&text);
            } else {
                let bytes = String::from_utf8_lossy(&event.row.bytes).into_owned();
                acknowledged.insert(text, (event.revision(), bytes));
            }
        }
    }
}

#[test]
fn no_acknowledged_write_is_missing_after_a_crash_and_revisions_never_go_back() {
    for seed in 0..number("store_crashes") {
        let (mut dice, disk) = (Dice(seed), Disk::new());
        let (mut acknowledged, mut highest) = (Found::new(), 0);
        for life in 0..4 {
            let (after, seen) = write_until_the_end(&disk, &mut dice, acknowledged);
            let (store, _writer) = open(disk.log()).expect("opens after a crash");
            assert!(seen >= highest, "seed {seed}, life {life}: revisions started too low");
            assert!(store.revision() >= seen, "seed {seed}, life {life}: revisions went back");
            let mut rows = found(&store);
            rows.retain(|key, _| !key.starts_with(LAZY));
            assert_eq!(rows, after, "seed {seed}, life {life}");
            (acknowledged, highest) = (rows, store.revision());
        }
    }
}

#[test]
fn a_refused_sync_changes_nothing_and_the_next_one_works() {
    let disk = Disk::new();
    let (store, mut writer) = open(disk.log()).unwrap();
    writer.commit(vec![put(key("/pods", "a"), Expected::Absent, "1", false)], NOW, false).unwrap();
    disk.refuse_syncs(1);
    let change = || put(key("/pods", "a"), Expected::Revision(1), "2", false);
    let error = writer.commit(vec![change()], NOW, false).unwrap_err();
    assert_eq!(error, CommitError::NotWritten("no space left".into()));
    assert_eq!(contents(&store), [("/pods/space/a".to_owned(), 1, "1@1.".to_owned())]);
    assert!(store.events_after("/pods", 1, 9).unwrap().events.is_empty());
    assert_eq!(writer.read_only(), None);
    let outcome = writer.commit(vec![change()], NOW, false).unwrap();
    assert_eq!(outcome[0].as_ref().unwrap().revision(), 2);
}

#[test]
fn after_an_unknown_outcome_the_store_only_reads_and_says_so() {
    for times in [1, 2] {
        let disk = Disk::new();
        let (store, mut writer) = open(disk.log()).unwrap();
        writer
            .commit(vec![put(key("/pods", "a"), Expected::Absent, "1", false)], NOW, false)
            .unwrap();
        // One of the two leaves the batch on the disk, the other does not.
        disk.confuse_syncs(times);
        let change = || put(key("/pods", "b"), Expected::Any, "2", false);
        let error = writer.commit(vec![change()], NOW, false).unwrap_err();
        assert!(matches!(error, CommitError::Unknown(_)), "{error}");
        let error = writer.commit(vec![change()], NOW, false).unwrap_err();
        assert!(matches!(error, CommitError::ReadOnly(_)), "{error}");
        assert!(writer.read_only().is_some());
        assert_eq!(contents(&store).len(), 1, "what may not be there is not shown");
        assert!(writer.close().is_err());

        disk.confuse_syncs(0);
        let (store, mut writer) = open(disk.log()).expect("a restart finds out");
        assert_eq!(contents(&store).len(), if times == 1 { 2 } else { 1 });
        assert!(writer.commit(vec![change()], NOW, false).is_ok());
    }
}

#[test]
fn an_old_process_cannot_write_behind_a_new_one() {
    let disk = Disk::new();
    let (_, mut old) = open(disk.log()).unwrap();
    let (_, mut new) = open(disk.log()).unwrap();
    let change = || put(key("/pods", "a"), Expected::Any, "1", false);
    assert!(old.commit(vec![change()], NOW, false).is_err());
    assert!(new.commit(vec![change()], NOW, false).is_ok());
}
