//! What the tests share: a store of plain text, a repeatable dice, and how often to throw it.

use std::sync::Arc;
use std::time::Duration;
use store::{
    Action, Change, Expected, Frames, Index, Key, Limits, Log, OpenError, Options, Stamped, Store,
    Writer,
};

pub(crate) type Text = Store<String>;
pub(crate) type TextWriter = Writer<String>;

/// Lazy writes happen in this collection only.
pub(crate) const LAZY: &str = "lazy/things";

pub(crate) fn open(log: impl Log + 'static) -> Result<(Text, TextWriter), OpenError> {
    open_with(log, Limits::default())
}

pub(crate) fn open_with(
    log: impl Log + 'static,
    limits: Limits,
) -> Result<(Text, TextWriter), OpenError> {
    let frames = Frames { added: "+", modified: "~", deleted: "-", suffix: "\n" };
    let letter: Index<String> = Arc::new(|name| &name[..1]);
    let indexes = vec![("/pods", letter)];
    let options = Options { limits, frames, lazy_collections: &[LAZY], indexes };
    store::open(Box::new(log), options, &|key, _| Ok(key.name.to_string()))
}

pub(crate) fn key(collection: &str, name: &str) -> Key {
    Key::new(collection, "space", name)
}

/// `value@REVISION`.
pub(crate) fn put(key: Key, expected: Expected, value: &str, lazy: bool) -> Change<String> {
    let value = Stamped::new(format!("{value}@"), ".".to_owned());
    let facts = key.name.to_string();
    Change { key, expected, action: Action::Put { value, facts, lazy } }
}

pub(crate) fn delete(key: Key, expected: Expected) -> Change<String> {
    Change { key, expected, action: Action::Delete { last: None } }
}

/// All rows: key, revision, bytes.
pub(crate) fn contents(store: &Text) -> Vec<(String, u64, String)> {
    let mut rows = Vec::new();
    store.each(|row| {
        let bytes = String::from_utf8_lossy(&row.bytes).into_owned();
        rows.push((row.key.to_text(), row.revision, bytes));
    });
    rows.sort();
    rows
}

/// The age of a process that never ages.
pub(crate) const NOW: Duration = Duration::ZERO;

/// A repeatable source (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
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
