//! Acting in another's name: the `Impersonate-*` headers.
//!
//! Two ways to be allowed, as in 1.36: the classic verb `impersonate` on each thing put on (users, groups,
//! serviceaccounts, uids, userextras); or, constrained, `impersonate:<mode>` on them together with
//! `impersonate-on:<mode>:<verb>` on what is then done. A refusal names the latter (tape README, "Auth").

use crate::authorize::{Authorizer, refusal};
use crate::identity::{self, Identity};
use crate::route::Attributes;
use api::Status;
use http::HeaderMap;
use std::collections::BTreeMap;

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

/// In whose name a request is made: `identity` itself without such headers; 400 when they make no sense, 403
/// when `identity` may not.
pub fn impersonate(
    authorizer: &Authorizer,
    identity: Identity,
    headers: &HeaderMap,
    target: &Attributes,
) -> Result<Identity, Status> {
    let Some(wanted) = wanted(headers) else { return Ok(identity) };
    if wanted.user.is_empty() {
        return Err(Status::bad_request(format!(
            "requested {} without impersonating a user name",
            go_syntax(&wanted)
        )));
    }
    let mode = mode(&wanted);
    let classic = things(&wanted, "impersonate".to_owned(), false);
    let constrained = || {
        let mut asked = things(&wanted, format!("impersonate:{mode}"), true);
        asked.push(on(target, mode));
        asked
    };
    let all = |asked: Vec<Attributes>| {
        asked.iter().all(|one| authorizer.decide(&identity, one).is_allowed())
    };
    if !all(classic) && !all(constrained()) {
        return Err(refusal(&identity, &on(target, mode), ""));
    }
    Ok(dressed(wanted))
}

/// What is done, as the verb of the constrained form.
fn on(target: &Attributes, mode: &str) -> Attributes {
    let verb = format!("impersonate-on:{mode}:{}", target.verb);
    Attributes { verb: verb.into(), ..target.clone() }
}

fn mode(wanted: &Identity) -> &'static str {
    if wanted.service_account().is_some() {
        "serviceaccount"
    } else if wanted.user.starts_with(identity::NODE_PREFIX) {
        "arbitrary-node"
    } else {
        "user-info"
    }
}

/// The headers as an identity; `None` when there are none.
fn wanted(headers: &HeaderMap) -> Option<Identity> {
    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let groups: Vec<String> = headers
        .get_all(GROUP)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            extra.entry(percent_decoded(key)).or_default().push(value.to_owned());
        }
    }
    let found = [USER, UID].iter().any(|name| headers.contains_key(*name))
        || !groups.is_empty()
        || !extra.is_empty();
    found.then(|| Identity {
        user: text(USER).to_owned(),
        uid: text(UID).to_owned(),
        groups,
        extra,
    })
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        if let Some(byte) = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One question for each thing put on.
fn things(wanted: &Identity, verb: String, constrained: bool) -> Vec<Attributes> {
    let ask =
        |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
            verb: verb.clone().into(),
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
    let authentication = "authentication.k8s.io";
    let people = if constrained { authentication } else { "" };
    let mut asked =
        vec![match (wanted.service_account(), wanted.user.strip_prefix(identity::NODE_PREFIX)) {
            (Some((namespace, name)), _) => ask(people, "serviceaccounts", "", namespace, name),
            (None, Some(node)) if constrained => ask(authentication, "nodes", "", "", node),
            _ => ask(people, "users", "", "", &wanted.user),
        }];
    asked.extend(wanted.groups.iter().map(|group| ask(people, "groups", "", "", group)));
    if !wanted.uid.is_empty() {
        asked.push(ask(authentication, "uids", "", "", &wanted.uid));
    }
    for (key, values) in &wanted.extra {
        asked.extend(values.iter().map(|value| ask(authentication, "userextras", key, "", value)));
    }
    asked
}

/// The identity with the groups that come with the name.
fn dressed(mut wanted: Identity) -> Identity {
    if wanted.groups.is_empty()
        && let Some((namespace, name)) = wanted.service_account()
    {
        wanted.groups = Identity::of_service_account(namespace, name).groups;
    }
    let everybody = if wanted.user == identity::ANONYMOUS {
        identity::UNAUTHENTICATED
    } else {
        identity::AUTHENTICATED
    };
    if !wanted.groups.iter().any(|group| group == everybody) {
        wanted.groups.push(everybody.to_owned());
    }
    wanted
}

/// As Go prints the struct; the message of the real server holds it.
fn go_syntax(wanted: &Identity) -> String {
    let list = |items: &[String]| {
        let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
        format!("[]string{{{}}}", quoted.join(", "))
    };
    let groups =
        if wanted.groups.is_empty() { "[]string(nil)".to_owned() } else { list(&wanted.groups) };
    let extra = if wanted.extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        let pairs: Vec<String> =
            wanted.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
        format!("map[string][]string{{{}}}", pairs.join(", "))
    };
    format!(
        "&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{groups}, Extra:{extra}}}",
        wanted.user, wanted.uid
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::Nothing;
    use http::{HeaderName, HeaderValue};
    use serde_json::json;
    use std::sync::Arc;

    /// alice holds the given rules in the whole cluster.
    fn authorizer(rules: serde_json::Value) -> Authorizer {
        let authorizer = Authorizer::new(Arc::new(Nothing));
        let role = json!({"rules": rules}).to_string();
        let binding = json!({
            "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "alice"}]
        });
        let group = crate::authorize::rbac::GROUP;
        authorizer.observe(&format!("{group}/clusterroles"), "", "r", Some(role.as_bytes()));
        let binding = binding.to_string();
        authorizer.observe(
            &format!("{group}/clusterrolebindings"),
            "",
            "b",
            Some(binding.as_bytes()),
        );
        authorizer
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn reviews() -> Attributes {
        Attributes {
            verb: "create".into(),
            group: "authentication.k8s.io".into(),
            resource: "selfsubjectreviews".into(),
            ..Attributes::default()
        }
    }

    fn dressed_as(pairs: &[(&str, &str)]) -> Result<Identity, Status> {
        let root = Identity::new("root", &[identity::MASTERS]);
        impersonate(&authorizer(json!([])), root, &headers(pairs), &reviews())
    }

    #[test]
    fn the_groups_that_come_with_a_name_are_put_on() {
        let dave = dressed_as(&[("Impersonate-User", "dave")]).unwrap();
        assert_eq!(
            (dave.user.as_str(), dave.groups),
            ("dave", vec!["system:authenticated".to_owned()])
        );
        let dave = dressed_as(&[
            ("Impersonate-User", "dave"),
            ("Impersonate-Group", "crew"),
            ("Impersonate-Extra-scopes%2fx", "view"),
        ])
        .unwrap();
        assert_eq!(dave.groups, ["crew", "system:authenticated"]);
        assert_eq!(dave.extra["scopes/x"], ["view"]);
        let robot =
            dressed_as(&[("Impersonate-User", "system:serviceaccount:default:robot")]).unwrap();
        assert_eq!(
            robot.groups,
            ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
        );
        let nobody = dressed_as(&[("Impersonate-User", "system:anonymous")]).unwrap();
        assert_eq!(nobody, Identity::anonymous());
    }

    #[test]
    fn a_group_without_a_user_is_refused_in_the_words_of_the_real_server() {
        let status = dressed_as(&[("Impersonate-Group", "crew")]).unwrap_err();
        assert_eq!(status.code, 400);
        assert_eq!(
            status.message,
            "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"crew\"}, Extra:map[string][]string(nil)} without impersonating a user name"
        );
    }

    #[test]
    fn every_thing_put_on_has_to_be_allowed() {
        let alice = || Identity::new("alice", &[]);
        let users = json!({"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["dave"]});
        let groups = json!({"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["crew"]});
        let on = json!({"verbs": ["impersonate-on:user-info:create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]});
        let constrained = json!({"verbs": ["impersonate:user-info"], "apiGroups": ["authentication.k8s.io"], "resources": ["users"]});
        let as_dave = headers(&[("Impersonate-User", "dave")]);
        let as_crew = headers(&[("Impersonate-User", "dave"), ("Impersonate-Group", "crew")]);
        let as_master =
            headers(&[("Impersonate-User", "dave"), ("Impersonate-Group", "system:masters")]);
        let table = [
            (json!([]), &as_dave, false),
            (json!([users]), &as_dave, true),
            (json!([users]), &as_crew, false),
            (json!([users, groups]), &as_crew, true),
            (json!([users, groups]), &as_master, false),
            (json!([constrained]), &as_dave, false),
            (json!([on]), &as_dave, false),
            (json!([constrained, on]), &as_dave, true),
            (json!([constrained, on]), &as_crew, false),
        ];
        for (rules, headers, allowed) in table {
            let found = impersonate(&authorizer(rules.clone()), alice(), headers, &reviews());
            assert_eq!(found.is_ok(), allowed, "{rules} {headers:?}");
            if let Err(status) = found {
                assert_eq!(
                    status.message,
                    "selfsubjectreviews.authentication.k8s.io is forbidden: User \"alice\" cannot impersonate-on:user-info:create resource \"selfsubjectreviews\" in API group \"authentication.k8s.io\" at the cluster scope"
                );
            }
        }
    }
}
