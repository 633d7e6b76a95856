//! Writes: answered means durable, one sync for many, and refusals by name.

use crate::support::{Dice, PODS, Server, delete, number, pod, run, text};
use apiserver::records::{Action, Change, CommitError, Expected, Key, Query, Start, WatchRequest};
use std::collections::BTreeMap;
use std::time::Duration;
use store::Disk;
use tokio::task::JoinSet;

#[test]
fn the_revision_is_in_the_object_and_conflicts_are_judged_by_it() {
    run(async {
        let server = Server::start(&Disk::new());
        let web = pod("default", "web", "n1", "web");
        let first = server.records.commit(web.put(Expected::Absent)).await.unwrap();
        assert_eq!(first.record.revision, 1);
        assert!(text(&first.record).ends_with("\"rv\":\"1\"}"));
        let exists = server.records.commit(web.put(Expected::Absent)).await;
        assert!(matches!(exists, Err(CommitError::Exists(record)) if record.revision == 1));
        let second = server.records.commit(web.put(Expected::Revision(1))).await.unwrap();
        assert_eq!((second.record.revision, second.previous.unwrap().revision), (2, 1));
        let stale = server.records.commit(web.put(Expected::Revision(1))).await;
        assert!(matches!(stale, Err(CommitError::Conflict(record)) if record.revision == 2));
        let other = pod("default", "other", "", "web");
        let missing = server.records.commit(other.put(Expected::Present)).await;
        assert!(matches!(missing, Err(CommitError::Missing)));
        let gone = server.delete(web.key.clone()).await.unwrap();
        assert!(text(&gone.record).ends_with("\"rv\":\"3\"}"));
        assert!(matches!(server.delete(web.key).await, Err(CommitError::Missing)));
        let slash = pod("default", "a/b", "", "web");
        assert!(matches!(server.put(slash).await, Err(CommitError::BadKey)));
    });
}

#[test]
fn many_waiting_writes_cost_few_syncs() {
    run(async {
        let disk = Disk::new();
        let server = Server::start(&disk);
        let mut callers = JoinSet::new();
        for n in 0..1_000 {
            let records = server.records.clone();
            callers.spawn(async move {
                let change = pod("default", &format!("p{n}"), "n1", "web").put(Expected::Absent);
                records.commit(change).await.unwrap().record.revision
            });
        }
        let mut revisions = callers.join_all().await;
        revisions.sort_unstable();
        assert_eq!(revisions, (1..=1_000).collect::<Vec<u64>>());
        assert!(disk.syncs() <= 4, "{} syncs", disk.syncs());
    });
}

#[test]
fn a_caller_too_many_is_told_so_at_once() {
    run(async {
        let server = Server::start(&Disk::new());
        let mut callers = JoinSet::new();
        for n in 0..apiserver::records::WAITING_WRITES_MAX + 10 {
            let records = server.records.clone();
            let change = pod("default", &format!("p{n}"), "n1", "web").put(Expected::Absent);
            callers.spawn(async move { records.commit(change).await });
        }
        let results = callers.join_all().await;
        let busy = results.iter().filter(|r| matches!(r, Err(CommitError::Busy))).count();
        assert!(busy > 0, "the committer had no turn while they all came");
        assert_eq!(server.records.stats().busy, busy as u64);
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), results.len() - busy);
    });
}

#[test]
fn a_full_disk_refuses_and_a_confused_one_makes_it_read_only() {
    run(async {
        let disk = Disk::new();
        let server = Server::start(&disk);
        server.put(pod("default", "a", "n1", "web")).await.unwrap();
        disk.refuse_syncs(1);
        let refused = server.put(pod("default", "b", "n1", "web")).await;
        assert!(matches!(refused, Err(CommitError::NotWritten(_))), "{refused:?}");
        assert_eq!(server.records.health(), Ok(()));
        server.put(pod("default", "b", "n1", "web")).await.unwrap();
        disk.confuse_syncs(1);
        let unknown = server.put(pod("default", "c", "n1", "web")).await;
        assert!(matches!(unknown, Err(CommitError::ReadOnly(_))), "{unknown:?}");
        assert!(server.records.health().unwrap_err().contains("input/output error"));
        let later = server.put(pod("default", "d", "n1", "web")).await;
        assert!(matches!(later, Err(CommitError::ReadOnly(_))), "{later:?}");
        assert_eq!(server.records.list(&Query::all(PODS)).unwrap().records.len(), 2);
    });
}

#[test]
fn what_waits_at_the_end_is_answered_and_what_comes_later_is_refused() {
    run(async {
        let disk = Disk::new();
        let server = Server::start(&disk);
        let records = server.records.clone();
        let mut callers = JoinSet::new();
        for n in 0..20 {
            let records = records.clone();
            let change = pod("default", &format!("p{n}"), "n1", "web").put(Expected::Absent);
            callers.spawn(async move { records.commit(change).await });
        }
        tokio::task::yield_now().await;
        server.stop().await;
        let answered = callers.join_all().await.iter().filter(|r| r.is_ok()).count();
        assert_eq!(disk.rows().len(), answered);
        let late = records.commit(pod("default", "late", "", "").put(Expected::Any)).await;
        assert!(matches!(late, Err(CommitError::Stopped)), "{late:?}");
        let again = Server::start(&disk);
        assert_eq!(again.records.revision(), records.revision(), "an orderly end skips nothing");
    });
}

#[test]
fn heartbeats_cost_no_sync_each_and_reach_the_disk_within_a_second() {
    run(async {
        let disk = Disk::new();
        let server = Server::start(&disk);
        let beat = |n: u64| {
            let mut lease = pod("", "", "", "");
            lease.key = Key::new("coordination.k8s.io/leases", "kube-node-lease", "n1");
            lease.note = n.to_string();
            lease
        };
        server.put(beat(0)).await.unwrap();
        server.put(beat(1)).await.unwrap();
        let before = disk.syncs();
        for n in 0..100 {
            server.put(beat(n)).await.unwrap();
        }
        assert_eq!(disk.syncs(), before);
        tokio::time::sleep(Duration::from_millis(999)).await;
        assert_eq!(disk.syncs(), before + 1);
        assert_eq!(disk.rows()[0].revision, server.records.revision());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(disk.syncs(), before + 1, "nothing new, nothing written");
    });
}

#[test]
fn expired_objects_are_deleted_with_events_in_small_batches_also_after_a_restart() {
    run(async {
        let disk = Disk::new();
        let server = Server::start(&disk);
        for n in 0..450 {
            let mut event = pod("default", &format!("e{n}"), "", "");
            event.expires = Some(60);
            server.put(event).await.unwrap();
        }
        let mut renewed = pod("default", "e7", "", "");
        renewed.expires = Some(3_600);
        server.put(renewed.clone()).await.unwrap();
        server.put(pod("default", "stays", "", "")).await.unwrap();
        let mut watch = server.records.watch(WatchRequest::all(PODS, Start::Now)).unwrap();
        tokio::time::sleep(Duration::from_secs(55)).await;
        assert!(watch.try_next().unwrap().is_none());
        let batches = server.records.stats().batches;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let mut deleted = 0;
        while let Some(event) = watch.try_next().unwrap() {
            assert_eq!(event.kind, apiserver::records::EventKind::Deleted);
            assert!(text(&event.record).contains(&format!("\"rv\":\"{}\"", event.revision())));
            deleted += 1;
        }
        assert_eq!(deleted, 449);
        assert_eq!(server.records.stats().batches - batches, 3);
        server.stop().await;

        let server = Server::start(&disk);
        assert_eq!(server.records.list(&Query::all(PODS)).unwrap().records.len(), 2);
        tokio::time::sleep(Duration::from_secs(3_700)).await;
        let left = server.records.list(&Query::all(PODS)).unwrap().records;
        assert_eq!(left.len(), 1);
        assert_eq!(&*left[0].key.name, "stays");
    });
}

/// Callers write until the machine stops under them. What was answered must be found.
async fn one_life(disk: &Disk, dice: &mut Dice, acknowledged: &mut BTreeMap<Key, Option<u64>>) {
    let server = Server::start(disk);
    disk.crash_after(dice.below(40));
    let mut watch = server.records.watch(WatchRequest::all(PODS, Start::Now)).unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (records, seed) = (server.records.clone(), dice.below(u64::MAX));
        callers.spawn(async move {
            let (mut dice, mut answered) = (Dice(seed), Vec::new());
            loop {
                tokio::time::sleep(Duration::from_millis(dice.below(4))).await;
                let pod = pod("default", &format!("p{}", dice.below(20)), "n1", "web");
                let remove = dice.below(4) == 0;
                let change = if remove { delete(pod.key.clone()) } else { pod.put(Expected::Any) };
                match records.commit(change).await {
                    Ok(done) => {
                        answered.push((done.record.key.clone(), done.record.revision, remove));
                    }
                    Err(CommitError::Missing) => {}
                    Err(_) => return answered,
                }
            }
        });
    }
    let mut answers: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    answers.sort_by_key(|(_, revision, _)| *revision);
    for (key, revision, removed) in answers {
        acknowledged.insert(key, (!removed).then_some(revision));
    }
    // What a watcher was told is true as well, whoever was answered.
    while let Some(event) = watch.try_next().unwrap() {
        let there = event.kind != apiserver::records::EventKind::Deleted;
        acknowledged.insert(event.record.key.clone(), there.then_some(event.revision()));
    }
}

#[test]
fn no_answered_write_is_missing_when_the_machine_stops_under_many_callers() {
    for seed in 0..number("records_crashes") {
        run(async move {
            let (disk, mut dice) = (Disk::new(), Dice(seed));
            let (mut acknowledged, mut highest) = (BTreeMap::new(), 0);
            for life in 0..3 {
                one_life(&disk, &mut dice, &mut acknowledged).await;
                let server = Server::start(&disk);
                let seen = acknowledged.values().flatten().max().copied().unwrap_or(0);
                assert!(server.records.revision() >= seen.max(highest), "seed {seed}, life {life}");
                highest = server.records.revision();
                for (key, revision) in &acknowledged {
                    let found = server.records.get(key).map(|record| record.revision);
                    assert_eq!(found, *revision, "seed {seed}, life {life}: {key}");
                }
            }
        });
    }
}

#[test]
fn a_delete_can_say_what_the_last_state_was() {
    run(async {
        let server = Server::start(&Disk::new());
        let mut web = pod("default", "web", "n1", "web");
        server.put(web.clone()).await.unwrap();
        web.note = "bye".to_owned();
        let last = Some((web.value(), web.facts()));
        let action = Action::Delete { last };
        let change = Change { key: web.key.clone(), expected: Expected::Revision(1), action };
        let gone = server.records.commit(change).await.unwrap();
        assert!(text(&gone.record).contains("bye"));
        assert_eq!(gone.record.revision, 2);
    });
}
