//! The rows, by topic.

use crate::table::Row;

mod life;
mod more;
mod node_side;
mod security;
mod volumes;

/// All of them.
pub(crate) fn all() -> Vec<Row> {
    [volumes::ROWS, security::ROWS, life::ROWS, node_side::ROWS, more::ROWS].concat()
}
