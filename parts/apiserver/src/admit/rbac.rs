//! Roles and bindings, in a namespace and of the cluster.

use super::faults::{Faults, invalid_shown, needed, unsupported};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, metadata, selector, table};
use api::{FieldError, Path};
use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The strategy of Role (`cluster: false`) and ClusterRole.
#[derive(Debug)]
pub(crate) struct Role {
    /// Whether it is a ClusterRole.
    pub cluster: bool,
}

impl Strategy for Role {
    fn default(&self, object: &mut Value) {
        // Upstream writes a role without rules as `"rules": null`.
        if object.list("rules").is_empty() {
            object.set("rules", Value::Null);
        }
    }

    fn name_faults(&self, name: &str, prefix: bool) -> Vec<String> {
        metadata::name_is_path_segment(name, prefix)
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        self.validate(object)
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        table::CREATED
    }

    fn cells(&self, object: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        table::created_cells(object)
    }
}

impl Role {
    fn validate(&self, object: &Value) -> Faults {
        let mut found = Faults::new();
        for (i, rule) in object.list("rules").iter().enumerate() {
            self.rule(&mut found, rule, &Path::new("rules").index(i));
        }
        let rule = object.at("aggregationRule");
        if !rule.is_null() {
            let path = Path::new("aggregationRule").child("clusterRoleSelectors");
            let selectors = rule.list("clusterRoleSelectors");
            if selectors.is_empty() {
                let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                found.push(FieldError::required(path.clone(), why));
            }
            for (i, one) in selectors.iter().enumerate() {
                found.extend(selector::validate(one, &path.index(i)));
                if !selector::is_readable(one) {
                    let why = "invalid label selector.";
                    found.push(FieldError::invalid(path.index(i), Value::Null, why));
                }
            }
        }
        found
    }

    fn rule(&self, found: &mut Faults, rule: &Value, path: &Path) {
        let empty = |key: &str| rule.list(key).is_empty();
        if empty("verbs") {
            let why = "verbs must contain at least one value";
            found.push(FieldError::required(path.child("verbs"), why));
        }
        if !empty("nonResourceURLs") {
            let urls = rule.at("nonResourceURLs").clone();
            let at = path.child("nonResourceURLs");
            if !self.cluster {
                let why = "namespaced rules cannot apply to non-resource URLs";
                found.push(FieldError::invalid(at.clone(), urls.clone(), why));
            }
            if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                found.push(FieldError::invalid(at, urls, why));
            }
            return;
        }
        if empty("apiGroups") {
            let why = "resource rules must supply at least one api group";
            found.push(FieldError::required(path.child("apiGroups"), why));
        }
        if empty("resources") {
            let why = "resource rules must supply at least one resource";
            found.push(FieldError::required(path.child("resources"), why));
        }
    }
}

/// The strategy of RoleBinding (`cluster: false`) and ClusterRoleBinding.
#[derive(Debug)]
pub(crate) struct Binding {
    /// Whether it is a ClusterRoleBinding.
    pub cluster: bool,
}

impl Strategy for Binding {
    fn default(&self, object: &mut Value) {
        object.object("roleRef").fill_text("apiGroup", GROUP);
        for subject in object.items("subjects") {
            if matches!(subject.text("kind"), "User" | "Group") {
                subject.fill_text("apiGroup", GROUP);
            }
        }
    }

    fn name_faults(&self, name: &str, prefix: bool) -> Vec<String> {
        metadata::name_is_path_segment(name, prefix)
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        self.validate(object)
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        let mut found = self.validate(object);
        let (new, old) = (object.at("roleRef"), old.at("roleRef"));
        if new != old {
            let part = |key: &str| json!(new.text(key)).to_string();
            let (group, kind, name) = (part("apiGroup"), part("kind"), part("name"));
            let shown = format!("{{\"APIGroup\":{group},\"Kind\":{kind},\"Name\":{name}}}");
            found.push(invalid_shown(Path::new("roleRef"), &shown, "cannot change roleRef"));
        }
        found
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        BINDING_COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let reference = object.at("roleRef");
        let of = |kind: &str| -> Vec<String> {
            object
                .list("subjects")
                .iter()
                .filter(|subject| subject.text("kind") == kind)
                .map(|subject| match (kind, subject.text("namespace")) {
                    ("ServiceAccount", space) => format!("{space}/{}", subject.text("name")),
                    _ => subject.text("name").to_owned(),
                })
                .collect()
        };
        vec![
            table::name(object),
            format!("{}/{}", reference.text("kind"), reference.text("name")).into(),
            table::age(object, now),
            of("User").join(", ").into(),
            of("Group").join(", ").into(),
            of("ServiceAccount").join(", ").into(),
        ]
    }
}

const BINDING_COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Role", "string", "Role that is given."),
    table::AGE,
    table::wide("Users", "string", "Users it is given to."),
    table::wide("Groups", "string", "Groups it is given to."),
    table::wide("ServiceAccounts", "string", "Service accounts it is given to."),
];

impl Binding {
    fn validate(&self, object: &Value) -> Faults {
        let mut found = Faults::new();
        let (reference, path) = (object.at("roleRef"), Path::new("roleRef"));
        if reference.text("apiGroup") != GROUP {
            let group = reference.text("apiGroup");
            found.push(unsupported(path.child("apiGroup"), group, &[GROUP]));
        }
        let kinds: &[&str] = if self.cluster { &["ClusterRole"] } else { &["Role", "ClusterRole"] };
        let kind = reference.text("kind");
        if !kinds.contains(&kind) {
            found.push(unsupported(path.child("kind"), kind, kinds));
        }
        let name = reference.text("name");
        if needed(&mut found, path.child("name"), name) {
            for text in metadata::name_is_path_segment(name, false) {
                found.push(FieldError::invalid(path.child("name"), name, &text));
            }
        }
        for (i, subject) in object.list("subjects").iter().enumerate() {
            self.subject(&mut found, subject, &Path::new("subjects").index(i));
        }
        found
    }

    fn subject(&self, found: &mut Faults, subject: &Value, path: &Path) {
        let (name, group) = (subject.text("name"), subject.text("apiGroup"));
        needed(found, path.child("name"), name);
        match subject.text("kind") {
            "ServiceAccount" => {
                if !name.is_empty() {
                    super::faults::dns_subdomain(found, &path.child("name"), name);
                }
                if !group.is_empty() {
                    found.push(unsupported(path.child("apiGroup"), group, &[""]));
                }
                if self.cluster {
                    needed(found, path.child("namespace"), subject.text("namespace"));
                }
            }
            "User" | "Group" => {
                if group != GROUP {
                    found.push(unsupported(path.child("apiGroup"), group, &[GROUP]));
                }
            }
            other => {
                let kinds = ["ServiceAccount", "User", "Group"];
                found.push(unsupported(path.child("kind"), other, &kinds));
            }
        }
    }
}
