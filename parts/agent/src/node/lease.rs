//! The Lease that says that this node is alive.

use super::{
    Api, Backoff, Duration, Facts, Lease, LeaseSpec, MicroTime, ObjectMeta, OwnerReference,
    PostParams,
};

/// The namespace of all nodes' leases.
const NAMESPACE: &str = "kube-node-lease";
/// How long a lease is good.
const LASTS: i32 = 40;
/// How often it is renewed: a quarter, so that three tries may fail.
const EVERY: Duration = Duration::from_secs(10);
/// First and longest wait after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(7));

/// Renews the lease for as long as the agent runs.
pub(crate) async fn renew(client: kube::Client, facts: std::sync::Arc<Facts>, uid: Option<String>) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let mut held: Option<Lease> = None;
    let mut backoff = Backoff::new(RETRY.0, RETRY.1, facts.setup.salt);
    loop {
        match once(&api, &facts, uid.as_ref(), held.take()).await {
            Ok(lease) => {
                held = Some(lease);
                backoff.succeeded();
                tokio::time::sleep(EVERY).await;
            }
            Err(error) => {
                let wait = backoff.failed();
                let text = crate::fault::plain(&error);
                tracing::warn!("lease not renewed: {text}; next try in {wait:.1?}");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn once(
    api: &Api<Lease>,
    facts: &Facts,
    uid: Option<&String>,
    held: Option<Lease>,
) -> Result<Lease, kube::Error> {
    let now = Some(MicroTime(micro(facts.setup.clock.now())));
    let held = match held {
        Some(held) => Some(held),
        None => api.get_opt(&facts.name).await?,
    };
    let params = PostParams::default();
    if let Some(mut lease) = held {
        let spec = lease.spec.get_or_insert_default();
        spec.renew_time = now;
        spec.holder_identity = Some(facts.name.clone());
        spec.lease_duration_seconds = Some(LASTS);
        return api.replace(&facts.name, &params, &lease).await;
    }
    let owner = uid.map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: facts.name.clone(),
        uid: uid.clone(),
        ..OwnerReference::default()
    });
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(facts.name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(facts.name.clone()),
            lease_duration_seconds: Some(LASTS),
            renew_time: now,
            ..LeaseSpec::default()
        }),
    };
    api.create(&params, &lease).await
}

/// Times in leases have whole microseconds.
fn micro(moment: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(moment.as_microsecond()).unwrap_or(moment)
}
