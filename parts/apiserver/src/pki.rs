//! The certificates of a server: its CA, its serving certificate, the administrator's client certificate.
//!
//! Made at the first start, read at every later one. A leaf is made anew when its names changed, when it is near
//! its end, or when it cannot be used; the CA never is, because every agent and kubeconfig trusts it: a damaged
//! CA is an error that says what to do. Keys are ECDSA P-256.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Lifetime of the CA: ten years, as kubeadm has it.
pub const CA_LIFETIME: Duration = DAY.saturating_mul(3650);
/// Lifetime of the serving and the administrator's certificate: a year, as kubeadm has it.
pub const LEAF_LIFETIME: Duration = DAY.saturating_mul(365);
/// A leaf with less than this left is made anew at start: a tenth of its life rounded down to a month.
pub const RENEW_BEFORE: Duration = DAY.saturating_mul(30);
/// The name under which the server calls nodes (kubeadm's).
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";
/// Certificates hold from this long before they were made, for machines whose clocks are behind.
const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// What went wrong with a file.
#[expect(clippy::error_impl_error, reason = "always named as pki::Error")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed.
    #[error("{}: cannot {doing}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// `read`, `write`, ...
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The CA's files do not fit together.
    #[error("{}: {why}; restore {} from a backup, or remove that folder to start with a new CA (agents and kubeconfigs must then be made anew)", path.display(), folder.display())]
    DamagedCa {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// The folder of all certificates.
        folder: PathBuf,
    },
    /// Making or encoding a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The TLS library refused a certificate.
    #[error("cannot use the certificates: {0}")]
    Tls(#[from] rustls::Error),
}

/// The names the server is called by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The address that agents and kubeconfigs use.
    pub advertise: IpAddr,
    /// The machine's host name.
    pub host: String,
    /// First address of the service range, where pods find the API.
    pub service: IpAddr,
}

impl Names {
    fn alternatives(&self) -> BTreeSet<String> {
        let ips = [
            self.advertise,
            self.service,
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ];
        let names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            &self.host,
        ];
        let plain = |name: &&str| !name.is_empty() && name.is_ascii();
        ips.iter()
            .map(IpAddr::to_string)
            .chain(names.iter().filter(|name| plain(name)).map(|name| name.to_ascii_lowercase()))
            .collect()
    }
}

/// A certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// PKCS#8 private key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair(…)")
    }
}

/// All certificates of a server.
#[derive(Clone, Debug)]
pub struct Pki {
    /// The CA. Whoever signs for it (the caretaker) gets this pair.
    pub ca: Pair,
    /// What the server shows.
    pub serving: Pair,
    /// What `admin.kubeconfig` shows: user `kubernetes-admin`, group `system:masters`.
    pub admin: Pair,
    /// What the server shows to nodes: user `kube-apiserver-kubelet-client`.
    pub kubelet: Pair,
    ca_hash: String,
}

impl Pki {
    /// Reads the certificates in `folder`, and makes what is missing or used up.
    pub fn open(folder: &Path, names: &Names, now: jiff::Timestamp) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|source| file(folder, "create", source))?;
        private_folder(folder)?;
        let ca = open_ca(folder, now)?;
        let key = KeyPair::from_pem(&ca.key)?;
        let issuer = Issuer::from_ca_cert_pem(&ca.certificate, key)?;
        let authority = Read::parse(&ca.certificate);
        let serving = Leaf {
            folder,
            stem: "apiserver",
            user: "kube-apiserver",
            group: None,
            names: names.alternatives(),
            usage: ExtendedKeyUsagePurpose::ServerAuth,
        };
        let admin = Leaf {
            folder,
            stem: "admin",
            user: "kubernetes-admin",
            group: Some(crate::identity::MASTERS),
            names: BTreeSet::new(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
        };
        let kubelet = Leaf {
            folder,
            stem: "apiserver-kubelet-client",
            user: KUBELET_CLIENT,
            group: None,
            names: BTreeSet::new(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
        };
        let key_id = authority.as_ref().map(|read| read.subject_key.clone()).unwrap_or_default();
        Ok(Self {
            serving: serving.open(&issuer, &key_id, now)?,
            admin: admin.open(&issuer, &key_id, now)?,
            kubelet: kubelet.open(&issuer, &key_id, now)?,
            ca_hash: authority.map(|read| read.spki_hash).unwrap_or_default(),
            ca,
        })
    }

    /// `sha256:<hex>` of the CA's public key, as kubeadm prints it (over the SubjectPublicKeyInfo, DER).
    pub fn ca_hash(&self) -> &str {
        &self.ca_hash
    }
}

fn file(path: &Path, doing: &'static str, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), doing, source }
}

fn private_folder(folder: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
        .map_err(|source| file(folder, "set the mode of", source))
}

/// The text of a file; `None` when there is no such file.
pub fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file(path, "read", source)),
    }
}

/// Replaces a file in one step, synced, readable by its owner alone: after a crash there is the old or the new
/// text, never a part.
pub fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let new = folder.join(format!(".{name}.new"));
    let written = (|| {
        match fs::remove_file(&new) {
            Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(fault),
            _ => {}
        }
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(folder)?.sync_all()
    })();
    written.map_err(|source| file(path, "write", source))
}

fn moment(at: jiff::Timestamp, offset: Duration, later: bool) -> CertificateTime {
    let seconds = Duration::from_secs(u64::try_from(at.as_second()).unwrap_or_default());
    let seconds =
        if later { seconds.saturating_add(offset) } else { seconds.saturating_sub(offset) };
    CertificateTime(seconds)
}

/// Seconds since 1970; made into the certificate library's own time where it is used.
struct CertificateTime(Duration);

fn set_validity(params: &mut CertificateParams, now: jiff::Timestamp, lifetime: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + moment(now, BACKDATE, false).0;
    params.not_after = epoch + moment(now, lifetime, true).0;
}

fn open_ca(folder: &Path, now: jiff::Timestamp) -> Result<Pair, Error> {
    let (certificate_path, key_path) = (folder.join("ca.crt"), folder.join("ca.key"));
    let damaged = |path: &Path, why: String| Error::DamagedCa {
        path: path.to_owned(),
        why,
        folder: folder.to_owned(),
    };
    let Some(certificate) = read_if_there(&certificate_path)? else {
        // the certificate is written last: without it, a key is what a crash left of a first start
        let pair = make_ca(now)?;
        write_private(&key_path, &pair.key)?;
        write_private(&certificate_path, &pair.certificate)?;
        return Ok(pair);
    };
    let key = read_if_there(&key_path)?
        .ok_or_else(|| damaged(&key_path, "the CA's key is missing".to_owned()))?;
    let read = Read::parse(&certificate).ok_or_else(|| {
        damaged(&certificate_path, "the CA's certificate cannot be read".to_owned())
    })?;
    let pair = KeyPair::from_pem(&key)
        .map_err(|fault| damaged(&key_path, format!("the CA's key cannot be read ({fault})")))?;
    if read.public_key != pair.der_bytes() {
        return Err(damaged(
            &key_path,
            "the CA's key does not belong to its certificate".to_owned(),
        ));
    }
    if read.not_after <= now {
        return Err(damaged(
            &certificate_path,
            format!("the CA's certificate ended at {}", read.not_after),
        ));
    }
    Ok(Pair { certificate, key })
}

fn make_ca(now: jiff::Timestamp) -> Result<Pair, Error> {
    let mut params = CertificateParams::default();
    set_validity(&mut params, now, CA_LIFETIME);
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "kubernetes");
    params.distinguished_name = subject;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A certificate that is not the CA's, and the files it lives in.
struct Leaf<'a> {
    folder: &'a Path,
    stem: &'static str,
    user: &'static str,
    group: Option<&'static str>,
    names: BTreeSet<String>,
    usage: ExtendedKeyUsagePurpose,
}

impl Leaf<'_> {
    fn open(
        &self,
        issuer: &Issuer<'_, KeyPair>,
        authority: &[u8],
        now: jiff::Timestamp,
    ) -> Result<Pair, Error> {
        let certificate_path = self.folder.join(format!("{}.crt", self.stem));
        let key_path = self.folder.join(format!("{}.key", self.stem));
        let found = (read_if_there(&certificate_path)?, read_if_there(&key_path)?);
        if let (Some(certificate), Some(key)) = found
            && self.is_good(&certificate, &key, authority, now)
        {
            return Ok(Pair { certificate, key });
        }
        let pair = self.make(issuer, now)?;
        write_private(&key_path, &pair.key)?;
        write_private(&certificate_path, &pair.certificate)?;
        Ok(pair)
    }

    fn is_good(
        &self,
        certificate: &str,
        key: &str,
        authority: &[u8],
        now: jiff::Timestamp,
    ) -> bool {
        let Some(read) = Read::parse(certificate) else { return false };
        let Ok(key) = KeyPair::from_pem(key) else { return false };
        let until = now.checked_add(RENEW_BEFORE).unwrap_or(jiff::Timestamp::MAX);
        read.public_key == key.der_bytes()
            && read.names == self.names
            && read.authority_key == authority
            && read.not_after > until
    }

    fn make(&self, issuer: &Issuer<'_, KeyPair>, now: jiff::Timestamp) -> Result<Pair, Error> {
        let mut params = CertificateParams::default();
        set_validity(&mut params, now, LEAF_LIFETIME);
        for name in &self.names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        let mut subject = DistinguishedName::new();
        if let Some(group) = self.group {
            subject.push(DnType::OrganizationName, group);
        }
        subject.push(DnType::CommonName, self.user);
        params.distinguished_name = subject;
        params.use_authority_key_identifier_extension = true;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![self.usage.clone()];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// What is looked at in a certificate.
struct Read {
    names: BTreeSet<String>,
    not_after: jiff::Timestamp,
    public_key: Vec<u8>,
    subject_key: Vec<u8>,
    authority_key: Vec<u8>,
    spki_hash: String,
}

impl Read {
    fn parse(pem: &str) -> Option<Self> {
        use sha2::Digest;
        use std::fmt::Write;
        use x509_parser::extensions::{GeneralName, ParsedExtension};
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let not_after =
            jiff::Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
        let mut read = Self {
            names: BTreeSet::new(),
            not_after,
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
            subject_key: Vec::new(),
            authority_key: Vec::new(),
            spki_hash: "sha256:".to_owned(),
        };
        for byte in sha2::Sha256::digest(certificate.public_key().raw) {
            write!(read.spki_hash, "{byte:02x}").ok()?;
        }
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    read.names.extend(names.general_names.iter().filter_map(|name| match name {
                        GeneralName::DNSName(name) => Some((*name).to_owned()),
                        GeneralName::IPAddress(bytes) => address(bytes),
                        _ => None,
                    }));
                }
                ParsedExtension::SubjectKeyIdentifier(id) => read.subject_key = id.0.to_vec(),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    read.authority_key = id.key_identifier.as_ref().map(|id| id.0.to_vec())?;
                }
                _ => {}
            }
        }
        Some(read)
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(ip.to_string())
}

#[cfg(test)]
mod tests;
