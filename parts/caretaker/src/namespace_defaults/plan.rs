//! What a namespace lacks. Pure.

use crate::words::{
    ANNOTATION_DESCRIPTION, CONFIG_MAP_ROOT_CA, DESCRIPTION_ROOT_CA, KEY_ROOT_CA,
    NAMESPACE_TERMINATING,
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::core::ObjectMeta;
use std::collections::BTreeMap;

/// What to do about the certificate of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    Create(Box<ConfigMap>),
    Replace(Box<ConfigMap>),
}

/// Nothing can be made in a namespace under deletion.
fn is_ending(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_some() || phase == Some("Terminating")
}

pub(super) fn wants_account(namespace: &Namespace, known: Option<&ServiceAccount>) -> bool {
    known.is_none() && !is_ending(namespace)
}

/// The certificate as it should be published; what others added to the object's metadata stays.
pub(super) fn root_ca(namespace: &Namespace, known: Option<&ConfigMap>, certificate: &str) -> Step {
    if is_ending(namespace) {
        return Step::Nothing;
    }
    let data = Some(BTreeMap::from([(KEY_ROOT_CA.to_owned(), certificate.to_owned())]));
    let Some(known) = known else {
        let metadata = ObjectMeta {
            name: Some(CONFIG_MAP_ROOT_CA.to_owned()),
            namespace: namespace.metadata.name.clone(),
            annotations: Some(description()),
            ..ObjectMeta::default()
        };
        return Step::Create(Box::new(ConfigMap { metadata, data, ..ConfigMap::default() }));
    };
    let annotations = known.metadata.annotations.as_ref();
    let described = annotations.and_then(|all| all.get(ANNOTATION_DESCRIPTION));
    if known.data == data && described.is_some_and(|text| text == DESCRIPTION_ROOT_CA) {
        return Step::Nothing;
    }
    let mut map = ConfigMap { data, ..known.clone() };
    map.metadata.annotations.get_or_insert_default().extend(description());
    Step::Replace(Box::new(map))
}

fn description() -> BTreeMap<String, String> {
    BTreeMap::from([(ANNOTATION_DESCRIPTION.to_owned(), DESCRIPTION_ROOT_CA.to_owned())])
}

/// Somebody else made it first, or the namespace is going: both are as good as done.
///
/// # Errors
/// All others.
pub(super) fn made<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 403 && is_terminating(&status) => Ok(()),
        other => other.map(drop),
    }
}

fn is_terminating(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == NAMESPACE_TERMINATING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn namespace(phase: &str) -> Namespace {
        serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"phase": phase}}))
            .unwrap()
    }

    #[test]
    fn a_namespace_gets_its_account_unless_it_is_going() {
        assert!(wants_account(&namespace("Active"), None));
        assert!(!wants_account(&namespace("Active"), Some(&ServiceAccount::default())));
        assert!(!wants_account(&namespace("Terminating"), None));
    }

    #[test]
    fn the_certificate_is_kept_as_it_should_be_and_additions_stay() {
        let active = namespace("Active");
        let Step::Create(mut map) = root_ca(&active, None, "PEM") else { panic!("not made") };
        assert_eq!(map.data.as_ref().unwrap()[KEY_ROOT_CA], "PEM");
        assert_eq!(root_ca(&active, Some(&map), "PEM"), Step::Nothing);
        map.metadata.labels = Some(BTreeMap::from([("mine".to_owned(), "kept".to_owned())]));
        assert_eq!(root_ca(&active, Some(&map), "PEM"), Step::Nothing);
        let wanted = map.clone();
        for spoil in [
            |map: &mut ConfigMap| map.data = None,
            |map: &mut ConfigMap| drop(map.data.as_mut().unwrap().insert("x".into(), "y".into())),
            |map: &mut ConfigMap| map.metadata.annotations = None,
        ] {
            let mut map = wanted.clone();
            spoil(&mut map);
            assert_eq!(root_ca(&active, Some(&map), "PEM"), Step::Replace(wanted.clone()));
        }
        assert_eq!(root_ca(&namespace("Terminating"), None, "PEM"), Step::Nothing);
    }
}
