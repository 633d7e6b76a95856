use super::*;
use crate::host::Room;
use crate::scripted::{Bench, Scripted, running};
use parking_lot::Mutex;
use serde_json::json;

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}")},
        "spec": {"containers": [{"name": name, "image": "i:1"}], "restartPolicy": "Always"},
    }))
    .unwrap()
}

/// The pods of a node whose runtime is scripted; what its health is said to be.
fn run(bench: &Bench, pods: Vec<Pod>) -> watch::Receiver<RuntimeHealth> {
    run_in(bench, pods, &Arc::new(Mutex::new(PLENTY)))
}

const PLENTY: Room = Room {
    disk: 100 << 30,
    disk_free: 50 << 30,
    files_free_percent: 100,
    memory_free: 8 << 30,
    pids_free_percent: 100,
};

/// The same where there is so much room.
fn run_in(
    bench: &Bench,
    pods: Vec<Pod>,
    room: &Arc<Mutex<Room>>,
) -> watch::Receiver<RuntimeHealth> {
    let room = Arc::clone(room);
    run_as(bench, pods, move || *room.lock(), watch::channel(None).0)
}

/// The same, measured like this, while the node may be told to shut down.
fn run_as(
    bench: &Bench,
    pods: Vec<Pod>,
    room: impl Fn() -> Room + Send + 'static,
    stage: watch::Sender<Option<Stage>>,
) -> watch::Receiver<RuntimeHealth> {
    let setup = &bench.context.setup;
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"},
        "status": {"allocatable": {"pods": "110", "cpu": "4", "memory": "4Gi"}}}))
    .unwrap();
    let (health, seen) = watch::channel(RuntimeHealth::default());
    let stages = stage.subscribe();
    let (has_events, events_seen) = watch::channel(false);
    let called = Arc::new(Notify::new());
    let listening = listen(Arc::clone(&bench.context), Arc::clone(&called), has_events);
    setup.tasks.spawn("runtime events", listening);
    let (pods, nodes) = (Cache::fixed(setup, pods), Cache::fixed(setup, [node]));
    let (watch, told) = crate::pressure::watch::channel();
    let own = Arc::clone(&bench.context);
    setup.tasks.spawn("pressure", watch.run(own, pods.clone(), room));
    let all = Pods::new(Arc::clone(&bench.context), (pods, nodes), health, stages, told);
    setup.tasks.spawn("pods", async move {
        let _kept = stage;
        all.run(called, events_seen).await;
    });
    seen
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_tells_of_changes_is_heard_at_once_and_asked_seldom() {
    let runtime = Scripted::new();
    runtime.state.lock().has_events = true;
    let bench = Bench::new(&runtime).await;
    let _health = run(&bench, vec![pod("a")]);
    runtime.until(|state| running(state) == ["a"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (before, begun) = (runtime.state.lock().lists, tokio::time::Instant::now());
    tokio::time::sleep(Duration::from_secs(100)).await;
    let lists = runtime.state.lock().lists - before;
    assert!((8..=12).contains(&lists), "{lists} lists in {:?}", begun.elapsed());
    let begun = tokio::time::Instant::now();
    runtime.exits("a", 1);
    runtime
        .until(|state| state.asked.iter().filter(|what| *what == "start container").count() == 2)
        .await;
    // the first restart does not wait: nothing but the news itself brought it about
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_tells_of_nothing_is_asked_each_second() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let _health = run(&bench, vec![pod("a")]);
    runtime.until(|state| running(state) == ["a"]).await;
    let begun = tokio::time::Instant::now();
    runtime.exits("a", 1);
    runtime
        .until(|state| state.asked.iter().filter(|what| *what == "start container").count() == 2)
        .await;
    assert!(begun.elapsed() <= RELIST.1 * 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_hangs_is_told_within_half_a_minute_and_no_container_is_started_anew_after_it()
 {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let mut health = run(&bench, vec![pod("a"), pod("b")]);
    runtime.until(|state| running(state).len() == 2).await;
    runtime.hung.send_replace(true);
    let begun = tokio::time::Instant::now();
    let problem = health.wait_for(|health| health.problem.is_some()).await.unwrap().problem.clone();
    assert!(begun.elapsed() <= Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(problem.unwrap().starts_with("/scripted.sock: "));
    tokio::time::sleep(Duration::from_secs(300)).await;
    runtime.hung.send_replace(false);
    health.wait_for(|health| health.problem.is_none()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let state = runtime.state.lock();
    let starts = state.asked.iter().filter(|what| *what == "start container").count();
    assert_eq!((starts, running(&state).len()), (2, 2), "{:?}", state.asked);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_short_of_memory_ends_one_pod_says_why_and_spares_critical_ones() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let mut critical = pod("critical");
    critical.spec.as_mut().unwrap().priority = Some(2_000_000_000);
    let room = Arc::new(Mutex::new(PLENTY));
    let _health = run_in(&bench, vec![pod("a"), critical], &room);
    runtime.until(|state| running(state).len() == 2).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(running(&runtime.state.lock()).len(), 2, "there is room");
    room.lock().memory_free = 1 << 20;
    runtime.until(|state| running(state) == ["critical"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(running(&runtime.state.lock()), ["critical"]);
    let told = bench.context.reports.waiting();
    let of = |uid: &str| told.iter().find(|report| report.uid == uid).unwrap().status.clone();
    let evicted = of("uid-a");
    assert_eq!(
        (evicted.phase.as_deref(), evicted.reason.as_deref()),
        (Some("Failed"), Some("Evicted"))
    );
    let message = evicted.message.unwrap();
    let begins =
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 1Mi. ";
    assert!(message.starts_with(begins), "{message}");
    let target =
        evicted.conditions.unwrap().into_iter().find(|one| one.type_ == "DisruptionTarget");
    assert_eq!(target.unwrap().reason.as_deref(), Some("TerminationByKubelet"));
    assert_eq!(of("uid-critical").phase.as_deref(), Some("Running"));
}

#[tokio::test(start_paused = true)]
async fn pods_that_misbehave_delay_nobody_elses_status() {
    const SICK: usize = 100;
    let runtime = Scripted::new();
    // whoever is stopped takes its time
    runtime.state.lock().stop = Duration::from_secs(3600);
    runtime.state.lock().has_events = true;
    let bench = Bench::new(&runtime).await;
    let sick = |number: usize| {
        let mut pod = pod(&format!("sick-{number}"));
        let probe =
            json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1});
        let container = &mut pod.spec.as_mut().unwrap().containers[0];
        container.readiness_probe = serde_json::from_value(probe.clone()).unwrap();
        container.liveness_probe = (number < 10).then(|| serde_json::from_value(probe).unwrap());
        pod
    };
    let all = (0..SICK).map(sick).chain([pod("well")]).collect();
    let _health = run(&bench, all);
    runtime.until(|state| running(state).len() == SICK + 1).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(runtime.state.lock().execs > SICK * 500, "{}", runtime.state.lock().execs);
    let begun = tokio::time::Instant::now();
    runtime.exits("well", 7);
    let restarted = || {
        let told = bench.context.reports.waiting();
        let own = told.into_iter().find(|report| report.uid == "uid-well").unwrap();
        own.status.container_statuses.unwrap()[0].restart_count == 1
    };
    while !restarted() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() <= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_agent_left_of_pods_that_are_gone_is_removed_at_the_next_start() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let context = &bench.context;
    let logs = |pod: &str| context.pod_logs.join(format!("ns_{pod}_uid-{pod}"));
    let links = &context.container_logs;
    for dir in
        [logs("gone"), logs("a"), crate::volumes::pod_dir(&context.root, "uid-gone"), links.clone()]
    {
        std::fs::create_dir_all(dir).unwrap();
    }
    for pod in ["gone", "a"] {
        std::os::unix::fs::symlink(logs(pod).join("c/0.log"), links.join(pod)).unwrap();
    }
    let _health = run(&bench, vec![pod("a")]);
    runtime.until(|state| running(state) == ["a"]).await;
    tokio::time::sleep(RELIST.1 * 2).await;
    assert!(!logs("gone").exists() && std::fs::symlink_metadata(links.join("gone")).is_err());
    assert!(!crate::volumes::pod_dir(&context.root, "uid-gone").exists());
    assert!(logs("a").exists() && std::fs::symlink_metadata(links.join("a")).is_ok());
}

fn image(id: &str) -> v1::Image {
    v1::Image { id: id.to_owned(), ..v1::Image::default() }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_short_of_disk_ends_no_pod_while_unused_images_give_room() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    runtime.state.lock().images = vec![image("one"), image("two")];
    let short = Arc::new(Mutex::new(false));
    let (own, is_short) = (runtime.clone(), Arc::clone(&short));
    // an image makes room enough
    let room = move || {
        let is_full = *is_short.lock() && !own.state.lock().images.is_empty();
        Room { disk_free: if is_full { 1 << 30 } else { 50 << 30 }, ..PLENTY }
    };
    let _health = run_as(&bench, vec![pod("a")], room, watch::channel(None).0);
    runtime.until(|state| running(state) == ["a"]).await;
    // the first cannot be removed: that is no reason to keep the other, and room has to be made by a pod
    for (stuck, left) in [("", vec!["a"]), ("one", Vec::new())] {
        runtime.state.lock().images = vec![image("one"), image("two")];
        runtime.state.lock().stuck_images = vec![stuck.to_owned()];
        *short.lock() = true;
        tokio::time::sleep(Duration::from_secs(25)).await;
        *short.lock() = false;
        let state = runtime.state.lock();
        let images: Vec<&str> = state.images.iter().map(|image| image.id.as_str()).collect();
        assert_eq!(images, if stuck.is_empty() { vec![] } else { vec![stuck] });
        assert_eq!(running(&state), left, "{:?}", state.asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_short_of_disk_first_takes_the_containers_of_pods_that_are_over() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let mut done = pod("done");
    done.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    runtime.left_over(&done);
    let short = Arc::new(Mutex::new(false));
    let (own, is_short) = (runtime.clone(), Arc::clone(&short));
    let room = move || {
        let is_full = *is_short.lock() && own.state.lock().containers.len() > 1;
        Room { files_free_percent: if is_full { 1 } else { 50 }, ..PLENTY }
    };
    let _health = run_as(&bench, vec![pod("a"), done], room, watch::channel(None).0);
    runtime.until(|state| running(state) == ["a"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(runtime.state.lock().containers.len(), 2, "there is room");
    *short.lock() = true;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let state = runtime.state.lock();
    assert_eq!((state.containers.len(), running(&state)), (1, vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_shuts_down_leaves_pods_alone_that_are_over() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let (mut local, mut told) = (pod("local"), pod("told"));
    local.spec.as_mut().unwrap().restart_policy = Some("Never".to_owned());
    told.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    let stage = watch::channel(None).0;
    let _health = run_as(&bench, vec![pod("a"), local, told], || PLENTY, stage.clone());
    runtime.until(|state| running(state).len() == 2).await;
    runtime.exits("local", 0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let class = crate::shutdown::Class::Critical;
    stage.send_replace(Some(Stage { class, grace: Duration::from_secs(5) }));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let waiting = bench.context.reports.waiting();
    let of = |uid: &str| {
        let status = waiting.iter().find(|report| report.uid == uid).unwrap().status.clone();
        let is_disrupted = plan_says_disrupted(&status);
        (status.phase.unwrap(), status.reason, is_disrupted)
    };
    assert_eq!(of("uid-a"), ("Failed".to_owned(), Some("Terminated".to_owned()), true));
    for uid in ["uid-local", "uid-told"] {
        assert_eq!(of(uid), ("Succeeded".to_owned(), None, false), "{uid}");
    }
}

fn plan_says_disrupted(status: &k8s_openapi::api::core::v1::PodStatus) -> bool {
    status.conditions.iter().flatten().any(|one| one.type_ == "DisruptionTarget")
}
