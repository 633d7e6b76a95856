//! Signing: a certificate for exactly what was judged, with the key of the request.

use super::plan::Wish;
use crate::Authority;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use std::time::Duration;

/// Longest life of a certificate unless said otherwise (upstream's `--cluster-signing-duration`).
pub const LIFE_MAX: Duration = Duration::from_hours(365 * 24);
/// Shortest life that may be asked for (upstream: 10 minutes).
const LIFE_MIN: Duration = Duration::from_mins(10);
/// Certificates begin earlier than now by this, for clocks that differ (upstream: 5 minutes).
const BACKDATE: Duration = Duration::from_mins(5);

/// Why nothing can be signed.
#[derive(Debug, thiserror::Error)]
#[error("the certificate authority cannot be used")]
pub struct BadAuthority(#[source] rcgen::Error);

/// Why one request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsigned {
    #[error("the request is not text")]
    NotText,
    #[error("the request's key, extensions or signature cannot be used: {0}")]
    Request(rcgen::Error),
    #[error("signing failed: {0}")]
    Signing(rcgen::Error),
}

pub(crate) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's own end: nothing it signs lives longer.
    end: Timestamp,
    /// Longest life of what it signs.
    life_max: Duration,
}

impl Signer {
    pub(crate) fn new(authority: &Authority) -> Result<Self, BadAuthority> {
        let key = KeyPair::from_pem(&authority.key).map_err(BadAuthority)?;
        let issuer = Issuer::from_ca_cert_pem(&authority.certificate, key).map_err(BadAuthority)?;
        let unreadable = || BadAuthority(rcgen::Error::CouldNotParseCertificate);
        let (_, pem) = x509_parser::pem::parse_x509_pem(authority.certificate.as_bytes())
            .map_err(|_| unreadable())?;
        let certificate = pem.parse_x509().map_err(|_| unreadable())?;
        let end = Timestamp::from_second(certificate.validity().not_after.timestamp());
        Ok(Self { issuer, end: end.map_err(|_| unreadable())?, life_max: authority.life_max })
    }

    /// The certificate, PEM.
    pub(crate) fn sign(
        &self,
        request: &CertificateSigningRequest,
        wish: &Wish,
        now: Timestamp,
    ) -> Result<String, Unsigned> {
        let pem = std::str::from_utf8(&request.spec.request.0).map_err(|_| Unsigned::NotText)?;
        // checks that whoever asks holds the key
        let asked = CertificateSigningRequestParams::from_pem(pem).map_err(Unsigned::Request)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for organization in &wish.organizations {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.distinguished_name.push(DnType::CommonName, wish.common_name.as_str());
        for name in &wish.dns_names {
            let name = name.as_str().try_into().map_err(Unsigned::Request)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(wish.addresses.iter().map(|ip| SanType::IpAddress(*ip)));
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if wish.key_encipherment {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.extended_key_usages = vec![if wish.serving {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        }];
        let (begin, end) = self.life(request, now);
        let date = |moment: Timestamp| {
            let since = Duration::from_secs(u64::try_from(moment.as_second()).unwrap_or(0));
            // rcgen speaks another crate's dates; its epoch plus seconds avoids naming that crate
            rcgen::date_time_ymd(1970, 1, 1) + since
        };
        (params.not_before, params.not_after) = (date(begin), date(end));
        params.serial_number = Some(serial(request, now));
        let signed =
            params.signed_by(&asked.public_key, &self.issuer).map_err(Unsigned::Signing)?;
        Ok(signed.pem())
    }

    fn life(&self, request: &CertificateSigningRequest, now: Timestamp) -> (Timestamp, Timestamp) {
        let asked = request.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let asked = asked.map_or(self.life_max, Duration::from_secs);
        let life = asked.max(LIFE_MIN).min(self.life_max);
        let begin = now.checked_sub(BACKDATE).unwrap_or(now);
        let end = now.checked_add(life).unwrap_or(self.end).min(self.end);
        (begin, end)
    }
}

/// Sixteen positive bytes, one for each request: its uid is unique, and the time tells renewals of one uid apart.
fn serial(request: &CertificateSigningRequest, now: Timestamp) -> SerialNumber {
    let uid = request.metadata.uid.as_deref().unwrap_or_default();
    let seed = now.as_nanosecond().to_le_bytes();
    let fold = |start: u64| {
        uid.bytes().chain(seed).fold(start, |hash, byte| kit::backoff::mix(hash ^ u64::from(byte)))
    };
    let mut bytes = [fold(1).to_be_bytes(), fold(2).to_be_bytes()].concat();
    // positive, and never shortened by a leading zero
    bytes[0] = bytes[0] & 0x3f | 0x40;
    SerialNumber::from(bytes)
}
