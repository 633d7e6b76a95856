//! The agent's own port: health and figures. Nothing else is served there yet.

use crate::Error;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at the same time. A scraper needs one; each takes about 100 KiB with TLS.
const CONNECTIONS_MAX: usize = 32;
/// Longest life of a connection: no client of these two paths needs more.
const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// Binds the port with a certificate made for this start.
pub(crate) async fn bind(
    port: u16,
    names: Vec<String>,
) -> Result<(TcpListener, Arc<ServerConfig>), Error> {
    let broken = |error: &dyn std::fmt::Display| Error::Certificate(error.to_string());
    let listener = TcpListener::bind(("0.0.0.0", port))
        .await
        .map_err(|source| Error::Port { port, source })?;
    let key = KeyPair::generate().map_err(|e| broken(&e))?;
    let params = CertificateParams::new(names).map_err(|e| broken(&e))?;
    let certificate = params.self_signed(&key).map_err(|e| broken(&e))?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| broken(&e))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .map_err(|e| broken(&e))?;
    Ok((listener, Arc::new(config)))
}

/// Serves for as long as the agent runs.
pub(crate) async fn run(listener: TcpListener, tls: Arc<ServerConfig>, setup: kit::Setup) {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                // out of file descriptors or the like: it passes
                tracing::debug!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, own) = (acceptor.clone(), setup.clone());
        setup.tasks.spawn("connection", async move {
            let serve = async {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
                    let answer = answer(request.uri().path(), &own);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                if let Err(error) = http.serve_connection(TokioIo::new(tls), service).await {
                    tracing::debug!("connection ended: {error}");
                }
            };
            let _ = tokio::time::timeout(CONNECTION_MAX, serve).await;
            drop(permit);
        });
    }
}

fn answer(path: &str, setup: &kit::Setup) -> http::Response<Full<Bytes>> {
    let (code, kind, text) = match path {
        "/healthz" => (http::StatusCode::OK, "text/plain; charset=utf-8", "ok".to_owned()),
        "/metrics" => (
            http::StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            setup.metrics.encode(),
        ),
        _ => (
            http::StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "404 page not found\n".to_owned(),
        ),
    };
    let mut answer = http::Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = code;
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_health_and_figures_are_served() {
        let setup = kit::Setup::new(kit::Clock::system(), 0);
        assert_eq!(answer("/healthz", &setup).status(), 200);
        assert_eq!(answer("/metrics", &setup).status(), 200);
        for path in ["/", "/pods", "/exec/a/b/c", "/containerLogs/a/b/c"] {
            assert_eq!(answer(path, &setup).status(), 404, "{path}");
        }
    }
}
