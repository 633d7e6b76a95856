//! What a watcher is told, and whom an event wakes.

use crate::support::{PODS, Server, pod, run};
use apiserver::records::{EventKind, Limits, Query, Start, Watch, WatchRequest};
use std::sync::Arc;
use std::time::Duration;
use store::Disk;

fn of_node(node: &str, start: Start) -> WatchRequest {
    WatchRequest {
        field: Some(("spec.nodeName".to_owned(), node.to_owned())),
        ..WatchRequest::all(PODS, start)
    }
}

/// All that is to be said now: kind, name, revision.
fn drain(watch: &mut Watch) -> Vec<(EventKind, String, u64)> {
    let mut events = Vec::new();
    while let Some(event) = watch.try_next().expect("in time") {
        let said = String::from_utf8(event.frame.to_vec()).unwrap();
        let kind = match event.kind {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
        };
        let bytes = std::str::from_utf8(&event.record.bytes).unwrap();
        assert_eq!(said, format!("{{\"type\":\"{kind}\",\"object\":{bytes}}}\n"));
        assert!(bytes.contains(&format!("\"rv\":\"{}\"", event.revision())), "{bytes}");
        events.push((event.kind, event.record.key.name.to_string(), event.revision()));
    }
    events
}

#[test]
fn an_object_that_moves_between_selections_is_deleted_in_one_and_added_in_the_other() {
    run(async {
        let server = Server::start(&Disk::new());
        let watch = |request| server.records.watch(request).unwrap();
        let mut all = watch(WatchRequest::all(PODS, Start::Now));
        let mut here = watch(of_node("n1", Start::Now));
        let mut there = watch(of_node("n2", Start::Now));
        let mut labelled = watch(WatchRequest {
            filter: Some(Arc::new(|record| record.facts.labels["app"] == "web")),
            ..WatchRequest::all(PODS, Start::Now)
        });
        server.put(pod("default", "a", "", "web")).await.unwrap();
        server.put(pod("default", "a", "n1", "web")).await.unwrap();
        server.put(pod("default", "a", "n1", "db")).await.unwrap();
        server.put(pod("default", "a", "n2", "web")).await.unwrap();
        server.delete(pod("default", "a", "", "").key).await.unwrap();
        use EventKind::{Added, Deleted, Modified};
        let expect = |events: &[(EventKind, u64)]| -> Vec<(EventKind, String, u64)> {
            events.iter().map(|(kind, revision)| (*kind, "a".to_owned(), *revision)).collect()
        };
        let everything = [(Added, 1), (Modified, 2), (Modified, 3), (Modified, 4), (Deleted, 5)];
        assert_eq!(drain(&mut all), expect(&everything));
        assert_eq!(drain(&mut here), expect(&[(Added, 2), (Modified, 3), (Deleted, 4)]));
        assert_eq!(drain(&mut there), expect(&[(Added, 4), (Deleted, 5)]));
        let web = [(Added, 1), (Modified, 2), (Deleted, 3), (Added, 4), (Deleted, 5)];
        assert_eq!(drain(&mut labelled), expect(&web));

        let mut late = watch(of_node("n1", Start::After(2)));
        assert_eq!(drain(&mut late), expect(&[(Modified, 3), (Deleted, 4)]));
    });
}

#[test]
fn an_object_shown_as_it_left_a_selection_is_its_state_before_with_the_new_revision() {
    run(async {
        let server = Server::start(&Disk::new());
        server.put(pod("default", "a", "n1", "web")).await.unwrap();
        let mut here = server.records.watch(of_node("n1", Start::Now)).unwrap();
        server.put(pod("default", "a", "n2", "db")).await.unwrap();
        let event = here.try_next().unwrap().unwrap();
        let text = String::from_utf8(event.record.bytes.to_vec()).unwrap();
        assert!(text.contains("\"node\":\"n1\"") && text.contains("\"app\":\"web\""), "{text}");
        assert!(text.contains("\"rv\":\"2\""), "{text}");
        assert_eq!(event.record.facts.labels["app"], "web");
    });
}

#[test]
fn an_event_wakes_only_the_agents_that_it_concerns() {
    run(async {
        let server = Server::start(&Disk::new());
        let agents: Vec<Watch> = (0..10_000)
            .map(|n| server.records.watch(of_node(&format!("n{n}"), Start::Now)).unwrap())
            .collect();
        assert_eq!(server.records.stats().watches, 10_000);
        for (revision, (node, told)) in
            [("", 0), ("n7", 1), ("n7", 1), ("n8", 2), ("elsewhere", 1)].into_iter().enumerate()
        {
            let before = server.records.stats().told;
            server.put(pod("default", "a", node, "web")).await.unwrap();
            assert_eq!(server.records.stats().told - before, told, "write {revision}");
        }
        drop(agents);
        assert_eq!(server.records.stats().watches, 0);
        let named = |name: &str| WatchRequest {
            namespace: Arc::from("default"),
            name: Arc::from(name),
            ..WatchRequest::all(PODS, Start::Now)
        };
        let mut a = server.records.watch(named("a")).unwrap();
        let mut b = server.records.watch(named("b")).unwrap();
        let before = server.records.stats().told;
        server.put(pod("default", "a", "n1", "web")).await.unwrap();
        assert_eq!(server.records.stats().told - before, 1);
        assert_eq!((drain(&mut a).len(), drain(&mut b).len()), (1, 0));
    });
}

#[test]
fn a_waiting_watch_is_woken_and_a_dropped_wait_loses_nothing() {
    run(async {
        let server = Server::start(&Disk::new());
        let mut watch = server.records.watch(of_node("n1", Start::Now)).unwrap();
        for n in 0..20 {
            let wait = tokio::time::timeout(Duration::from_millis(1), watch.next());
            assert!(wait.await.is_err(), "nothing happened yet");
            server.put(pod("default", &format!("p{n}"), "n1", "web")).await.unwrap();
            let event = tokio::time::timeout(Duration::from_secs(1), watch.next()).await;
            assert_eq!(&*event.unwrap().unwrap().record.key.name, format!("p{n}"));
        }
    });
}

#[test]
fn bookmarks_of_idle_watches_move_on_with_the_rest_of_the_world() {
    run(async {
        let server = Server::start(&Disk::new());
        let mut idle = server.records.watch(of_node("n1", Start::Now)).unwrap();
        let mut elsewhere = server.records.watch(WatchRequest::all("/nodes", Start::Now)).unwrap();
        let mut behind = server.records.watch(WatchRequest::all(PODS, Start::Now)).unwrap();
        for n in 0..10 {
            server.put(pod("default", &format!("p{n}"), "n2", "web")).await.unwrap();
        }
        assert_eq!((idle.bookmark(), elsewhere.bookmark()), (10, 10));
        assert_eq!(behind.bookmark(), 0, "ten events are not told yet");
        assert_eq!(behind.try_next().unwrap().unwrap().revision(), 1);
        assert_eq!(behind.bookmark(), 1);
        drain(&mut behind);
        assert_eq!(behind.bookmark(), 10);
    });
}

#[test]
fn who_falls_off_the_end_of_history_is_told_and_who_only_slept_is_not() {
    run(async {
        let limits = Limits { events_max: 10, ..Limits::default() };
        let server = Server::start_with(&Disk::new(), limits);
        let mut slow = server.records.watch(WatchRequest::all(PODS, Start::Now)).unwrap();
        let mut idle = server.records.watch(of_node("n1", Start::Now)).unwrap();
        let mut slow_agent = server.records.watch(of_node("n2", Start::Now)).unwrap();
        for n in 0..50 {
            server.put(pod("default", &format!("p{n}"), "n2", "web")).await.unwrap();
        }
        let gone = slow.try_next().unwrap_err();
        assert_eq!((gone.revision, gone.oldest), (0, 40));
        assert!(slow_agent.try_next().is_err());
        assert!(idle.try_next().unwrap().is_none(), "nothing of it was for this one");
        server.put(pod("default", "mine", "n1", "web")).await.unwrap();
        assert_eq!(drain(&mut idle), [(EventKind::Added, "mine".to_owned(), 51)]);
        assert_eq!(server.records.stats().gone, 2);
        let too_old = server.records.watch(WatchRequest::all(PODS, Start::After(3))).unwrap_err();
        assert_eq!((too_old.asked, too_old.floor), (3, 41));
        assert!(server.records.list(&Query { at: Some(3), ..Query::all(PODS) }).is_err());
        let then = server.records.list(&Query { at: Some(45), ..Query::all(PODS) }).unwrap();
        assert_eq!((then.revision, then.records.len()), (45, 45));
    });
}

#[test]
fn an_agent_that_missed_thousands_of_its_events_gets_them_all_while_they_are_remembered() {
    run(async {
        let server = Server::start(&Disk::new());
        let mut agent = server.records.watch(of_node("n1", Start::Now)).unwrap();
        assert!(agent.try_next().unwrap().is_none());
        for n in 0..3_000 {
            server.put(pod("default", &format!("p{}", n % 7), "n1", "web")).await.unwrap();
        }
        let revisions: Vec<u64> = drain(&mut agent).into_iter().map(|event| event.2).collect();
        assert_eq!(revisions, (1..=3_000).collect::<Vec<u64>>());
    });
}

#[test]
fn reaching_a_revision_of_the_future_can_be_waited_for() {
    run(async {
        let server = Server::start(&Disk::new());
        let wait = tokio::time::timeout(Duration::from_secs(3), server.records.reached(2));
        assert!(wait.await.is_err());
        let both = async {
            server.put(pod("default", "a", "", "")).await.unwrap();
            server.put(pod("default", "b", "", "")).await.unwrap();
        };
        let wait = tokio::time::timeout(Duration::from_secs(3), server.records.reached(2));
        let (waited, ()) = tokio::join!(wait, both);
        assert!(waited.is_ok());
    });
}
