//! Flags of the questions: `pernode explain`, `pernode plan`, and both as a plugin of kubectl.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Name under which kubectl finds a plugin `pernode`.
const PLUGIN: &str = "kubectl-pernode";

/// What can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Question {
    /// Say why each node has a pod of a DaemonSet, gets one, or does not
    Explain(ExplainFlags),
    /// Say what applying a DaemonSet would do, node by node, without changing anything
    Plan(PlanFlags),
}

/// Which cluster, as whom, and where.
#[derive(Debug, Args)]
pub(crate) struct ClusterFlags {
    /// Kubeconfig of the cluster [default: $KUBECONFIG, else ~/.kube/config, else the pod's own account]
    #[arg(long, global = true)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// Namespace [default: that of the context]
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnswerForm {
    /// Sums, and a row for each node.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

impl AnswerForm {
    pub(crate) fn of(form: Option<Self>) -> ::cli::Output {
        match form {
            None => ::cli::Output::Short,
            Some(Self::Wide) => ::cli::Output::Wide,
            Some(Self::Json) => ::cli::Output::Json,
            Some(Self::Yaml) => ::cli::Output::Yaml,
        }
    }
}

/// How the answer is printed.
#[derive(Debug, Args)]
pub(crate) struct AnswerFlags {
    /// Form of the answer [default: sums by reason]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<AnswerForm>,
    /// Rows (and steps) printed at most with -o wide, json and yaml; 0 for all
    #[arg(long, default_value_t = 1000)]
    pub(crate) rows: usize,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  pernode explain daemonset/log-agent               nodes summed by reason
  pernode explain ds/log-agent --node node3         every question about one node, its pods, whom it would preempt
  pernode explain ds/kube-proxy -n kube-system -o wide
  kubectl pernode explain ds/log-agent              with a link named kubectl-pernode on PATH

Works against pernode and any Kubernetes cluster; reads only. Exit codes: 0 answered, 1 error.";

/// Flags of `pernode explain`.
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct ExplainFlags {
    /// daemonset/NAME or ds/NAME
    #[arg(required = true, num_args = 1..=2, value_names = ["DAEMONSET"])]
    pub(crate) daemonset: Vec<String>,
    /// Explain this node in full
    #[arg(long)]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) answer: AnswerFlags,
    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,
}

const PLAN_EXAMPLES: &str = "\
Examples:
  pernode plan -f log-agent.yaml                    what `kubectl apply -f log-agent.yaml` would lead to
  pernode plan ds/log-agent --image follow=busybox:1.36
  cat *.yaml | pernode plan -f - -o json

Nothing is changed: the API is asked with dryRun=All. Exit codes: 0 nothing would change, 2 something would change,
1 error, or the API would refuse.";

/// Flags of `pernode plan`.
#[derive(Debug, Args)]
#[command(after_help = PLAN_EXAMPLES)]
pub(crate) struct PlanFlags {
    /// File of YAML or JSON documents, - for standard input; may be given several times
    #[arg(short, long = "filename", conflicts_with_all = ["daemonset", "image"], required_unless_present = "daemonset")]
    pub(crate) filename: Vec<PathBuf>,
    /// daemonset/NAME or ds/NAME, with --image
    #[arg(num_args = 1..=2, requires = "image", value_names = ["DAEMONSET"])]
    pub(crate) daemonset: Vec<String>,
    /// New image of a container, CONTAINER=IMAGE; may be given several times
    #[arg(long, value_parser = image, requires = "daemonset")]
    pub(crate) image: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) answer: AnswerFlags,
    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,
}

fn image(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((container, image)) if !container.is_empty() && !image.is_empty() => {
            Ok((container.to_owned(), image.to_owned()))
        }
        _ => Err("expected CONTAINER=IMAGE such as follow=busybox:1.36".to_owned()),
    }
}

/// The command line as if the plugin had been asked for by its subcommand, where the binary is called
/// `kubectl-pernode`.
pub(crate) fn arguments(
    given: impl Iterator<Item = std::ffi::OsString>,
) -> Vec<std::ffi::OsString> {
    let mut all: Vec<_> = given.collect();
    let name = all.first().map(PathBuf::from);
    if name.as_ref().and_then(|path| path.file_stem()).is_some_and(|name| name == PLUGIN) {
        all.insert(1, "kubectl-plugin".into());
    }
    all
}

/// Whether a question is asked, so that bad flags answer 1: 2 means that something would change.
pub(crate) fn is_question(arguments: &[std::ffi::OsString]) -> bool {
    arguments
        .iter()
        .skip(1)
        .any(|word| word == "plan" || word == "explain" || word == "kubectl-plugin")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn parse(words: &[&str]) -> Result<Command, String> {
        let words = arguments(words.iter().map(Into::into));
        Cli::try_parse_from(words).map(|cli| cli.command).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_link_named_as_kubectl_wants_it_asks_the_same() {
        for words in [
            &["pernode", "explain", "ds/a", "-n", "x"][..],
            &["pernode", "explain", "ds", "a", "--namespace", "x"],
        ] {
            let Ok(Command::Explain(flags)) = parse(words) else { panic!("{words:?}") };
            assert_eq!(flags.cluster.namespace.as_deref(), Some("x"));
        }
        for words in [
            &["/usr/local/bin/kubectl-pernode", "explain", "ds/a"][..],
            &["pernode", "kubectl-plugin", "explain", "ds/a"],
        ] {
            let found = parse(words);
            assert!(
                matches!(found, Ok(Command::KubectlPlugin { question: Question::Explain(_) })),
                "{words:?}"
            );
        }
    }

    #[test]
    fn a_plan_takes_files_or_images() {
        assert!(
            matches!(parse(&["pernode", "plan", "-f", "-", "-f", "x"]), Ok(Command::Plan(f)) if f.filename.len() == 2)
        );
        let Ok(Command::Plan(flags)) = parse(&["pernode", "plan", "ds/a", "--image", "c=b:1"])
        else {
            panic!()
        };
        assert_eq!(flags.image, [("c".to_owned(), "b:1".to_owned())]);
        for (words, says) in [
            (&["pernode", "plan"][..], "--filename"),
            (&["pernode", "plan", "ds/a"], "--image"),
            (&["pernode", "plan", "ds/a", "--image", "c"], "CONTAINER=IMAGE"),
            (&["pernode", "plan", "ds/a", "-f", "x"], "cannot be used"),
        ] {
            let fault = parse(words).unwrap_err();
            assert!(fault.contains(says), "{words:?}: {fault}");
        }
    }
}
