//! The store against a model that a reader can check by eye.

use crate::support::{
    LAZY, NOW, Text, TextWriter, contents, delete, key, number, open, open_with, put,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use store::{CommitError, Compacted, Disk, Expected, Key, Limits, Query, Refused};

#[derive(Clone, Debug)]
enum Wish {
    Put(Want, u8),
    Delete(Want),
}

#[derive(Clone, Copy, Debug)]
enum Want {
    Absent,
    Present,
    Any,
    Current,
    Stale,
}

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<(usize, Wish)>, bool),
    Close,
    Crash,
    Refuse,
}

fn keys() -> Vec<Key> {
    vec![
        key("/pods", "a"),
        key("/pods", "b"),
        Key::new("/pods", "space-2", "a"),
        key("apps/daemonsets", "a"),
        key(LAZY, "a"),
        key(LAZY, "b"),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let want = prop_oneof![
        Just(Want::Absent),
        Just(Want::Present),
        Just(Want::Any),
        Just(Want::Current),
        Just(Want::Stale),
    ];
    let wish = prop_oneof![
        3 => (want.clone(), any::<u8>()).prop_map(|(want, value)| Wish::Put(want, value)),
        1 => want.prop_map(Wish::Delete),
    ];
    let batch = (prop::collection::vec((0..6_usize, wish), 0..6), any::<bool>());
    let step = prop_oneof![
        12 => batch.prop_map(|(wishes, flush)| Step::Batch(wishes, flush)),
        1 => Just(Step::Close),
        2 => Just(Step::Crash),
        1 => Just(Step::Refuse),
    ];
    prop::collection::vec(step, 1..24)
}

type Rows = BTreeMap<Key, (u64, u8)>;

/// What should be true.
#[derive(Default)]
struct Model {
    rows: Rows,
    /// What a lazy key may fall back to, oldest first.
    lazy: BTreeMap<Key, Vec<(u64, u8)>>,
    revision: u64,
    /// The rows at every revision since the last start.
    past: BTreeMap<u64, Rows>,
}

impl Model {
    fn expect(&mut self, key: &Key, wish: &Wish) -> Result<u64, &'static str> {
        let current = self.rows.get(key).copied();
        let (Wish::Put(want, _) | Wish::Delete(want)) = wish;
        match (want, current) {
            (Want::Absent, Some(_)) => return Err("exists"),
            (Want::Present | Want::Current | Want::Stale, None) => return Err("missing"),
            (Want::Stale, Some(_)) => return Err("conflict"),
            _ => {}
        }
        if let (Wish::Delete(_), None) = (wish, current) {
            return Err("missing");
        }
        self.revision += 1;
        match wish {
            Wish::Put(_, value) => {
                let new = (self.revision, *value);
                self.rows.insert(key.clone(), new);
                match current {
                    Some(old) if &*key.collection == LAZY => {
                        self.lazy.entry(key.clone()).or_insert_with(|| vec![old]).push(new);
                    }
                    _ => {
                        self.lazy.remove(key);
                    }
                }
            }
            Wish::Delete(_) => {
                self.rows.remove(key);
                self.lazy.remove(key);
            }
        }
        self.past.insert(self.revision, self.rows.clone());
        Ok(self.revision)
    }

    fn change(&self, key: &Key, wish: &Wish) -> store::Change<String> {
        let revision = self.rows.get(key).map_or(999, |(revision, _)| *revision);
        let expected = |want: &Want| match want {
            Want::Absent => Expected::Absent,
            Want::Present => Expected::Present,
            Want::Any => Expected::Any,
            Want::Current => Expected::Revision(revision),
            Want::Stale => Expected::Revision(revision + 1_000_000_000),
        };
        match wish {
            Wish::Put(want, value) => {
                let lazy = &*key.collection == LAZY;
                put(key.clone(), expected(want), &value.to_string(), lazy)
            }
            Wish::Delete(want) => delete(key.clone(), expected(want)),
        }
    }

    fn contents(rows: &Rows) -> Vec<(String, u64, String)> {
        let mut all: Vec<_> = rows
            .iter()
            .map(|(key, (revision, value))| {
                (key.to_text(), *revision, format!("{value}@{revision}."))
            })
            .collect();
        all.sort();
        all
    }
}

fn batch(
    model: &mut Model,
    writer: &mut TextWriter,
    wishes: &[(usize, Wish)],
    flush: bool,
) -> Result<(), TestCaseError> {
    let all = keys();
    let (mut changes, mut expected) = (Vec::new(), Vec::new());
    for (at, wish) in wishes {
        changes.push(model.change(&all[*at], wish));
        expected.push(model.expect(&all[*at], wish));
    }
    let outcomes = writer.commit(changes, NOW, flush).expect("the log works");
    prop_assert_eq!(outcomes.len(), expected.len());
    for (outcome, expected) in outcomes.iter().zip(&expected) {
        let got = match outcome {
            Ok(event) => Ok(event.revision()),
            Err(Refused::Exists(_)) => Err("exists"),
            Err(Refused::Conflict(_)) => Err("conflict"),
            Err(Refused::Missing) => Err("missing"),
            Err(Refused::BadKey) => Err("bad key"),
        };
        prop_assert_eq!(got, *expected);
    }
    Ok(())
}

/// Everything that can be asked of the past is answered as it was.
fn check_past(model: &Model, store: &Text) -> Result<(), TestCaseError> {
    for collection in ["/pods", "apps/daemonsets", LAZY] {
        let floor = store.floor(collection);
        for (revision, rows) in &model.past {
            let query = Query {
                collection,
                namespace: "",
                at: Some(*revision),
                after: None,
                limit: 0,
                value: None,
                filter: None,
            };
            let Ok(listing) = store.list(&query) else {
                prop_assert!(*revision < floor, "{revision} is refused, the floor is {floor}");
                continue;
            };
            let got: Vec<_> =
                listing.rows.iter().map(|row| (row.key.clone(), row.revision)).collect();
            let wanted: Vec<_> = rows
                .iter()
                .filter(|(key, _)| &*key.collection == collection)
                .map(|(key, (revision, _))| (key.clone(), *revision))
                .collect();
            prop_assert_eq!(&got, &wanted, "{} at {}", collection, revision);
            // The index of the first letter gives the same as looking at all of them.
            let indexed = store.list(&Query { value: Some("a"), ..query }).expect("as before");
            let got: Vec<_> =
                indexed.rows.iter().map(|row| (row.key.clone(), row.revision)).collect();
            let wanted: Vec<_> = wanted
                .into_iter()
                .filter(|(key, _)| collection != "/pods" || key.name.starts_with('a'))
                .collect();
            prop_assert_eq!(got, wanted, "{} at {}, by index", collection, revision);
        }
        let events = store.events_after(collection, floor, usize::MAX).expect("from the floor on");
        let mut last = floor;
        for event in &events.events {
            prop_assert!(event.revision() > last);
            last = event.revision();
        }
    }
    Ok(())
}

/// After a crash: what was durable is there, a lazy row is one of those acknowledged, revisions go on.
fn adopt(model: &mut Model, store: &Text) -> Result<(), TestCaseError> {
    prop_assert!(store.revision() >= model.revision, "revisions went back");
    let found: BTreeMap<String, (u64, String)> = contents(store)
        .into_iter()
        .map(|(key, revision, bytes)| (key, (revision, bytes)))
        .collect();
    prop_assert_eq!(found.len(), model.rows.len());
    for (key, current) in &mut model.rows {
        let text = key.to_text();
        let (revision, bytes) = found.get(&text).expect("a key is missing");
        let allowed = model.lazy.get(key).cloned().unwrap_or_else(|| vec![*current]);
        let is = allowed.into_iter().find(|(r, _)| r == revision);
        prop_assert!(is.is_some(), "{} is of revision {}, not {:?}", text, revision, current);
        *current = is.unwrap();
        prop_assert_eq!(bytes, &format!("{}@{}.", current.1, current.0));
    }
    model.lazy.clear();
    model.past.clear();
    model.revision = store.revision();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(number("store_laws")).unwrap(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_behaves_as_its_model_through_batches_crashes_and_restarts(steps in steps()) {
        let disk = Disk::new();
        let mut model = Model::default();
        let (mut store, mut writer) = open(disk.log()).expect("an empty disk opens");
        for step in &steps {
            match step {
                Step::Batch(wishes, flush) => {
                    batch(&mut model, &mut writer, wishes, *flush)?;
                    if *flush {
                        model.lazy.retain(|key, _| {
                            // Flushed is what waited before this batch; what this batch wrote lazily waits on.
                            let all = keys();
                            wishes.iter().any(|(at, _)| all[*at] == *key)
                        });
                    }
                }
                Step::Close => {
                    writer.close().expect("closes");
                    (store, writer) = open(disk.log()).expect("opens after an orderly end");
                    prop_assert_eq!(store.revision(), model.revision, "an orderly end skips nothing");
                    model.lazy.clear();
                    adopt(&mut model, &store)?;
                }
                Step::Crash => {
                    (store, writer) = open(disk.log()).expect("opens after a crash");
                    adopt(&mut model, &store)?;
                }
                Step::Refuse => {
                    disk.refuse_syncs(1);
                    let before = contents(&store);
                    let new = put(key("/pods", "refused"), Expected::Any, "x", false);
                    let refused = writer.commit(vec![new], NOW, false);
                    prop_assert!(matches!(refused, Err(CommitError::NotWritten(_))));
                    prop_assert_eq!(contents(&store), before, "memory changed");
                    prop_assert_eq!(store.revision(), model.revision);
                }
            }
            prop_assert_eq!(contents(&store), Model::contents(&model.rows));
            prop_assert_eq!(store.revision(), model.revision);
            check_past(&model, &store)?;
        }
    }
}

#[test]
fn pages_of_an_old_list_join_to_the_whole_though_rows_come_and_go() {
    let (store, mut writer) = open(Disk::new().log()).unwrap();
    let names: Vec<String> = (0..50).map(|n| format!("n{n:02}")).collect();
    for name in &names {
        writer
            .commit(vec![put(key("/pods", name), Expected::Absent, "1", false)], NOW, false)
            .unwrap();
    }
    let at = Some(store.revision());
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let after_pair = after.as_deref().map(|name| ("space", name));
        let query = Query {
            collection: "/pods",
            namespace: "space",
            at,
            after: after_pair,
            limit: 7,
            value: None,
            filter: None,
        };
        let page = store.list(&query).unwrap();
        assert_eq!(page.remaining, 50 - seen.len() - page.rows.len());
        seen.extend(page.rows.iter().map(|row| row.key.name.to_string()));
        after = seen.last().cloned();
        // Behind the reader's back: a row goes, one comes, one changes.
        let round = seen.len();
        let gone = key("/pods", &names[(round * 3) % 50]);
        let new = key("/pods", &format!("n{round:02}-new"));
        let changed = key("/pods", &names[49]);
        writer.commit(vec![delete(gone, Expected::Any)], NOW, false).unwrap();
        writer.commit(vec![put(new, Expected::Any, "2", false)], NOW, false).unwrap();
        writer.commit(vec![put(changed, Expected::Any, "3", false)], NOW, false).unwrap();
        if page.remaining == 0 {
            break;
        }
    }
    assert_eq!(seen, names);
}

#[test]
fn history_is_bounded_by_count_bytes_and_age_and_says_where_it_begins() {
    let limits = Limits { events_max: 10, ..Limits::default() };
    let (store, mut writer) = open_with(Disk::new().log(), limits).unwrap();
    for _ in 0..25 {
        writer.commit(vec![put(key("/pods", "a"), Expected::Any, "v", false)], NOW, false).unwrap();
    }
    assert_eq!(store.floor("/pods"), 15);
    assert_eq!(store.events_after("/pods", 14, 99).unwrap_err().floor, 15);
    assert_eq!(store.events_after("/pods", 15, 99).unwrap().events.len(), 10);
    assert_eq!(store.floor("/nodes"), 0, "another collection keeps its own history");

    let limits = Limits { bytes_max: 1_000, ..Limits::default() };
    let (store, mut writer) = open_with(Disk::new().log(), limits).unwrap();
    for _ in 0..25 {
        writer.commit(vec![put(key("/pods", "a"), Expected::Any, "v", false)], NOW, false).unwrap();
    }
    assert!(store.fill().event_bytes <= 1_000);
    assert!(store.fill().events > 0);

    let (store, mut writer) = open(Disk::new().log()).unwrap();
    writer.commit(vec![put(key("/pods", "a"), Expected::Any, "v", false)], NOW, false).unwrap();
    store.trim(Duration::from_secs(299));
    assert_eq!(store.fill().events, 1);
    store.trim(Duration::from_secs(301));
    assert_eq!((store.fill().events, store.floor("/pods")), (0, 1));
    assert!(store.events_after("/pods", 1, 99).is_ok(), "a reader at the end has missed nothing");
}

#[test]
fn a_quiet_collection_forgets_its_past_as_well() {
    let (store, mut writer) = open(Disk::new().log()).unwrap();
    let mut put = |collection| {
        let change = put(key(collection, "a"), Expected::Any, "v", false);
        writer.commit(vec![change], NOW, false).unwrap();
    };
    let list = |at| {
        store.list(&Query {
            collection: "/pods",
            namespace: "",
            at: Some(at),
            after: None,
            limit: 0,
            value: None,
            filter: None,
        })
    };
    put("/pods");
    store.trim(Duration::from_secs(0));
    put("/nodes");
    store.trim(Duration::from_secs(200));
    store.trim(Duration::from_secs(301));
    assert!(list(1).is_ok(), "it was the last revision five minutes ago");
    store.trim(Duration::from_secs(501));
    assert_eq!(list(1).unwrap_err(), Compacted { asked: 1, floor: 2 });
    assert!(list(2).is_ok());
    assert!(store.events_after("/pods", 1, 9).is_ok(), "a watch has missed nothing");
}

#[test]
fn an_event_and_its_row_share_their_bytes() {
    let (store, mut writer) = open(Disk::new().log()).unwrap();
    let change = put(key("/pods", "a"), Expected::Any, "v", false);
    let events = writer.commit(vec![change], NOW, false).unwrap();
    let event = events[0].as_ref().unwrap();
    assert_eq!(&event.frame[..], b"+v@1.\n");
    assert_eq!(event.frame[1..].as_ptr(), event.row.bytes.as_ptr());
    let gone = writer.commit(vec![delete(key("/pods", "a"), Expected::Any)], NOW, false).unwrap();
    assert_eq!(&gone[0].as_ref().unwrap().frame[..], b"-v@2.\n");
    assert!(store.get(&key("/pods", "a")).is_none());
}

#[test]
fn a_batch_costs_one_sync_and_lazy_renewals_none() {
    let disk = Disk::new();
    let (store, mut writer) = open(disk.log()).unwrap();
    let many = (0..100).map(|n| put(key(LAZY, &n.to_string()), Expected::Absent, "0", true));
    writer.commit(many.collect(), NOW, false).unwrap();
    assert_eq!(disk.syncs(), 1, "new rows are durable at once, also lazy ones");
    for round in 0..50 {
        let renew = (0..100).map(|n| put(key(LAZY, &n.to_string()), Expected::Present, "1", true));
        writer.commit(renew.collect(), NOW, false).unwrap();
        assert_eq!(disk.syncs(), 2, "round {round}: one for reserving revisions");
    }
    assert_eq!(writer.lazy_rows(), 100);
    writer.commit(Vec::new(), NOW, true).unwrap();
    assert_eq!((disk.syncs(), writer.lazy_rows()), (3, 0));
    let durable = disk.rows().iter().map(|row| row.revision).max();
    assert_eq!(durable, Some(store.revision()));
}
