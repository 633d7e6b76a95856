//! The law of informers: list, watch, relist when told to; at the end the cache is what the server has,
//! however slow the informer was and however short the history.

use crate::support::{Dice, PODS, Server, delete, number, pod, run};
use apiserver::records::{
    CommitError, EventKind, Expected, Limits, Query, Record, Start, Watch, WatchRequest,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Disk;

/// What an informer is about.
#[derive(Clone, Debug, Default)]
struct Selection {
    namespace: String,
    name: String,
    node: Option<String>,
    app: Option<String>,
}

impl Selection {
    fn any(dice: &mut Dice) -> Self {
        let mut selection = Self::default();
        match dice.below(6) {
            0 => {}
            1 => selection.namespace = "ns1".into(),
            2 => selection.node = Some(format!("n{}", dice.below(4))),
            3 => selection.app = Some("web".into()),
            4 => (selection.namespace, selection.name) = ("ns0".into(), "p3".into()),
            _ => {
                selection.namespace = "ns0".into();
                selection.node = Some("n1".into());
                selection.app = Some("db".into());
            }
        }
        selection
    }

    fn wants(&self, record: &Record) -> bool {
        let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        is(&self.namespace, &record.key.namespace)
            && is(&self.name, &record.key.name)
            && self.node.as_ref().is_none_or(|node| record.facts.fields["spec.nodeName"] == *node)
            && self.app.as_ref().is_none_or(|app| record.facts.labels["app"] == *app)
    }

    fn request(&self, start: Start) -> WatchRequest {
        let app = self.app.clone();
        WatchRequest {
            collection: Arc::from(PODS),
            namespace: Arc::from(self.namespace.as_str()),
            name: Arc::from(self.name.as_str()),
            start,
            field: self.node.clone().map(|node| ("spec.nodeName".to_owned(), node)),
            filter: app.map(|app| -> apiserver::records::Filter {
                Arc::new(move |record| record.facts.labels["app"] == app)
            }),
        }
    }
}

struct Informer {
    selection: Selection,
    cache: BTreeMap<String, u64>,
    watch: Option<Watch>,
    revision: u64,
    relists: u64,
}

impl Informer {
    fn list(&mut self, server: &Server) {
        let selection = self.selection.clone();
        let wants = |record: &Record| selection.wants(record);
        let field = selection.node.as_ref().map(|node| ("spec.nodeName", node.as_str()));
        let query = Query { field, filter: Some(&wants), ..Query::all(PODS) };
        let snapshot = server.records.list(&query).unwrap();
        assert!(snapshot.revision >= self.revision, "a list went back");
        self.cache = snapshot.records.iter().map(|r| (r.key.to_text(), r.revision)).collect();
        self.revision = snapshot.revision;
        self.relists += 1;
        self.watch = None;
    }

    /// Takes up to `most` events, starting over where it has to.
    fn step(&mut self, server: &Server, most: u64, what: &str) {
        if self.watch.is_none() {
            let request = self.selection.request(Start::After(self.revision));
            self.watch = server.records.watch(request).ok();
        }
        let Some(watch) = &mut self.watch else { return self.list(server) };
        for _ in 0..most {
            match watch.try_next() {
                Ok(Some(event)) => {
                    let revision = event.revision();
                    assert!(revision > self.revision, "{what}: {revision} after {}", self.revision);
                    self.revision = revision;
                    let key = event.record.key.to_text();
                    let known = match event.kind {
                        EventKind::Deleted => self.cache.remove(&key).is_some(),
                        EventKind::Added | EventKind::Modified => {
                            self.cache.insert(key.clone(), revision).is_some()
                        }
                    };
                    let expected = event.kind != EventKind::Added;
                    assert_eq!(known, expected, "{what}: {:?} of {key} at {revision}", event.kind);
                }
                Ok(None) => {
                    let bookmark = watch.bookmark();
                    assert!(bookmark >= self.revision, "{what}: bookmark {bookmark} went back");
                    self.revision = bookmark;
                    return;
                }
                Err(_) => return self.list(server),
            }
        }
    }
}

async fn write(server: &Server, dice: &mut Dice) {
    let namespace = format!("ns{}", dice.below(2));
    let node = match dice.below(5) {
        4 => String::new(),
        n => format!("n{n}"),
    };
    let app = if dice.below(2) == 0 { "web" } else { "db" };
    let pod = pod(&namespace, &format!("p{}", dice.below(8)), &node, app);
    let change = match dice.below(10) {
        0..3 => delete(pod.key.clone()),
        3 => pod.put(Expected::Absent),
        _ => pod.put(Expected::Any),
    };
    match server.records.commit(change).await {
        Ok(_) | Err(CommitError::Missing | CommitError::Exists(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// One run; gives back the number of relists and a tape of every cache.
async fn one_run(seed: u64) -> (u64, Vec<(String, u64)>) {
    let mut dice = Dice(seed);
    let events_max = usize::try_from(1 + dice.below(40)).unwrap();
    let limits = Limits { events_max, ..Limits::default() };
    let server = Server::start_with(&Disk::new(), limits);
    let mut informers: Vec<Informer> = (0..6)
        .map(|_| Informer {
            selection: Selection::any(&mut dice),
            cache: BTreeMap::new(),
            watch: None,
            revision: 0,
            relists: 0,
        })
        .collect();
    for _ in 0..dice.below(120) {
        for _ in 0..dice.below(6) {
            write(&server, &mut dice).await;
        }
        let chosen = usize::try_from(dice.below(6)).unwrap();
        let informer = &mut informers[chosen];
        let what = format!("seed {seed}, {:?}", informer.selection);
        match dice.below(20) {
            // The connection is cut: the next step resumes where it was.
            0 => informer.watch = None,
            _ => informer.step(&server, dice.below(12), &what),
        }
    }
    let mut tape = Vec::new();
    for informer in &mut informers {
        let what = format!("seed {seed}, {:?}", informer.selection);
        // Enough to read all, and to start over once in between.
        for _ in 0..3 {
            informer.step(&server, 1_000, &what);
        }
        let all = server.records.list(&Query::all(PODS)).unwrap();
        let wanted: BTreeMap<String, u64> = all
            .records
            .iter()
            .filter(|record| informer.selection.wants(record))
            .map(|record| (record.key.to_text(), record.revision))
            .collect();
        assert_eq!(informer.cache, wanted, "{what}");
        tape.extend(wanted);
    }
    (informers.iter().map(|informer| informer.relists).sum(), tape)
}

#[test]
fn slow_informers_end_with_what_the_server_has() {
    let mut relists = 0;
    for seed in 0..number("records_informers") {
        run(async {
            relists += one_run(seed).await.0;
        });
    }
    assert!(relists > number("records_informers"), "history was never too short: {relists}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..5 {
        let (mut first, mut second) = (None, None);
        run(async { first = Some(one_run(seed).await) });
        run(async { second = Some(one_run(seed).await) });
        assert_eq!(first, second, "seed {seed}");
    }
}
