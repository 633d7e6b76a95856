//! An explanation of all nodes, for people.

use super::{names, table};
use crate::explain::{Explanation, Row, Standing};
use std::fmt::Write as _;

pub(super) fn text(found: &Explanation, is_wide: bool) -> String {
    let mut out = String::new();
    let _ =
        writeln!(out, "daemonset/{} in {}: {} nodes", found.name, found.namespace, found.nodes.all);
    let _ = writeln!(out, "engine: {}", engine(&found.engine));
    let _ = writeln!(out, "rollout: {}", rollout(&found.rollout));
    for note in &found.notes {
        let _ = writeln!(out, "note: {note}");
    }
    for (standing, words, count) in [
        (Standing::Has, "HAS IT", found.nodes.have),
        (Standing::Gets, "GETS IT", found.nodes.get),
        (Standing::DoesNotGet, "DOES NOT GET IT", found.nodes.do_not_get),
    ] {
        let _ = writeln!(out, "\n{words}: {count}");
        for group in found.reasons.under(standing) {
            let examples = names(&group.examples, group.nodes);
            let _ = writeln!(out, "{:>7}  {}  ({examples})", group.nodes, group.reason);
        }
    }
    if is_wide {
        let mut rows = vec![
            ["NODE", "STANDING", "POD", "TEMPLATE", "READY", "STATE", "RESTARTS", "REASON"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(found.rows.iter().map(row));
        let _ = write!(out, "\n{}", table(&rows));
        if found.rows_left_out > 0 {
            let _ = writeln!(out, "... {} more nodes; --rows 0 shows all", found.rows_left_out);
        }
    }
    out
}

pub(super) fn engine(engine: &crate::world::Engine) -> String {
    let whose = match (&engine.manager, engine.is_pernode) {
        (_, true) => "pernode",
        (Some(manager), false) => manager,
        (None, false) => "not pernode",
    };
    format!("{whose} ({})", engine.evidence)
}

pub(super) fn rollout(rollout: &crate::explain::Progress) -> String {
    let limits = match (rollout.max_unavailable, rollout.max_surge) {
        (Some(unavailable), Some(surge)) => {
            format!(", maxUnavailable {unavailable}, maxSurge {surge}")
        }
        _ => String::new(),
    };
    let revision = match rollout.revision {
        Some(number) => format!("revision {number}"),
        None => "its revision is not written yet".to_owned(),
    };
    format!("{} ({}{limits}; {revision}, hash {})", rollout.words, rollout.strategy, rollout.hash)
}

fn row(row: &Row) -> Vec<String> {
    let standing = match row.standing {
        Standing::Has => "has",
        Standing::Gets => "gets",
        Standing::DoesNotGet => "does not get",
    };
    let none = || "-".to_owned();
    let (pod, template, ready, state, restarts) = match &row.pod {
        None => (none(), none(), none(), none(), none()),
        Some(pod) => (
            pod.name.clone(),
            if pod.is_current { "current" } else { "old" }.to_owned(),
            pod.is_ready.to_string(),
            pod.state.clone(),
            pod.restarts.to_string(),
        ),
    };
    vec![
        row.node.clone(),
        standing.to_owned(),
        pod,
        template,
        ready,
        state,
        restarts,
        row.reasons.join("; "),
    ]
}
