//! Wires the questions: an ordinary client of whatever cluster the kubeconfig names.

use crate::cli::ask::{AnswerForm, ClusterFlags, ExplainFlags, PlanFlags, Question};
use ::cli::{ExplainOptions, PlanOptions, Said, Source, Target};
use anyhow::Context;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

pub(crate) async fn run(question: Question) -> anyhow::Result<ExitCode> {
    let said = match question {
        Question::Explain(flags) => explain(flags).await?,
        Question::Plan(flags) => plan(flags).await?,
    };
    for complaint in &said.complaints {
        tell(complaint);
    }
    // whoever reads may have seen enough
    match std::io::stdout().write_all(said.text.as_bytes()) {
        Err(fault) if fault.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(fault).context("cannot write the answer")
        }
        _ => Ok(ExitCode::from(said.code)),
    }
}

async fn explain(flags: ExplainFlags) -> anyhow::Result<Said> {
    let target = Target::of(&flags.daemonset)?;
    let (client, namespace) = client(&flags.cluster).await?;
    let options = ExplainOptions {
        target,
        namespace,
        node: flags.node,
        output: AnswerForm::of(flags.answer.output),
        rows_max: flags.answer.rows,
    };
    Ok(::cli::run_explain(&client, &options, crate::server::setup()?.clock.now()).await?)
}

async fn plan(flags: PlanFlags) -> anyhow::Result<Said> {
    let source = if flags.filename.is_empty() {
        Source::Images(Target::of(&flags.daemonset)?, flags.image)
    } else {
        Source::Documents(flags.filename.iter().map(|path| read(path)).collect::<Result<_, _>>()?)
    };
    let (client, namespace) = client(&flags.cluster).await?;
    let options = PlanOptions {
        source,
        namespace,
        is_namespace_asked: flags.cluster.namespace.is_some(),
        output: AnswerForm::of(flags.answer.output),
        rows_max: flags.answer.rows,
    };
    Ok(::cli::run_plan(&client, &options, crate::server::setup()?.clock.now()).await?)
}

/// A file, or standard input for `-`.
fn read(path: &Path) -> anyhow::Result<(String, String)> {
    let name = path.display().to_string();
    let most = ::cli::wanted::INPUT_BYTES_MAX as u64 + 1;
    let mut text = String::new();
    let outcome = if name == "-" {
        std::io::stdin().take(most).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    outcome.with_context(|| format!("{name}: cannot read it"))?;
    Ok((name, text))
}

/// A client, and the namespace that is meant.
async fn client(flags: &ClusterFlags) -> anyhow::Result<(Client, String)> {
    let options =
        KubeConfigOptions { context: flags.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match &flags.kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path)
                .with_context(|| format!("{}: cannot read the kubeconfig", path.display()))?;
            Config::from_custom_kubeconfig(read, &options)
                .await
                .with_context(|| format!("{}: cannot use the kubeconfig", path.display()))?
        }
        None if flags.context.is_some() => {
            Config::from_kubeconfig(&options).await.context("cannot use the kubeconfig")?
        }
        None => Config::infer().await.context("no cluster is known; give --kubeconfig")?,
    };
    config.headers.push((USER_AGENT, HeaderValue::from_static("pernode-cli")));
    let namespace = flags.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    Ok((Client::try_from(config).context("cannot make a client")?, namespace))
}

#[expect(clippy::print_stderr, reason = "complaints belong on standard error")]
fn tell(line: &str) {
    eprintln!("pernode: {line}");
}
