//! Duty: certificates of nodes. Requests are judged by [`plan`], signed by [`sign`].
//!
//! Upstream's controllers: `csrapproving`, `csrsigning` and `csrcleaner`, all as `certificate-controller`.

mod plan;
mod sign;

pub use sign::{BadAuthority, LIFE_MAX};

use crate::{Options, words};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kit::{Cache, Clock, Key, Queue};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use plan::Step;
use std::sync::Arc;
use std::time::Duration;

struct Certificates {
    clock: Clock,
    requests: Cache<CertificateSigningRequest>,
    nodes: Cache<Node>,
    api: Api<CertificateSigningRequest>,
    signer: Option<sign::Signer>,
}

/// Starts the duty's tasks.
pub(crate) fn start(options: &Options) -> Result<(), BadAuthority> {
    let signer = options.authority.as_ref().map(sign::Signer::new).transpose()?;
    let duty = Arc::new(Certificates {
        clock: options.setup.clock.clone(),
        requests: options.caches.of(),
        nodes: options.caches.of(),
        api: Api::all((options.client_for)("certificate-controller")),
        signer,
    });
    let tasks = &options.setup.tasks;
    let queue: Queue<Key> = Queue::new("certificates", kit::QueueLimits::default(), &options.setup);
    let keys = |request: &CertificateSigningRequest| vec![Key::of(request)];
    tasks.spawn(
        "certificates feed",
        kit::feed(duty.requests.clone(), queue.clone(), keys, Vec::new),
    );
    tasks.spawn(
        "certificates",
        kit::work(queue, move |key| {
            let duty = Arc::clone(&duty);
            async move { duty.reconcile(&key).await }
        }),
    );
    Ok(())
}

impl Certificates {
    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, kube::Error> {
        let Some(request) = self.requests.get(key) else { return Ok(None) };
        let addresses = |node: &str| self.addresses(node);
        let now = self.clock.now();
        match plan::plan(&request, &addresses, now) {
            Step::Wait(wait) => return Ok(wait),
            Step::Approve(message) => {
                self.decide(&request, "Approved", words::REASON_AUTO_APPROVED, message).await?;
            }
            Step::Deny(message) => {
                tracing::warn!(request = key.name, message, "certificate request denied");
                self.decide(&request, "Denied", words::REASON_AUTO_DENIED, &message).await?;
            }
            Step::Sign(wish) => {
                // without an authority somebody else signs
                let Some(signer) = &self.signer else { return Ok(None) };
                let mut signed = CertificateSigningRequest::clone(&request);
                let status = signed.status.get_or_insert_default();
                match signer.sign(&request, &wish, now) {
                    Ok(pem) => status.certificate = Some(ByteString(pem.into_bytes())),
                    Err(error) => status.conditions.get_or_insert_default().push(condition(
                        "Failed",
                        words::REASON_SIGNER_VALIDATION,
                        &error.to_string(),
                        now,
                    )),
                }
                self.write("status", &signed).await?;
            }
            Step::Fail(message) => {
                let mut failed = CertificateSigningRequest::clone(&request);
                let conditions =
                    failed.status.get_or_insert_default().conditions.get_or_insert_default();
                conditions.push(condition(
                    "Failed",
                    words::REASON_SIGNER_VALIDATION,
                    &message,
                    now,
                ));
                self.write("status", &failed).await?;
            }
            Step::Delete => {
                let only =
                    Preconditions { uid: request.metadata.uid.clone(), resource_version: None };
                let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
                match self.api.delete(&key.name, &params).await {
                    Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                    other => drop(other?),
                }
            }
        }
        Ok(None)
    }

    fn addresses(&self, node: &str) -> Vec<String> {
        let node = self.nodes.find("", node);
        let status = node.as_ref().and_then(|node| node.status.as_ref());
        let addresses = status.and_then(|status| status.addresses.as_ref());
        addresses.into_iter().flatten().map(|address| address.address.clone()).collect()
    }

    async fn decide(
        &self,
        request: &CertificateSigningRequest,
        kind: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), kube::Error> {
        let mut decided = request.clone();
        let conditions = decided.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.push(condition(kind, reason, message, self.clock.now()));
        self.write("approval", &decided).await
    }

    async fn write(
        &self,
        subresource: &str,
        request: &CertificateSigningRequest,
    ) -> Result<(), kube::Error> {
        let name = request.metadata.name.as_deref().unwrap_or_default();
        match self.api.replace_subresource(subresource, name, &PostParams::default(), request).await
        {
            // gone meanwhile
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    }
}

fn condition(
    kind: &str,
    reason: &str,
    message: &str,
    now: jiff::Timestamp,
) -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}
