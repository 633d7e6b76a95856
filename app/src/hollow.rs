//! Wires pretend nodes.

use crate::cli::HollowFlags;
use anyhow::Context;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::process::ExitCode;
use std::time::Duration;

/// How long the nodes' tasks may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(flags: HollowFlags) -> anyhow::Result<ExitCode> {
    let setup = crate::server::setup()?;
    let mut config = config(&flags).await?;
    config
        .headers
        .push((http::header::USER_AGENT, http::HeaderValue::from_static("pernode-hollow")));
    let client = Client::try_from(config).context("cannot make a client")?;
    let options = hollow::Options::uniform(&setup, &flags.prefix, flags.nodes);
    tokio::select! {
        () = hollow::run(client, options) => {}
        signal = crate::server::signal() => tracing::info!(signal = signal?, "stopping"),
    }
    setup.tasks.finish(PATIENCE).await;
    anyhow::ensure!(setup.tasks.panicked().is_none(), "a task panicked; see the log above");
    Ok(ExitCode::SUCCESS)
}

async fn config(flags: &HollowFlags) -> anyhow::Result<Config> {
    if let Some(path) = &flags.kubeconfig {
        let read = Kubeconfig::read_from(path)
            .with_context(|| format!("{}: cannot read the kubeconfig", path.display()))?;
        let options = KubeConfigOptions::default();
        return Config::from_custom_kubeconfig(read, &options)
            .await
            .with_context(|| format!("{}: cannot use the kubeconfig", path.display()));
    }
    let server = flags.server.as_deref().unwrap_or_default();
    let uri: http::Uri = server
        .parse()
        .with_context(|| format!("--server {server:?} is no URL such as https://10.0.0.5:6443"))?;
    let mut config = Config::new(uri);
    if let Some(path) = &flags.ca_file {
        let pem = std::fs::read(path)
            .with_context(|| format!("{}: cannot read the CA's certificate", path.display()))?;
        let read = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::pem_slice_iter(&pem)
            .map(|one| one.map(|der| der.to_vec()))
            .collect::<Result<Vec<_>, _>>();
        config.root_cert =
            Some(read.map_err(|fault| anyhow::anyhow!("{}: {fault}", path.display()))?);
    }
    config.auth_info = AuthInfo {
        token_file: flags.token_file.as_ref().map(|path| path.display().to_string()),
        ..AuthInfo::default()
    };
    Ok(config)
}
