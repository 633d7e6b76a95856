//! The certificate that the port shows: made by ourselves until the cluster's authority has signed one for exactly the
//! node's name and addresses; kept, and asked for anew before its end.

use crate::join::{self, Ask, Joined};
use crate::tls::{self, Identity};
use crate::{Error, Options, files, words};
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// First and longest wait between two tries to get a signature.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Part of a certificate's life, in hundredths, after which the next one is asked for (as the node's own).
const ROTATE_AT: i64 = 80;

#[derive(Debug)]
struct Show(Arc<Identity>);

impl ResolvesServerCert for Show {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.current()
    }
}

/// What the port speaks: certificates of the cluster's authority are asked for, never demanded.
pub(crate) fn config(
    roots: rustls::RootCertStore,
    shown: &Arc<Identity>,
) -> Result<Arc<ServerConfig>, Error> {
    let broken = |error: &dyn std::fmt::Display| Error::Certificate(error.to_string());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| broken(&e))?;
    let mut config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| broken(&e))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Show(Arc::clone(shown))));
    // streams need a connection of their own
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A certificate of our own for the first moments.
pub(crate) fn own(names: Vec<String>) -> Result<Arc<Identity>, Error> {
    let broken = |error: &dyn std::fmt::Display| Error::Certificate(error.to_string());
    let key = KeyPair::generate().map_err(|e| broken(&e))?;
    let params = CertificateParams::new(names).map_err(|e| broken(&e))?;
    let certificate = params.self_signed(&key).map_err(|e| broken(&e))?;
    let shown = Arc::new(Identity::default());
    shown.set(&certificate.pem(), &key.serialize_pem()).map_err(Error::Certificate)?;
    Ok(shown)
}

/// Keeps a signed certificate, for as long as the agent runs. `names` are the node's name and addresses.
pub(crate) async fn keep(
    options: Options,
    joined: Joined,
    node: String,
    names: Vec<String>,
    shown: Arc<Identity>,
) {
    let path = options.root_dir.join("pki").join("serving.pem");
    let clock = options.setup.clock.clone();
    let mut backoff = kit::Backoff::new(RETRY.0, RETRY.1, options.setup.salt);
    loop {
        let good_until = kept(&path, &names, clock.now());
        if let Some((pem, renew_at)) = good_until
            && shown.set(&pem, &pem).is_ok()
        {
            backoff.succeeded();
            tokio::time::sleep_until(clock.instant_of(renew_at)).await;
            // a certificate that lives for a moment only must not make a busy loop
            tokio::time::sleep(RETRY.0).await;
        }
        let ask = Ask {
            node: &node,
            signer: words::SIGNER_SERVING,
            usages: &["digital signature", "server auth"],
            names: &names,
        };
        let signed = join::sign(&joined.client, &ask, options.setup.salt).await;
        let written = signed.and_then(|pem| files::replace(&path, pem.as_bytes(), 0o600));
        if let Err(error) = written {
            let wait = backoff.failed();
            tracing::warn!(
                "the port shows a certificate of its own, so the server will not believe it: {error}; next try in \
                 {wait:.0?}"
            );
            tokio::time::sleep(wait).await;
        }
    }
}

/// The certificate of an earlier time and when to renew it, if it is for these names and not near its end.
fn kept(path: &Path, names: &[String], now: Timestamp) -> Option<(String, Timestamp)> {
    use rustls_pki_types::pem::PemObject;
    let pem = files::read(path).ok()?;
    let der = rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
    let (from, until) = (parsed.validity().not_before, parsed.validity().not_after);
    let whole = until.timestamp() - from.timestamp();
    let renew_at = Timestamp::from_second(from.timestamp() + whole * ROTATE_AT / 100).ok()?;
    let found = parsed.subject_alternative_name().ok()??;
    let found: BTreeSet<String> =
        found.value.general_names.iter().filter_map(alternative).collect();
    (renew_at > now && found == names.iter().cloned().collect()).then_some((pem, renew_at))
}

fn alternative(name: &x509_parser::extensions::GeneralName<'_>) -> Option<String> {
    use x509_parser::extensions::GeneralName;
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(std::net::IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => Some(std::net::IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_certificate_is_used_for_the_same_names_until_near_its_end() {
        let names = vec!["n1".to_owned(), "10.0.0.7".to_owned()];
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 12, 31);
        let pem = params.self_signed(&key).unwrap().pem();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serving.pem");
        let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        assert!(kept(&path, &names, now).is_none());
        std::fs::write(&path, pem).unwrap();
        let turned = vec!["10.0.0.7".to_owned(), "n1".to_owned()];
        assert!(kept(&path, &turned, now).is_some());
        assert!(kept(&path, &["n1".to_owned()], now).is_none());
        assert!(kept(&path, &names, "2026-11-30T00:00:00Z".parse().unwrap()).is_none());
    }
}
