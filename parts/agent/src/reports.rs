//! Tells the server the status of pods: the newest of each, soon, and again until it was heard.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kit::Backoff;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Requests to the server at the same time.
const SENDS_MAX: usize = 8;
/// First and longest wait while the server does not answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// The newest status of one pod that the server has not heard yet.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) status: PodStatus,
    /// Addresses that the server may still show.
    pub(crate) old_addresses: Vec<String>,
    /// Nothing of the pod is left: the object may go.
    pub(crate) is_final: bool,
}

/// Reports waiting to be sent; at most one for each pod, so their number is bounded by the pods of the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports {
    waiting: Arc<Mutex<BTreeMap<String, Report>>>,
    called: Arc<Notify>,
}

impl Reports {
    /// Takes a report in place of an older one of the same pod.
    pub(crate) fn put(&self, report: Report) {
        self.waiting.lock().insert(report.uid.clone(), report);
        self.called.notify_one();
    }

    fn put_back(&self, report: Report) {
        self.waiting.lock().entry(report.uid.clone()).or_insert(report);
    }

    /// Sends reports for as long as the agent runs.
    pub(crate) async fn run(self, client: kube::Client, salt: u64) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1, salt);
        loop {
            let batch: Vec<Report> =
                std::mem::take(&mut *self.waiting.lock()).into_values().collect();
            if batch.is_empty() {
                self.called.notified().await;
                continue;
            }
            let sends = futures::stream::iter(batch).map(|report| {
                let client = client.clone();
                async move {
                    let sent = send(&client, &report).await;
                    (report, sent)
                }
            });
            let mut failure = None;
            let mut sends = sends.buffer_unordered(SENDS_MAX);
            while let Some((report, sent)) = sends.next().await {
                if let Err(error) = sent {
                    failure = Some(error);
                    self.put_back(report);
                }
            }
            match failure {
                None => backoff.succeeded(),
                Some(error) => {
                    let wait = backoff.failed();
                    let waiting = self.waiting.lock().len();
                    tracing::warn!(
                        waiting,
                        "pod status not reported: {}; next try in {wait:.0?}",
                        crate::join::chain_text(&error)
                    );
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// `Ok` also where trying again is useless.
async fn send(client: &kube::Client, report: &Report) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &report.namespace);
    let patch = Patch::Strategic(body(report));
    match api.patch_status(&report.name, &PatchParams::default(), &patch).await {
        Ok(_) => {}
        // gone, or another pod of the same name: then there is nothing to delete either
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
        Err(kube::Error::Api(status))
            if status.code == 422 && status.message.contains("metadata.uid") =>
        {
            return Ok(());
        }
        Err(kube::Error::Api(status))
            if (400..500).contains(&status.code) && !is_passing(status.code) =>
        {
            tracing::error!(
                pod = report.name,
                "the server refuses the pod's status: {}",
                status.message
            );
        }
        Err(error) => return Err(error),
    }
    if !report.is_final {
        return Ok(());
    }
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: Some(report.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(&report.name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refusals that mend themselves: not yet authorized, too many requests, timeouts.
fn is_passing(code: u16) -> bool {
    matches!(code, 401 | 403 | 408 | 429)
}

fn body(report: &Report) -> serde_json::Value {
    let mut status = report.status.clone();
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| crate::plan::status::is_ours(&condition.type_));
    }
    let mut status = serde_json::to_value(&status).unwrap_or_default();
    let now: Vec<&str> =
        report.status.pod_ips.iter().flatten().map(|one| one.ip.as_str()).collect();
    // conditions merge by type: what a condition no longer says has to be named, too
    for condition in
        status.get_mut("conditions").and_then(|list| list.as_array_mut()).into_iter().flatten()
    {
        if let Some(condition) = condition.as_object_mut() {
            for key in ["reason", "message"] {
                condition.entry(key).or_insert(serde_json::Value::Null);
            }
        }
    }
    // lists of addresses merge by address: those that are gone have to be named
    if let Some(list) = status.get_mut("podIPs").and_then(|list| list.as_array_mut()) {
        for old in report.old_addresses.iter().filter(|old| !now.contains(&old.as_str())) {
            list.push(serde_json::json!({ "$patch": "delete", "ip": old }));
        }
    }
    serde_json::json!({ "metadata": { "uid": report.uid }, "status": status })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodCondition, PodIP};

    #[test]
    fn others_conditions_are_not_sent_and_old_addresses_are_taken_back() {
        let condition =
            |name: &str| PodCondition { type_: name.to_owned(), ..PodCondition::default() };
        let report = Report {
            namespace: "ns".to_owned(),
            name: "p".to_owned(),
            uid: "u".to_owned(),
            status: PodStatus {
                conditions: Some(vec![condition("Ready"), condition("example.com/gate")]),
                pod_ips: Some(vec![PodIP { ip: "10.0.0.2".to_owned() }]),
                ..PodStatus::default()
            },
            old_addresses: vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()],
            is_final: false,
        };
        let body = body(&report);
        let conditions = body["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 1);
        assert!(conditions[0].get("message").is_some_and(serde_json::Value::is_null));
        let wanted =
            serde_json::json!([{"ip": "10.0.0.2"}, {"$patch": "delete", "ip": "10.0.0.1"}]);
        assert_eq!(body["status"]["podIPs"], wanted);
        assert_eq!(body["metadata"]["uid"], "u");
    }
}
