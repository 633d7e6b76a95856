//! Who is calling. Put into the request as an extension by [`crate::authenticate`] (remote callers) or by the
//! in-process joint (our own parts); never read from a header of ours, so it cannot be forged.

use std::collections::BTreeMap;

/// The group whose members may do anything; no rule can take that away.
pub const MASTERS: &str = "system:masters";
/// The group of everybody who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user name of somebody who did not say who they are.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of agents.
pub const NODES: &str = "system:nodes";
/// User names of agents are this and the node's name.
pub const NODE_PREFIX: &str = "system:node:";
/// The group of holders of a join token.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// User names of service accounts are this, the namespace, a colon and the name.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// The group of all service accounts; with a colon and a namespace, of those in it.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

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
        if !groups.iter().any(|g| g == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { user: user.to_owned(), groups, ..Self::default() }
    }

    /// A service account in `kube-system`, the identity of our own controllers.
    pub fn controller(name: &str) -> Self {
        let mut identity = Self::of_service_account("kube-system", name);
        identity.groups.push(AUTHENTICATED.to_owned());
        identity
    }

    /// A service account with the groups that come with its name, but without `system:authenticated`.
    pub fn of_service_account(namespace: &str, name: &str) -> Self {
        Self {
            user: format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"),
            groups: vec![SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}")],
            ..Self::default()
        }
    }

    /// The server itself, for what it creates at its start.
    pub fn server() -> Self {
        Self::new("system:apiserver", &[MASTERS])
    }

    /// Nobody known.
    pub fn anonymous() -> Self {
        Self {
            user: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// Namespace and name, when the user is a service account.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
        let plain = !namespace.is_empty() && !name.is_empty() && !name.contains(':');
        plain.then_some((namespace, name))
    }
}
