//! The kinds that answer "who am I" and "may they": reviews. They are created, answered and never stored.

mod faults;

use super::{Authorizer, Decision, rbac};
use crate::authenticate::Authenticator;
use crate::identity::Identity;
use crate::route::Attributes;
use api::Status;
use api::field::{self, FieldError};
use serde_json::{Map, Value, json};

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub struct Judges<'a> {
    /// For access reviews.
    pub authorizer: &'a Authorizer,
    /// For token reviews.
    pub authenticator: &'a Authenticator,
}

/// Fills in the answer of a review that `identity` created. `object` is the decoded request; `namespace` the one
/// in the path (LocalSubjectAccessReview only). Managed fields are the caller's business. Kinds that are no
/// reviews are 404.
pub fn review(
    judges: Judges<'_>,
    identity: &Identity,
    namespace: &str,
    object: &mut Value,
    now: jiff::Timestamp,
) -> Result<(), Status> {
    match object["kind"].as_str().unwrap_or_default() {
        "SelfSubjectReview" => {
            object["metadata"]["creationTimestamp"] = json!(crate::authenticate::rfc3339(now));
            object["status"] = json!({ "userInfo": user_info(identity) });
        }
        "TokenReview" => token(judges.authenticator, object, now)?,
        "SelfSubjectAccessReview" => {
            sound(&faults::of(object, false))?;
            access(judges.authorizer, identity, object);
        }
        "SubjectAccessReview" => {
            sound(&faults::of(object, true))?;
            access(judges.authorizer, &subject(object), object);
        }
        "LocalSubjectAccessReview" => {
            sound(&faults::of_local(object, namespace))?;
            access(judges.authorizer, &subject(object), object);
        }
        "SelfSubjectRulesReview" => rules(judges.authorizer, identity, object)?,
        _ => {
            return Err(Status::failure(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ));
        }
    }
    Ok(())
}

/// An identity as `UserInfo`: empty fields are left out.
pub fn user_info(identity: &Identity) -> Value {
    let mut info = Map::new();
    info.insert("username".to_owned(), json!(identity.user));
    if !identity.uid.is_empty() {
        info.insert("uid".to_owned(), json!(identity.uid));
    }
    if !identity.groups.is_empty() {
        info.insert("groups".to_owned(), json!(identity.groups));
    }
    if !identity.extra.is_empty() {
        info.insert("extra".to_owned(), json!(identity.extra));
    }
    Value::Object(info)
}

fn token(
    authenticator: &Authenticator,
    object: &mut Value,
    now: jiff::Timestamp,
) -> Result<(), Status> {
    let token = object["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let wanted = strings(&object["spec"]["audiences"]);
    object["status"] = match authenticator.token(token, &wanted, now) {
        Ok(proven) => json!({
            "authenticated": true,
            "user": user_info(&proven.identity),
            "audiences": proven.audiences,
        }),
        Err(why) => json!({"user": {}, "error": why}),
    };
    Ok(())
}

/// 422 with every fault, if there is one.
fn sound(faults: &[FieldError]) -> Result<(), Status> {
    if faults.is_empty() {
        return Ok(());
    }
    Err(field::invalid("authorization.k8s.io", "", "", faults))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whom a SubjectAccessReview asks about, exactly as it says: no group is added.
fn subject(object: &Value) -> Identity {
    let spec = &object["spec"];
    let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
    let extra = spec["extra"].as_object().into_iter().flatten();
    Identity {
        user: text("user"),
        uid: text("uid"),
        groups: strings(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), strings(values))).collect(),
    }
}

fn access(authorizer: &Authorizer, identity: &Identity, object: &mut Value) {
    let asked = asked(&object["spec"]);
    object["status"] = match authorizer.decide(identity, &asked) {
        Decision::Allow(why) if why.is_empty() => json!({"allowed": true}),
        Decision::Allow(why) => json!({"allowed": true, "reason": why}),
        Decision::NoOpinion(why) if why.is_empty() => json!({"allowed": false}),
        Decision::NoOpinion(why) => json!({"allowed": false, "reason": why}),
    };
}

fn asked(spec: &Value) -> Attributes {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_resource = &spec["resourceAttributes"];
    if of_resource.is_null() {
        let of_path = &spec["nonResourceAttributes"];
        return Attributes {
            verb: text(&of_path["verb"]).into(),
            path: text(&of_path["path"]),
            ..Attributes::default()
        };
    }
    Attributes {
        verb: text(&of_resource["verb"]).into(),
        group: text(&of_resource["group"]),
        version: text(&of_resource["version"]),
        resource: text(&of_resource["resource"]),
        subresource: text(&of_resource["subresource"]),
        namespace: text(&of_resource["namespace"]),
        name: text(&of_resource["name"]),
        ..Attributes::default()
    }
}

fn rules(authorizer: &Authorizer, identity: &Identity, object: &mut Value) -> Result<(), Status> {
    let namespace = object["spec"]["namespace"].as_str().unwrap_or_default().to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let mut of_resources = Vec::new();
    let mut of_paths = Vec::new();
    for rule in authorizer.rules(identity, &namespace) {
        let rbac::Rule { verbs, api_groups, resources, resource_names, non_resource_urls } = rule;
        if !resources.is_empty() {
            let mut shown =
                json!({"verbs": verbs, "apiGroups": api_groups, "resources": resources});
            if !resource_names.is_empty() {
                shown["resourceNames"] = json!(resource_names);
            }
            of_resources.push(shown);
        }
        if !non_resource_urls.is_empty() {
            of_paths.push(json!({"verbs": verbs, "nonResourceURLs": non_resource_urls}));
        }
    }
    // The answer is a new object, not the one that was sent.
    object["metadata"] = json!({});
    object["spec"] = json!({});
    object["status"] =
        json!({"resourceRules": of_resources, "nonResourceRules": of_paths, "incomplete": false});
    Ok(())
}
