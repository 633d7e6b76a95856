//! Looks for shortages, and has pods ended while one lasts.

use super::{
    Conditions, ContainerUsage, Scarce, Seen, Shortage, Usage, ending, first_to_go, shortages,
};
use crate::context::Context;
use crate::host::Room;
use crate::words;
use crate::world::Ending;
use crate::{cgroups, config, volumes};
use k8s_openapi::api::core::v1::Pod;
use kit::Cache;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How often the node is looked at (upstream's number).
const LOOK: Duration = Duration::from_secs(10);
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
        let mut is_cleared = false;
        loop {
            let short = shortages(&room());
            let now = context.setup.clock.instant();
            let conditions = seen.note(&short, now);
            self.conditions.send_if_modified(|shown| {
                let is_news = *shown != conditions;
                shown.clone_from(&conditions);
                is_news
            });
            match short.first() {
                None => is_cleared = false,
                // images that nobody uses go before any pod
                Some(first)
                    if matches!(first.scarce, Scarce::Disk | Scarce::Files) && !is_cleared =>
                {
                    is_cleared = true;
                    context.images_called.notify_one();
                }
                Some(first) => {
                    if let Some(order) = choose(&context, &pods, first).await
                        && self.orders.send(order).await.is_err()
                    {
                        return;
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Which pod goes next. `None`: none may, or the one before is still ending.
async fn choose(context: &Arc<Context>, pods: &Cache<Pod>, shortage: &Shortage) -> Option<Order> {
    let alive: Vec<Arc<Pod>> = pods
        .list()
        .into_iter()
        .filter(|pod| {
            crate::plan::status::final_phase(pod).is_none()
                && pod.metadata.deletion_timestamp.is_none()
        })
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
            (uid, Usage { files, pids, ..Usage::default() })
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
        pod.containers.push(ContainerUsage {
            name: labels.get(words::CONTAINER_NAME).cloned().unwrap_or_default(),
            memory: number(one.memory.and_then(|memory| memory.working_set_bytes)),
            disk: number(one.writable_layer.and_then(|layer| layer.used_bytes)),
        });
    }
    all
}
