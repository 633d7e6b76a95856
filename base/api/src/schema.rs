//! What is known of each type: fields, their types, defaults, how lists merge. Read by decoding, patches, apply
//! and OpenAPI. The table is made at build time from `data/schema.json`, the facts of Kubernetes 1.36's
//! OpenAPI documents.

mod named;
pub use named::named;

use crate::Resource;

include!(concat!(env!("OUT_DIR"), "/types.rs"));

/// A struct of the API.
#[derive(Debug)]
pub struct Type {
    /// `io.k8s.api.apps.v1.DaemonSetSpec`.
    pub name: &'static str,
    /// Fields, by name. None at all for types whose content is not described.
    pub fields: &'static [Field],
    /// Places in `fields` in the order in which Go declares them; empty where that is the alphabet's.
    declared: &'static [u16],
    /// Numbers in protobuf, sorted: (name of a message that JSON writes in place, or 0; number; place in `fields`).
    numbers: &'static [(u16, u16, u16)],
    /// Owned as a whole in apply.
    pub atomic: bool,
    /// Where the type comes from.
    pub origin: Origin,
    /// Group, version and kind for types that stand at the top of a document.
    pub kinds: &'static [(&'static str, &'static str, &'static str)],
}

/// Where a type comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Kubernetes' own types, which Go holds as structs and writes by the rules of structs.
    Kubernetes,
    /// The schema of a custom resource: what is not there is not written, what is empty is.
    Custom {
        /// Fields that are not listed are kept and owned one by one.
        open: bool,
        /// Status is written through a path of its own (said of whole objects only).
        halves: bool,
    },
}

/// A field of a struct.
#[derive(Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: &'static str,
    /// What it holds.
    pub node: Node,
    /// Whether it has to be there.
    pub required: bool,
    /// Default as JSON text. `{}` and `""` stand at fields that Go always writes.
    pub default: Option<&'static str>,
    /// How a strategic merge patch treats it.
    pub strategy: Strategy,
    /// Key by which a strategic merge patch pairs items, else empty.
    pub merge_key: &'static str,
}

/// `x-kubernetes-patch-strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strategy {
    /// Items of the list are merged.
    pub merge: bool,
    /// The value is replaced even where it is an object.
    pub replace: bool,
    /// `$retainKeys` is understood.
    pub retain_keys: bool,
}

/// What a field, an item or a map's value holds.
#[derive(Clone, Copy, Debug)]
pub enum Node {
    /// A text.
    Text,
    /// RFC 3339, to the second.
    Time,
    /// RFC 3339 with six digits.
    MicroTime,
    /// Base64.
    Bytes,
    /// True or false.
    Bool,
    /// 32 bits with sign.
    Int32,
    /// 64 bits with sign.
    Int64,
    /// A floating-point number.
    Double,
    /// An amount, text or number.
    Quantity,
    /// A number or a text.
    IntOrString,
    /// Any JSON, not described further, and owned as one.
    Any,
    /// Any JSON, whose objects are owned field by field.
    Deduced,
    /// A struct.
    Struct(&'static Type),
    /// A schema of JSON, or something else that is not described: the forms that OpenAPI mixes in one field.
    SchemaOr(&'static Type),
    /// A list.
    List(&'static List),
    /// A map by text.
    Map(&'static Map),
}

/// A list.
#[derive(Debug)]
pub struct List {
    /// What an item is.
    pub items: Node,
    /// How apply merges it.
    pub kind: ListKind,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Owned as a whole.
    Atomic,
    /// Every item is its own key.
    Set,
    /// Items have these key fields.
    Map(&'static [&'static str]),
}

/// A map from text.
#[derive(Debug)]
pub struct Map {
    /// What a value is.
    pub values: Node,
    /// Owned as a whole in apply.
    pub atomic: bool,
}

impl Type {
    /// A type made from the schema of a custom resource.
    pub fn custom(
        name: &'static str,
        mut fields: Vec<Field>,
        atomic: bool,
        origin: Origin,
    ) -> Self {
        fields.sort_by_key(|field| field.name);
        let fields: &'static [Field] = Vec::leak(fields);
        Self { name, fields, declared: &[], numbers: &[], atomic, origin, kinds: &[] }
    }

    /// Whether it comes from the schema of a custom resource.
    pub fn is_custom(&self) -> bool {
        self.origin != Origin::Kubernetes
    }

    /// Whether fields that are not listed may be there all the same.
    pub fn is_open(&self) -> bool {
        match self.origin {
            Origin::Kubernetes => self.fields.is_empty(),
            Origin::Custom { open, .. } => open,
        }
    }

    /// The field of that name, case as written.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let fields: &'static [Field] = self.fields;
        fields.binary_search_by(|field| field.name.cmp(name)).ok().and_then(|at| fields.get(at))
    }

    /// The fields in the order in which Go declares, and therefore encodes, them.
    pub fn declared(&self) -> impl Iterator<Item = &'static Field> {
        let fields: &'static [Field] = self.fields;
        let alphabet = if self.declared.is_empty() { fields } else { &[] };
        let places = self.declared.iter().filter_map(|place| fields.get(usize::from(*place)));
        alphabet.iter().chain(places)
    }

    /// The field with that number in the type's protobuf message, or, where `outer` is not 0, in the message that JSON
    /// writes in place (`volumeSource`) and that [`Self::in_place`] named so.
    pub fn numbered(&self, outer: u16, number: u16) -> Option<&'static Field> {
        let fields: &'static [Field] = self.fields;
        let found =
            self.numbers.binary_search_by_key(&(outer, number), |one| (one.0, one.1)).ok()?;
        fields.get(usize::from(self.numbers.get(found)?.2))
    }

    /// The name of a message that JSON writes in place, where a number is that of one: its number, and of one in
    /// another `256 * outer + number`.
    pub fn in_place(&self, outer: u16, number: u16) -> Option<u16> {
        let number = u8::try_from(number).ok().filter(|number| *number != 0)?;
        let name = outer.checked_mul(256)?.checked_add(u16::from(number))?;
        let is_within = |one: &(u16, u16, u16)| one.0 == name || one.0 / 256 == name;
        self.numbers.iter().any(is_within).then_some(name)
    }

    /// Whether the protobuf number of every field is known.
    pub fn is_numbered(&self) -> bool {
        let named = |field: &&Field| !matches!(field.name, "apiVersion" | "kind");
        self.numbers
            .iter()
            .filter(|one| self.fields.get(usize::from(one.2)).as_ref().is_some_and(named))
            .count()
            == self.fields.iter().filter(named).count()
    }

    /// The last part of the name, which is the Go struct's: `DaemonSetSpec`.
    pub fn go_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The Go type as Go prints it: `v1.DaemonSetSpec`.
    pub fn go_type(&self) -> String {
        let mut parts = self.name.rsplit('.');
        let name = parts.next().unwrap_or(self.name);
        parts.next().map_or_else(|| name.to_owned(), |package| format!("{package}.{name}"))
    }
}

impl Node {
    /// The Go type as Go prints it in `of type int32`; `name` is what [`named`] says of the field that holds it.
    pub fn go_type_as(&self, name: Option<&str>) -> String {
        match (self, name) {
            (Self::Text | Self::Map(_), Some(name)) => name.to_owned(),
            (Self::List(list), Some(_)) => format!("[]{}", list.items.go_type_as(name)),
            _ => self.go_type(),
        }
    }

    /// The Go type as Go prints it in `of type int32`. Moments and [`Self::IntOrString`] read themselves, from what they
    /// are written as.
    pub fn go_type(&self) -> String {
        match self {
            Self::Text | Self::Time | Self::MicroTime => "string".to_owned(),
            Self::Bytes => "[]uint8".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Int32 | Self::IntOrString => "int32".to_owned(),
            Self::Int64 => "int64".to_owned(),
            Self::Double => "float64".to_owned(),
            Self::Quantity => "resource.Quantity".to_owned(),
            Self::Any | Self::Deduced => "runtime.RawExtension".to_owned(),
            Self::Struct(found) | Self::SchemaOr(found) => found.go_type(),
            Self::List(list) => format!("[]{}", list.items.go_type()),
            Self::Map(map) => format!("map[string]{}", map.values.go_type()),
        }
    }
}

/// The type of that full name.
pub fn by_name(name: &str) -> Option<&'static Type> {
    TYPES.binary_search_by(|found| found.name.cmp(name)).ok().and_then(|at| TYPES.get(at)).copied()
}

/// The type of a kind; kinds that stand in many groups (`DeleteOptions`) are found in each.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    TYPES.iter().find(|found| found.kinds.contains(&(group, version, kind))).copied()
}

/// The type of a resource's objects. A test holds that every row has one.
pub fn of(row: &Resource) -> Option<&'static Type> {
    row.custom.map(|custom| custom.shape).or_else(|| by_name(row.schema))
}

/// Every type, by name.
pub fn all() -> impl Iterator<Item = &'static Type> {
    TYPES.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_type_and_names_are_sorted() {
        for row in crate::resource::ALL {
            let found = of(row).unwrap_or_else(|| panic!("{} has no type", row.schema));
            assert!(found.field("metadata").is_some(), "{}", row.schema);
            assert!(by_kind(row.group, row.version, row.kind).is_some(), "{}", row.kind);
        }
        assert!(all().is_sorted_by_key(|found| found.name));
        for found in all() {
            assert!(found.fields.is_sorted_by_key(|field| field.name), "{}", found.name);
        }
    }

    #[test]
    fn fields_are_known_in_the_order_of_go() {
        let metadata = by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
        let names: Vec<&str> = metadata.declared().map(|field| field.name).take(3).collect();
        assert_eq!(names, ["name", "generateName", "namespace"]);
        for found in all() {
            let mut names: Vec<&str> = found.declared().map(|field| field.name).collect();
            names.sort_unstable();
            let known: Vec<&str> = found.fields.iter().map(|field| field.name).collect();
            assert_eq!(names, known, "{}", found.name);
        }
    }

    #[test]
    fn lists_know_their_keys_and_merge_keys() {
        let pod = by_name("io.k8s.api.core.v1.PodSpec").unwrap();
        let containers = pod.field("containers").unwrap();
        assert_eq!(containers.merge_key, "name");
        let Node::List(list) = containers.node else { panic!("a list") };
        assert_eq!(list.kind, ListKind::Map(&["name"]));
        let Node::Struct(container) = list.items else { panic!("a struct") };
        let Node::List(ports) = container.field("ports").unwrap().node else { panic!("a list") };
        assert_eq!(ports.kind, ListKind::Map(&["containerPort", "protocol"]));
        let Node::Struct(port) = ports.items else { panic!("a struct") };
        assert_eq!(port.field("protocol").unwrap().default, Some("\"TCP\""));
        assert!(pod.field("volumes").unwrap().strategy.retain_keys);
        assert!(pod.field("Volumes").is_none(), "names have a case");
    }

    #[test]
    fn fields_of_served_kinds_have_their_numbers_in_protobuf() {
        let volume = by_name("io.k8s.api.core.v1.Volume").unwrap();
        assert_eq!(volume.numbered(0, 1).map(|field| field.name), Some("name"));
        assert_eq!(volume.numbered(2, 1).map(|field| field.name), Some("hostPath"));
        assert_eq!((volume.in_place(0, 2), volume.in_place(0, 1)), (Some(2), None));
        let metadata = by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
        assert_eq!(metadata.numbered(0, 17).map(|field| field.name), Some("managedFields"));
        for row in crate::resource::ALL {
            let found = of(row).unwrap();
            assert_eq!(
                found.numbered(0, 1).map(|field| field.name),
                Some("metadata"),
                "{}",
                row.kind
            );
        }
    }

    #[test]
    fn go_prints_types_as_we_do() {
        let spec = by_name("io.k8s.api.apps.v1.DaemonSetSpec").unwrap();
        assert_eq!(spec.go_name(), "DaemonSetSpec");
        assert_eq!(spec.field("minReadySeconds").unwrap().node.go_type(), "int32");
        let meta = by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
        assert_eq!(meta.field("labels").unwrap().node.go_type(), "map[string]string");
    }
}
