//! Who may use the port. Upstream's kubelet asks the API server; the one caller that everything here is made for is
//! that server itself, so its name is enough.

use super::{Body, text};
use http::{Method, Response, StatusCode};

/// The name under which the server calls nodes.
const SERVER: &str = "kube-apiserver-kubelet-client";
/// The group that may do anything.
const MASTERS: &str = "system:masters";

/// Who shows a certificate that the authority has signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
}

impl Caller {
    /// From a certificate whose chain the handshake has checked.
    pub(crate) fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let subject = parsed.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject.iter_organization().filter_map(|one| one.as_str().ok());
        Some(Self { user, groups: groups.map(str::to_owned).collect() })
    }

    fn is_trusted(&self) -> bool {
        self.user == SERVER || self.groups.iter().any(|group| group == MASTERS)
    }
}

/// The subresource of nodes under which upstream judges a path.
pub(crate) fn subresource(path: &str) -> &'static str {
    let first = path.split('/').nth(1).unwrap_or_default();
    match first {
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        "healthz" => "healthz",
        "configz" => "configz",
        "pods" | "runningpods" => "pods",
        _ => "proxy",
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// 401 for nobody, 403 for somebody else, in upstream's words.
pub(crate) fn refusal(
    caller: Option<&Caller>,
    method: &Method,
    path: &str,
) -> Option<Response<Body>> {
    let Some(caller) = caller else {
        return Some(text(StatusCode::UNAUTHORIZED, "Unauthorized"));
    };
    if caller.is_trusted() {
        return None;
    }
    Some(text(
        StatusCode::FORBIDDEN,
        format!(
            "Forbidden (user={}, verb={}, resource=nodes, subresource(s)=[{}])\n",
            caller.user,
            verb(method),
            subresource(path)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(caller: Option<&Caller>, path: &str) -> u16 {
        let refused = refusal(caller, &Method::GET, path);
        refused.map_or(200, |answer| answer.status().as_u16())
    }

    #[test]
    fn only_the_server_and_masters_may_use_the_port() {
        let named = |user: &str, groups: &[&str]| Caller {
            user: user.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        };
        let path = "/exec/a/b/c";
        assert_eq!(code(None, path), 401);
        assert_eq!(code(Some(&named("alice", &["devs"])), path), 403);
        assert_eq!(code(Some(&named("system:node:n", &["system:nodes"])), path), 403);
        assert_eq!(code(Some(&named(SERVER, &[])), path), 200);
        assert_eq!(code(Some(&named("root", &[MASTERS])), path), 200);
    }
}
