use super::*;
use serde_json::{Value, json};

fn pod() -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u1"},
        "status": {"startTime": "2026-01-01T00:00:00Z", "containerStatuses": [
            {"name": "b", "image": "busybox:1", "imageID": "", "ready": true, "restartCount": 0,
             "containerID": "containerd://id-b", "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}},
            {"name": "a", "image": "busybox:2", "imageID": "", "ready": true, "restartCount": 0,
             "containerID": "containerd://id-a", "state": {"running": {"startedAt": "2026-01-01T00:00:02Z"}}},
            {"name": "over", "image": "busybox:2", "imageID": "", "ready": false, "restartCount": 0,
             "containerID": "containerd://id-over", "state": {"terminated": {"exitCode": 0}}},
        ]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn stats(name: &str, at: i64, cpu: u64) -> v1::ContainerStats {
    let value = |value| Some(v1::UInt64Value { value });
    let labels = [(words::POD_UID, "u1"), (words::CONTAINER_NAME, name)];
    v1::ContainerStats {
        attributes: Some(v1::ContainerAttributes {
            id: format!("id-{name}"),
            labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..v1::ContainerAttributes::default()
        }),
        cpu: Some(v1::CpuUsage {
            timestamp: at,
            usage_core_nano_seconds: value(cpu),
            usage_nano_cores: None,
        }),
        memory: Some(v1::MemoryUsage {
            timestamp: at,
            working_set_bytes: value(1024),
            usage_bytes: value(4096),
            ..v1::MemoryUsage::default()
        }),
        writable_layer: Some(v1::FilesystemUsage {
            timestamp: at,
            fs_id: None,
            used_bytes: value(10),
            inodes_used: value(2),
        }),
    }
}

const STAT: &str =
    "cpu  100 10 50 1000 40 5 5 0 20 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nbtime 1767225600\n";
const MEMINFO: &str = "MemTotal: 1000 kB\nMemFree: 300 kB\nMemAvailable: 500 kB\nInactive(file): 100 kB\nAnonPages: 7 kB\n";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn sample(second: i64, cpu: u64) -> Sample {
    let nanos = i64::try_from(at(second).as_nanosecond()).unwrap();
    let measured = [stats("a", nanos, cpu), stats("b", nanos, 0), stats("over", nanos, 9)];
    let pods = of_pods(&[pod()], &measured, |uid| format!("/pernode/pod{uid}"));
    let mut node = NodeUse::of(STAT, MEMINFO, at(second));
    node.name = "n1".to_owned();
    Sample { node, pods, is_partial: false }
}

#[test]
fn the_node_is_read_from_the_kernels_tables() {
    let node = NodeUse::of(STAT, MEMINFO, at(0));
    assert_eq!((node.cpu.used, node.cpus), (170 * 10_000_000, 2));
    assert_eq!((node.memory.usage, node.memory.working_set), (700 * 1024, 600 * 1024));
    assert_eq!((node.memory_available, node.booted), (500 * 1024, Some(at(0))));
}

#[test]
fn rates_are_computed_from_one_question_to_the_next() {
    let mut rates = Rates::default();
    let mut ask = |second: i64, cpu: u64| {
        let mut sample = sample(second, cpu);
        rates.fill(&mut sample);
        sample.pods[0].containers[0].cpu.unwrap().rate
    };
    assert_eq!(ask(0, 1_000_000_000), None);
    assert_eq!(ask(10, 6_000_000_000), Some(500_000_000));
    // asked twice at once: the same answer, not noise
    assert_eq!(ask(10, 6_100_000_000), Some(500_000_000));
    assert_eq!(ask(20, 6_000_000_000), Some(0));
    // a counter that went back is another container's
    assert_eq!(ask(30, 5), None);
    assert_eq!(ask(10_000, 6_000_000_000), None);
}

#[test]
fn resource_figures_have_upstreams_names() {
    let text = text::resource(&sample(5, 2_500_000_000));
    for line in [
        "# TYPE container_cpu_usage_seconds_total counter",
        "container_cpu_usage_seconds_total{container=\"a\",namespace=\"ns\",pod=\"p\"} 2.5 1767225605000",
        "container_memory_working_set_bytes{container=\"b\",namespace=\"ns\",pod=\"p\"} 1024 1767225605000",
        "container_start_time_seconds{container=\"b\",namespace=\"ns\",pod=\"p\"} 1767225601",
        "node_cpu_usage_seconds_total 1.7 1767225605000",
        "node_memory_working_set_bytes 614400 1767225605000",
        "pod_cpu_usage_seconds_total{namespace=\"ns\",pod=\"p\"} 2.5 1767225605000",
        "pod_memory_working_set_bytes{namespace=\"ns\",pod=\"p\"} 2048 1767225605000",
        "resource_scrape_error 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis missing in\n{text}");
    }
    assert!(!text.contains("over"), "what ended uses nothing:\n{text}");
    let partial = Sample { is_partial: true, ..Sample::default() };
    assert!(text::resource(&partial).contains("resource_scrape_error 1"));
}

#[test]
fn cadvisors_names_and_labels_are_there() {
    let text = text::cadvisor(&sample(5, 2_500_000_000));
    let labels = "container=\"a\",cpu=\"total\",id=\"/pernode/podu1/id-a\",image=\"busybox:2\",name=\"id-a\",\
        namespace=\"ns\",pod=\"p\"";
    let line = format!("container_cpu_usage_seconds_total{{{labels}}} 2.5 1767225605000");
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("machine_cpu_cores 2") && text.contains("machine_memory_bytes 1024000"));
}

#[test]
fn the_summary_is_upstreams_document() {
    let document: Value =
        serde_json::from_str(&summary::summary(&sample(5, 2_500_000_000))).unwrap();
    assert_eq!(document["node"]["nodeName"], "n1");
    assert_eq!(document["node"]["memory"]["workingSetBytes"], 614_400);
    let pod = &document["pods"][0];
    assert_eq!(pod["podRef"], json!({"name": "p", "namespace": "ns", "uid": "u1"}));
    assert_eq!(pod["containers"][0]["name"], "a");
    assert_eq!(pod["containers"][0]["cpu"]["usageCoreNanoSeconds"], 2_500_000_000_u64);
    assert!(pod["containers"][0]["cpu"].get("usageNanoCores").is_none(), "not known yet");
    assert_eq!(pod["ephemeral-storage"]["usedBytes"], 20);
    assert_eq!(pod["startTime"], "2026-01-01T00:00:00Z");
}
