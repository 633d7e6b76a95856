//! The rows, by topic.

use crate::node::Node;
use crate::table::Row;

mod changes;
mod isolation;
mod later;
mod life;
mod more;
mod node_side;
mod security;
mod volumes;

/// All of them.
pub(crate) fn all() -> Vec<Row> {
    [
        volumes::ROWS,
        security::ROWS,
        life::ROWS,
        node_side::ROWS,
        more::ROWS,
        changes::ROWS,
        isolation::ROWS,
        later::ROWS,
    ]
    .concat()
}

/// A condition of a pod has this status and reason.
fn condition(node: &Node, pod: &str, kind: &str, status: &str, reason: &str) -> Result<(), String> {
    let list = node.field(pod, "/status/conditions");
    let list: serde_json::Value = serde_json::from_str(&list).map_err(|error| error.to_string())?;
    let mut all = list.as_array().into_iter().flatten();
    let own = all.find(|one| one["type"] == kind).ok_or_else(|| format!("no {kind} in {list}"))?;
    let found = (own["status"].as_str(), own["reason"].as_str().unwrap_or_default());
    (found == (Some(status), reason)).then_some(()).ok_or_else(|| own.to_string())
}
