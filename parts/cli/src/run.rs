//! The two commands from question to text.

use crate::explain::{Standing, explain, explain_node};
use crate::observe::{self, Depth, Fault};
use crate::plan::{Forecast, Outcome, Wanted, plan};
use crate::print::{self, Output};
use crate::wanted::{self, Verdict};
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use std::str::FromStr;

/// What is printed, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// For standard output.
    pub text: String,
    /// For standard error.
    pub complaints: Vec<String>,
    /// Exit code.
    pub code: u8,
}

/// Nothing would change, or the question was answered.
pub const NOTHING_CHANGES: u8 = 0;
/// Something went wrong, or the API would refuse.
pub const FAILED: u8 = 1;
/// Something would change.
pub const CHANGES: u8 = 2;

/// Nodes without room whose pods are read one by one, to tell whom a pod would preempt: one request each.
const NODES_SEARCHED_MAX: usize = 16;

/// A DaemonSet by name: `daemonset/NAME`, `ds/NAME`, or NAME alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(pub String);

/// Names of the type, with and without its group.
fn is_daemonset(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let short =
        kind.strip_suffix(".v1.apps").or_else(|| kind.strip_suffix(".apps")).unwrap_or(&kind);
    ["daemonset", "daemonsets", "ds"].contains(&short)
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((kind, name)) if is_daemonset(kind) && !name.is_empty() && !name.contains('/') => {
                Ok(Self(name.to_owned()))
            }
            None if !text.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(format!("expected daemonset/NAME or ds/NAME, not {text:?}")),
        }
    }
}

impl Target {
    /// From one word or two (`ds NAME`).
    ///
    /// # Errors
    /// Words that are no DaemonSet's name.
    pub fn of(words: &[String]) -> Result<Self, Fault> {
        let found = match words {
            [one] => one.parse(),
            [kind, name] if is_daemonset(kind) => name.parse(),
            _ => Err(format!("expected daemonset/NAME or ds/NAME, not {:?}", words.join(" "))),
        };
        found.map_err(Fault::Usage)
    }
}

/// `pernode explain`.
#[derive(Clone, Debug)]
pub struct ExplainOptions {
    /// The DaemonSet.
    pub target: Target,
    /// Its namespace.
    pub namespace: String,
    /// One node in full.
    pub node: Option<String>,
    /// How to print.
    pub output: Output,
    /// Rows printed at most; 0 for all.
    pub rows_max: usize,
}

/// Explains a DaemonSet.
///
/// # Errors
/// What cannot be read, or is not there.
pub async fn run_explain(
    client: &Client,
    options: &ExplainOptions,
    now: Timestamp,
) -> Result<Said, Fault> {
    let (namespace, name) = (&options.namespace, &options.target.0);
    let object = must_be_there(client, namespace, name).await?;
    let depth = options.node.iter().map(|node| Depth::Nodes(vec![node.clone()])).next();
    let mut world = observe::world(client, &object, depth.as_ref().unwrap_or(&Depth::Set)).await?;
    let text = if let Some(node) = &options.node {
        let found = explain_node(&world, node, now);
        let found = found.ok_or_else(|| Fault::Usage(format!("nodes \"{node}\" not found")))?;
        print::node(&found, options.output)?
    } else {
        let mut found = explain(&world, now);
        // room matters only where a pod is still to be made
        if found.reasons.under(Standing::Gets).next().is_some() {
            observe::deepen(client, &mut world, &Depth::Room).await?;
            found = explain(&world, now);
        }
        print::explanation(found.limited(options.rows_max), options.output)?
    };
    Ok(Said { text, complaints: Vec::new(), code: NOTHING_CHANGES })
}

async fn must_be_there(client: &Client, namespace: &str, name: &str) -> Result<Value, Fault> {
    let found = observe::live(client, namespace, name).await?;
    found.ok_or_else(|| {
        Fault::Usage(format!("daemonsets.apps \"{name}\" not found in namespace \"{namespace}\""))
    })
}

/// Where wanted objects come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Documents, each text with its name.
    Documents(Vec<(String, String)>),
    /// New images of a DaemonSet that is there: container and image.
    Images(Target, Vec<(String, String)>),
}

/// `pernode plan`.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// What is wanted.
    pub source: Source,
    /// Namespace of documents that name none.
    pub namespace: String,
    /// Whether the namespace was asked for, so that documents may not name another.
    pub is_namespace_asked: bool,
    /// How to print.
    pub output: Output,
    /// Rows and waves printed at most; 0 for all.
    pub rows_max: usize,
}

/// Plans what is wanted, document by document.
///
/// # Errors
/// What cannot be read.
pub async fn run_plan(
    client: &Client,
    options: &PlanOptions,
    now: Timestamp,
) -> Result<Said, Fault> {
    let mut said = Said { text: String::new(), complaints: Vec::new(), code: NOTHING_CHANGES };
    let mut forecasts = Vec::new();
    for (name, verdict) in verdicts(client, options, &mut said).await? {
        match verdict {
            Verdict::Refused(words) => {
                said.complaints.push(format!("{name}: the API would refuse it: {words}"));
                said.code = FAILED;
            }
            Verdict::Taken(wanted, gap) => {
                let mut forecast = foresee(client, &wanted, now).await?;
                forecast.notes.splice(0..0, gap);
                if forecast.has_changes && said.code == NOTHING_CHANGES {
                    said.code = CHANGES;
                }
                forecasts.push(forecast.limited(options.rows_max));
            }
        }
    }
    said.text = print::forecasts(&forecasts, options.output)?;
    Ok(said)
}

async fn verdicts(
    client: &Client,
    options: &PlanOptions,
    said: &mut Said,
) -> Result<Vec<(String, Verdict)>, Fault> {
    let mut all = Vec::new();
    match &options.source {
        Source::Images(Target(name), images) => {
            let live = must_be_there(client, &options.namespace, name).await?;
            let wanted = wanted::with_images(&live, images)?;
            let verdict = wanted::replace(client, &options.namespace, live, wanted).await?;
            all.push((format!("daemonset/{name}"), verdict));
        }
        Source::Documents(texts) => {
            for (file, text) in texts {
                let (documents, others) = wanted::documents(file, text)?;
                if !others.is_empty() {
                    let others = others.join(", ");
                    said.complaints
                        .push(format!("{file}: looks at DaemonSets only, left out: {others}"));
                }
                for document in documents {
                    let namespace = namespace_of(&document, options)?;
                    let name = document["metadata"]["name"].as_str().unwrap_or_default();
                    let name = format!("daemonset/{name}");
                    all.push((name, wanted::apply(client, &namespace, document).await?));
                }
            }
            if all.is_empty() {
                return Err(Fault::Usage("no DaemonSet is in what was given".to_owned()));
            }
        }
    }
    Ok(all)
}

/// A document's own namespace, else the one asked for.
fn namespace_of(document: &Value, options: &PlanOptions) -> Result<String, Fault> {
    match document["metadata"]["namespace"].as_str() {
        Some(own) if options.is_namespace_asked && own != options.namespace => {
            Err(Fault::Usage(format!(
                "the namespace from the provided object \"{own}\" does not match the namespace \"{}\"",
                options.namespace
            )))
        }
        Some(own) => Ok(own.to_owned()),
        None => Ok(options.namespace.clone()),
    }
}

async fn foresee(client: &Client, wanted: &Wanted, now: Timestamp) -> Result<Forecast, Fault> {
    let of = wanted.live.as_ref().unwrap_or(&wanted.object);
    let mut world = observe::world(client, of, &Depth::Room).await?;
    let unreadable = |problem: rollout::Problem| Fault::Unreadable(problem.to_string());
    let forecast = plan(&world, wanted, now).map_err(unreadable)?;
    let unfit = forecast.nodes.iter().filter(|node| node.outcome == Outcome::DoesNotFit);
    let unfit: Vec<String> = unfit.take(NODES_SEARCHED_MAX).map(|node| node.node.clone()).collect();
    if unfit.is_empty() {
        return Ok(forecast);
    }
    observe::deepen(client, &mut world, &Depth::Nodes(unfit)).await?;
    plan(&world, wanted, now).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemonsets_are_named_as_kubectl_names_them() {
        for words in [
            &["ds/a"][..],
            &["daemonset/a"],
            &["daemonsets.apps/a"],
            &["DaemonSet.v1.apps/a"],
            &["a"],
            &["ds", "a"],
        ] {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert_eq!(Target::of(&words).unwrap(), Target("a".to_owned()), "{words:?}");
        }
        for words in [&["deploy/a"][..], &["ds/"], &["ds/a/b"], &["deploy", "a"], &[]] {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert!(Target::of(&words).is_err(), "{words:?}");
        }
    }
}
