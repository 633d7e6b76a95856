//! Starts the parts, each over a client of its own that acts under its own name.

use crate::cli::Part;
use apiserver::Server;
use apiserver::identity::Identity;
use apiserver::pki::Pki;
use daemonset::Compat;
use http::header::USER_AGENT;
use http::{HeaderValue, Request};
use kit::{Caches, Setup};
use std::collections::BTreeSet;
use std::sync::Arc;
use tower::ServiceBuilder;

/// Which parts, and how.
pub(super) struct Settings {
    pub(super) parts: BTreeSet<Part>,
    /// Where nodes' ranges of pod addresses are taken from.
    pub(super) range: caretaker::ClusterRange,
    /// Longest life of a certificate that is signed for a node.
    pub(super) signing_duration: std::time::Duration,
    /// As upstream where we chose better.
    pub(super) upstream: bool,
}

/// Starts the parts. All share one set of caches, which acts as upstream's controller manager does: it may read
/// everything and write nothing; each part writes under the name that upstream gives its like.
pub(super) fn start(settings: &Settings, server: &Server, setup: &Setup, pki: &Pki) {
    let reader = Identity::new("system:kube-controller-manager", &[]);
    let caches = Caches::new(client(server, reader, "pernode-caches"), setup);
    for part in &settings.parts {
        let (setup, caches) = (setup.clone(), caches.clone());
        match part {
            Part::Apiserver => {}
            Part::Daemonset => {
                let client = client(
                    server,
                    Identity::controller("daemon-set-controller"),
                    "pernode-daemonset",
                );
                let compat = if settings.upstream { Compat::Upstream } else { Compat::Ours };
                let options = daemonset::Options { setup: setup.clone(), caches, compat };
                setup.tasks.spawn("daemonset", daemonset::run(client, options));
            }
            Part::Scheduler => {
                let client = client(
                    server,
                    Identity::new("system:kube-scheduler", &[]),
                    "pernode-scheduler",
                );
                let options = scheduler::Options { setup: setup.clone(), caches };
                setup.tasks.spawn("scheduler", scheduler::run(client, options));
            }
            Part::Caretaker => caretaker(settings, server, (setup, caches), pki),
        }
    }
}

fn caretaker(settings: &Settings, server: &Server, (setup, caches): (Setup, Caches), pki: &Pki) {
    let server = server.clone();
    let options = caretaker::Options {
        setup: setup.clone(),
        caches,
        client_for: Arc::new(move |name| {
            client(&server, Identity::controller(name), "pernode-caretaker")
        }),
        authority: Some(caretaker::Authority {
            certificate: pki.ca.certificate.clone(),
            key: pki.ca.key.clone(),
            life_max: settings.signing_duration,
        }),
        duties: caretaker::Duty::ALL.into_iter().collect(),
        cluster_range: Some(settings.range),
        upstream: settings.upstream,
    };
    let tasks = setup.tasks.clone();
    setup.tasks.spawn("caretaker", async move {
        if let Err(fault) = caretaker::run(options).await {
            tracing::error!(%fault, "the caretaker cannot start; everything is being stopped");
            tasks.stop();
        }
    });
}

/// A client without a socket: its requests go straight to the server's router, as `identity`.
pub(super) fn client(server: &Server, identity: Identity, agent: &'static str) -> kube::Client {
    let service = ServiceBuilder::new()
        .map_request(move |mut request: Request<kube::client::Body>| {
            request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
            request.map(axum::body::Body::new)
        })
        .service(server.as_user(identity));
    kube::Client::new(service, "default")
}
