//! One leader among several: a Lease that is taken, kept and given up.

use super::turn::{Timings, Turn, given_up, plan};
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use kit::Clock;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The Lease of one part. Clones are the same candidate.
#[derive(Clone)]
pub(super) struct Lease {
    api: Api<Object>,
    name: &'static str,
    me: String,
    timings: Timings,
    clock: Clock,
    /// As last seen, and since when it is so.
    seen: Arc<Mutex<Option<(LeaseSpec, Instant)>>>,
}

impl Lease {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        name: &'static str,
        me: &str,
        timings: Timings,
        setup: &kit::Setup,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name,
            me: me.to_owned(),
            timings,
            clock: setup.clock.clone(),
            seen: Arc::default(),
        }
    }

    /// Returns when the Lease is ours.
    pub(super) async fn acquire(&self) {
        let mut told = String::new();
        loop {
            match self.once().await {
                Ok(None) => return,
                Ok(Some(holder)) => {
                    if told != holder {
                        tracing::info!(lease = self.name, holder, "another engine leads; waiting");
                        told = holder;
                    }
                }
                Err(error) => {
                    let error = kit::brief(&error);
                    tracing::warn!(
                        lease = self.name,
                        error,
                        "the lease cannot be taken; trying again"
                    );
                }
            }
            // The period of the lease's own protocol, as client-go's: nothing tells when a holder forgets to renew.
            tokio::time::sleep(self.timings.retry).await;
        }
    }

    /// Keeps the Lease; returns why it is ours no longer.
    pub(super) async fn hold(&self) -> String {
        let mut kept = Instant::now();
        loop {
            // A lease is renewed in a period, whatever happens meanwhile.
            tokio::time::sleep(self.timings.retry).await;
            let deadline = kept + self.timings.deadline;
            // others count from the moment the renewal was written, which may be long before its answer is here
            let asked = Instant::now();
            let trouble = match tokio::time::timeout_at(deadline, self.once()).await {
                Ok(Ok(None)) => {
                    kept = asked;
                    continue;
                }
                Ok(Ok(Some(holder))) => return format!("{holder} holds it"),
                Ok(Err(error)) => kit::brief(&error),
                Err(_) => "no answer".to_owned(),
            };
            if Instant::now() >= deadline {
                return format!("not renewed for {:?}: {trouble}", self.timings.deadline);
            }
            tracing::warn!(lease = self.name, trouble, "the lease was not renewed; trying again");
        }
    }

    /// Gives the Lease up, if it is ours, so that another need not wait for its end.
    pub(super) async fn release(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(self.name).await else { return };
        let Some(spec) = lease.spec.take() else { return };
        if spec.holder_identity.as_deref() != Some(&self.me) {
            return;
        }
        lease.spec = Some(given_up(&spec, self.clock.now()));
        if let Err(error) = self.api.replace(self.name, &PostParams::default(), &lease).await {
            tracing::warn!(lease = self.name, %error, "the lease was not given up");
        }
    }

    /// Takes or renews once; answers who else holds it.
    async fn once(&self) -> Result<Option<String>, kube::Error> {
        let found = self.api.get_opt(self.name).await?;
        let spec = found.as_ref().and_then(|lease| lease.spec.clone());
        let unchanged = self.unchanged(spec.as_ref());
        match plan(spec.as_ref(), &self.me, unchanged, self.timings, self.clock.now()) {
            Turn::Theirs(holder) => Ok(Some(holder)),
            Turn::Ours(spec) => {
                let params = PostParams::default();
                let written = if let Some(mut lease) = found {
                    lease.spec = Some(*spec);
                    self.api.replace(self.name, &params, &lease).await
                } else {
                    let name = Some(self.name.to_owned());
                    let metadata = ObjectMeta { name, ..ObjectMeta::default() };
                    self.api.create(&params, &Object { metadata, spec: Some(*spec) }).await
                };
                match written {
                    Ok(_) => Ok(None),
                    // somebody was faster
                    Err(kube::Error::Api(status)) if status.code == 409 => {
                        Ok(Some("somebody who was faster".to_owned()))
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn unchanged(&self, spec: Option<&LeaseSpec>) -> Duration {
        let mut seen = self.seen.lock();
        let Some(spec) = spec else {
            *seen = None;
            return Duration::ZERO;
        };
        match seen.as_ref() {
            Some((known, since)) if known == spec => since.elapsed(),
            _ => {
                *seen = Some((spec.clone(), Instant::now()));
                Duration::ZERO
            }
        }
    }
}
