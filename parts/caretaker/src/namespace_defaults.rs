//! Duty: what every namespace has from the start: the service account `default`, and the certificate of the API
//! server in the ConfigMap `kube-root-ca.crt`.
//!
//! Upstream's controllers: `serviceaccount-controller` (as `service-account-controller`) and
//! `root-ca-certificate-publisher-controller` (as `root-ca-cert-publisher`).

mod plan;

use crate::{Options, words};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kit::{Cache, Key, Queue, QueueLimits, Scope};
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use plan::Step;
use std::sync::Arc;
use std::time::Duration;

/// Namespaces served at once: enough to fill a few hundred in a second, few enough not to be noticed.
const WORKERS: usize = 2;

/// Only the objects of one name, in all namespaces.
fn named(name: &str) -> Scope {
    Scope { fields: Some(format!("metadata.name={name}")), ..Scope::default() }
}

struct Accounts {
    client: Client,
    namespaces: Cache<Namespace>,
    accounts: Cache<ServiceAccount>,
}

/// Starts the tasks for service accounts.
pub(crate) fn start_accounts(options: &Options) {
    let duty = Arc::new(Accounts {
        client: (options.client_for)(words::CONTROLLER_ACCOUNTS),
        namespaces: options.caches.of(),
        accounts: options.caches.some(named(words::SERVICE_ACCOUNT_DEFAULT)),
    });
    let queue = Queue::new("service accounts", QueueLimits::default(), &options.setup);
    let (namespaces, accounts) = (duty.namespaces.clone(), duty.accounts.clone());
    feeds(options, "service accounts", &queue, namespaces, accounts);
    for worker in 0..WORKERS {
        let duty = Arc::clone(&duty);
        let reconcile = move |name: String| {
            let duty = Arc::clone(&duty);
            async move { duty.reconcile(&name).await }
        };
        let work = kit::work(queue.clone(), reconcile);
        options.setup.tasks.spawn(format!("service accounts {worker}"), work);
    }
}

/// Both a namespace and the object in it lead to the namespace's name.
fn feeds<K: kit::cache::Object>(
    options: &Options,
    name: &str,
    queue: &Queue<String>,
    namespaces: Cache<Namespace>,
    objects: Cache<K>,
) {
    let tasks = &options.setup.tasks;
    let of_namespace = |namespace: &Namespace| namespace.metadata.name.iter().cloned().collect();
    let of_object = |object: &K| object.meta().namespace.iter().cloned().collect();
    let (first, second) = (queue.clone(), queue.clone());
    let known = namespaces.clone();
    tasks.spawn(format!("{name} feed"), async move {
        // what is not known yet would look absent
        objects.synced().await;
        let all = move || known.list().iter().filter_map(|n| n.metadata.name.clone()).collect();
        let both = futures::future::join(
            kit::feed(namespaces, first, of_namespace, Vec::new),
            kit::feed(objects, second, of_object, all),
        );
        both.await;
    });
}

impl Accounts {
    async fn reconcile(&self, name: &str) -> Result<Option<Duration>, kube::Error> {
        let Some(namespace) = self.namespaces.find("", name) else { return Ok(None) };
        let known = self.accounts.find(name, words::SERVICE_ACCOUNT_DEFAULT);
        if !plan::wants_account(&namespace, known.as_deref()) {
            return Ok(None);
        }
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(words::SERVICE_ACCOUNT_DEFAULT.to_owned()),
                namespace: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), name);
        plan::made(api.create(&PostParams::default(), &account).await)?;
        Ok(None)
    }
}

struct Publisher {
    client: Client,
    certificate: String,
    namespaces: Cache<Namespace>,
    maps: Cache<ConfigMap>,
}

/// Starts the tasks for certificates; without an authority there is none to publish.
pub(crate) fn start_certificates(options: &Options) {
    let Some(authority) = &options.authority else { return };
    let duty = Arc::new(Publisher {
        client: (options.client_for)(words::CONTROLLER_ROOT_CA),
        certificate: authority.certificate.clone(),
        namespaces: options.caches.of(),
        maps: options.caches.some(named(words::CONFIG_MAP_ROOT_CA)),
    });
    let queue = Queue::new("root certificates", QueueLimits::default(), &options.setup);
    feeds(options, "root certificates", &queue, duty.namespaces.clone(), duty.maps.clone());
    for worker in 0..WORKERS {
        let duty = Arc::clone(&duty);
        let reconcile = move |name: String| {
            let duty = Arc::clone(&duty);
            async move { duty.reconcile(&name).await }
        };
        let work = kit::work(queue.clone(), reconcile);
        options.setup.tasks.spawn(format!("root certificates {worker}"), work);
    }
}

impl Publisher {
    async fn reconcile(&self, name: &str) -> Result<Option<Duration>, kube::Error> {
        let Some(namespace) = self.namespaces.find("", name) else { return Ok(None) };
        let known = self.maps.get(&Key::new(name, words::CONFIG_MAP_ROOT_CA));
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), name);
        match plan::root_ca(&namespace, known.as_deref(), &self.certificate) {
            Step::Nothing => {}
            Step::Create(map) => plan::made(api.create(&PostParams::default(), &map).await)?,
            Step::Replace(map) => {
                let name = words::CONFIG_MAP_ROOT_CA;
                crate::gone(api.replace(name, &PostParams::default(), &map).await)?;
            }
        }
        Ok(None)
    }
}
