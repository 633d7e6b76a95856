//! What to do with a certificate signing request. Pure.

use crate::words::{
    GROUP_BOOTSTRAPPERS, GROUP_MASTERS, GROUP_NODES, SIGNER_CLIENT, SIGNER_KUBELET_CLIENT,
    SIGNER_KUBELET_SERVING, USER_NODE_PREFIX,
};
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

/// A decided request is deleted after this (upstream's csrcleaner).
const DECIDED_KEPT: Duration = Duration::from_hours(1);
/// A request that nobody decided is deleted after this (upstream's csrcleaner).
const PENDING_KEPT: Duration = Duration::from_hours(24);

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing now; look again after this long, if anything.
    Wait(Option<Duration>),
    /// Approve, with this message.
    Approve(&'static str),
    /// Deny, with this message.
    Deny(String),
    /// Sign a certificate for exactly this.
    Sign(Wish),
    /// Approved, but it may not be signed.
    Fail(String),
    /// Delete: old.
    Delete,
}

/// What a request asks for; nothing else is ever signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) common_name: String,
    pub(crate) organizations: Vec<String>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    /// For a server; otherwise for a client.
    pub(crate) serving: bool,
    /// Whether a key may be enciphered to it (RSA keys).
    pub(crate) key_encipherment: bool,
}

/// Decides. `addresses_of` answers the addresses and host names of a node's status.
pub(crate) fn plan(
    request: &CertificateSigningRequest,
    addresses_of: &dyn Fn(&str) -> Vec<String>,
    now: Timestamp,
) -> Step {
    let has = |kind: &str| {
        let conditions = request.status.iter().flat_map(|s| s.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == kind)
    };
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    let signed = certificate.is_some_and(|certificate| !certificate.0.is_empty());
    let decided = signed || has("Denied") || has("Failed");
    let kept = if decided { DECIDED_KEPT } else { PENDING_KEPT };
    let created = request.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let age = Duration::try_from(now.duration_since(created)).unwrap_or(Duration::ZERO);
    if age >= kept {
        return Step::Delete;
    }
    let ours = [SIGNER_KUBELET_CLIENT, SIGNER_KUBELET_SERVING, SIGNER_CLIENT]
        .contains(&request.spec.signer_name.as_str());
    if decided || !ours {
        return Step::Wait(Some(kept.saturating_sub(age)));
    }
    let wish = read(request).and_then(|wish| check(request, wish));
    match (has("Approved"), wish) {
        (true, Ok(wish)) => Step::Sign(wish),
        (true, Err(why)) => Step::Fail(why),
        (false, wish) => match approve(request, wish, addresses_of) {
            Step::Wait(_) => Step::Wait(Some(kept.saturating_sub(age))),
            step => step,
        },
    }
}

/// Whether a request may be approved without a person.
fn approve(
    request: &CertificateSigningRequest,
    wish: Result<Wish, String>,
    addresses_of: &dyn Fn(&str) -> Vec<String>,
) -> Step {
    let in_group = |group: &str| request.spec.groups.iter().flatten().any(|own| own == group);
    let user = request.spec.username.as_deref().unwrap_or_default();
    match request.spec.signer_name.as_str() {
        SIGNER_KUBELET_CLIENT => {
            let joining = in_group(GROUP_BOOTSTRAPPERS);
            let node = in_group(GROUP_NODES) && user.starts_with(USER_NODE_PREFIX);
            match wish {
                // somebody else asks: a person may approve it
                _ if !joining && !node => Step::Wait(None),
                Err(why) => Step::Deny(why),
                Ok(wish) if node && wish.common_name == user => Step::Approve(
                    "Auto approving self kubelet client certificate after SubjectAccessReview.",
                ),
                Ok(wish) if node => Step::Deny(format!(
                    "a node may only ask for its own certificate: {user:?} asked for {:?}",
                    wish.common_name
                )),
                Ok(_) => Step::Approve(
                    "Auto approving kubelet client certificate after SubjectAccessReview.",
                ),
            }
        }
        SIGNER_KUBELET_SERVING => match wish {
            Ok(wish) if in_group(GROUP_NODES) && wish.common_name == user => {
                let known = addresses_of(user.trim_start_matches(USER_NODE_PREFIX));
                let addresses = wish.addresses.iter().map(IpAddr::to_string);
                let foreign =
                    wish.dns_names.iter().cloned().chain(addresses).find(|n| !known.contains(n));
                match foreign {
                    // the node's status may name it soon; a person may approve it
                    Some(_) => Step::Wait(None),
                    None => Step::Approve(
                        "Auto approving kubelet serving certificate: every name is an address of the node.",
                    ),
                }
            }
            Ok(_) | Err(_) => Step::Wait(None),
        },
        _ => Step::Wait(None),
    }
}

/// Reads what is asked for from the request's bytes; its signature is checked when signing.
fn read(request: &CertificateSigningRequest) -> Result<Wish, String> {
    let pem = x509_parser::pem::parse_x509_pem(&request.spec.request.0);
    let (_, pem) = pem.map_err(|_| "the request is not PEM".to_owned())?;
    let (_, parsed) = X509CertificationRequest::from_der(&pem.contents)
        .map_err(|_| "the request is not a PKCS#10 certificate request".to_owned())?;
    let subject = &parsed.certification_request_info.subject;
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        attribute.as_str().map(str::to_owned).map_err(|_| "the subject is not text".to_owned())
    };
    let names: Vec<String> = subject.iter_common_name().map(text).collect::<Result<_, _>>()?;
    let organizations: Vec<String> =
        subject.iter_organization().map(text).collect::<Result<_, _>>()?;
    let [common_name] = names.as_slice() else {
        return Err("the subject must have exactly one common name".to_owned());
    };
    if subject.iter_attributes().count() != 1 + organizations.len() {
        return Err("the subject may have a common name and organizations only".to_owned());
    }
    let mut wish = Wish { common_name: common_name.clone(), organizations, ..Wish::default() };
    for extension in parsed.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension {
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(name) => wish.dns_names.push((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => wish.addresses.push(address(bytes)?),
                    _ => {
                        return Err(
                            "only DNS names and IP addresses may be alternative names".to_owned()
                        );
                    }
                }
            }
        }
    }
    Ok(wish)
}

fn address(bytes: &[u8]) -> Result<IpAddr, String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(four));
    }
    let sixteen = <[u8; 16]>::try_from(bytes);
    sixteen.map(IpAddr::from).map_err(|_| "an alternative name is not an IP address".to_owned())
}

/// The rules of the signer (upstream's csr_validation for node signers).
fn check(request: &CertificateSigningRequest, mut wish: Wish) -> Result<Wish, String> {
    let usages: BTreeSet<&str> = request.spec.usages.iter().flatten().map(String::as_str).collect();
    wish.key_encipherment = usages.contains("key encipherment");
    wish.serving = request.spec.signer_name == SIGNER_KUBELET_SERVING;
    let purpose = if wish.serving { "server auth" } else { "client auth" };
    let allowed = BTreeSet::from(["digital signature", "key encipherment", purpose]);
    if !usages.contains(purpose) || !usages.is_subset(&allowed) {
        let (purpose, usages) = (purpose, usages.into_iter().collect::<Vec<_>>().join(", "));
        return Err(format!(
            "usages must be \"{purpose}\", \"digital signature\" and optionally \"key encipherment\", not: {usages}"
        ));
    }
    if request.spec.signer_name == SIGNER_CLIENT {
        if wish.organizations.iter().any(|name| name == GROUP_MASTERS) {
            return Err(format!("organization {GROUP_MASTERS} is never signed"));
        }
        return Ok(wish);
    }
    if !usages.contains("digital signature") {
        return Err("usage \"digital signature\" is missing".to_owned());
    }
    let node = wish.common_name.strip_prefix(USER_NODE_PREFIX).unwrap_or_default();
    if node.is_empty() {
        return Err(format!("common name must begin with {USER_NODE_PREFIX} and name a node"));
    }
    if wish.organizations != [GROUP_NODES] {
        return Err(format!("organization must be {GROUP_NODES} alone"));
    }
    let named = !wish.dns_names.is_empty() || !wish.addresses.is_empty();
    match (wish.serving, named) {
        (true, false) => Err("a serving certificate needs a DNS name or an IP address".to_owned()),
        (false, true) => Err("a client certificate may not have alternative names".to_owned()),
        _ => Ok(wish),
    }
}

#[cfg(test)]
mod tests;
