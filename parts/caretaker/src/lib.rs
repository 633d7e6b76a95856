//! The duties that keep a cluster tidy, beside the DaemonSet engine and the scheduler: node certificates, node
//! health, pods that nobody runs any more, orphans, namespaces and what each has from the start, ReplicaSets and Deployments.
//!
//! # Promises
//! Each duty does what upstream's controller of the same name does, visible in the same conditions, taints, events
//! and deletions, under the same identity ([`Options::client_for`] is asked for upstream's controller name).
//!
//! # Invariants
//! - Every duty is observe → plan → apply; `plan` is pure and gets `now` as a value.
//! - A deletion names the uid it decided about.
//! - Nothing is remembered that could not be found out again after a restart, except how long something has been
//!   watched.
//!
//! # Absent
//! Cloud nodes, volumes, services, endpoints; controllers of StatefulSets and Jobs.
//!
//! Start with [`run`], then any duty's `plan`.

mod budgets;
mod certificates;
mod cluster_roles;
mod deployments;
mod evictions;
mod namespace;
mod namespace_defaults;
mod nodes;
mod owners;
mod pod_gc;
mod quotas;
mod ranges;
mod replica_set;
pub mod words;

pub use certificates::{BadAuthority, LIFE_MAX};
pub use ranges::{BadRange, ClusterRange};

use kube::discovery::Discovery;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The certificate authority that signs for nodes.
#[derive(Clone)]
pub struct Authority {
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM (PKCS#8).
    pub key: String,
    /// Longest life of what it signs; [`LIFE_MAX`] unless there is a reason.
    pub life_max: std::time::Duration,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(..)")
    }
}

/// Gives the client of a controller, by upstream's name for it.
pub type ClientFor = Arc<dyn Fn(&'static str) -> kube::Client + Send + Sync>;

/// A duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Say how many pods each disruption budget lets go.
    Budgets,
    /// Approve and sign certificates of nodes.
    Certificates,
    /// Gather the rules of ClusterRoles.
    ClusterRoles,
    /// Replace the ReplicaSets of each Deployment step by step.
    Deployments,
    /// Remove pods that do not tolerate a NoExecute taint.
    Evictions,
    /// Empty namespaces that are being deleted.
    Namespaces,
    /// Watch over node health.
    Nodes,
    /// Collect what has lost its owners.
    Owners,
    /// Remove pods that nobody will finish.
    PodGarbage,
    /// Count what each quota has used.
    Quotas,
    /// Give every node a range of pod addresses.
    Ranges,
    /// Keep the number of pods of each ReplicaSet.
    ReplicaSets,
    /// Keep the number of pods of each ReplicationController.
    ReplicationControllers,
    /// Publish the API server's certificate in every namespace.
    RootCertificates,
    /// Give every namespace its service account.
    ServiceAccounts,
}

impl Duty {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Budgets,
        Self::Certificates,
        Self::ClusterRoles,
        Self::Deployments,
        Self::Evictions,
        Self::Namespaces,
        Self::Nodes,
        Self::Owners,
        Self::PodGarbage,
        Self::Quotas,
        Self::Ranges,
        Self::ReplicaSets,
        Self::ReplicationControllers,
        Self::RootCertificates,
        Self::ServiceAccounts,
    ];
}

/// What the duties need.
#[derive(Clone)]
pub struct Options {
    /// Time, tasks, figures.
    pub setup: kit::Setup,
    /// Shared caches; their user needs `list` and `watch` on everything.
    pub caches: kit::Caches,
    /// A client for each controller: `certificate-controller`, `clusterrole-aggregation-controller`,
    /// `deployment-controller`, `disruption-controller`, `node-controller`, `pod-garbage-collector`, `resourcequota-controller`,
    /// `generic-garbage-collector`, `namespace-controller`, `replicaset-controller`, `replication-controller`, `root-ca-cert-publisher`,
    /// `service-account-controller`.
    pub client_for: ClientFor,
    /// Signs node certificates and is published in every namespace; without it approved requests wait.
    pub authority: Option<Authority>,
    /// Which duties to do.
    pub duties: BTreeSet<Duty>,
    /// Where nodes' ranges of pod addresses are taken from; without it they get none.
    pub cluster_range: Option<ClusterRange>,
    /// Behave as upstream where we chose better (spec C51).
    pub upstream: bool,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("duties", &self.duties).finish_non_exhaustive()
    }
}

/// Starts the duties and returns when the task set stops.
///
/// # Errors
/// When the authority's certificate or key cannot be read.
pub async fn run(options: Options) -> Result<(), BadAuthority> {
    for duty in &options.duties {
        match duty {
            Duty::Budgets => budgets::start(&options),
            Duty::Certificates => certificates::start(&options)?,
            Duty::ClusterRoles => cluster_roles::start(&options),
            Duty::Deployments => deployments::start(&options),
            Duty::Evictions => evictions::start(&options),
            Duty::Namespaces => namespace::start(&options),
            Duty::Nodes => nodes::start(&options),
            Duty::Owners => owners::start(&options),
            Duty::PodGarbage => pod_gc::start(&options),
            Duty::Quotas => quotas::start(&options),
            Duty::Ranges => ranges::start(&options),
            Duty::ReplicaSets => replica_set::start(&options),
            Duty::ReplicationControllers => replica_set::start_controllers(&options),
            Duty::RootCertificates => namespace_defaults::start_certificates(&options),
            Duty::ServiceAccounts => namespace_defaults::start_accounts(&options),
        }
    }
    options.setup.tasks.stopping().await;
    Ok(())
}

/// What is gone, or was replaced by another of that name, needs nothing.
///
/// # Errors
/// All others.
fn gone<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 && status.message.contains("UID") => {
            Ok(())
        }
        other => other.map(drop),
    }
}

/// What the server serves: in one answer if it knows how, else group by group.
///
/// # Errors
/// When neither way works.
async fn discover(client: &kube::Client) -> Result<Discovery, kube::Error> {
    match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => Ok(discovery),
        Err(error) => {
            tracing::debug!(%error, "no aggregated discovery; asking group by group");
            Discovery::new(client.clone()).run().await
        }
    }
}
