//! What happens to a pod while it ends, and to one that is changed while it runs.

use super::*;

fn ready(bench: &Bench) -> Option<String> {
    let told = bench.context.reports.waiting().pop()?.status;
    let one = told.conditions?.into_iter().find(|one| one.type_ == "Ready")?;
    Some(one.status)
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_ends_tells_that_it_is_no_longer_ready() {
    let runtime = Scripted::new();
    runtime.state.lock().stop = Duration::from_secs(60);
    runtime.state.lock().exec_works = true;
    let bench = Bench::new(&runtime).await;
    let mut pod = pod();
    let probe = json!({"exec": {"command": ["ask"]}, "periodSeconds": 1, "failureThreshold": 1});
    pod.spec.as_mut().unwrap().containers[0].readiness_probe =
        serde_json::from_value(probe).unwrap();
    let (task, worker) = Task::of(&bench, pod);
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(ready(&bench).as_deref(), Some("True"));
        task.deleted(120);
        runtime.until(|state| !state.graces.is_empty()).await;
        runtime.state.lock().exec_works = false;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(running(&runtime.state.lock()), ["c"], "it still ends");
        assert_eq!(ready(&bench).as_deref(), Some("False"));
        task.gone();
    };
    tokio::join!(worker.run(), user);
}

/// A pod whose container's environment is that of a ConfigMap.
fn told() -> Pod {
    let mut pod = pod();
    let container = &mut pod.spec.as_mut().unwrap().containers[0];
    container.env_from = serde_json::from_value(json!([{"configMapRef": {"name": "m"}}])).unwrap();
    pod
}

/// What `key` was in the environment of each container that was made.
fn keys(runtime: &Scripted) -> Vec<String> {
    let state = runtime.state.lock();
    let all = state.environments.iter().flatten();
    all.filter_map(|one| one.strip_prefix("key=")).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn a_container_whose_image_was_missing_for_long_starts_with_the_environment_of_now() {
    let runtime = Scripted::new();
    {
        let mut state = runtime.state.lock();
        (state.making, state.lacks_images) = (Duration::from_secs(1), true);
    }
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, told());
    let user = async {
        runtime.until(|state| state.asked.iter().any(|what| what == "run sandbox")).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(keys(&runtime), Vec::<String>::new());
        runtime.state.lock().in_maps = Some("new".to_owned());
        runtime.state.lock().lacks_images = false;
        runtime.until(|state| running(state) == ["c"]).await;
        task.gone();
    };
    tokio::join!(worker.run(), user);
    assert_eq!(keys(&runtime), ["new"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_while_the_sandbox_was_made_is_used_if_that_was_just_now() {
    for (making, wanted) in [(1, "old"), (60, "new")] {
        let runtime = Scripted::new();
        {
            let mut state = runtime.state.lock();
            state.making = Duration::from_secs(making);
            state.in_maps = Some("old".to_owned());
        }
        let bench = Bench::new(&runtime).await;
        let (task, worker) = Task::of(&bench, told());
        let user = async {
            tokio::time::sleep(Duration::from_millis(making * 900)).await;
            runtime.state.lock().in_maps = Some("new".to_owned());
            runtime.until(|state| running(state) == ["c"]).await;
            task.gone();
        };
        tokio::join!(worker.run(), user);
        assert_eq!(keys(&runtime), [wanted], "made for {making} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_container_gets_new_resources_once_and_a_new_image_by_a_restart() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let (task, worker) = Task::of(&bench, pod());
    let change = |image: &str, cpu: &str| {
        task.desired.send_modify(|desired| {
            let mut pod = Pod::clone(&desired.pod);
            let container = &mut pod.spec.as_mut().unwrap().containers[0];
            container.image = Some(image.to_owned());
            container.resources =
                serde_json::from_value(json!({"requests": {"cpu": cpu}})).unwrap();
            desired.pod = Arc::new(pod);
        });
    };
    let asked =
        |what: &str| runtime.state.lock().asked.iter().filter(|one| one.as_str() == what).count();
    let user = async {
        runtime.until(|state| running(state) == ["c"]).await;
        change("i:1", "250m");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((asked("update container"), asked("stop container")), (1, 0));
        assert_eq!(runtime.state.lock().shares, [256]);
        change("i:2", "250m");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!((asked("update container"), asked("stop container")), (1, 1));
        assert_eq!(starts(&runtime.state.lock()), 2);
        assert_eq!(running(&runtime.state.lock()), ["c"]);
        task.gone();
    };
    tokio::join!(worker.run(), user);
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_waits_for_news_of_the_services_and_says_so() {
    let runtime = Scripted::new();
    let bench = Bench::new(&runtime).await;
    let mut pod = pod();
    pod.spec.as_mut().unwrap().volumes = None;
    bench.server_hung.send_replace(true);
    let (task, worker) = Task::of(&bench, pod);
    let user = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(starts(&runtime.state.lock()), 0);
        let told = bench.context.reports.waiting().remove(0).status;
        let waiting = told.container_statuses.unwrap().remove(0).state.unwrap().waiting.unwrap();
        assert_eq!(waiting.reason.as_deref(), Some("CreateContainerConfigError"));
        let said = waiting.message.unwrap();
        assert!(said.starts_with("services have not yet been read at least once"), "{said}");
        bench.server_hung.send_replace(false);
        runtime.until(|state| running(state) == ["c"]).await;
        task.gone();
    };
    tokio::join!(worker.run(), user);
}
