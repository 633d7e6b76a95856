//! Protobuf bodies of the few kinds that kubectl 1.32 and later send so: `kubectl create namespace` and its like,
//! access reviews, evictions, and those in [`more`]. Answers are JSON, which these clients take as well. All other kinds are 415.
//!
//! The wire: the four bytes `k8s\0`, then an envelope (1: {1: apiVersion, 2: kind}, 2: the object). Go writes
//! every field that is no pointer, set or not, so empty texts, empty messages and zero counts mean "not set".

mod more;

use super::node::Node;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How every protobuf body of Kubernetes begins.
const MAGIC: &[u8] = b"k8s\0";

/// Deepest nesting of messages; the kinds below need six.
const DEPTH_MAX: usize = 16;

/// A field: number, name in JSON, what it holds.
type Field = (u64, &'static str, Holds);

/// What a field holds.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    Bool,
    /// False is the same as not set.
    Flag,
    Int,
    /// Zero is the same as not set.
    Count,
    Time,
    Texts,
    One(&'static [Field]),
    Many(&'static [Field]),
    /// Map from text to text.
    Map,
    /// Map from text to bytes.
    ByteMap,
    /// Map from text to a list of texts.
    ListMap,
    /// Map from text to quantities.
    Quantities,
    /// A number or a text.
    Either,
    /// The server's own business.
    Ignored,
}

use Holds::{
    Bool, ByteMap, Count, Either, Flag, Ignored, Int, ListMap, Many, Map, One, Quantities, Text,
    Texts, Time,
};

const OWNER: &[Field] = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Bool),
    (7, "blockOwnerDeletion", Bool),
];
const META: &[Field] = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Ignored),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Count),
    (8, "creationTimestamp", Time),
    (9, "deletionTimestamp", Time),
    (10, "deletionGracePeriodSeconds", Int),
    (11, "labels", Map),
    (12, "annotations", Map),
    (13, "ownerReferences", Many(OWNER)),
    (14, "finalizers", Texts),
    (17, "managedFields", Ignored),
];
const METADATA: Field = (1, "metadata", One(META));
const NAMESPACE: &[Field] =
    &[METADATA, (2, "spec", One(&[(1, "finalizers", Texts)])), (3, "status", Ignored)];
const CONFIG_MAP: &[Field] =
    &[METADATA, (2, "data", Map), (3, "binaryData", ByteMap), (4, "immutable", Bool)];
const SECRET: &[Field] = &[
    METADATA,
    (2, "data", ByteMap),
    (3, "type", Text),
    (4, "stringData", Map),
    (5, "immutable", Bool),
];
const SERVICE_ACCOUNT: &[Field] = &[
    METADATA,
    (3, "imagePullSecrets", Many(&[(1, "name", Text)])),
    (4, "automountServiceAccountToken", Bool),
];
const PRIORITY_CLASS: &[Field] = &[
    METADATA,
    (2, "value", Int),
    (3, "globalDefault", Flag),
    (4, "description", Text),
    (5, "preemptionPolicy", Text),
];
const RULE: &[Field] = &[
    (1, "verbs", Texts),
    (2, "apiGroups", Texts),
    (3, "resources", Texts),
    (4, "resourceNames", Texts),
    (5, "nonResourceURLs", Texts),
];
const SELECTOR: &[Field] = &[
    (1, "matchLabels", Map),
    (2, "matchExpressions", Many(&[(1, "key", Text), (2, "operator", Text), (3, "values", Texts)])),
];
const ROLE: &[Field] = &[METADATA, (2, "rules", Many(RULE))];
const CLUSTER_ROLE: &[Field] = &[
    METADATA,
    (2, "rules", Many(RULE)),
    (3, "aggregationRule", One(&[(1, "clusterRoleSelectors", Many(SELECTOR))])),
];
const SUBJECT: &[Field] =
    &[(1, "kind", Text), (2, "apiGroup", Text), (3, "name", Text), (4, "namespace", Text)];
const BINDING: &[Field] = &[
    METADATA,
    (2, "subjects", Many(SUBJECT)),
    (3, "roleRef", One(&[(1, "apiGroup", Text), (2, "kind", Text), (3, "name", Text)])),
];
const RESOURCE_ATTRIBUTES: &[Field] = &[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
];
const PATH_ATTRIBUTES: &[Field] = &[(1, "path", Text), (2, "verb", Text)];
const SELF_ACCESS: &[Field] = &[
    (1, "resourceAttributes", One(RESOURCE_ATTRIBUTES)),
    (2, "nonResourceAttributes", One(PATH_ATTRIBUTES)),
];
const ACCESS: &[Field] = &[
    (1, "resourceAttributes", One(RESOURCE_ATTRIBUTES)),
    (2, "nonResourceAttributes", One(PATH_ATTRIBUTES)),
    (3, "user", Text),
    (4, "groups", Texts),
    (5, "extra", ListMap),
    (6, "uid", Text),
];
const DELETE_OPTIONS: &[Field] = &[
    (1, "gracePeriodSeconds", Int),
    (2, "preconditions", One(&[(1, "uid", Text), (2, "resourceVersion", Text)])),
    (3, "orphanDependents", Bool),
    (4, "propagationPolicy", Text),
    (5, "dryRun", Texts),
];

/// The kinds that are read.
fn fields(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "Namespace" => NAMESPACE,
        "ConfigMap" => CONFIG_MAP,
        "Secret" => SECRET,
        "ServiceAccount" => SERVICE_ACCOUNT,
        "PriorityClass" => PRIORITY_CLASS,
        "Role" => ROLE,
        "ClusterRole" => CLUSTER_ROLE,
        "RoleBinding" | "ClusterRoleBinding" => BINDING,
        "SelfSubjectAccessReview" => {
            &[METADATA, (2, "spec", One(SELF_ACCESS)), (3, "status", Ignored)]
        }
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            &[METADATA, (2, "spec", One(ACCESS)), (3, "status", Ignored)]
        }
        "SelfSubjectRulesReview" => {
            &[METADATA, (2, "spec", One(&[(1, "namespace", Text)])), (3, "status", Ignored)]
        }
        "SelfSubjectReview" => &[METADATA, (2, "status", Ignored)],
        "Eviction" => &[METADATA, (2, "deleteOptions", One(DELETE_OPTIONS))],
        "DeleteOptions" => DELETE_OPTIONS,
        "Deployment" => more::DEPLOYMENT,
        "PodDisruptionBudget" => more::BUDGET,
        "ResourceQuota" => more::RESOURCE_QUOTA,
        "Service" => more::SERVICE,
        "TokenRequest" => more::TOKEN_REQUEST,
        _ => return None,
    })
}

/// Reads a body; the error says why not.
pub fn read(body: &[u8]) -> Result<Node, String> {
    let body =
        body.strip_prefix(MAGIC).ok_or("provided data does not appear to be a protobuf message")?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for part in Parts(body) {
        match part? {
            (1, Part::Bytes(bytes)) => {
                for part in Parts(bytes) {
                    match part? {
                        (1, Part::Bytes(bytes)) => version = text(bytes)?,
                        (2, Part::Bytes(bytes)) => kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Part::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let fields = fields(&kind).ok_or_else(|| format!("{kind} is read as JSON or YAML only"))?;
    let mut object =
        vec![("kind".to_owned(), Node::Text(kind)), ("apiVersion".to_owned(), Node::Text(version))];
    object.extend(message(raw, fields, 0)?);
    Ok(Node::Object(object))
}

enum Part<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, one after another.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or("unexpected EOF")?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is longer than 64 bits".to_owned())
    }

    fn part(&mut self) -> Result<(u64, Part<'a>), String> {
        let tag = self.varint()?;
        let part = match tag & 7 {
            0 => Part::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|error| error.to_string())?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or("unexpected EOF")?;
                self.0 = rest;
                Part::Bytes(bytes)
            }
            other => return Err(format!("wire type {other} is not used")),
        };
        Ok((tag >> 3, part))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<(u64, Part<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let part = self.part();
        if part.is_err() {
            self.0 = &[];
        }
        Some(part)
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
}

fn message(bytes: &[u8], fields: &[Field], depth: usize) -> Result<Vec<(String, Node)>, String> {
    if depth > DEPTH_MAX {
        return Err("messages are nested too deep".to_owned());
    }
    let mut out: Vec<(String, Node)> = Vec::new();
    for part in Parts(bytes) {
        let (number, part) = part?;
        let field = fields.iter().find(|(known, ..)| *known == number);
        let (_, name, holds) =
            field.ok_or_else(|| format!("field {number} is read as JSON or YAML only"))?;
        let Some(value) = value(part, *holds, depth)? else { continue };
        let there = out.iter_mut().find(|(key, _)| key == name).map(|(_, value)| value);
        match (there, value) {
            (Some(Node::List(items)), Node::List(more)) => items.extend(more),
            (Some(Node::Object(entries)), Node::Object(more)) => entries.extend(more),
            (Some(place), value) => *place = value,
            (None, value) => out.push(((*name).to_owned(), value)),
        }
    }
    Ok(out)
}

/// One occurrence of a field; `None` when it says nothing.
fn value(part: Part<'_>, holds: Holds, depth: usize) -> Result<Option<Node>, String> {
    Ok(match (holds, part) {
        (Ignored, _) => None,
        (Text, Part::Bytes(bytes)) => {
            Some(text(bytes)?).filter(|text| !text.is_empty()).map(Node::Text)
        }
        (Bool, Part::Number(number)) => Some(Node::Bool(number != 0)),
        (Flag, Part::Number(number)) => (number != 0).then_some(Node::Bool(true)),
        (Int, Part::Number(number)) => Some(Node::Number(number.cast_signed().into())),
        (Count, Part::Number(number)) => {
            (number != 0).then(|| Node::Number(number.cast_signed().into()))
        }
        (Texts, Part::Bytes(bytes)) => Some(Node::List(vec![Node::Text(text(bytes)?)])),
        (Time, Part::Bytes(bytes)) => time(bytes)?,
        (One(fields), Part::Bytes(bytes)) => Some(message(bytes, fields, depth + 1)?)
            .filter(|fields| !fields.is_empty())
            .map(Node::Object),
        (Many(fields), Part::Bytes(bytes)) => {
            Some(Node::List(vec![Node::Object(message(bytes, fields, depth + 1)?)]))
        }
        (Either, Part::Bytes(bytes)) => Some(either(bytes)?),
        (Map | ByteMap | ListMap | Quantities, Part::Bytes(bytes)) => {
            Some(Node::Object(vec![entry(bytes, holds)?]))
        }
        _ => return Err("a field is of a wrong wire type".to_owned()),
    })
}

fn entry(bytes: &[u8], holds: Holds) -> Result<(String, Node), String> {
    let (mut key, mut held) = (String::new(), &[][..]);
    for part in Parts(bytes) {
        match part? {
            (1, Part::Bytes(bytes)) => key = text(bytes)?,
            (2, Part::Bytes(bytes)) => held = bytes,
            _ => {}
        }
    }
    let value = match holds {
        ByteMap => Node::Text(STANDARD.encode(held)),
        ListMap => {
            let items = Parts(held).map(|part| match part? {
                (_, Part::Bytes(bytes)) => text(bytes).map(Node::Text),
                (_, Part::Number(_)) => Err("a field is of a wrong wire type".to_owned()),
            });
            Node::List(items.collect::<Result<_, _>>()?)
        }
        Quantities => {
            let mut amount = String::new();
            for part in Parts(held) {
                if let (1, Part::Bytes(bytes)) = part? {
                    amount = text(bytes)?;
                }
            }
            Node::Text(amount)
        }
        _ => Node::Text(text(held)?),
    };
    Ok((key, value))
}

/// A number or a text: which of the two, then both.
fn either(bytes: &[u8]) -> Result<Node, String> {
    let (mut is_text, mut number, mut held) = (false, 0, String::new());
    for part in Parts(bytes) {
        match part? {
            (1, Part::Number(kind)) => is_text = kind == 1,
            (2, Part::Number(value)) => number = value.cast_signed(),
            (3, Part::Bytes(bytes)) => held = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { Node::Text(held) } else { Node::Number(number.into()) })
}

/// A moment, to the second; nothing for the zero one.
fn time(bytes: &[u8]) -> Result<Option<Node>, String> {
    let mut seconds = 0;
    for part in Parts(bytes) {
        if let (1, Part::Number(number)) = part? {
            seconds = number.cast_signed();
        }
    }
    if seconds == 0 {
        return Ok(None);
    }
    let at = jiff::Timestamp::from_second(seconds).map_err(|error| error.to_string())?;
    Ok(Some(Node::Text(crate::verbs::delete::seconds(at))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
        out.extend_from_slice(bytes);
        out
    }

    fn body(kind: &str, object: &[u8]) -> Vec<u8> {
        let about = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &about), field(2, object)].concat()
    }

    #[test]
    fn a_config_map_is_read_and_what_go_writes_unasked_is_not() {
        let meta = [field(1, b"x"), field(2, b""), vec![7 << 3, 0], field(8, b"")].concat();
        let data = [field(1, b"k"), field(2, b"v")].concat();
        let more = [field(1, b"l"), field(2, b"w")].concat();
        let object = [field(1, &meta), field(2, &data), field(2, &more)].concat();
        assert_eq!(
            read(&body("ConfigMap", &object)).expect("read").into_value(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"k": "v", "l": "w"}})
        );
    }

    #[test]
    fn quantities_and_numbers_or_texts_are_read() {
        let hard = [field(1, b"pods"), field(2, &field(1, b"3"))].concat();
        let object = [field(1, &field(1, b"q")), field(2, &field(1, &hard))].concat();
        assert_eq!(
            read(&body("ResourceQuota", &object)).expect("read").into_value()["spec"],
            json!({"hard": {"pods": "3"}})
        );
        let percent = [vec![1 << 3, 1, 2 << 3, 0], field(3, b"10%")].concat();
        let number = [vec![1 << 3, 0, 2 << 3, 4], field(3, b"")].concat();
        let spec = [field(1, &percent), field(3, &number)].concat();
        assert_eq!(
            read(&body("PodDisruptionBudget", &field(2, &spec))).expect("read").into_value()["spec"],
            json!({"minAvailable": "10%", "maxUnavailable": 4})
        );
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_refused() {
        let whole = body("Namespace", &field(1, &field(1, b"x")));
        for end in 0..whole.len() {
            // Cut between two fields, what is left is a shorter message; it must not be taken for the whole.
            if let Ok(node) = read(&whole[..end]) {
                assert_ne!(node, read(&whole).expect("read"));
            }
        }
        read(&body("Pod", b"")).expect_err("not read as protobuf");
        read(&body("Namespace", &field(9, b"x"))).expect_err("a field we do not know");
        read(b"{}").expect_err("no protobuf");
    }
}
