//! Forecasts, for people and programs.

use super::{Output, machine, names, table};
use crate::observe::Fault;
use crate::plan::{Forecast, Outcome, Wave};
use serde::Serialize;
use std::fmt::Write as _;

/// Waves shown in short.
const WAVES_SHOWN: usize = 10;
/// Nodes named for each of them.
const NAMES_SHOWN: usize = 5;

const HEADINGS: [(Outcome, &str); 7] = [
    (Outcome::Gains, "GAIN A POD"),
    (Outcome::Loses, "LOSE THEIR POD"),
    (Outcome::Replaces, "REPLACE THEIR POD"),
    (Outcome::DoesNotFit, "DO NOT FIT IT"),
    (Outcome::Waits, "WAIT"),
    (Outcome::Keeps, "KEEP THEIR POD"),
    (Outcome::Without, "STAY WITHOUT"),
];

#[derive(Serialize)]
struct List<'a> {
    kind: &'static str,
    items: &'a [Forecast],
}

/// All forecasts, one after the other; for programs one object, or a list where there are several.
///
/// # Errors
/// None that are known.
pub fn forecasts(all: &[Forecast], output: Output) -> Result<String, Fault> {
    match (output, all) {
        (_, []) => Ok(String::new()),
        (Output::Json | Output::Yaml, [one]) => machine(one, output),
        (Output::Json | Output::Yaml, _) => machine(&List { kind: "PlanList", items: all }, output),
        _ => {
            let texts: Vec<String> =
                all.iter().map(|one| text(one, output == Output::Wide)).collect();
            Ok(texts.join("\n"))
        }
    }
}

fn text(found: &Forecast, is_wide: bool) -> String {
    let mut out = String::new();
    let _ =
        writeln!(out, "daemonset/{} in {}: {}", found.name, found.namespace, found.change.words);
    if !found.has_changes {
        let _ = writeln!(out, "nothing would change");
    }
    for field in &found.change.fields {
        let _ = writeln!(out, "  ~ {field}");
    }
    let more = found.change.fields_changed.saturating_sub(found.change.fields.len());
    if more > 0 {
        let _ = writeln!(out, "  ... {more} more fields");
    }
    for note in &found.notes {
        let _ = writeln!(out, "note: {note}");
    }
    for (outcome, heading) in HEADINGS {
        let mut groups = found.outcomes.under(outcome).peekable();
        if groups.peek().is_none() {
            continue;
        }
        let _ = writeln!(out, "\n{heading}");
        for group in groups {
            let examples = names(&group.examples, group.nodes);
            let _ = writeln!(out, "{:>7}  {}  ({examples})", group.nodes, group.reason);
        }
    }
    if !found.preempted.is_empty() {
        let _ = writeln!(out, "\nWOULD PREEMPT");
        for one in &found.preempted {
            let _ = writeln!(out, "  on {}: {}", one.node, one.pods.join(", "));
        }
    }
    waves(found, &mut out);
    if is_wide {
        let mut rows = vec![["NODE", "OUTCOME", "REASON"].map(str::to_owned).to_vec()];
        rows.extend(found.nodes.iter().map(|node| {
            let heading = HEADINGS.iter().find(|(outcome, _)| *outcome == node.outcome);
            let heading = heading.map_or("", |(_, heading)| heading).to_lowercase();
            vec![node.node.clone(), heading, node.reasons.join("; ")]
        }));
        let _ = write!(out, "\n{}", table(&rows));
        if found.nodes_left_out > 0 {
            let _ = writeln!(out, "... {} more nodes; --rows 0 shows all", found.nodes_left_out);
        }
    }
    out
}

fn waves(found: &Forecast, out: &mut String) {
    if found.steps == 0 {
        let _ = writeln!(out, "\nno steps");
        return;
    }
    let known = if found.is_complete { "" } else { "at least " };
    let _ = writeln!(out, "\nIN {known}{} STEPS", found.steps);
    for (at, wave) in found.waves.iter().take(WAVES_SHOWN).enumerate() {
        let _ = writeln!(out, "  {:>4}  {}", at + 1, words(wave));
    }
    if found.steps > WAVES_SHOWN {
        let _ = writeln!(
            out,
            "        ... {} more steps; -o json shows them",
            found.steps - WAVES_SHOWN
        );
    }
}

fn words(wave: &Wave) -> String {
    let parts =
        [("create on", &wave.gains), ("replace on", &wave.replaces), ("remove from", &wave.loses)];
    let shown = |nodes: &[String]| names(nodes.get(..NAMES_SHOWN).unwrap_or(nodes), nodes.len());
    let parts = parts.into_iter().filter(|(_, nodes)| !nodes.is_empty());
    parts.map(|(what, nodes)| format!("{what} {}", shown(nodes))).collect::<Vec<_>>().join("; ")
}
