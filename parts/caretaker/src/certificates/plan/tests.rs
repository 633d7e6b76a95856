use super::*;
use crate::Authority;
use crate::certificates::sign::Signer;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

struct Ask {
    signer: &'static str,
    user: &'static str,
    groups: &'static [&'static str],
    common_name: &'static str,
    organizations: &'static [&'static str],
    names: &'static [&'static str],
    usages: &'static [&'static str],
}

const JOIN: Ask = Ask {
    signer: SIGNER_KUBELET_CLIENT,
    user: "system:bootstrap:abcdef",
    groups: &[GROUP_BOOTSTRAPPERS, "system:authenticated"],
    common_name: "system:node:a",
    organizations: &[GROUP_NODES],
    names: &[],
    usages: &["digital signature", "client auth"],
};
const SERVE: Ask = Ask {
    signer: SIGNER_KUBELET_SERVING,
    user: "system:node:a",
    groups: &[GROUP_NODES],
    names: &["a", "10.0.0.1"],
    usages: &["digital signature", "server auth"],
    ..JOIN
};

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn request(ask: &Ask) -> CertificateSigningRequest {
    let mut params = CertificateParams::new(strings(ask.names)).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, ask.common_name);
    for organization in ask.organizations {
        params.distinguished_name.push(DnType::OrganizationName, *organization);
    }
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    CertificateSigningRequest {
        metadata: ObjectMeta {
            name: Some("r".into()),
            uid: Some("8f0d".into()),
            creation_timestamp: Some(Time(now())),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: ask.signer.into(),
            username: Some(ask.user.into()),
            groups: Some(strings(ask.groups)),
            usages: Some(strings(ask.usages)),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

fn decide(request: &CertificateSigningRequest) -> Step {
    plan(request, &|node| if node == "a" { strings(&["a", "10.0.0.1"]) } else { Vec::new() }, now())
}

fn with_condition(mut request: CertificateSigningRequest, kind: &str) -> CertificateSigningRequest {
    let conditions = request.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.push(CertificateSigningRequestCondition {
        type_: kind.into(),
        status: "True".into(),
        ..CertificateSigningRequestCondition::default()
    });
    request
}

#[test]
fn a_joining_node_is_approved() {
    assert!(matches!(decide(&request(&JOIN)), Step::Approve(_)));
}

#[test]
fn a_node_renews_its_own_certificate_and_nobody_elses() {
    let own = Ask { user: "system:node:a", groups: &[GROUP_NODES], ..JOIN };
    assert!(matches!(decide(&request(&own)), Step::Approve(_)));
    let other = Ask { common_name: "system:node:b", ..own };
    assert!(matches!(decide(&request(&other)), Step::Deny(_)));
}

#[test]
fn what_is_no_node_certificate_is_denied_with_the_reason() {
    let denied = |ask: Ask, part: &str| match decide(&request(&ask)) {
        Step::Deny(why) => assert!(why.contains(part), "{why:?} should say {part:?}"),
        other => panic!("{other:?} instead of a denial that says {part:?}"),
    };
    denied(Ask { common_name: "admin", ..JOIN }, "common name");
    denied(Ask { common_name: "system:node:", ..JOIN }, "common name");
    denied(Ask { organizations: &["system:masters"], ..JOIN }, "organization");
    denied(Ask { organizations: &[], ..JOIN }, "organization");
    denied(Ask { names: &["evil.example"], ..JOIN }, "alternative names");
    denied(Ask { usages: &["digital signature", "server auth"], ..JOIN }, "usages");
    denied(Ask { usages: &["client auth"], ..JOIN }, "digital signature");
    denied(
        Ask { usages: &["client auth", "digital signature", "cert sign"], ..JOIN },
        "usages must be",
    );
    let mut broken = request(&JOIN);
    broken.spec.request = ByteString(b"nonsense".to_vec());
    assert_eq!(decide(&broken), Step::Deny("the request is not PEM".into()));
}

#[test]
fn requests_of_others_wait_for_a_person() {
    let stranger = Ask { user: "jane", groups: &["system:authenticated"], ..JOIN };
    assert_eq!(decide(&request(&stranger)), Step::Wait(Some(PENDING_KEPT)));
    let foreign = Ask { signer: "example.com/other", ..JOIN };
    assert_eq!(decide(&request(&foreign)), Step::Wait(Some(PENDING_KEPT)));
}

#[test]
fn a_serving_certificate_is_approved_for_the_nodes_own_addresses_only() {
    assert!(matches!(decide(&request(&SERVE)), Step::Approve(_)));
    let foreign = Ask { names: &["a", "10.0.0.2"], ..SERVE };
    assert!(matches!(decide(&request(&foreign)), Step::Wait(_)));
    assert!(matches!(decide(&request(&Ask { names: &[], ..SERVE })), Step::Wait(_)));
    let joining = Ask { user: JOIN.user, groups: JOIN.groups, ..SERVE };
    assert!(matches!(decide(&request(&joining)), Step::Wait(_)));
}

#[test]
fn old_requests_are_deleted() {
    let mut pending = request(&Ask { user: "jane", groups: &[], ..JOIN });
    let ago = |duration| Some(Time(now().checked_sub(duration).unwrap()));
    pending.metadata.creation_timestamp = ago(PENDING_KEPT.saturating_sub(Duration::from_secs(1)));
    assert_eq!(decide(&pending), Step::Wait(Some(Duration::from_secs(1))));
    pending.metadata.creation_timestamp = ago(PENDING_KEPT);
    assert_eq!(decide(&pending), Step::Delete);
    let mut denied = with_condition(request(&JOIN), "Denied");
    assert_eq!(decide(&denied), Step::Wait(Some(DECIDED_KEPT)));
    denied.metadata.creation_timestamp = ago(DECIDED_KEPT);
    assert_eq!(decide(&denied), Step::Delete);
}

#[test]
fn an_approved_request_is_signed_for_a_year_or_as_asked_and_never_beyond_the_authority() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 7, 1);
    let authority = Authority {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
        life_max: crate::LIFE_MAX,
    };
    let signer = Signer::new(&authority).unwrap();
    let sign = |ask: &Ask, seconds: Option<i32>| {
        let mut request = with_condition(request(ask), "Approved");
        request.spec.expiration_seconds = seconds;
        let Step::Sign(wish) = decide(&request) else { panic!("not signed") };
        let pem = signer.sign(&request, &wish, now()).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let (_, ca) = x509_parser::pem::parse_x509_pem(authority.certificate.as_bytes()).unwrap();
        let ca = ca.parse_x509().unwrap();
        certificate.verify_signature(Some(ca.public_key())).unwrap();
        assert!(!certificate.is_ca());
        let names = certificate.subject_alternative_name().unwrap();
        (
            certificate.subject().to_string(),
            certificate.validity().not_after.timestamp() - now().as_second(),
            names.map_or(0, |names| names.value.general_names.len()),
        )
    };
    let subject = "O=system:nodes, CN=system:node:a".to_owned();
    let half_year = 181 * 24 * 3600;
    assert_eq!(sign(&JOIN, None), (subject.clone(), half_year, 0));
    assert_eq!(sign(&JOIN, Some(3600)), (subject.clone(), 3600, 0));
    assert_eq!(sign(&JOIN, Some(1)), (subject.clone(), 600, 0));
    assert_eq!(sign(&SERVE, Some(3600)), (subject, 3600, 2));
}

#[test]
fn an_approved_request_that_may_not_be_signed_fails() {
    let master = Ask { organizations: &["system:masters"], ..JOIN };
    assert!(matches!(decide(&with_condition(request(&master), "Approved")), Step::Fail(_)));
    let master = Ask { signer: SIGNER_CLIENT, ..master };
    assert!(matches!(decide(&with_condition(request(&master), "Approved")), Step::Fail(_)));
}
