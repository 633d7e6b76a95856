use super::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use k8s_openapi::api::core::v1::{PodCondition, PodIP};
use kube::client::Body;
use serde_json::{Value, json};

/// A server that holds one pod, checks preconditions as the API does, and writes down what it was asked.
#[derive(Clone)]
struct Server {
    pod: Arc<Mutex<Option<Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn of(revision: u64, phase: &str) -> Self {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "status": {"phase": phase},
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": revision.to_string()},
        });
        Self { pod: Arc::new(Mutex::new(Some(pod))), asked: Arc::default() }
    }

    fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let server = server.clone();
            async move {
                let method = request.method().to_string();
                let bytes = request.into_body().collect().await.unwrap().to_bytes();
                let (code, answer) = server.answer(&method, &bytes);
                let response = http::Response::builder().status(code);
                let body = Full::new(Bytes::from(answer.to_string()));
                Ok::<_, std::convert::Infallible>(response.body(body).unwrap())
            }
        });
        kube::Client::new(service, "default")
    }

    fn answer(&self, method: &str, body: &[u8]) -> (u16, Value) {
        self.asked.lock().push(method.to_owned());
        let mut pod = self.pod.lock();
        let refuse = |code: u16, reason: &str| {
            let status = json!({"kind": "Status", "status": "Failure", "message": reason, "reason": reason, "code": code});
            (code, status)
        };
        let Some(now) = pod.as_mut() else { return refuse(404, "NotFound") };
        match method {
            "GET" => (200, now.clone()),
            "DELETE" => (200, pod.take().unwrap()),
            _ => {
                let patch: Value = serde_json::from_slice(body).unwrap();
                let same = |key: &str| patch["metadata"][key] == now["metadata"][key];
                if !same("uid") || !same("resourceVersion") {
                    return refuse(409, "Conflict");
                }
                let revision = kit::revision_of(now["metadata"]["resourceVersion"].as_str()) + 1;
                now["metadata"]["resourceVersion"] = revision.to_string().into();
                now["status"]["phase"] = patch["status"]["phase"].clone();
                (200, now.clone())
            }
        }
    }

    fn phase(&self) -> String {
        let pod = self.pod.lock();
        pod.as_ref().unwrap()["status"]["phase"].as_str().unwrap().to_owned()
    }
}

fn report(revision: u64, phase: &str) -> Report {
    Report {
        namespace: "ns".to_owned(),
        name: "p".to_owned(),
        uid: "u".to_owned(),
        status: PodStatus { phase: Some(phase.to_owned()), ..PodStatus::default() },
        revision,
        written: Arc::default(),
        old_addresses: Vec::new(),
        is_spared: false,
        is_final: false,
    }
}

#[tokio::test]
async fn a_phase_that_another_client_made_final_is_not_taken_back() {
    for phase in ["Failed", "Succeeded"] {
        let server = Server::of(7, phase);
        // made from revision 5, when the pod was still pending
        send(&server.client(), &report(5, "Running")).await.unwrap();
        assert_eq!(server.phase(), phase);
        assert_eq!(*server.asked.lock(), ["PATCH", "GET"]);
    }
}

#[tokio::test]
async fn a_report_is_written_on_top_of_what_others_wrote_meanwhile() {
    let server = Server::of(7, "Pending");
    let report = report(5, "Running");
    send(&server.client(), &report).await.unwrap();
    assert_eq!(server.phase(), "Running");
    assert_eq!(*server.asked.lock(), ["PATCH", "GET", "PATCH"]);
    // our own write is no stranger's, though the watch has not brought it yet
    send(&server.client(), &report).await.unwrap();
    assert_eq!(server.asked.lock().len(), 4);
}

#[tokio::test]
async fn a_pod_of_the_same_name_is_left_alone() {
    let server = Server::of(7, "Pending");
    let other = Report { uid: "other".to_owned(), is_final: true, ..report(7, "Failed") };
    send(&server.client(), &other).await.unwrap();
    assert_eq!(server.phase(), "Pending");
    assert_eq!(*server.asked.lock(), ["PATCH", "GET"]);
}

#[tokio::test]
async fn the_last_report_removes_the_object_whatever_its_final_phase() {
    let server = Server::of(7, "Succeeded");
    let last = Report { is_final: true, ..report(5, "Failed") };
    send(&server.client(), &last).await.unwrap();
    assert!(server.pod.lock().is_none());
    // once more is no fault
    send(&server.client(), &last).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_refused_is_dropped_when_its_pod_is_gone() {
    // a node may not touch pods that are not its own, and a pod that is gone is nobody's
    let refuse = tower::service_fn(|_: http::Request<Body>| async {
        let status =
            json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403});
        let body = Full::new(Bytes::from(status.to_string()));
        http::Response::builder().status(403).body(body)
    });
    let reports = Reports::default();
    let task = Arc::new(AtomicU64::new(0));
    reports.put(Report { written: Arc::clone(&task), ..report(1, "Running") });
    let sender = reports.clone().run(kube::Client::new(refuse, "default"), 0);
    let wait = |time| tokio::time::sleep(Duration::from_secs(time));
    let mut sender = Box::pin(sender);
    tokio::select! { () = &mut sender => {}, () = wait(60) => {} }
    assert_eq!(reports.waiting.lock().len(), 1, "its pod is still there: tried again");
    drop(task);
    tokio::select! { () = &mut sender => {}, () = wait(60) => {} }
    assert!(reports.waiting.lock().is_empty());
}

#[test]
fn others_conditions_are_not_sent_and_old_addresses_are_taken_back() {
    let condition = |name: &str| PodCondition { type_: name.to_owned(), ..PodCondition::default() };
    let report = Report {
        status: PodStatus {
            conditions: Some(vec![condition("Ready"), condition("example.com/gate")]),
            pod_ips: Some(vec![PodIP { ip: "10.0.0.2".to_owned() }]),
            ..PodStatus::default()
        },
        old_addresses: vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()],
        ..report(3, "Running")
    };
    let body = body(&report, 4, report.is_spared);
    let conditions = body["status"]["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), 1);
    assert!(conditions[0].get("message").is_some_and(Value::is_null));
    let wanted = json!([{"ip": "10.0.0.2"}, {"$patch": "delete", "ip": "10.0.0.1"}]);
    assert_eq!(body["status"]["podIPs"], wanted);
    assert_eq!(body["metadata"], json!({"uid": "u", "resourceVersion": "4"}));
}
