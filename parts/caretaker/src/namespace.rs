//! Empties namespaces that are being deleted, kind by kind as discovery lists them, then lets them go by dropping the
//! finalizer `kubernetes` (upstream's namespace controller).

mod plan;

use crate::{Options, words};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kit::{Cache, Change, Clock, Key, Queue};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, Client};
use plan::Left;
use std::sync::Arc;
use std::time::Duration;

/// Kinds emptied at the same time.
const KINDS_AT_ONCE_MAX: usize = 8;

/// Starts the duty's tasks.
pub(crate) fn start(options: &Options) {
    let duty = Arc::new(Emptier {
        clock: options.setup.clock.clone(),
        client: (options.client_for)("namespace-controller"),
        namespaces: options.caches.of(),
    });
    let queue: Queue<Key> = Queue::new("namespace", kit::QueueLimits::default(), &options.setup);
    let keys = |namespace: &Namespace| {
        let deleted = namespace.metadata.deletion_timestamp.is_some();
        if deleted { vec![Key::of(namespace)] } else { Vec::new() }
    };
    let tasks = &options.setup.tasks;
    tasks.spawn(
        "namespace pods",
        watch_last_pods(options.caches.of(), duty.namespaces.clone(), queue.clone()),
    );
    tasks
        .spawn("namespace feed", kit::feed(duty.namespaces.clone(), queue.clone(), keys, Vec::new));
    tasks.spawn(
        "namespace",
        kit::work(queue, move |key| {
            let duty = Arc::clone(&duty);
            async move { duty.reconcile(&key).await }
        }),
    );
}

/// Looks again as soon as the last pod of a namespace under deletion is gone: pods are what takes time, and upstream
/// waits for half of their grace instead.
async fn watch_last_pods(pods: Cache<Pod>, namespaces: Cache<Namespace>, queue: Queue<Key>) {
    let mut changes = pods.subscribe();
    loop {
        let Change::Deleted(pod) = changes.next().await else { continue };
        let name = pod.metadata.namespace.as_deref().unwrap_or_default();
        let namespace = namespaces.find("", name);
        let going = namespace.is_some_and(|found| found.metadata.deletion_timestamp.is_some());
        if going && pods.list_in(name).is_empty() {
            queue.add(Key::new("", name));
        }
    }
}

struct Emptier {
    clock: Clock,
    client: Client,
    namespaces: Cache<Namespace>,
}

impl Emptier {
    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, kube::Error> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(None) };
        if !plan::is_ours(&namespace) {
            return Ok(None);
        }
        let discovered = crate::discover(&self.client).await;
        let discovery = match discovered {
            Ok(discovery) => discovery,
            Err(error) => {
                let left = Left { discovery_error: Some(kit::words_of(&error)), ..Left::default() };
                self.report(&namespace, &left).await?;
                return Err(error);
            }
        };
        let left = self.empty(&key.name, &discovery).await;
        if left.is_nothing() {
            self.report(&namespace, &left).await?;
            return self.release(&namespace).await.map(|()| None);
        }
        self.report(&namespace, &left).await?;
        Ok(Some(left.wait()))
    }

    /// Deletes everything of every kind, and pods before all else; what is left afterwards.
    async fn empty(&self, namespace: &str, discovery: &Discovery) -> Left {
        let mut kinds = Vec::new();
        for group in discovery.groups_alphabetical() {
            for (resource, capabilities) in group.resources_by_stability() {
                let deletable = capabilities.supports_operation(verbs::DELETE)
                    && capabilities.supports_operation(verbs::LIST);
                if capabilities.scope == Scope::Namespaced && deletable {
                    let at_once = capabilities.supports_operation(verbs::DELETE_COLLECTION);
                    kinds.push((resource, at_once));
                }
            }
        }
        // events last: deleting the rest may still write some
        kinds.sort_by_key(|(resource, _)| (resource.plural == "events", resource.plural.clone()));
        let is_pods = |(resource, _): &(ApiResource, bool)| {
            plan::goes_first(&resource.group, &resource.plural)
        };
        let (pods, others) = kinds.into_iter().partition(is_pods);
        let mut left = Left::default();
        self.empty_kinds(namespace, pods, &mut left).await;
        if left.is_nothing() {
            self.empty_kinds(namespace, others, &mut left).await;
        }
        left
    }

    async fn empty_kinds(&self, namespace: &str, kinds: Vec<(ApiResource, bool)>, left: &mut Left) {
        let mut results = futures::stream::iter(kinds)
            .map(|(resource, at_once)| async move {
                let api: Api<DynamicObject> =
                    Api::namespaced_with(self.client.clone(), namespace, &resource);
                let result = empty_kind(&api, at_once).await;
                (resource, result)
            })
            .buffered(KINDS_AT_ONCE_MAX);
        while let Some((resource, result)) = results.next().await {
            match result {
                Ok(objects) => left.add(&resource.plural, &resource.group, &objects),
                Err(error) => {
                    left.errors.push(format!("{}: {}", resource.plural, kit::words_of(&error)));
                }
            }
        }
    }

    /// Writes the conditions, if they change.
    async fn report(&self, namespace: &Namespace, left: &Left) -> Result<(), kube::Error> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let Some(changed) = plan::with_conditions(namespace, left, self.clock.now()) else {
            return Ok(());
        };
        let name = changed.metadata.name.clone().unwrap_or_default();
        forgive(api.replace_status(&name, &PostParams::default(), &changed).await.map(drop))
    }

    /// Drops our finalizer, the last step.
    async fn release(&self, namespace: &Namespace) -> Result<(), kube::Error> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let name = namespace.metadata.name.clone().unwrap_or_default();
        // the report before may have raised the revision: decide on the newest
        let Some(mut newest) = api.get_opt(&name).await? else { return Ok(()) };
        if newest.metadata.uid != namespace.metadata.uid {
            return Ok(());
        }
        if let Some(spec) = &mut newest.spec {
            spec.finalizers
                .iter_mut()
                .for_each(|list| list.retain(|f| f != words::FINALIZER_KUBERNETES));
        }
        forgive(
            api.replace_subresource("finalize", &name, &PostParams::default(), &newest)
                .await
                .map(drop),
        )
    }
}

/// Deletes all objects of a kind in a namespace; those that remain.
async fn empty_kind(
    api: &Api<DynamicObject>,
    at_once: bool,
) -> Result<Vec<PartialObjectMeta<DynamicObject>>, kube::Error> {
    let found = api.list_metadata(&ListParams::default().limit(1)).await?;
    if found.items.is_empty() {
        return Ok(Vec::new());
    }
    let params = DeleteParams::background();
    if at_once {
        forgive(api.delete_collection(&params, &ListParams::default()).await.map(drop))?;
    } else {
        for object in api.list_metadata(&ListParams::default()).await? {
            let name = object.metadata.name.unwrap_or_default();
            forgive(api.delete(&name, &params).await.map(drop))?;
        }
    }
    Ok(api.list_metadata(&ListParams::default()).await?.items)
}

/// Gone already, or changed by somebody else: the next look decides.
fn forgive(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}
