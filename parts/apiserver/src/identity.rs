//! Who is calling. Put into the request as an extension by `identify` (remote callers) or by the
//! in-process joint (our own parts); never read from a header of ours, so it cannot be forged.

use std::collections::BTreeMap;

/// An authenticated user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User name, `system:anonymous` when unauthenticated.
    pub user: String,
    /// Stable id of the user, may be empty.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Anything else an authenticator said.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// A user with groups; `system:authenticated` is added.
    pub fn new(user: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        if !groups.iter().any(|g| g == "system:authenticated") {
            groups.push("system:authenticated".to_owned());
        }
        Self { user: user.to_owned(), groups, ..Self::default() }
    }

    /// A service account in `kube-system`, the identity of our own controllers.
    pub fn controller(name: &str) -> Self {
        Self::new(
            &format!("system:serviceaccount:kube-system:{name}"),
            &["system:serviceaccounts", "system:serviceaccounts:kube-system"],
        )
    }

    /// Nobody known.
    pub fn anonymous() -> Self {
        Self {
            user: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }
}
