use super::*;
use crate::scripted::{Bench, Scripted, running};
use crate::volumes;
use serde_json::json;

mod changes;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}],
            "volumes": [{"name": "v", "configMap": {"name": "m"}}]},
    }))
    .unwrap()
}

fn desired(pod: Pod) -> Desired {
    Desired { pod: Arc::new(pod), is_known: true, rejection: None, ending: None, postponed: None }
}

struct Task {
    desired: watch::Sender<Desired>,
    called: Arc<Notify>,
}

impl Task {
    fn of(bench: &Bench, pod: Pod) -> (Self, Worker) {
        let (sender, receiver) = watch::channel(desired(pod));
        let called = Arc::new(Notify::new());
        let worker = Worker::new(Arc::clone(&bench.context), receiver, Arc::clone(&called));
        (Self { desired: sender, called }, worker)
    }

    /// The user deletes the pod.
    fn deleted(&self, grace: i64) {
        self.desired.send_modify(|desired| {
            let mut pod = Pod::clone(&desired.pod);
            pod.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
            pod.metadata.deletion_grace_period_seconds = Some(grace);
            desired.pod = Arc::new(pod);
        });
    }

    /// The server has removed it.
    fn gone(&self) {
        self.desired.send_modify(|desired| desired.is_known = false);
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_was_removed_is_not_written_again_while_the_server_is_slow_to_answer() {
    let runtime = Scripted::new();
    // longer than the pace at which volumes are brought up to date
    runtime.state.lock().stop = REFRESH + Duration::from_secs(5);
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        let folder = volumes::pod_dir(&bench.context.root, "u");
        assert!(folder.join("volumes/kubernetes.io~configmap/v/key").exists());
        task.deleted(120);
        task.called.notify_one();
        runtime
            .until(|state| state.asked.last().is_some_and(|what| what == "remove sandbox"))
            .await;
        // the server takes its time
        tokio::time::sleep(REFRESH * 3).await;
        task.gone();
    };
    tokio::join!(worker.run(), user);
    let folder = volumes::pod_dir(&bench.context.root, "u");
    assert!(!folder.exists(), "{:?}", std::fs::read_dir(&folder).map(Iterator::collect::<Vec<_>>));
}

#[tokio::test(start_paused = true)]
async fn what_a_cancelled_call_made_after_the_clean_up_is_removed_with_its_files() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        let late = runtime.state.lock().sandboxes[0].clone();
        task.deleted(1);
        runtime
            .until(|state| state.asked.last().is_some_and(|what| what == "remove sandbox"))
            .await;
        let folder = volumes::pod_dir(&bench.context.root, "u");
        while folder.exists() {
            tokio::task::yield_now().await;
        }
        std::fs::create_dir_all(&folder).unwrap();
        runtime.state.lock().sandboxes.push(late);
        task.called.notify_one();
        let removals = |state: &crate::scripted::State| {
            state.asked.iter().filter(|what| *what == "remove sandbox").count()
        };
        runtime.until(|state| removals(state) == 2).await;
        task.gone();
        folder
    };
    let ((), folder) = tokio::join!(worker.run(), user);
    assert!(!folder.exists() && runtime.state.lock().sandboxes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_the_runtime_does_not_have_keeps_the_pod_waiting_until_it_is_deleted() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let mut odd = pod();
    odd.spec.as_mut().unwrap().runtime_class_name = Some("odd".to_owned());
    let (task, mut worker) = Task::of(&bench, odd);
    while worker.memory.troubles.is_empty() {
        Box::pin(worker.round()).await;
    }
    let trouble = worker.memory.troubles[WHOLE_POD].clone();
    assert_eq!(trouble.reason, words::reason::FAILED_CREATE_POD_SANDBOX);
    assert!(trouble.message.contains("no runtime for \"unknown\" is configured"), "{trouble:?}");
    let shown = worker.shown.clone().unwrap();
    assert_eq!(shown.phase.as_deref(), Some("Pending"));
    task.deleted(0);
    task.gone();
    worker.run().await;
    assert!(!volumes::pod_dir(&bench.context.root, "u").exists());
}

#[tokio::test(start_paused = true)]
async fn cgroups_are_named_as_the_driver_wants_that_the_runtime_itself_tells() {
    for (driver, parent) in [
        (None, "/pernode/podu"),
        (Some(crate::cri::v1::CgroupDriver::Cgroupfs), "/pernode/podu"),
        (Some(crate::cri::v1::CgroupDriver::Systemd), "pernode-podu.slice"),
    ] {
        let runtime = Scripted::new();
        runtime.state.lock().driver = driver;
        let bench = Bench::new(&runtime).await;
        let (task, worker) = Task::of(&bench, pod());
        let user = async {
            runtime.until(|state| running(state) == ["c"]).await;
            task.gone();
        };
        tokio::join!(worker.run(), user);
        assert_eq!(
            runtime.state.lock().parents,
            [(parent.to_owned(), String::new())],
            "{driver:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_hangs_in_a_stop_and_comes_back_ends_the_pod_once() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        runtime.hung.send_replace(true);
        task.deleted(5);
        tokio::time::sleep(Duration::from_secs(600)).await;
        runtime.hung.send_replace(false);
        runtime.until(|state| state.sandboxes.is_empty()).await;
        task.gone();
    };
    tokio::join!(worker.run(), user);
    let asked = runtime.state.lock().asked.clone();
    let made = |what: &str| asked.iter().filter(|one| *one == what).count();
    assert_eq!((made("start container"), made("run sandbox")), (1, 1), "{asked:?}");
    assert!(!volumes::pod_dir(&bench.context.root, "u").exists());
}

fn starts(state: &crate::scripted::State) -> usize {
    state.asked.iter().filter(|what| *what == "start container").count()
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ends_while_it_is_looked_at_waits_before_it_starts_again() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let user = async {
        runtime.until(|state| starts(state) == 1).await;
        runtime.exits("c", 1);
        task.called.notify_one();
        // the first restart is at once
        runtime.until(|state| starts(state) == 2).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        runtime.state.lock().slow = Duration::from_secs(1);
        task.called.notify_one();
        tokio::time::sleep(Duration::from_millis(500)).await;
        runtime.exits("c", 1);
        let ended = tokio::time::Instant::now();
        runtime.until(|state| starts(state) == 3).await;
        let waited = ended.elapsed().as_secs();
        assert!((10..=12).contains(&waited), "{waited} s");
        task.gone();
    };
    tokio::join!(worker.run(), user);
}

#[tokio::test(start_paused = true)]
async fn crashes_in_a_row_wait_longer_each_time() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let user = async {
        let mut waits = Vec::new();
        for count in 1..=4 {
            runtime.until(|state| starts(state) == count).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            runtime.exits("c", 1);
            task.called.notify_one();
            let ended = tokio::time::Instant::now();
            runtime.until(|state| starts(state) == count + 1).await;
            waits.push(ended.elapsed().as_secs());
        }
        assert_eq!(waits, [0, 10, 20, 40]);
        task.gone();
    };
    tokio::join!(worker.run(), user);
}

#[tokio::test(start_paused = true)]
async fn a_stop_under_way_is_cut_short_by_an_order_with_less_grace() {
    let runtime = Scripted::new();
    runtime.state.lock().stop = Duration::from_secs(3600);
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        task.deleted(3600);
        runtime.until(|state| state.graces == [3600]).await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        let order = |grace: u64| Ending {
            reason: words::reason::TERMINATED,
            message: "the node ends".to_owned(),
            grace: Some(Duration::from_secs(grace)),
            disruption: None,
        };
        let begun = tokio::time::Instant::now();
        task.desired.send_if_modified(|desired| desired.end(order(30)));
        runtime.until(|state| state.graces == [3600, 30]).await;
        assert!(!task.desired.send_if_modified(|desired| desired.end(order(60))));
        task.desired.send_if_modified(|desired| desired.end(order(1)));
        runtime.until(|state| state.graces == [3600, 30, 1]).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        runtime.state.lock().stop = Duration::ZERO;
        task.gone();
    };
    tokio::join!(worker.run(), user);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_holds_up_neither_the_end_of_a_pod_nor_a_restart() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        bench.server_hung.send_replace(true);
        tokio::time::sleep(REFRESH + Duration::from_secs(1)).await;
        let begun = tokio::time::Instant::now();
        runtime.exits("c", 1);
        task.called.notify_one();
        runtime.until(|state| starts(state) == 2).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        tokio::time::sleep(REFRESH * 3).await;
        let begun = tokio::time::Instant::now();
        task.deleted(1);
        runtime.until(|state| state.sandboxes.is_empty()).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        task.gone();
    };
    let both = async { tokio::join!(worker.run(), user) };
    tokio::time::timeout(Duration::from_secs(3600), both).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_over_gives_its_volumes_back_and_keeps_its_log_until_the_disk_is_short() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let mut job = pod();
    job.spec.as_mut().unwrap().restart_policy = Some("Never".to_owned());
    let (task, worker) = Task::of(&bench, job);
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        let folder = volumes::pod_dir(&bench.context.root, "u");
        let message = folder.join("containers/c/0.message");
        let log = crate::config::log_dir(&bench.context.pod_logs, &pod());
        assert!(folder.join("volumes").exists() && message.exists() && log.exists());
        runtime.exits("c", 0);
        task.called.notify_one();
        runtime.until(|state| state.asked.last().is_some_and(|what| what == "stop sandbox")).await;
        tokio::time::sleep(REFRESH * 3).await;
        assert!(folder.join("volumes").exists(), "the server does not know that it is over");
        let shown = bench.context.reports.waiting().remove(0).status;
        assert_eq!(shown.phase.as_deref(), Some("Succeeded"));
        task.desired.send_modify(|desired| {
            let mut pod = Pod::clone(&desired.pod);
            pod.status = Some(shown);
            desired.pod = Arc::new(pod);
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!folder.join("volumes").exists(), "nothing can use them any more");
        assert!(message.exists() && log.exists(), "what it said stays");
        assert_eq!(runtime.state.lock().containers.len(), 1);
        bench.context.is_disk_short.send_replace(true);
        runtime.until(|state| state.sandboxes.is_empty()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(runtime.state.lock().containers.is_empty() && !log.exists());
        task.gone();
    };
    tokio::join!(worker.run(), user);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_cannot_be_removed_at_once_is_removed_after_what_runs_in_it_was_ended() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let text = "cannot delete running task: failed precondition";
    runtime.state.lock().refusals = vec![tonic::Status::failed_precondition(text); 3];
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        task.deleted(1);
        let begun = tokio::time::Instant::now();
        runtime.until(|state| state.sandboxes.is_empty()).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        task.gone();
    };
    tokio::join!(worker.run(), user);
    // once in order, once for what the runtime may have left
    assert_eq!(runtime.state.lock().graces, [1, 0]);
    assert!(!volumes::pod_dir(&bench.context.root, "u").exists());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_nobody_waits_for_is_deleted_so_that_its_pod_can_go() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        {
            let mut state = runtime.state.lock();
            let container = state.containers[0].id.clone();
            state.tasks = Some(vec![container]);
        }
        task.deleted(1);
        let begun = tokio::time::Instant::now();
        runtime.until(|state| state.sandboxes.is_empty()).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        task.gone();
    };
    tokio::join!(worker.run(), user);
    let asked = runtime.state.lock().asked.clone();
    let end = &asked[asked.len() - 3..];
    assert_eq!(end, ["kill 9", "delete task", "remove sandbox"], "{asked:?}");
    assert_eq!(runtime.state.lock().graces, [1], "nothing else was ended");
}

#[tokio::test(start_paused = true)]
async fn an_old_sandbox_that_cannot_be_removed_costs_a_living_pod_nothing() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        {
            let mut state = runtime.state.lock();
            let mut old = state.sandboxes[0].clone();
            old.id = "old".to_owned();
            old.created_at -= 1_000_000;
            old.set_state(crate::cri::v1::PodSandboxState::SandboxNotready);
            state.sandboxes.push(old);
            state.refusals = vec![tonic::Status::failed_precondition("device is busy"); 3];
        }
        task.called.notify_one();
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(runtime.state.lock().refusals.len(), 2, "asked once, and nothing was ended");
        runtime.until(|state| state.sandboxes.len() == 1).await;
        assert_eq!(running(&runtime.state.lock()), ["c"]);
        task.gone();
    };
    tokio::join!(worker.run(), user);
}

#[tokio::test(start_paused = true)]
async fn a_container_to_look_into_the_pod_is_added_while_it_runs() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        task.desired.send_modify(|desired| {
            let mut pod = Pod::clone(&desired.pod);
            let added = json!([{"name": "e", "image": "i:1", "targetContainerName": "c"}]);
            let spec = pod.spec.as_mut().unwrap();
            spec.ephemeral_containers = serde_json::from_value(added).unwrap();
            desired.pod = Arc::new(pod);
        });
        runtime.until(|state| running(state) == ["c", "e"]).await;
        let container = runtime.state.lock().containers[0].id.clone();
        assert_eq!(runtime.state.lock().targets, ["", container.as_str()]);
        runtime.exits("e", 0);
        task.called.notify_one();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(starts(&runtime.state.lock()), 2);
        let told = bench.context.reports.waiting().remove(0).status;
        let own = told.ephemeral_container_statuses.unwrap().remove(0);
        assert!(own.state.unwrap().terminated.is_some());
        task.gone();
    };
    tokio::join!(worker.run(), user);
}
