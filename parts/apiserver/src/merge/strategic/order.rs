//! The order of merged lists: what the patch names stands in the patch's order, what only the server has keeps
//! its place between.

use super::fault::Fault;
use serde_json::Value;
use std::collections::BTreeMap;

/// What pairs items: the merge key's value, or a primitive item itself.
fn identity<'v>(item: &'v Value, key: &str) -> Option<&'v Value> {
    if key.is_empty() { Some(item) } else { item.get(key) }
}

/// Where the first item of each identity stands in a list, so that long lists are not searched item by item.
pub(super) struct Places<'k> {
    key: &'k str,
    /// By the identity as JSON text.
    at: BTreeMap<String, usize>,
}

impl<'k> Places<'k> {
    pub(super) fn of(list: &[Value], key: &'k str) -> Self {
        let mut places = Self { key, at: BTreeMap::new() };
        for (at, item) in list.iter().enumerate() {
            places.note(item, at);
        }
        places
    }

    /// Says where an item stands; whether none of its identity stood there before.
    pub(super) fn note(&mut self, item: &Value, at: usize) -> bool {
        let Some(identity) = identity(item, self.key) else { return true };
        let fresh = !self.at.contains_key(&identity.to_string());
        if fresh {
            self.at.insert(identity.to_string(), at);
        }
        fresh
    }

    /// The place of the first item that is paired with this one.
    pub(super) fn place(&self, item: &Value) -> Option<usize> {
        self.at.get(&identity(item, self.key)?.to_string()).copied()
    }
}

/// Items of a patch must appear in its `$setElementOrder` list, in the same order; those to be deleted are left out.
pub(super) fn check(patch: &[Value], order: &[Value], key: &str) -> Result<(), Fault> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    if let Some(item) = patch.iter().find(|item| !key.is_empty() && !item.is_object()) {
        return Err(Fault::wanted_map(item));
    }
    let deleted = |item: &&Value| {
        !key.is_empty() && item.get(super::PATCH).is_some_and(|directive| directive == "delete")
    };
    let mut items = patch.iter().filter(|item| !deleted(item)).peekable();
    let mut wanted = order.iter();
    while let Some(item) = items.peek() {
        if wanted.as_slice().is_empty() {
            return Err(Fault::Failed(format!(
                "the order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}",
                super::shown(&Value::Array(patch.to_vec())),
                super::shown(&Value::Array(order.to_vec())),
            )));
        }
        if item.get(super::PATCH).is_some() {
            items.next();
        } else if let Some(next) = wanted.next()
            && keyed(item, key)? == keyed(next, key)?
        {
            items.next();
        }
    }
    Ok(())
}

/// What pairs an item, which must be there.
fn keyed<'v>(item: &'v Value, key: &str) -> Result<&'v Value, Fault> {
    if key.is_empty() {
        return Ok(item);
    }
    let Value::Object(fields) = item else { return Err(Fault::wanted_map(item)) };
    fields.get(key).ok_or_else(|| Fault::missing_key(fields, key))
}

/// Every item of a list that goes by a key must have it.
pub(super) fn all_keyed(items: &[Value], key: &str) -> Result<(), Fault> {
    if key.is_empty() {
        return Ok(());
    }
    items.iter().try_for_each(|item| keyed(item, key).map(drop))
}

/// `merged` with the items that `order` names in that order, and the others placed by the order on the server.
pub(super) fn enforced(
    merged: Vec<Value>,
    order: &[Value],
    server: &[Value],
    key: &str,
) -> Vec<Value> {
    let (order, server) = (Places::of(order, key), Places::of(server, key));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| order.place(item).is_some());
    named.sort_by_cached_key(|item| order.place(item));
    others.sort_by_cached_key(|item| server.place(item).unwrap_or(usize::MAX));
    let mut sorted = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let Some(other) = others.peek() {
        let Some(next) = named.peek() else { break };
        let first = match (server.place(other), server.place(next)) {
            (Some(other), Some(next)) => other < next,
            _ => false,
        };
        sorted.extend(if first { others.next() } else { named.next() });
    }
    sorted.extend(others);
    sorted.extend(named);
    sorted
}
