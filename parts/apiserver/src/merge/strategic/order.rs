//! The order of merged lists: what the patch names stands in the patch's order, what only the server has keeps
//! its place between.

use serde_json::Value;

/// What pairs items: the merge key's value, or a primitive item itself.
fn identity<'v>(item: &'v Value, key: &str) -> Option<&'v Value> {
    if key.is_empty() { Some(item) } else { item.get(key) }
}

fn place(list: &[Value], item: &Value, key: &str) -> Option<usize> {
    let wanted = identity(item, key)?;
    list.iter().position(|other| identity(other, key) == Some(wanted))
}

/// Items of a patch must appear in its `$setElementOrder` list, in the same order.
pub(super) fn check(patch: &[Value], order: &[Value], key: &str) -> Result<(), String> {
    let mut last = 0;
    for item in patch.iter().filter(|item| item.get(super::PATCH).is_none()) {
        match place(order, item, key) {
            Some(at) if at >= last => last = at,
            _ => {
                return Err(format!(
                    "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                    super::shown(&Value::Array(patch.to_vec())),
                    super::shown(&Value::Array(order.to_vec())),
                ));
            }
        }
    }
    Ok(())
}

/// `merged` with the items that `order` names in that order, and the others placed by the order on the server.
pub(super) fn enforced(
    merged: Vec<Value>,
    order: &[Value],
    server: &[Value],
    key: &str,
) -> Vec<Value> {
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(order, item, key).is_some());
    named.sort_by_key(|item| place(order, item, key));
    others.sort_by_key(|item| place(server, item, key).unwrap_or(usize::MAX));
    let mut sorted = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let Some(other) = others.peek() {
        let Some(next) = named.peek() else { break };
        let first = match (place(server, other, key), place(server, next, key)) {
            (Some(other), Some(next)) => other < next,
            _ => false,
        };
        sorted.extend(if first { others.next() } else { named.next() });
    }
    sorted.extend(others);
    sorted.extend(named);
    sorted
}
