//! An explanation of one node, for people.

use super::explanation::{engine, rollout};
use crate::explain::{NodeExplanation, Standing};
use std::fmt::Write as _;

pub(super) fn text(found: &NodeExplanation) -> String {
    let mut out = String::new();
    let standing = match found.standing {
        Standing::Has => "has it",
        Standing::Gets => "gets it",
        Standing::DoesNotGet => "does not get it",
    };
    let _ = writeln!(
        out,
        "daemonset/{} in {} on node {}: {standing}",
        found.name, found.namespace, found.node
    );
    for reason in &found.reasons {
        let _ = writeln!(out, "  {reason}");
    }
    let _ = writeln!(out, "engine: {}", engine(&found.engine));
    let _ = writeln!(out, "\nMAY IT RUN HERE");
    for check in &found.checks {
        let answer = match check.passes {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "?",
        };
        let _ = writeln!(out, "  {:<3}  {} ({})", answer, check.name, check.asked_by);
        for detail in &check.details {
            let _ = writeln!(out, "         {detail}");
        }
    }
    if let Some(preemption) = &found.preemption {
        let _ = writeln!(out, "\nWOULD PREEMPT (its priority is {})", preemption.priority);
        for victim in &preemption.victims {
            let _ = writeln!(out, "  {victim}");
        }
        if preemption.budgets_broken > 0 {
            let _ = writeln!(
                out,
                "  {} of them against a PodDisruptionBudget",
                preemption.budgets_broken
            );
        }
    }
    let _ = writeln!(out, "\nITS PODS HERE: {}", found.pods.len());
    for pod in &found.pods {
        let template = if pod.line.is_current { "current" } else { "old" };
        let ready = if pod.line.is_ready { "ready" } else { "not ready" };
        let hash = pod.hash.as_deref().unwrap_or("none");
        let _ = writeln!(
            out,
            "  {}: {}, {ready}, {} restarts, {template} template (hash {hash})",
            pod.line.name, pod.line.state, pod.line.restarts
        );
        for trouble in &pod.troubles {
            let _ = writeln!(out, "    {trouble}");
        }
        if let Some(next) = &pod.next {
            let _ = writeln!(out, "    next: {next}");
        }
    }
    let _ = writeln!(out, "\nROLLOUT");
    let _ = writeln!(out, "  here: {}", found.turn.as_deref().unwrap_or("nothing to do"));
    let _ = writeln!(out, "  all:  {}", rollout(&found.rollout));
    for note in &found.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}
