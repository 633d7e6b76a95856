//! Wires the agent.

use crate::cli::{AgentAct, AgentFlags, KUBERNETES};
use std::process::ExitCode;
use std::time::Duration;

/// How long the agent's tasks may take to end. Containers go on running.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(flags: AgentFlags) -> anyhow::Result<ExitCode> {
    let setup = crate::server::setup()?;
    if let Some(AgentAct::Shutdown { grace, root_dir }) = flags.act {
        agent::shutdown(&root_dir, grace, |line| print(&format!("{line}\n"))).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let check = flags.check;
    let options = agent::Options {
        setup: setup.clone(),
        version: format!("{KUBERNETES}+pernode.{}", env!("CARGO_PKG_VERSION")),
        server: flags.server.unwrap_or_default(),
        token: flags.token,
        token_file: flags.token_file,
        ca_file: flags.ca_file,
        ca_hash: flags.ca_hash,
        node_name: flags.node_name,
        node_ip: flags.node_ip,
        runtime_endpoint: flags.runtime_endpoint,
        root_dir: flags.root_dir,
        node_labels: flags.node_labels,
        node_taints: flags.node_taints,
        cgroup_root: flags.cgroup_root,
        cni: flags.cni,
        max_pods: flags.max_pods,
        pod_max_pids: flags.pod_max_pids,
        reserved: flags.reserved,
        port: flags.port,
    };
    if check {
        let report = agent::check(options).await;
        print(&report.table);
        return Ok(if report.is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let ended = tokio::select! {
        ended = agent::run(options) => ended,
        signal = crate::server::signal() => { tracing::info!(signal = signal?, "stopping"); Ok(()) }
    };
    setup.tasks.finish(PATIENCE).await;
    ended?;
    anyhow::ensure!(setup.tasks.panicked().is_none(), "a task panicked; see the log above");
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "answers to the person who asked")]
fn print(table: &str) {
    print!("{table}");
}
