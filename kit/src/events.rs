//! Writes Kubernetes events, without making anybody wait for them.

use crate::Setup;
use crate::backoff::Backoff;
use crate::correlate::{Correlator, Subject, Verdict};
use crate::metrics::named;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::Resource;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Events waiting to be written. A note is about 500 bytes: half a megabyte; upstream's number.
pub const WAITING_MAX: usize = 1000;
/// Tries for one event while the server cannot be reached.
const TRIES_MAX: u32 = 5;
/// Longest message (upstream cuts at the same length; the server refuses longer ones).
const MESSAGE_MAX: usize = 1024;

/// Something to tell users about an object.
#[derive(Clone, Debug)]
pub struct Note {
    /// What it is about.
    pub regarding: ObjectReference,
    /// What else takes part.
    pub related: Option<ObjectReference>,
    /// Whether somebody should worry.
    pub warning: bool,
    /// Why, one word in CamelCase, from the part's `words`.
    pub reason: &'static str,
    /// What was done, one word; the reason if empty.
    pub action: &'static str,
    /// For people.
    pub message: String,
}

impl Note {
    /// An ordinary event.
    pub fn normal(regarding: ObjectReference, reason: &'static str, message: String) -> Self {
        Self { regarding, related: None, warning: false, reason, action: "", message }
    }

    /// A warning.
    pub fn warning(regarding: ObjectReference, reason: &'static str, message: String) -> Self {
        Self { warning: true, ..Self::normal(regarding, reason, message) }
    }

    /// With an action.
    #[must_use]
    pub fn with_action(self, action: &'static str) -> Self {
        Self { action, ..self }
    }

    /// With another object that takes part.
    #[must_use]
    pub fn with_related(self, related: ObjectReference) -> Self {
        Self { related: Some(related), ..self }
    }
}

/// A reference to an object, as events carry it.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// A recorder of one component. Clones share its queue.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<Note>,
    setup: Setup,
    component: String,
    /// The queue was full, and it was said.
    is_full: Arc<AtomicBool>,
}

impl Events {
    /// Starts the task that writes. `component` is `daemonset-controller` or the like; `host` the node an agent speaks
    /// for, else empty.
    pub fn start(client: kube::Client, setup: &Setup, component: &str, host: &str) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let writer = Writer {
            client,
            setup: setup.clone(),
            component: component.to_owned(),
            host: host.to_owned(),
            correlator: Correlator::default(),
            last_name: 0,
        };
        setup.tasks.spawn(format!("events {component}"), writer.run(receiver));
        let (setup, component) = (setup.clone(), component.to_owned());
        Self { sender, setup, component, is_full: Arc::default() }
    }

    /// Records an event; never waits. When the queue is full the event is dropped and counted; that this begins is said
    /// in the log once, until half of the queue is free again.
    pub fn publish(&self, note: Note) {
        if self.sender.capacity() > WAITING_MAX / 2 {
            self.is_full.store(false, Ordering::Relaxed);
        }
        if self.sender.try_send(note).is_err() {
            if !self.is_full.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    component = self.component,
                    metric = "pernode_events_dropped_total",
                    "events are being dropped: too many are waiting"
                );
            }
            self.setup.metrics.events_dropped.get_or_create(&named(&self.component)).inc();
        }
    }
}

struct Writer {
    client: kube::Client,
    setup: Setup,
    component: String,
    host: String,
    correlator: Correlator,
    last_name: i128,
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<Note>) {
        while let Some(mut note) = receiver.recv().await {
            cut(&mut note.message);
            let now = self.setup.clock.now();
            let subject = subject(&note);
            let written = match self.correlator.judge(&subject, &note.message, now) {
                Verdict::Drop => false,
                Verdict::Create { message } => self.create(&note, &subject, message, now).await,
                Verdict::Count { name, count, message } => {
                    if let Some(done) = self.count(&note, &name, count, &message, now).await {
                        done
                    } else {
                        self.correlator.gone(&subject, &message);
                        self.create(&note, &subject, message, now).await
                    }
                }
            };
            let metrics = &self.setup.metrics;
            let counter = if written { &metrics.events_sent } else { &metrics.events_dropped };
            counter.get_or_create(&named(&self.component)).inc();
        }
    }

    async fn create(
        &mut self,
        note: &Note,
        subject: &Subject,
        message: String,
        now: Timestamp,
    ) -> bool {
        let mut backoff =
            Backoff::new(Duration::from_millis(200), Duration::from_secs(10), self.setup.salt);
        let api = self.api(note);
        while backoff.failures() < TRIES_MAX {
            // one name per nanosecond, and never the same twice from this source
            self.last_name = now.as_nanosecond().max(self.last_name + 1);
            let event = self.event(note, &message, now);
            let name = event.metadata.name.clone().unwrap_or_default();
            match api.create(&PostParams::default(), &event).await {
                Ok(_) => {
                    self.correlator.created(subject, &message, &name, now);
                    return true;
                }
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                    backoff.failed();
                }
                Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                    // for instance a namespace that is being deleted
                    tracing::debug!(component = self.component, %status, "event refused");
                    return false;
                }
                Err(error) => {
                    tracing::debug!(component = self.component, %error, "event not written yet");
                    tokio::time::sleep(backoff.failed()).await;
                }
            }
        }
        tracing::warn!(component = self.component, reason = note.reason, "event given up");
        false
    }

    /// `None`: the object is gone.
    async fn count(
        &self,
        note: &Note,
        name: &str,
        count: i32,
        message: &str,
        now: Timestamp,
    ) -> Option<bool> {
        let patch = serde_json::json!({
            "count": count, "message": message, "lastTimestamp": Time(now),
        });
        let api = self.api(note);
        match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Some(true),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => {
                tracing::debug!(component = self.component, %error, "event count not raised");
                Some(false)
            }
        }
    }

    fn api(&self, note: &Note) -> Api<Event> {
        Api::namespaced(self.client.clone(), namespace(note))
    }

    fn event(&self, note: &Note, message: &str, now: Timestamp) -> Event {
        let object = note.regarding.name.clone().unwrap_or_default();
        let action = Some(note.action.to_owned()).filter(|action| !action.is_empty());
        let instance = if self.host.is_empty() { &self.component } else { &self.host };
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{object}.{:x}", self.last_name)),
                namespace: Some(namespace(note).to_owned()),
                ..ObjectMeta::default()
            },
            // new-style events say what was done and when, in microseconds
            event_time: action.as_ref().map(|_| MicroTime(now)),
            action,
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            involved_object: note.regarding.clone(),
            related: note.related.clone(),
            message: Some(message.to_owned()),
            reason: Some(note.reason.to_owned()),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(instance.clone()),
            series: None,
            source: Some(EventSource {
                component: Some(self.component.clone()),
                host: Some(self.host.clone()).filter(|host| !host.is_empty()),
            }),
            type_: Some(kind(note).to_owned()),
        }
    }
}

fn kind(note: &Note) -> &'static str {
    if note.warning { "Warning" } else { "Normal" }
}

/// Events about cluster-wide objects live in `default`.
fn namespace(note: &Note) -> &str {
    note.regarding.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
}

fn subject(note: &Note) -> Subject {
    let regarding = &note.regarding;
    let parts = [&regarding.kind, &regarding.namespace, &regarding.name, &regarding.uid];
    Subject {
        object: parts.map(|part| part.clone().unwrap_or_default()),
        kind: kind(note),
        reason: note.reason.to_owned(),
    }
}

fn cut(message: &mut String) {
    if message.len() > MESSAGE_MAX {
        let mut end = MESSAGE_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
}
