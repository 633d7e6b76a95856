//! From a join token to a certificate of our own, and to the next one before it ends.

use crate::fault;
use crate::files;
use crate::tls::{self, Identity, Server};
use crate::words;
use crate::{Error, Options};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec,
};
use k8s_openapi::api::core::v1::Node;
use kit::Backoff;
use kube::api::{Api, ObjectMeta, PostParams};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// First and longest wait between two tries to join; said in the log each time.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// First and longest wait between two looks at a request that nobody has signed yet.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Looks at one request before a new one is filed: about a quarter of an hour.
const LOOKS_MAX: u32 = 180;
/// Part of a certificate's life, in hundredths, after which the next one is asked for (upstream: 70 to 90).
const ROTATE_AT: i64 = 80;

/// What joining gave.
#[derive(Clone)]
pub(crate) struct Joined {
    /// Speaks to the server with our certificate, always the newest.
    pub(crate) client: kube::Client,
    /// That certificate.
    pub(crate) identity: Arc<Identity>,
    /// The cluster's authority.
    pub(crate) roots: rustls::RootCertStore,
}

/// What a certificate is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) node: &'a str,
    pub(crate) signer: &'a str,
    pub(crate) usages: &'a [&'a str],
    /// DNS names and addresses; none for a client.
    pub(crate) names: &'a [String],
}

impl<'a> Ask<'a> {
    /// The node's own, as a client of the server.
    fn client(node: &'a str) -> Self {
        let usages = &["digital signature", "client auth"];
        Self { node, signer: words::SIGNER, usages, names: &[] }
    }
}

/// Where the key and certificates are.
#[derive(Clone, Debug)]
struct Places {
    dir: PathBuf,
}

impl Places {
    fn node(&self) -> PathBuf {
        self.dir.join("node.pem")
    }

    fn authority(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }
}

/// Joins, however long it takes. Each failure is logged with what to do and when the next try comes.
pub(crate) async fn join(options: &Options, node: &str) -> Result<Joined, Error> {
    let server = Server::parse(&options.server)?;
    let places = Places { dir: options.root_dir.join("pki") };
    files::make_private_dir(&places.dir)?;
    // a typing error is told at once, whether or not the server can be reached
    wanted_hash(options)?;
    if !places.node().exists() {
        token(options)?;
    }
    let mut backoff = Backoff::new(RETRY.0, RETRY.1, options.setup.salt);
    loop {
        let failure = match try_join(options, &server, &places, node).await {
            Ok(joined) => return Ok(joined),
            Err(error @ (Error::Option { .. } | Error::File { .. } | Error::Content { .. })) => {
                return Err(error);
            }
            Err(error) => error,
        };
        let wait = backoff.failed();
        tracing::warn!(server = %server.base, "cannot join yet: {failure}; next try in {wait:.0?}");
        tokio::time::sleep(wait).await;
    }
}

async fn try_join(
    options: &Options,
    server: &Server,
    places: &Places,
    node: &str,
) -> Result<Joined, Error> {
    let authority = authority(options, server, places).await?;
    let roots = tls::authority(&authority)
        .map_err(|problem| Error::Content { path: places.authority(), problem })?;
    let identity = Arc::new(Identity::default());
    let now = options.setup.clock.now();
    let kept = kept(&places.node(), node, now)?;
    let agent = format!("pernode-agent/{}", options.version);
    let own = || {
        let config = tls::client_config(roots.clone(), Some(Arc::clone(&identity)))?;
        tls::client(server, config, Some(Arc::clone(&identity)), None, &agent)
    };
    if let Some(pem) = kept {
        use_pem(&identity, &places.node(), &pem)?;
        let client = own()?;
        if is_known(&client, node).await? {
            return Ok(Joined { client, identity, roots });
        }
        tracing::warn!(
            "{} does not know the certificate in {} (was its data folder replaced?); joining anew",
            server.base,
            places.node().display()
        );
    }
    let token = token(options)?;
    let config = tls::client_config(roots.clone(), None)?;
    let bootstrap = tls::client(server, config, None, Some(&token), &agent)?;
    let pem = sign(&bootstrap, &Ask::client(node), options.setup.salt).await?;
    files::replace(&places.node(), pem.as_bytes(), 0o600)?;
    use_pem(&identity, &places.node(), &pem)?;
    tracing::info!(node, "joined: the certificate is in {}", places.node().display());
    Ok(Joined { client: own()?, identity, roots })
}

/// Whether the server knows whose certificate is shown.
async fn is_known(client: &kube::Client, node: &str) -> Result<bool, Error> {
    let api: Api<Node> = Api::all(client.clone());
    match api.get_metadata_opt(node).await {
        Err(error) if fault::is_unknown(&error) => Ok(false),
        // whatever else it refuses, it knows whom
        Ok(_) | Err(kube::Error::Api(_)) => Ok(true),
        Err(error) => Err(fault::of_join(&error)),
    }
}

fn use_pem(identity: &Identity, path: &Path, pem: &str) -> Result<(), Error> {
    identity.set(pem, pem).map_err(|problem| Error::Content { path: path.to_path_buf(), problem })
}

/// The authority's certificate: from `--ca-file`, or the one in the server's chain that has the hash asked for, or the
/// one kept from an earlier start.
async fn authority(options: &Options, server: &Server, places: &Places) -> Result<String, Error> {
    if let Some(path) = &options.ca_file {
        return files::read(path);
    }
    let kept = std::fs::read_to_string(places.authority()).ok();
    let Some(wanted) = wanted_hash(options)? else {
        return kept.ok_or_else(|| Error::Option {
            option: "--ca-file or --ca-hash",
            problem: "one of them is needed to know the server; both are printed by the server at its start"
                .to_owned(),
        });
    };
    if let Some(pem) = kept
        && pem_hashes(&pem).contains(&wanted)
    {
        return Ok(pem);
    }
    let chain = tls::chain_of(server)
        .await
        .map_err(|error| Error::Trust(format!("{}: {}", server.base, fault::plain_io(&error))))?;
    let found = chain
        .iter()
        .find(|certificate| tls::public_key_hash(certificate).as_deref() == Some(&wanted));
    let Some(found) = found else {
        let shown: Vec<_> = chain.iter().filter_map(|one| tls::public_key_hash(one)).collect();
        return Err(Error::Trust(format!(
            "no certificate of {} has the hash of --ca-hash; the server's chain has {}. If it is the right server, \
             correct --ca-hash",
            server.base,
            shown.join(", ")
        )));
    };
    let pem = pem_of("CERTIFICATE", found);
    files::replace(&places.authority(), pem.as_bytes(), 0o644)?;
    Ok(pem)
}

/// `--ca-hash` in lower case.
fn wanted_hash(options: &Options) -> Result<Option<String>, Error> {
    let Some(wanted) = &options.ca_hash else { return Ok(None) };
    let wanted = wanted.to_ascii_lowercase();
    let digits = wanted.strip_prefix("sha256:").unwrap_or_default();
    if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Some(wanted));
    }
    Err(Error::Option {
        option: "--ca-hash",
        problem: format!("\"{wanted}\" is not sha256: and 64 hexadecimal digits"),
    })
}

fn pem_hashes(pem: &str) -> Vec<String> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateDer::pem_slice_iter(pem.as_bytes())
        .filter_map(|one| tls::public_key_hash(&one.ok()?))
        .collect()
}

fn pem_of(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn token(options: &Options) -> Result<String, Error> {
    let (option, text) = match (&options.token, &options.token_file) {
        (Some(token), _) => ("--token", token.clone()),
        (None, Some(path)) => ("--token-file", files::read(path)?),
        (None, None) => {
            return Err(Error::Option {
                option: "--token or --token-file",
                problem: "needed for the first start; the server keeps it in <data-dir>/join-token"
                    .to_owned(),
            });
        }
    };
    let token = text.trim();
    let part = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    match token.split_once('.') {
        Some((id, secret)) if part(id, 6) && part(secret, 16) => Ok(token.to_owned()),
        _ => Err(Error::Option {
            option,
            problem: "not a join token: six letters or digits, a dot, sixteen letters or digits"
                .to_owned(),
        }),
    }
}

/// The key and certificate of an earlier start, if they are this node's and still good.
fn kept(path: &Path, node: &str, now: Timestamp) -> Result<Option<String>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let pem = files::read(path)?;
    let life =
        life(&pem).map_err(|problem| Error::Content { path: path.to_path_buf(), problem })?;
    let user = format!("{}{node}", words::NODE_USER_PREFIX);
    if life.user != user {
        return Err(Error::Content {
            path: path.to_path_buf(),
            problem: format!(
                "is the certificate of {}, but this node is {user}; choose another --root-dir, or remove the file to \
                 join anew",
                life.user
            ),
        });
    }
    if life.until <= now {
        tracing::warn!(
            "the certificate in {} ended at {}; joining anew",
            path.display(),
            life.until
        );
        return Ok(None);
    }
    Ok(Some(pem))
}

#[derive(Debug)]
struct Life {
    user: String,
    from: Timestamp,
    until: Timestamp,
}

fn life(pem: &str) -> Result<Life, String> {
    use rustls_pki_types::pem::PemObject;
    let certificate = rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| format!("holds no certificate: {error}"))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
        .map_err(|error| format!("holds a damaged certificate: {error}"))?;
    let user = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| error.to_string());
    Ok(Life {
        user: user.unwrap_or_default().to_owned(),
        from: time(parsed.validity().not_before.timestamp())?,
        until: time(parsed.validity().not_after.timestamp())?,
    })
}

/// Files a request, waits until it is signed; certificate and key in one PEM text.
pub(crate) async fn sign(client: &kube::Client, ask: &Ask<'_>, salt: u64) -> Result<String, Error> {
    let broken = |error: rcgen::Error| Error::Certificate(error.to_string());
    let key = KeyPair::generate().map_err(broken)?;
    let mut params = CertificateParams::new(ask.names.to_vec()).map_err(broken)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, words::NODES_GROUP);
    let user = format!("{}{}", words::NODE_USER_PREFIX, ask.node);
    params.distinguished_name.push(DnType::CommonName, user);
    let request = params.serialize_request(&key).map_err(broken)?.pem().map_err(broken)?;
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let filed = CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some("node-csr-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: ask.signer.to_owned(),
            usages: Some(ask.usages.iter().map(|one| (*one).to_owned()).collect()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let filed = api.create(&PostParams::default(), &filed).await.map_err(|e| fault::of_join(&e))?;
    let name = filed.metadata.name.unwrap_or_default();
    let mut backoff = Backoff::new(LOOK.0, LOOK.1, salt);
    while backoff.failures() < LOOKS_MAX {
        tokio::time::sleep(backoff.failed()).await;
        if backoff.failures() == 10 {
            tracing::info!("waiting for the certificate request {name} to be approved and signed");
        }
        let seen = api.get(&name).await.map_err(|e| fault::of_join(&e))?;
        let status = seen.status.unwrap_or_default();
        if let Some(certificate) = status.certificate {
            let chain = String::from_utf8_lossy(&certificate.0);
            return Ok(format!("{}\n{}", chain.trim_end(), key.serialize_pem()));
        }
        let no = |one: &&k8s_openapi::api::certificates::v1::CertificateSigningRequestCondition| {
            one.type_ == "Denied" || one.type_ == "Failed"
        };
        if let Some(condition) = status.conditions.iter().flatten().find(no) {
            return Err(Error::Refused(format!(
                "the certificate request {name} was answered with {}: {}",
                condition.type_,
                condition.message.as_deref().unwrap_or("no reason given")
            )));
        }
    }
    Err(Error::Refused(format!(
        "nobody signed the certificate request {name}; is the server's caretaker running?"
    )))
}

/// Asks for the next certificate in time, for as long as the agent runs.
pub(crate) async fn rotate(options: Options, node: String, joined: Joined) {
    let path = options.root_dir.join("pki").join("node.pem");
    let clock = options.setup.clock.clone();
    let mut backoff =
        Backoff::new(Duration::from_secs(10), Duration::from_secs(600), options.setup.salt);
    loop {
        let life = files::read(&path).ok().and_then(|pem| life(&pem).ok());
        if let Some(life) = &life {
            let whole = life.until.as_second() - life.from.as_second();
            let at = Timestamp::from_second(life.from.as_second() + whole * ROTATE_AT / 100);
            if let Ok(at) = at {
                tokio::time::sleep_until(clock.instant_of(at)).await;
            }
        }
        let renewed = async {
            let pem = sign(&joined.client, &Ask::client(&node), options.setup.salt).await?;
            files::replace(&path, pem.as_bytes(), 0o600)?;
            use_pem(&joined.identity, &path, &pem)
        };
        match renewed.await {
            Ok(()) => {
                backoff.succeeded();
                tracing::info!("the node's certificate was renewed");
                // a certificate that lives for a moment only must not make a busy loop
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => {
                let wait = backoff.failed();
                tracing::warn!(
                    "the certificate is not renewed yet: {error}; next try in {wait:.0?}"
                );
                tokio::time::sleep(wait).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(token: &str) -> Options {
        Options {
            setup: kit::Setup::new(kit::Clock::system(), 0),
            version: "v1".to_owned(),
            server: "https://127.0.0.1:1".to_owned(),
            token: Some(token.to_owned()),
            token_file: None,
            ca_file: None,
            ca_hash: None,
            node_name: None,
            node_ip: None,
            runtime_endpoint: None,
            root_dir: PathBuf::from("/nonexistent"),
            node_labels: None,
            node_taints: None,
            cgroup_root: None,
            cni: "auto".to_owned(),
            max_pods: 110,
            pod_max_pids: -1,
            reserved: None,
            port: 0,
        }
    }

    #[test]
    fn a_malformed_token_is_told_before_anything_is_sent() {
        for wrong in
            ["", "abc", "abcdef.short", "ABCDEF.0123456789abcdef", "abcdef0123456789abcdef"]
        {
            let error = token(&options(wrong)).unwrap_err().to_string();
            assert!(error.starts_with("--token: not a join token"), "{wrong}: {error}");
        }
        assert_eq!(
            token(&options(" abcdef.0123456789abcdef\n")).unwrap(),
            "abcdef.0123456789abcdef"
        );
    }

    #[test]
    fn a_certificate_of_another_node_is_refused_and_an_ended_one_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.pem");
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "system:node:a");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        std::fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(kept(&path, "a", at("2026-06-01T00:00:00Z")).unwrap().is_some());
        assert!(kept(&path, "a", at("2027-06-01T00:00:00Z")).unwrap().is_none());
        let error = kept(&path, "b", at("2026-06-01T00:00:00Z")).unwrap_err().to_string();
        assert!(error.contains("system:node:a") && error.contains("--root-dir"), "{error}");
    }
}
