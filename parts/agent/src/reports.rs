//! Tells the server the status of pods: the newest of each, soon, and again until it was heard.
//!
//! A report is written on top of the very revision that it was made from, or of one that was read after somebody else
//! wrote: so a phase that another client made final (`Succeeded`, `Failed`) is never taken back.

use crate::plan;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use kit::Backoff;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Requests to the server at the same time.
const SENDS_MAX: usize = 8;
/// First and longest wait while the server does not answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Tries against other writers of the same pod before the report waits for its next turn: each try is one read and one
/// write, and a pod has seldom more than two other writers (the engine, a person).
const CONFLICTS_MAX: usize = 5;

/// The newest status of one pod that the server has not heard yet.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) status: PodStatus,
    /// Revision of the object that the status was made from.
    pub(crate) revision: u64,
    /// Revision of our own last write of this pod's status; 0 before the first. Shared with the pod's task: a report
    /// that holds it alone has outlived its pod.
    pub(crate) written: Arc<AtomicU64>,
    /// Addresses that the server may still show.
    pub(crate) old_addresses: Vec<String>,
    /// The server shows a disruption by this node that is none.
    pub(crate) is_spared: bool,
    /// Nothing of the pod is left: the object may go.
    pub(crate) is_final: bool,
}

impl Report {
    /// Whether the pod's task has ended, which it does only when the server has removed the pod.
    fn is_left_over(&self) -> bool {
        Arc::strong_count(&self.written) == 1
    }
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

    /// Those that wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> Vec<Report> {
        self.waiting.lock().values().cloned().collect()
    }

    /// Waits until all reports were heard, or the time is over.
    pub(crate) async fn sent(&self, patience: Duration) {
        let end = tokio::time::Instant::now() + patience;
        // a report under way is put back if it fails: the pause at the end is for those
        while tokio::time::Instant::now() < end && !self.waiting.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
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
                match sent {
                    Ok(()) => {}
                    // the server has removed the pod, and says so in its own way
                    Err(error) if report.is_left_over() => {
                        let pod = &report.name;
                        tracing::debug!(pod, %error, "the pod is gone: report dropped");
                    }
                    Err(error) => {
                        failure = Some(error);
                        self.put_back(report);
                    }
                }
            }
            match failure {
                None => backoff.succeeded(),
                Some(error) => {
                    let wait = backoff.failed();
                    let waiting = self.waiting.lock().len();
                    tracing::warn!(
                        waiting,
                        "pod status not reported: {}; next try in {wait:.1?}",
                        crate::fault::plain(&error)
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
    if !write(&api, report).await? || !report.is_final {
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

/// Writes the status. `false`: the pod is gone, or another one has its name.
async fn write(api: &Api<Pod>, report: &Report) -> Result<bool, kube::Error> {
    let mut revision = report.revision.max(report.written.load(Ordering::Relaxed));
    let mut conflicts = 0;
    let mut is_spared = report.is_spared;
    loop {
        let patch = Patch::Strategic(body(report, revision, is_spared));
        let status = match api.patch_status(&report.name, &PatchParams::default(), &patch).await {
            Ok(written) => {
                let revision = kit::revision_of(written.metadata.resource_version.as_deref());
                report.written.store(revision, Ordering::Relaxed);
                return Ok(true);
            }
            Err(kube::Error::Api(status)) => status,
            Err(error) => return Err(error),
        };
        if status.code == 404 || status.code == 422 && status.message.contains("metadata.uid") {
            return Ok(false);
        }
        if status.code == 409 && conflicts < CONFLICTS_MAX {
            // somebody else wrote meanwhile: what they say decides whether ours is still true
            conflicts += 1;
            let Some(now) = api.get_opt(&report.name).await? else { return Ok(false) };
            if now.metadata.uid.as_deref() != Some(&report.uid) {
                return Ok(false);
            }
            if takes_back(&now, &report.status) {
                // the same news reaches the pod's task, which ends the pod and reports anew
                tracing::debug!(pod = report.name, "the server's phase is final: report dropped");
                return Ok(true);
            }
            revision = kit::revision_of(now.metadata.resource_version.as_deref());
            // somebody else's DisruptionTarget stays
            let mut there = now.status.iter().flat_map(|status| status.conditions.iter().flatten());
            is_spared = is_spared && there.any(plan::status::is_own_disruption);
            continue;
        }
        if !(400..500).contains(&status.code) || is_passing(status.code) {
            return Err(kube::Error::Api(status));
        }
        tracing::error!(
            pod = report.name,
            "the server refuses the pod's status: {}",
            status.message
        );
        return Ok(true);
    }
}

/// Whether the status would change a phase that is final at the server.
fn takes_back(now: &Pod, status: &PodStatus) -> bool {
    let phase = now.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed")) && status.phase.as_deref() != phase
}

/// Refusals that mend themselves: not yet authorized, written by others meanwhile, too many requests, timeouts.
fn is_passing(code: u16) -> bool {
    matches!(code, 401 | 403 | 408 | 409 | 429)
}

fn body(report: &Report, revision: u64, is_spared: bool) -> serde_json::Value {
    let mut status = report.status.clone();
    if let Some(conditions) = &mut status.conditions {
        let is_ours = |condition: &PodCondition| {
            plan::status::is_ours(&condition.type_) || plan::status::is_own_disruption(condition)
        };
        conditions.retain(is_ours);
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
    if let Some(list) = status.get_mut("conditions").and_then(|list| list.as_array_mut())
        && is_spared
    {
        list.push(serde_json::json!({ "$patch": "delete", "type": "DisruptionTarget" }));
    }
    // lists of addresses merge by address: those that are gone have to be named
    if let Some(list) = status.get_mut("podIPs").and_then(|list| list.as_array_mut()) {
        for old in report.old_addresses.iter().filter(|old| !now.contains(&old.as_str())) {
            list.push(serde_json::json!({ "$patch": "delete", "ip": old }));
        }
    }
    let metadata =
        serde_json::json!({ "uid": report.uid, "resourceVersion": revision.to_string() });
    serde_json::json!({ "metadata": metadata, "status": status })
}

#[cfg(test)]
mod tests;
