//! A server's records on a disk that can crash, with small objects.

use apiserver::records::{
    Action, Change, CommitError, Committed, Expected, Facts, Key, Limits, Options, Record, Records,
    Stamped,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Disk;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) const PODS: &str = "/pods";

/// Records whose committer runs until this is dropped or stopped.
pub(crate) struct Server {
    pub(crate) records: Records,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Server {
    pub(crate) fn start(disk: &Disk) -> Self {
        Self::start_with(disk, Limits::default())
    }

    pub(crate) fn start_with(disk: &Disk, limits: Limits) -> Self {
        Self::open(Box::new(disk.log()), limits)
    }

    pub(crate) fn start_on(log: impl store::Log + 'static) -> Self {
        Self::open(Box::new(log), Limits::default())
    }

    fn open(log: Box<dyn store::Log>, limits: Limits) -> Self {
        let begin = Instant::now();
        let now = Arc::new(move || {
            jiff::Timestamp::UNIX_EPOCH
                + jiff::SignedDuration::try_from(begin.elapsed()).expect("a short test")
        });
        let options = Options { limits, ..Options::new(now) };
        let (records, committer) =
            Records::open(log, options, &|_, bytes| Ok(facts_of(bytes))).expect("opens");
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(committer.run(stop.clone()));
        Self { records, tasks, stop }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    pub(crate) async fn put(&self, pod: Pod) -> Result<Committed, CommitError> {
        self.records.commit(pod.put(Expected::Any)).await
    }

    pub(crate) async fn delete(&self, key: Key) -> Result<Committed, CommitError> {
        self.records.commit(delete(key)).await
    }
}

/// A small object.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) key: Key,
    pub(crate) node: String,
    pub(crate) app: String,
    pub(crate) note: String,
    pub(crate) expires: Option<i64>,
}

pub(crate) fn pod(namespace: &str, name: &str, node: &str, app: &str) -> Pod {
    Pod {
        key: Key::new(PODS, namespace, name),
        node: node.to_owned(),
        app: app.to_owned(),
        note: String::new(),
        expires: None,
    }
}

impl Pod {
    pub(crate) fn put(&self, expected: Expected) -> Change {
        let (value, facts) = (self.value(), self.facts());
        Change { key: self.key.clone(), expected, action: Action::Put { value, facts } }
    }

    pub(crate) fn value(&self) -> Stamped {
        let Self { key, node, app, note, expires } = self;
        let expires = expires.unwrap_or(-1);
        Stamped::new(
            format!(
                "{{\"name\":\"{}\",\"node\":\"{node}\",\"app\":\"{app}\",\"note\":\"{note}\",\
                 \"expires\":{expires},\"rv\":\"",
                key.name
            ),
            "\"}".to_owned(),
        )
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts {
            uid: self.key.name.to_string(),
            labels: BTreeMap::from([("app".to_owned(), self.app.clone())]),
            fields: BTreeMap::from([("spec.nodeName", self.node.clone())]),
            expires: self.expires.map(|second| jiff::Timestamp::from_second(second).unwrap()),
            ..Facts::default()
        }
    }
}

/// Facts as a server finds them at start.
fn facts_of(bytes: &[u8]) -> Facts {
    let object: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
    let text = |field: &str| object[field].as_str().unwrap().to_owned();
    let expires = object["expires"].as_i64().filter(|second| *second >= 0);
    Pod {
        key: Key::new(PODS, "", text("name")),
        node: text("node"),
        app: text("app"),
        note: text("note"),
        expires,
    }
    .facts()
}

pub(crate) fn delete(key: Key) -> Change {
    Change { key, expected: Expected::Any, action: Action::Delete { last: None } }
}

pub(crate) fn text(record: &Record) -> String {
    String::from_utf8(record.bytes.to_vec()).unwrap()
}

/// A repeatable source (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// How often a suite runs: `proof/numbers.json`, column `long` when `PERNODE_NUMBERS=long`.
pub(crate) fn number(suite: &str) -> u64 {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proof/numbers.json");
    let text = std::fs::read_to_string(path).expect("proof/numbers.json is there");
    let all: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let long = std::env::var_os("PERNODE_NUMBERS").is_some_and(|value| value == "long");
    all[if long { "long" } else { "short" }][suite].as_u64().expect("the suite has a number")
}

/// Runs a test on one thread, in virtual time, the same way each time.
pub(crate) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}
