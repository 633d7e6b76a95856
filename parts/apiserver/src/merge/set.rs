//! Sets of field paths, their arithmetic, and their form in `managedFields` (fieldsV1).

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field of a struct or a key of a map.
    Field(String),
    /// An item by its keys: a JSON object as text, keys sorted.
    Keys(String),
    /// An item of a set: its value as JSON text.
    Item(String),
    /// An item by position. Only ever read from others' entries.
    Index(String),
}

impl Step {
    pub(super) fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            // Read and written again, so that two spellings of one key are one key.
            "k" => canonical(rest).map(Self::Keys),
            "v" => canonical(rest).map(Self::Item),
            "i" => Some(Self::Index(rest.to_owned())),
            _ => None,
        }
    }

    /// A field as fieldsV1 has it.
    pub(super) fn named(name: &str) -> String {
        ["f:", name].concat()
    }

    /// As fieldsV1 has it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Field(name) => Self::named(name),
            Self::Keys(keys) => format!("k:{keys}"),
            Self::Item(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// As it stands in messages: `.spec`, `[name="m"]`, `[="x"]`.
    fn shown(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Keys(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> =
                    keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("[{}]", keys.join(","))
            }
            Self::Item(value) => format!("[={value}]"),
            Self::Index(index) => format!("[{index}]"),
        }
    }
}

fn canonical(text: &str) -> Option<String> {
    serde_json::from_str::<Value>(text).ok().map(|value| value.to_string())
}

/// A set of paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    members: BTreeSet<Step>,
    children: BTreeMap<Step, Set>,
}

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    pub(super) fn has(&self, step: &Step) -> bool {
        self.members.contains(step)
    }

    pub(super) fn below(&self, step: &Step) -> Option<&Self> {
        self.children.get(step).filter(|set| !set.is_empty())
    }

    pub(super) fn insert(&mut self, step: Step) {
        self.members.insert(step);
    }

    pub(super) fn graft(&mut self, step: Step, below: Self) {
        if !below.is_empty() {
            self.children.insert(step, below);
        }
    }

    /// Adds a path of fields: `metadata`, `name`.
    pub(super) fn insert_path(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => self.insert(Step::field(last)),
            [first, rest @ ..] => {
                self.children.entry(Step::field(first)).or_default().insert_path(rest);
            }
        }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.add(other);
        out
    }

    /// Takes in everything of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        for step in other.members.difference(&self.members).cloned().collect::<Vec<_>>() {
            self.members.insert(step);
        }
        for (step, set) in &other.children {
            match self.children.get_mut(step) {
                Some(mine) => mine.add(set),
                None => {
                    self.children.insert(step.clone(), set.clone());
                }
            }
        }
    }

    /// Gives up everything of `other`.
    pub(super) fn remove(&mut self, other: &Self) {
        for step in &other.members {
            self.members.remove(step);
        }
        for (step, set) in &other.children {
            if let Some(mine) = self.children.get_mut(step) {
                mine.remove(set);
                if mine.is_empty() {
                    self.children.remove(step);
                }
            }
        }
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut out = Self {
            members: self.members.intersection(&other.members).cloned().collect(),
            ..Self::default()
        };
        for (step, set) in &self.children {
            if let Some(theirs) = other.children.get(step) {
                out.graft(step.clone(), set.intersection(theirs));
            }
        }
        out
    }

    pub(super) fn difference(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.remove(other);
        out
    }

    /// The difference, where a member of `other` takes everything below it along.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut out = Self {
            members: self.members.difference(&other.members).cloned().collect(),
            ..Self::default()
        };
        for (step, set) in &self.children {
            if !other.has(step) {
                let rest = other.children.get(step).map_or_else(|| set.clone(), |o| set.without(o));
                out.graft(step.clone(), rest);
            }
        }
        out
    }

    /// All paths as messages show them, in order.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect("", &mut found);
        found
    }

    fn collect(&self, prefix: &str, found: &mut Vec<String>) {
        let steps: BTreeSet<&Step> = self.members.iter().chain(self.children.keys()).collect();
        for step in steps {
            let mut path = prefix.to_owned();
            // Writing to a String cannot fail.
            let _ = write!(path, "{}", step.shown());
            if self.has(step) {
                found.push(path.clone());
            }
            if let Some(set) = self.children.get(step) {
                set.collect(&path, found);
            }
        }
    }

    /// Members of both kinds, with what is below them.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&Step, Option<&Self>)> {
        self.children.iter().map(|(step, set)| (step, Some(set))).chain(
            self.members
                .iter()
                .filter(|step| !self.children.contains_key(*step))
                .map(|s| (s, None)),
        )
    }

    /// Reads fieldsV1. `None` when it is none.
    pub(super) fn parse(value: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (name, below) in value.as_object()? {
            if name == "." {
                continue;
            }
            let step = Step::parse(name)?;
            let fields = below.as_object()?;
            if fields.is_empty() || fields.contains_key(".") {
                set.members.insert(step.clone());
            }
            set.graft(step, Self::parse(below)?);
        }
        Some(set)
    }

    /// Writes fieldsV1.
    pub(super) fn to_json(&self) -> Value {
        let mut out = Map::new();
        for step in &self.members {
            out.insert(step.text(), json!({}));
        }
        for (step, set) in self.children.iter().filter(|(_, set)| !set.is_empty()) {
            let mut below = set.to_json();
            if let (true, Some(fields)) = (self.has(step), below.as_object_mut()) {
                fields.insert(".".to_owned(), json!({}));
            }
            out.insert(step.text(), below);
        }
        Value::Object(out)
    }
}
