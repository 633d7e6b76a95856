//! The answer of the API when something did not go as asked: `v1.Status`.
//!
//! Constructors give Kubernetes' own wording, since users and tools match on it.

use serde::{Deserialize, Serialize};

/// A `v1.Status`, as the error type of everything that stands at the API's door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Always `Status`.
    pub kind: String,
    /// Always `v1`.
    pub api_version: String,
    /// List metadata, empty but for lists that may go on with another token.
    #[serde(default)]
    pub metadata: Listed,
    /// `Success` or `Failure`.
    pub status: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// For programs: `NotFound`, `Conflict`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// HTTP status code.
    #[serde(default)]
    pub code: u16,
}

/// What a [`Status`] says of the list that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// A token with which the rest of an expired list can be had, from another moment than its beginning.
    #[serde(default, rename = "continue", skip_serializing_if = "String::is_empty")]
    pub continue_token: String,
}

/// What a [`Status`] is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind for validation errors, plural resource otherwise (upstream's habit).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID of the object, in answers to deletes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One cause for each fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// One fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// `FieldValueInvalid`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Status {
    /// A failure with a code, a reason (may be empty) and a message.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: "Status".into(),
            api_version: "v1".into(),
            metadata: Listed::default(),
            status: "Failure".into(),
            message: message.into(),
            reason: reason.into(),
            details: None,
            code,
        }
    }

    /// The same, with details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(details);
        self
    }

    /// Success of a delete, with what was deleted.
    pub fn deleted(group: &str, plural: &str, name: &str, uid: &str) -> Self {
        Self {
            status: "Success".into(),
            code: 0,
            details: Some(Details {
                name: name.into(),
                group: group.into(),
                kind: plural.into(),
                uid: uid.into(),
                ..Details::default()
            }),
            ..Self::failure(0, "", "")
        }
    }

    /// 404: `pods "x" not found`.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        Self::about(404, "NotFound", group, plural, name, |what| format!("{what} not found"))
    }

    /// 409: `pods "x" already exists`.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        Self::about(409, "AlreadyExists", group, plural, name, |what| {
            format!("{what} already exists")
        })
    }

    /// 409: `Operation cannot be fulfilled on pods "x": why`.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        Self::about(409, "Conflict", group, plural, name, |what| {
            format!("Operation cannot be fulfilled on {what}: {why}")
        })
    }

    /// 403: `pods "x" is forbidden: why`.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let plain = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let message = match (plain.as_str(), name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{plain} is forbidden: {why}"),
            (_, _) => format!("{plain} \"{name}\" is forbidden: {why}"),
        };
        Self::failure(403, "Forbidden", message).with_details(Details {
            name: name.into(),
            group: group.into(),
            kind: plural.into(),
            ..Details::default()
        })
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 405.
    pub fn method_not_allowed(group: &str, plural: &str, action: &str) -> Self {
        let what = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        Self::failure(
            405,
            "MethodNotAllowed",
            format!("{action} is not supported on resources of kind \"{what}\""),
        )
        .with_details(Details {
            group: group.into(),
            kind: plural.into(),
            ..Details::default()
        })
    }

    /// 410, for lists and watches from a revision that is gone.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 500 with the reason `InternalError` and upstream's prefix.
    pub fn internal(why: &str) -> Self {
        Self::failure(500, "InternalError", format!("Internal error occurred: {why}")).with_details(
            Details {
                causes: vec![Cause { message: why.into(), ..Cause::default() }],
                ..Details::default()
            },
        )
    }

    /// 503 with a reason for people.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// 429 with a time to wait.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::failure(429, "TooManyRequests", message)
            .with_details(Details { retry_after_seconds, ..Details::default() })
    }

    /// True for 404 answers.
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    fn about(
        code: u16,
        reason: &str,
        group: &str,
        plural: &str,
        name: &str,
        message: impl Fn(&str) -> String,
    ) -> Self {
        let what = if group.is_empty() {
            format!("{plural} \"{name}\"")
        } else {
            format!("{plural}.{group} \"{name}\"")
        };
        Self::failure(code, reason, message(&what)).with_details(Details {
            name: name.into(),
            group: group.into(),
            kind: plural.into(),
            ..Details::default()
        })
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}
