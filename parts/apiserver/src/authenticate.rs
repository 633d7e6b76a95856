//! Who is it? Client certificate, then bearer token, then nobody; then perhaps in another's name.
//!
//! A certificate was already checked against the CA during the handshake ([`crate::tls`]); here only its
//! lifetime is looked at again, since connections outlive it. A token that nobody knows is 401, never "nobody".

mod bootstrap_token;
mod impersonate;
pub mod join;
mod service_account;
mod signing;
mod static_tokens;

pub use bootstrap_token::{JoinToken, NotAToken};
pub use impersonate::impersonate;
pub use service_account::{Claims, Reference, ServiceAccountTokens, Subject};
pub use signing::{SigningKey, SigningKeyError};
pub use static_tokens::{StaticTokens, StaticTokensError};

use crate::authorize::Lookup;
use crate::identity::{self, Identity};
use api::Status;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::sync::Arc;

/// Longest bearer token that is looked at, bytes: service account tokens are about 1,000, OIDC tokens may reach
/// 8,000; headers as a whole end at 64 KiB (`tls::HEADER_BYTES_MAX`).
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The extra word by which a caller's credential is told from its others: of tokens their id, of certificates their
/// SHA-256.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The certificate of the other end of a connection, as an extension of its requests. Only
/// [`crate::tls`] makes one, after the handshake proved the chain to our CA and the possession of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The common name as user, the organisations as groups.
    pub identity: Identity,
    /// First second at which it no longer holds.
    pub not_after: jiff::Timestamp,
}

impl Peer {
    /// Reads a certificate (DER): the subject's CN is the user, its Os are the groups. `None` when it cannot be
    /// read or has no CN.
    pub fn from_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let subject = certificate.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?;
        let groups: Vec<&str> =
            subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
        let not_after =
            jiff::Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
        if user.is_empty() {
            return None;
        }
        let mut identity = Identity::new(user, &groups);
        let print = secret_hash(der).map(|byte| format!("{byte:02x}")).concat();
        identity.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={print}")]);
        Some(Self { identity, not_after })
    }
}

/// A kind of bearer token that is for the API alone and says nothing of audiences.
pub trait Tokens: Send + Sync + std::fmt::Debug {
    /// Who holds this token; `None` when it is not one of these, or no longer holds.
    fn check(&self, token: &str, now: jiff::Timestamp) -> Option<Identity>;
}

/// What a bearer token proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Who holds it.
    pub identity: Identity,
    /// For which of the wanted audiences it was made.
    pub audiences: Vec<String>,
}

/// Finds out who calls.
#[derive(Debug)]
pub struct Authenticator {
    tokens: Vec<Box<dyn Tokens>>,
    service_accounts: Option<ServiceAccountTokens>,
    audience: String,
    anonymous: bool,
}

/// What is said of every token that proves nothing.
const INVALID: &str = "invalid bearer token";

impl Authenticator {
    /// Join tokens kept as Secrets, and nobody; `audience` is the service account issuer, which is also what
    /// TokenReview answers as audience.
    pub fn new(lookup: Arc<dyn Lookup>, audience: &str) -> Self {
        let join = bootstrap_token::BootstrapTokens::new(lookup);
        Self {
            tokens: vec![Box::new(join)],
            service_accounts: None,
            audience: audience.to_owned(),
            anonymous: true,
        }
    }

    /// With one more kind of token, asked after those before.
    #[must_use]
    pub fn with(mut self, tokens: impl Tokens + 'static) -> Self {
        self.tokens.push(Box::new(tokens));
        self
    }

    /// With tokens of service accounts.
    #[must_use]
    pub fn with_service_accounts(mut self, tokens: ServiceAccountTokens) -> Self {
        self.service_accounts = Some(tokens);
        self
    }

    /// Our own audience.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Who sent this request; 401 when they showed something that proves nothing.
    pub fn authenticate(
        &self,
        peer: Option<&Peer>,
        headers: &HeaderMap,
        now: jiff::Timestamp,
    ) -> Result<Identity, Status> {
        if let Some(peer) = peer {
            return if now < peer.not_after {
                Ok(peer.identity.clone())
            } else {
                Err(Status::unauthorized())
            };
        }
        match bearer(headers) {
            Some(token) => match self.token(token, &[], now) {
                Ok(proven) => Ok(proven.identity),
                Err(_) => Err(Status::unauthorized()),
            },
            None if self.anonymous => Ok(Identity::anonymous()),
            None => Err(Status::unauthorized()),
        }
    }

    /// Who holds a token, and for which of the audiences in `wanted` (none: our own). The error is what
    /// TokenReview says.
    pub fn token(
        &self,
        token: &str,
        wanted: &[String],
        now: jiff::Timestamp,
    ) -> Result<Proven, String> {
        let invalid = || INVALID.to_owned();
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(invalid());
        }
        let own = [self.audience.clone()];
        let wanted = if wanted.is_empty() { &own } else { wanted };
        if let Some(mut identity) = self.tokens.iter().find_map(|kind| kind.check(token, now)) {
            if !wanted.contains(&self.audience) {
                return Err(invalid());
            }
            if !identity.groups.iter().any(|group| group == identity::AUTHENTICATED) {
                identity.groups.push(identity::AUTHENTICATED.to_owned());
            }
            return Ok(Proven { identity, audiences: own.to_vec() });
        }
        let judged = self.service_accounts.as_ref().and_then(|t| t.check(token, wanted, now));
        // Upstream asks two authenticators in turn; the first one always says the former.
        judged.ok_or_else(invalid)?.map_err(|why| format!("[{INVALID}, {why}]"))
    }
}

/// The bearer token of a request. Other schemes say nothing, as upstream has it.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Under which a secret is kept, so that finding it takes no longer for one that begins like a real one.
fn secret_hash(secret: impl AsRef<[u8]>) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(secret).into()
}

/// Equality that takes the same time wherever the difference lies.
fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

/// A moment as Kubernetes writes it: to the second.
pub(crate) fn rfc3339(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::Nothing;
    use http::HeaderValue;

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_certificate_comes_before_a_token_and_a_wrong_token_is_not_nobody() {
        let authenticator = Authenticator::new(Arc::new(Nothing), "https://issuer")
            .with(StaticTokens::parse("good,alice,1").unwrap());
        let peer = Peer { identity: Identity::new("node", &[]), not_after: at(100) };
        let table: [(Option<&Peer>, &str, i64, Option<&str>); 9] = [
            (None, "", 0, Some("system:anonymous")),
            (None, "Bearer good", 0, Some("alice")),
            (None, "bearer  good ", 0, Some("alice")),
            (None, "Bearer bad", 0, None),
            (None, "Basic good", 0, Some("system:anonymous")),
            (Some(&peer), "", 99, Some("node")),
            (Some(&peer), "Bearer bad", 99, Some("node")),
            (Some(&peer), "", 100, None),
            (Some(&peer), "Bearer good", 100, None),
        ];
        for (peer, header, second, user) in table {
            let mut headers = HeaderMap::new();
            if !header.is_empty() {
                headers.insert(AUTHORIZATION, HeaderValue::from_str(header).unwrap());
            }
            let found = authenticator.authenticate(peer, &headers, at(second));
            match (found, user) {
                (Ok(found), Some(user)) => assert_eq!(found.user, user, "{header:?} at {second}"),
                (Err(status), None) => {
                    assert_eq!((status.code, status.message.as_str()), (401, "Unauthorized"));
                }
                (found, user) => panic!("{header:?} at {second}: {found:?} instead of {user:?}"),
            }
        }
        let long = "x".repeat(TOKEN_BYTES_MAX + 1);
        assert_eq!(authenticator.token(&long, &[], at(0)), Err(INVALID.to_owned()));
    }

    #[test]
    fn the_subject_of_a_certificate_is_user_and_groups() {
        let folder = tempfile::tempdir().unwrap();
        let names = crate::pki::Names {
            advertise: [127, 0, 0, 1].into(),
            host: "h".into(),
            service: [10, 96, 0, 1].into(),
        };
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let pki = crate::pki::Pki::open(folder.path(), &names, now).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pki.admin.certificate.as_bytes()).unwrap();
        let peer = Peer::from_certificate(&pem.contents).unwrap();
        let mut identity = peer.identity;
        let credential = identity.extra.remove(CREDENTIAL_ID).unwrap().concat();
        let print = credential.strip_prefix("X509SHA256=").unwrap();
        assert!(print.len() == 64 && print.bytes().all(|c| c.is_ascii_hexdigit()), "{print}");
        assert_eq!(identity, Identity::new("kubernetes-admin", &["system:masters"]));
        assert_eq!(peer.not_after.to_string(), "2027-01-01T00:00:00Z");
        assert_eq!(Peer::from_certificate(b"nonsense"), None);
    }
}
