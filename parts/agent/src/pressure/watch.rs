//! Looks for shortages, and has pods ended while one lasts.

use super::{Conditions, ContainerUsage, Seen, Shortage, Usage, ending, first_to_go, shortages};
use crate::context::Context;
use crate::host::Room;
use crate::words;
use crate::world::Ending;
use crate::{cgroups, config, volumes};
use k8s_openapi::api::core::v1::Pod;
use kit::Cache;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How often the node is looked at (upstream's number).
const LOOK: Duration = Duration::from_secs(10);
/// How long pods that are over may take to give up their containers before images go, and how often that is looked at. A
/// runtime removes a container in a tenth of a second; what has not gone in ten seconds is stuck.
const SHED_MAX: Duration = Duration::from_secs(10);
const SHED_LOOK: Duration = Duration::from_millis(200);
/// Orders under way: the next shortage is met only when the pod before has been told to end.
const ORDERS_MAX: usize = 1;

/// A pod that is to end, by its uid.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) uid: String,
    pub(crate) ending: Ending,
}

/// What those who keep pods and the node's status see of shortages.
pub(crate) struct Told {
    pub(crate) conditions: watch::Receiver<Conditions>,
    pub(crate) orders: mpsc::Receiver<Order>,
}

/// Tells of shortages.
pub(crate) struct Watch {
    conditions: watch::Sender<Conditions>,
    orders: mpsc::Sender<Order>,
}

/// Both ends.
pub(crate) fn channel() -> (Watch, Told) {
    let (conditions, seen) = watch::channel(Conditions::new());
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    (Watch { conditions, orders }, Told { conditions: seen, orders: ordered })
}

impl Watch {
    /// Works for as long as the agent runs. `room` measures the node.
    pub(crate) async fn run(
        self,
        context: Arc<Context>,
        pods: Cache<Pod>,
        room: impl Fn() -> Room + Send,
    ) {
        let mut seen = Seen::default();
        loop {
            let mut short = shortages(&room());
            let now = context.setup.clock.instant();
            let conditions = seen.note(&short, now);
            self.conditions.send_if_modified(|shown| {
                let is_news = *shown != conditions;
                shown.clone_from(&conditions);
                is_news
            });
            let is_disk_short = short.iter().any(Shortage::is_of_disk);
            context
                .is_disk_short
                .send_if_modified(|known| std::mem::replace(known, is_disk_short) != is_disk_short);
            if short.first().is_some_and(Shortage::is_of_disk) {
                // what nobody uses goes before any pod does, each time
                reclaim(&context, &pods).await;
                short = shortages(&room());
            }
            if let Some(first) = short.first()
                && let Some(order) = choose(&context, &pods, first).await
                && self.orders.send(order).await.is_err()
            {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Has everything removed that takes room and is used by nobody: containers of pods that are over, and images.
async fn reclaim(context: &Arc<Context>, pods: &Cache<Pod>) {
    let shed = async {
        while is_left_over(context, pods).await {
            tokio::time::sleep(SHED_LOOK).await;
        }
    };
    if tokio::time::timeout(SHED_MAX, shed).await.is_err() {
        tracing::warn!("containers of pods that are over are still there after {SHED_MAX:?}");
    }
    if let Err(failure) = crate::images::reclaim(context).await {
        tracing::warn!("unused images stay: {failure}");
    }
}

/// Whether the runtime has something of a pod that is over. Its own task removes it.
async fn is_left_over(context: &Arc<Context>, pods: &Cache<Pod>) -> bool {
    let is_over = |pod: &Arc<Pod>| {
        crate::plan::status::final_phase(pod).is_some() && pod.metadata.deletion_timestamp.is_none()
    };
    let over: BTreeSet<Option<String>> =
        pods.list().into_iter().filter(is_over).map(|pod| pod.metadata.uid.clone()).collect();
    let ours: BTreeMap<String, String> =
        [(words::OUR_NODE.to_owned(), context.name.clone())].into();
    // a runtime that does not answer is not waited for
    let sandboxes = context.runtime.sandboxes(&ours).await.unwrap_or_default();
    sandboxes.iter().any(|one| over.contains(&one.labels.get(words::POD_UID).cloned()))
}

/// Which pod goes next. `None`: none may, or the one before is still ending.
async fn choose(context: &Arc<Context>, pods: &Cache<Pod>, shortage: &Shortage) -> Option<Order> {
    let alive: Vec<Arc<Pod>> = pods
        .list()
        .into_iter()
        // one that is being deleted may go, too: it is told to be quicker
        .filter(|pod| crate::plan::status::final_phase(pod).is_none())
        .collect();
    let usages = usages(context, &alive).await;
    let list: Vec<(&Pod, Usage)> = alive
        .iter()
        .map(|pod| {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            (pod.as_ref(), usages.get(uid).cloned().unwrap_or_default())
        })
        .collect();
    let Some(place) = first_to_go(shortage.scarce, &list) else {
        tracing::warn!("{}, and no pod may be ended for it", shortage.scarce.condition());
        return None;
    };
    let (pod, usage) = list.get(place)?;
    let ending = ending(shortage, pod, usage);
    tracing::warn!(pod = crate::text::pod_name(pod), "evicted: {}", ending.message);
    Some(Order { uid: pod.metadata.uid.clone().unwrap_or_default(), ending })
}

async fn usages(context: &Arc<Context>, pods: &[Arc<Pod>]) -> BTreeMap<String, Usage> {
    let ours: BTreeMap<String, String> =
        [(words::OUR_NODE.to_owned(), context.name.clone())].into();
    // a runtime that does not answer leaves priorities to choose by
    let measured = context.runtime.stats(&ours).await.unwrap_or_default();
    let (own, list) = (Arc::clone(context), pods.to_vec());
    let files = tokio::task::spawn_blocking(move || {
        let of = |pod: &Arc<Pod>| {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let logs = config::log_dir(&own.pod_logs, pod);
            let files = volumes::used(&volumes::empty_dirs(&own.root, &uid)) + volumes::used(&logs);
            let pids = cgroups::pids(&own.layout, &own.cgroup(&uid));
            (uid, Usage { files: files.bytes, entries: files.entries, pids, ..Usage::default() })
        };
        list.iter().map(of).collect::<BTreeMap<_, _>>()
    });
    let mut all = files.await.unwrap_or_default();
    for one in measured {
        let labels = one.attributes.map(|attributes| attributes.labels).unwrap_or_default();
        let Some(pod) = labels.get(words::POD_UID).and_then(|uid| all.get_mut(uid)) else {
            continue;
        };
        let number =
            |value: Option<crate::cri::v1::UInt64Value>| value.map_or(0, |value| value.value);
        let layer = one.writable_layer.unwrap_or_default();
        pod.containers.push(ContainerUsage {
            name: labels.get(words::CONTAINER_NAME).cloned().unwrap_or_default(),
            memory: number(one.memory.and_then(|memory| memory.working_set_bytes)),
            disk: number(layer.used_bytes),
            entries: number(layer.inodes_used),
        });
    }
    all
}
