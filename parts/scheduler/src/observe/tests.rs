use super::*;
use kit::{Clock, Events, Setup};
use serde_json::{Value, json};
use std::time::Duration;

/// A scheduler over these pods and one node `a` with 4 cpus, whose requests never end.
fn scheduler(pods: &[Value]) -> Scheduler {
    let setup = Setup::new(Clock::starting_at(jiff::Timestamp::UNIX_EPOCH), 0);
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
    });
    let client = kube::Client::new(service, "default");
    let events = Events::start(client.clone(), &setup, words::SCHEDULER, "");
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
    }))
    .unwrap();
    let (pods, nodes) = (Cache::fixed(&setup, pods.iter().map(read)), Cache::fixed(&setup, [node]));
    let mut scheduler = Scheduler {
        hand: Hand::new(client, events, setup.clock.clone()),
        pod_changes: pods.subscribe(),
        node_changes: nodes.subscribe(),
        pods,
        nodes,
        budgets: Cache::fixed(&setup, []),
        namespaces: Cache::fixed(&setup, []),
        kin: Kin {
            services: Cache::fixed(&setup, []),
            replica_sets: Cache::fixed(&setup, []),
            stateful_sets: Cache::fixed(&setup, []),
            controllers: Cache::fixed(&setup, []),
        },
        company: BTreeSet::new(),
        snapshot: Snapshot::default(),
        backlog: Backlog::default(),
        requests: FuturesUnordered::new(),
    };
    scheduler.rebuild();
    scheduler
}

fn read(pod: &Value) -> Pod {
    serde_json::from_value(pod.clone()).unwrap()
}

fn waiting(name: &str, cpu: &str, nominated: Option<&str>) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "d", "uid": name},
        "spec": {"priority": 5, "preemptionPolicy": "Never", "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"nominatedNodeName": nominated},
    })
}

/// Tries everyone once; answers how long the next has to wait.
fn tried(scheduler: &mut Scheduler) -> Option<Duration> {
    let now = Instant::now();
    scheduler.backlog.tick(now);
    while scheduler.backlog.has_next() {
        scheduler.decide();
    }
    scheduler.backlog.tick(now).map(|due| due - now)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn who_was_held_back_by_room_kept_for_a_pod_looks_again_when_that_pod_goes() {
    let (kept, held) = (waiting("kept", "3", Some("a")), waiting("held", "2", None));
    let mut scheduler = scheduler(std::slice::from_ref(&held));
    scheduler.see(&Arc::new(read(&kept)));
    // nobody decides about `kept` meanwhile: it waits for its victims
    scheduler.backlog.forget(&Key::new("d", "kept"));
    assert!(tried(&mut scheduler).is_some_and(|wait| wait > SECOND * 60), "it waits for news");
    scheduler.pod(Change::Deleted(Arc::new(read(&kept))));
    tokio::time::advance(SECOND * 2).await;
    assert_eq!(tried(&mut scheduler), None);
    assert_eq!(scheduler.snapshot.assumed().len(), 1, "it has its room now");
}

#[tokio::test(start_paused = true)]
async fn who_was_held_back_looks_again_when_room_is_kept_elsewhere() {
    let held = waiting("held", "2", None);
    let mut scheduler = scheduler(std::slice::from_ref(&held));
    scheduler.snapshot.assume(&Arc::new(read(&waiting("other", "100m", None))), "a");
    let room = |node| Arc::new(read(&waiting("kept", "3", node)));
    let _nobody = scheduler.snapshot.nominate(&room(Some("a")), Some("a"));
    assert!(tried(&mut scheduler).is_some_and(|wait| wait > SECOND * 60), "it waits for news");
    scheduler.nominate(&room(None), None);
    tokio::time::advance(SECOND * 2).await;
    assert_eq!(tried(&mut scheduler), None);
    assert_eq!(scheduler.snapshot.assumed().len(), 2, "it has its room now");
}

#[tokio::test(start_paused = true)]
async fn a_bound_pod_keeps_no_second_room() {
    let mut scheduler = scheduler(&[waiting("small", "1", None)]);
    let kept = Arc::new(read(&waiting("kept", "3", Some("a"))));
    let _nobody = scheduler.snapshot.nominate(&kept, Some("a"));
    assert_eq!(scheduler.snapshot.assume(&kept, "a"), None, "nobody else gains by it");
    tried(&mut scheduler);
    assert_eq!(scheduler.snapshot.assumed().len(), 2);
}
