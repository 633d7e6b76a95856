//! Answers as text. Nothing is decided here.

mod explanation;
mod forecast;
mod node;

pub use forecast::forecasts;

use crate::explain::{Explanation, NodeExplanation};
use crate::observe::Fault;
use serde::Serialize;

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Sums for people.
    #[default]
    Short,
    /// A row for each node, too.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// An explanation of all nodes.
///
/// # Errors
/// None that are known: what is printed is made of text and numbers.
pub fn explanation(found: Explanation, output: Output) -> Result<String, Fault> {
    match output {
        Output::Short => Ok(explanation::text(&found, false)),
        Output::Wide => Ok(explanation::text(&found, true)),
        Output::Json | Output::Yaml => machine(&found, output),
    }
}

/// An explanation of one node.
///
/// # Errors
/// None that are known.
pub fn node(found: &NodeExplanation, output: Output) -> Result<String, Fault> {
    match output {
        Output::Short | Output::Wide => Ok(node::text(found)),
        Output::Json | Output::Yaml => machine(found, output),
    }
}

fn machine<T: Serialize>(found: &T, output: Output) -> Result<String, Fault> {
    let text = match output {
        Output::Yaml => serde_saphyr::to_string(found).map_err(|error| error.to_string()),
        _ => serde_json::to_string_pretty(found)
            .map(|text| text + "\n")
            .map_err(|error| error.to_string()),
    };
    text.map_err(Fault::Unreadable)
}

/// Rows in columns, as kubectl lays them out: three spaces between.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter()
            .filter_map(|row| row.get(at))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 3 - cell.chars().count().min(width + 3)));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `a, b, c and 4 more`.
fn names(all: &[String], count: usize) -> String {
    let shown = all.join(", ");
    match count.saturating_sub(all.len()) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
