use super::*;
use std::os::unix::fs::PermissionsExt;

fn names() -> Names {
    Names { advertise: [10, 0, 0, 7].into(), host: "Box-1".into(), service: [10, 96, 0, 1].into() }
}

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_second_start_uses_what_the_first_one_made() {
    let folder = tempfile::tempdir().unwrap();
    let now = at("2026-01-01T00:00:00Z");
    let first = Pki::open(folder.path(), &names(), now).unwrap();
    let second = Pki::open(folder.path(), &names(), at("2026-06-01T00:00:00Z")).unwrap();
    assert_eq!(
        (&first.ca, &first.serving, &first.admin),
        (&second.ca, &second.serving, &second.admin)
    );
    assert_eq!(first.ca_hash(), second.ca_hash());
    assert_eq!(first.ca_hash().len(), "sha256:".len() + 64);
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            entry.path()
        );
    }
}

#[test]
fn the_serving_certificate_has_every_name_of_the_design() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::open(folder.path(), &names(), at("2026-01-01T00:00:00Z")).unwrap();
    let read = Read::parse(&pki.serving.certificate).unwrap();
    let expected = [
        "10.0.0.7",
        "10.96.0.1",
        "127.0.0.1",
        "::1",
        "box-1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ];
    assert_eq!(read.names, expected.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn a_leaf_is_made_anew_when_names_change_or_its_end_is_near_and_the_ca_stays() {
    let folder = tempfile::tempdir().unwrap();
    let first = Pki::open(folder.path(), &names(), at("2026-01-01T00:00:00Z")).unwrap();
    let moved = Names { advertise: [10, 0, 0, 8].into(), ..names() };
    let second = Pki::open(folder.path(), &moved, at("2026-01-02T00:00:00Z")).unwrap();
    assert_ne!(first.serving, second.serving);
    assert_eq!((&first.ca, &first.admin), (&second.ca, &second.admin));
    let third = Pki::open(folder.path(), &moved, at("2026-12-20T00:00:00Z")).unwrap();
    assert_ne!(second.admin, third.admin);
    assert_eq!(second.ca, third.ca);
}

#[test]
fn leaves_of_another_ca_or_of_half_a_write_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let now = at("2026-01-01T00:00:00Z");
    let first = Pki::open(folder.path(), &names(), now).unwrap();
    fs::remove_file(folder.path().join("ca.crt")).unwrap();
    let second = Pki::open(folder.path(), &names(), now).unwrap();
    assert_ne!(first.ca, second.ca, "a CA without certificate is an unfinished first start");
    assert_ne!(first.serving, second.serving);
    fs::write(folder.path().join("apiserver.key"), &first.serving.key).unwrap();
    let third = Pki::open(folder.path(), &names(), now).unwrap();
    assert_ne!(second.serving, third.serving, "key and certificate did not belong together");
}

#[test]
fn a_damaged_ca_is_refused_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let now = at("2026-01-01T00:00:00Z");
    let pki = Pki::open(folder.path(), &names(), now).unwrap();
    let key = folder.path().join("ca.key");
    let message = |now| Pki::open(folder.path(), &names(), now).unwrap_err().to_string();
    fs::write(&key, &pki.admin.key).unwrap();
    assert!(
        message(now).contains("ca.key: the CA's key does not belong to its certificate; restore")
    );
    fs::write(&key, "nonsense").unwrap();
    assert!(message(now).contains("the CA's key cannot be read"), "{}", message(now));
    fs::remove_file(&key).unwrap();
    assert!(message(now).contains("the CA's key is missing"));
    fs::write(&key, &pki.ca.key).unwrap();
    assert!(message(at("2037-01-01T00:00:00Z")).contains("the CA's certificate ended at 2035"));
}
