//! From method and path to what is asked: the grammar of Kubernetes' paths.
//!
//! `/api/v1/…` and `/apis/<group>/<version>/…` followed by
//! `[namespaces/<ns>/]<resource>[/<name>[/<subresource>[/…]]]`, with the legacy `watch/` in front of either.
//! Everything else is a plain path that authorization judges as such. Nothing here looks at a body.

use api::{Resource, Status};
use http::Method;
use std::borrow::Cow;

/// Longest path that is looked at, bytes: a name of 253 in a namespace of 63 under the longest group and
/// resource names (253 each) is below 1,000; four times that is generous.
pub const PATH_BYTES_MAX: usize = 4096;

/// What a request asks for, in the words that authorization judges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the lower-case
    /// HTTP method for paths that are no resources.
    pub verb: Cow<'static, str>,
    /// API group, empty for the core group and for plain paths.
    pub group: String,
    /// API version, empty for plain paths.
    pub version: String,
    /// Plural resource name; empty means a plain path.
    pub resource: String,
    /// `status`, `binding`, …; empty for the object itself.
    pub subresource: String,
    /// Namespace, empty for cluster-scoped resources and for all namespaces. The resource `namespaces`
    /// itself is judged inside the namespace it names.
    pub namespace: String,
    /// Object name, empty for collections. A list or watch with the field selector
    /// `metadata.name=x` is judged as if it named `x`.
    pub name: String,
    /// The path as asked, for plain paths.
    pub path: String,
    /// The node that a list or watch is restricted to by the field selector `spec.nodeName=x`.
    pub node: Option<String>,
}

impl Attributes {
    /// Whether a resource is asked for rather than a plain path.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }
}

/// A resource's place in the path grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What authorization judges.
    pub attributes: Attributes,
    /// The row of the resource; `None` when the path names a resource that is not served.
    pub row: Option<&'static Resource>,
    /// Whether the path is a legacy `/watch/` path.
    pub legacy_watch: bool,
    /// Namespace as written in the path (`attributes.namespace` differs for `namespaces`).
    pub namespace: String,
    /// Name as written in the path (`attributes.name` may come from a field selector).
    pub name: String,
    /// What follows the subresource, as in `…/proxy/<rest>`.
    pub rest: String,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A resource, a collection or a subresource.
    Resource(Box<Target>),
    /// Health, version, metrics, discovery, OpenAPI, or nothing at all.
    Path(Box<Attributes>),
}

impl Route {
    /// What authorization judges.
    pub fn attributes(&self) -> &Attributes {
        match self {
            Self::Resource(target) => &target.attributes,
            Self::Path(attributes) => attributes,
        }
    }
}

/// Query parameters that routing looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `watch=1` or `watch=true`.
    pub watch: bool,
    /// The value of `metadata.name` in the field selector.
    pub name: Option<String>,
    /// The value of `spec.nodeName` in the field selector.
    pub node: Option<String>,
}

impl Hints {
    /// Reads them from the pairs of a query string; a field selector that does not parse says nothing here
    /// and is refused later, where it is used.
    pub fn read(pairs: &[(String, String)]) -> Self {
        let mut hints = Self::default();
        for (key, value) in pairs {
            match key.as_str() {
                "watch" => hints.watch = truth(value),
                "fieldSelector" => {
                    for term in value.split(',') {
                        let Some((field, wanted)) = term.split_once('=') else { continue };
                        let wanted = wanted.strip_prefix('=').unwrap_or(wanted);
                        match field {
                            "metadata.name" => hints.name = Some(wanted.to_owned()),
                            "spec.nodeName" => hints.node = Some(wanted.to_owned()),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        hints
    }
}

/// A boolean of a query string: present without `false` or `0` is true.
pub fn truth(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "false" | "0")
}

/// Finds what a request asks for. `find` looks a resource up by group, version and plural name.
pub fn route(
    method: &Method,
    path: &str,
    hints: &Hints,
    find: impl Fn(&str, &str, &str) -> Option<&'static Resource>,
) -> Result<Route, Status> {
    if path.len() > PATH_BYTES_MAX {
        return Err(Status::failure(414, "", "the path of the request is too long"));
    }
    let decoded = percent_decode(path);
    let plain = || {
        Route::Path(Box::new(Attributes {
            verb: Cow::Owned(method.as_str().to_ascii_lowercase()),
            path: decoded.clone(),
            ..Attributes::default()
        }))
    };
    let parts: Vec<&str> = decoded.split('/').filter(|part| !part.is_empty()).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Ok(plain()),
    };
    let (legacy_watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        _ => (false, rest),
    };
    let place = place(rest);
    let named = !place.name.is_empty();
    let row = find(group, version, place.resource);
    let watch = legacy_watch || (hints.watch && !named);
    let verb = verb(method, named, watch);
    let collection = matches!(verb, "list" | "watch" | "deletecollection");
    let name = match &hints.name {
        Some(name) if collection && !named => name.clone(),
        _ => place.name.to_owned(),
    };
    Ok(Route::Resource(Box::new(Target {
        attributes: Attributes {
            verb: Cow::Borrowed(verb),
            group: group.to_owned(),
            version: version.to_owned(),
            resource: place.resource.to_owned(),
            subresource: place.subresource.to_owned(),
            namespace: place.judged_in.to_owned(),
            name,
            path: decoded.clone(),
            node: if collection { hints.node.clone() } else { None },
        },
        row,
        legacy_watch,
        namespace: place.namespace.to_owned(),
        name: place.name.to_owned(),
        rest: place.rest.join("/"),
    })))
}

#[derive(Default)]
struct Place<'a> {
    namespace: &'a str,
    judged_in: &'a str,
    resource: &'a str,
    name: &'a str,
    subresource: &'a str,
    rest: &'a [&'a str],
}

/// What follows group and version. `namespaces/x/status` and `namespaces/x/finalize` are subresources of a
/// namespace, every other third word is a resource inside it.
fn place<'a>(parts: &'a [&'a str]) -> Place<'a> {
    let (namespace, parts) = match parts {
        ["namespaces", name] => {
            return Place { judged_in: name, resource: "namespaces", name, ..Place::default() };
        }
        ["namespaces", name, subresource @ ("status" | "finalize"), rest @ ..] => {
            let place = Place { judged_in: name, resource: "namespaces", ..Place::default() };
            return Place { name, subresource, rest, ..place };
        }
        ["namespaces", namespace, parts @ ..] if !parts.is_empty() => (*namespace, parts),
        parts => ("", parts),
    };
    let place = Place { namespace, judged_in: namespace, ..Place::default() };
    match parts {
        [resource] => Place { resource, ..place },
        [resource, name] => Place { resource, name, ..place },
        [resource, name, subresource, rest @ ..] => {
            Place { resource, name, subresource, rest, ..place }
        }
        [] => place,
    }
}

fn verb(method: &Method, named: bool, watch: bool) -> &'static str {
    match (method.as_str(), named) {
        ("GET" | "HEAD", _) if watch => "watch",
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "",
    }
}

/// `%41` is `A`; what is no valid escape stays as it is.
pub fn percent_decode(text: &str) -> String {
    decode_bytes(text, false)
}

/// The pairs of a query string, decoded; `+` is a space.
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_bytes(key, true), decode_bytes(value, true))
        })
        .collect()
}

fn decode_bytes(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 3;
            }
            (b'+', ..) if plus => {
                out.push(b' ');
                at += 1;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, path: &str) -> Attributes {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let hints = Hints::read(&query_pairs(query));
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        route(&method, path, &hints, |_, _, _| None).expect("short path").attributes().clone()
    }

    #[track_caller]
    fn is(asked: &Attributes, verb: &str, place: [&str; 5]) {
        let found = [
            asked.group.as_str(),
            asked.resource.as_str(),
            asked.subresource.as_str(),
            asked.namespace.as_str(),
            asked.name.as_str(),
        ];
        assert_eq!((asked.verb.as_ref(), found), (verb, place));
    }

    #[test]
    fn paths_say_what_is_asked() {
        is(&ask("GET", "/api/v1/pods"), "list", ["", "pods", "", "", ""]);
        is(&ask("GET", "/api/v1/namespaces/a/pods/"), "list", ["", "pods", "", "a", ""]);
        is(&ask("GET", "/api/v1/namespaces/a/pods/p"), "get", ["", "pods", "", "a", "p"]);
        is(
            &ask("DELETE", "/api/v1/namespaces/a/pods"),
            "deletecollection",
            ["", "pods", "", "a", ""],
        );
        is(
            &ask("PATCH", "/apis/apps/v1/namespaces/a/daemonsets/d/status"),
            "patch",
            ["apps", "daemonsets", "status", "a", "d"],
        );
    }

    #[test]
    fn a_namespace_is_judged_inside_itself() {
        is(&ask("GET", "/api/v1/namespaces/a"), "get", ["", "namespaces", "", "a", "a"]);
        is(
            &ask("PUT", "/api/v1/namespaces/a/finalize"),
            "update",
            ["", "namespaces", "finalize", "a", "a"],
        );
        is(&ask("GET", "/api/v1/namespaces"), "list", ["", "namespaces", "", "", ""]);
    }

    #[test]
    fn watches_are_recognised_in_both_forms() {
        is(&ask("GET", "/api/v1/pods?watch=1"), "watch", ["", "pods", "", "", ""]);
        is(&ask("GET", "/api/v1/pods?watch=false"), "list", ["", "pods", "", "", ""]);
        is(&ask("GET", "/api/v1/watch/namespaces/a/pods/p"), "watch", ["", "pods", "", "a", "p"]);
        is(&ask("GET", "/api/v1/namespaces/a/pods/p?watch=1"), "get", ["", "pods", "", "a", "p"]);
    }

    #[test]
    fn field_selectors_name_what_is_judged() {
        let asked = ask("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1,metadata.name==x");
        assert_eq!((asked.node.as_deref(), asked.name.as_str()), (Some("n1"), "x"));
    }

    #[test]
    fn other_paths_are_plain() {
        for path in ["/", "/healthz", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version"]
        {
            let asked = ask("GET", path);
            assert_eq!(
                (asked.is_resource(), asked.verb.as_ref(), asked.path.as_str()),
                (false, "get", path)
            );
        }
    }

    #[test]
    fn escapes_are_decoded_and_broken_ones_kept() {
        assert_eq!(percent_decode("/a%20b%2"), "/a b%2");
        let pairs = query_pairs("a=b+c&d&e=%3D");
        assert_eq!(
            pairs,
            [("a", "b c"), ("d", ""), ("e", "=")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
    }
}
