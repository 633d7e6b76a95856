//! Which custom kinds are served now.
//!
//! Rows and types are `'static`, as those of the table are: everything that looks at an object holds them, watches
//! that are open for hours among them. So what is made from a definition is made once and kept for the life of the
//! process. The same definition (also one that went and came back) finds what was made before; what changes is made
//! anew, up to [`MADE_BYTES_MAX`].

use super::schema::Schema;
use super::{Kind, Scale, path::JsonPath, shape};
use crate::admit::crd::is_true;
use crate::admit::json::Json;
use crate::admit::{Column, table};
use crate::discovery::Catalog;
use crate::openapi;
use api::Resource;
use api::resource::{ALL_VERBS, Custom, Subresource};
use base64::Engine;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// The collection of definitions.
pub(crate) const COLLECTION: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// Bytes of definitions from which rows were made since start, and of the programs of their regular expressions. What
/// is made of one takes about three times its size, so 64 MiB here are 200 MiB at worst: ten thousand versions of 6 KiB, where a fleet with a dozen operators
/// has a few hundred. Beyond it a changed definition keeps its last form until a restart; the log says so.
const MADE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One definition that is served.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// A row for each version that is served.
    pub(crate) rows: Vec<&'static Resource>,
    /// The row of the version that objects are stored in, whether it is served or not.
    pub(crate) stored: Option<&'static Resource>,
    /// Whether it is being deleted.
    pub(crate) going: bool,
    /// The revision from which its objects can be watched: there were none before.
    pub(crate) since: u64,
    /// The number of the form in which it is served: another one whenever a version, a name or a schema changes.
    form: u64,
}

impl Served {
    /// Whether objects are served as they were.
    fn is_form_of(&self, other: &Self) -> bool {
        self.rows.len() == other.rows.len()
            && self.rows.iter().zip(&other.rows).all(|(a, b)| std::ptr::eq(*a, *b))
            && self.stored.map(std::ptr::from_ref) == other.stored.map(std::ptr::from_ref)
    }
}

/// Everything that is served at one moment.
#[derive(Debug, Default)]
pub(crate) struct Now {
    served: BTreeMap<String, Served>,
    /// Discovery documents, where any definition is served.
    pub(crate) catalog: Option<Catalog>,
    /// OpenAPI documents, made when they are asked for.
    pub(crate) documents: openapi::Documents,
}

impl Now {
    /// The row at a path.
    pub(crate) fn find(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<&'static Resource> {
        let served = self.served.get(&format!("{plural}.{group}"))?;
        served.rows.iter().copied().find(|row| row.version == version && row.plural == plural)
    }

    /// Whether a definition is being deleted.
    pub(crate) fn going(&self, row: &Resource) -> bool {
        self.served.get(&row.qualified()).is_some_and(|served| served.going)
    }

    /// The revision from which objects of a row can be watched.
    pub(crate) fn since(&self, row: &Resource) -> u64 {
        self.served.get(&row.qualified()).map_or(0, |served| served.since)
    }

    /// The number of the form in which a row is served; `None` when it is served no longer.
    pub(crate) fn form(&self, row: &'static Resource) -> Option<u64> {
        let served = self.served.get(&row.qualified())?;
        served.rows.iter().any(|known| std::ptr::eq(*known, row)).then_some(served.form)
    }

    /// The definition of that name.
    pub(crate) fn definition(&self, name: &str) -> Option<&Served> {
        self.served.get(name)
    }

    /// All rows: by group, then version (newest first), then name.
    pub(crate) fn rows(&self) -> Vec<&'static Resource> {
        let mut rows: Vec<&'static Resource> =
            self.served.values().flat_map(|served| served.rows.iter().copied()).collect();
        rows.sort_by(|a, b| {
            let version = || newer(b.version).cmp(&newer(a.version)).then(a.version.cmp(b.version));
            a.group.cmp(b.group).then_with(version).then(a.plural.cmp(b.plural))
        });
        rows
    }

    fn documented(served: BTreeMap<String, Served>) -> Self {
        let mut now = Self { served, ..Self::default() };
        let rows = now.rows();
        if !rows.is_empty() {
            let going: Vec<&'static Resource> =
                rows.iter().copied().filter(|row| now.going(row)).collect();
            now.catalog = Some(Catalog::with(&rows, &going));
            now.documents = openapi::Documents::of(rows);
        }
        now
    }
}

/// How new a version is: stable ones before beta and alpha, then by number; other names come last.
fn newer(version: &str) -> (u8, u64, u64) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (major, tail) = rest.split_at(end);
        let major = major.parse::<u64>().ok()?;
        Some(match tail {
            "" => (3, major, 0),
            tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
                (Some(minor), _) => (2, major, minor.parse().ok()?),
                (_, Some(minor)) => (1, major, minor.parse().ok()?),
                _ => return None,
            },
        })
    };
    parse().unwrap_or((0, 0, 0))
}

/// The custom kinds of a server.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    now: RwLock<Arc<Now>>,
    made: Mutex<Made>,
    /// Told when what is served has changed.
    changes: watch::Sender<()>,
    /// Told when the keeper may have something to do.
    pub(crate) poke: Notify,
}

/// What was made so far, by the digest of what it was made from.
#[derive(Debug, Default)]
struct Made {
    rows: BTreeMap<[u8; 32], &'static Resource>,
    bytes: usize,
}

impl Kinds {
    /// What is served now.
    pub(crate) fn now(&self) -> Arc<Now> {
        Arc::clone(&self.now.read())
    }

    /// Takes in the present state of a definition and its revision; `None` when it is gone.
    pub(crate) fn observe(&self, name: &str, definition: Option<(&Value, u64)>) {
        let mut served = self.now.read().served.clone();
        let before = served.remove(name);
        let mut after = definition
            .filter(|(definition, _)| is_true(definition, "Established"))
            .filter(|(definition, _)| has_own_place(definition))
            .map(|(definition, revision)| self.make(definition, revision, before.as_ref()));
        let unchanged = match (&before, &mut after) {
            (Some(before), Some(after)) => {
                let same = after.is_form_of(before);
                if same {
                    after.form = before.form;
                }
                same && before.going == after.going
            }
            (None, None) => true,
            _ => false,
        };
        if let Some(after) = after {
            served.insert(name.to_owned(), after);
        }
        if !unchanged {
            *self.now.write() = Arc::new(Now::documented(served));
            self.changes.send_replace(());
        }
        self.poke.notify_one();
    }

    /// Hears of every change of what is served.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn make(&self, definition: &Value, revision: u64, before: Option<&Served>) -> Served {
        let spec = definition.at("spec");
        let mut rows = Vec::new();
        let mut stored = None;
        for version in spec.list("versions") {
            let Some(row) = self.row(definition, version) else {
                // Full: what was served goes on being served.
                let old = before.iter().flat_map(|before| before.rows.iter());
                rows.extend(old.filter(|row| row.version == version.text("name")).copied());
                continue;
            };
            if version.flag("served") {
                rows.push(row);
            }
            if version.flag("storage") {
                stored = Some(row);
            }
        }
        let going = definition.at("metadata").has("deletionTimestamp");
        let since = before.map_or(revision, |before| before.since);
        Served { rows, stored, going, since, form: revision }
    }

    /// The row of a version, made or found.
    fn row(&self, definition: &Value, version: &Value) -> Option<&'static Resource> {
        let (spec, names) = (definition.at("spec"), definition.at("status").at("acceptedNames"));
        let first = definition.at("metadata").int("generation").unwrap_or(0) <= 1;
        let plain = first && spec.list("versions").len() == 1;
        let stored = crate::admit::crd::storage_version(definition).unwrap_or_default();
        let about = serde_json::json!([
            spec.at("group"),
            spec.at("scope"),
            names,
            version,
            stored,
            plain,
            deprecation(version, spec, "", "")
        ]);
        let text = about.to_string();
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let mut made = self.made.lock();
        if let Some(row) = made.rows.get(&digest) {
            return Some(row);
        }
        let schema = Schema::whole(version.at("schema").at("openAPIV3Schema"));
        let bytes = text.len() + schema.patterns;
        if made.bytes + bytes > MADE_BYTES_MAX {
            let name = definition.at("metadata").text("name");
            tracing::error!(
                definition = name,
                limit = MADE_BYTES_MAX,
                "too many changes of definitions since start; this one is taken in at the next"
            );
            return None;
        }
        made.bytes += bytes;
        let row = row((spec, names, version), schema, (stored, plain));
        made.rows.insert(digest, row);
        Some(row)
    }
}

/// Whether a definition's objects lie where nothing else does: not where a kind of the table does, and under the
/// definition's own name. Names are judged before a kind is established; this holds whatever was written into a status.
pub(crate) fn has_own_place(definition: &Value) -> bool {
    let (spec, names) = (definition.at("spec"), definition.at("status").at("acceptedNames"));
    let (group, plural) = (spec.text("group"), spec.at("names").text("plural"));
    let storage = format!("{group}/{plural}");
    let taken = api::resource::ALL.iter().any(|row| {
        row.storage == storage
            || row.group == group
                && (row.plural == plural
                    || row.kind == names.text("kind")
                    || row.kind == spec.at("names").text("kind"))
    });
    !taken && names.text("plural") == plural
}

fn keep(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn keep_all(value: &Value, key: &str) -> &'static [&'static str] {
    Vec::leak(value.list(key).iter().filter_map(Value::as_str).map(keep).collect())
}

fn row(
    (spec, names, version): (&Value, &Value, &Value),
    schema: Schema,
    (stored, plain): (&str, bool),
) -> &'static Resource {
    let group = keep(spec.text("group"));
    let (name, kind, plural) =
        (keep(version.text("name")), keep(names.text("kind")), keep(names.text("plural")));
    let written = version.at("schema").at("openAPIV3Schema");
    let halves = version.at("subresources").has("status");
    let mut reversed: Vec<&str> = group.split('.').rev().collect();
    reversed.extend([name, kind]);
    let type_name = keep(&reversed.join("."));
    let shape = shape::of_object(type_name, &schema, halves);
    let list_kind = match names.text("listKind") {
        "" => keep(&format!("{kind}List")),
        said => keep(said),
    };
    let (columns, cells) = columns(version);
    let rules: &'static Kind = Box::leak(Box::new(Kind {
        api_version: keep(&format!("{group}/{name}")),
        kind,
        schema,
        written: written.clone(),
        halves,
        scale: scale(version),
        columns,
        cells,
        selectable: Vec::leak(
            version
                .list("selectableFields")
                .iter()
                .map(|field| keep(field.text("jsonPath").trim_start_matches('.')))
                .collect(),
        ),
        stored_as: keep(&format!("{group}/{stored}")),
        reads_plain: plain,
        deprecation: deprecation(version, spec, group, kind),
    }));
    let hash = Sha256::digest(format!("{group}/{stored}/{kind}").as_bytes());
    let hash = base64::engine::general_purpose::STANDARD.encode(hash.get(..8).unwrap_or_default());
    Box::leak(Box::new(Resource {
        group,
        version: name,
        kind,
        plural,
        singular: keep(names.text("singular")),
        short_names: keep_all(names, "shortNames"),
        categories: keep_all(names, "categories"),
        namespaced: spec.text("scope") == "Namespaced",
        verbs: ALL_VERBS,
        subresources: subresources(version, kind),
        schema: type_name,
        storage: keep(&format!("{group}/{plural}")),
        storage_version_hash: keep(&hash),
        custom: Some(Box::leak(Box::new(Custom { list_kind, shape, rules }))),
    }))
}

fn subresources(version: &Value, kind: &'static str) -> &'static [Subresource] {
    const VERBS: &[&str] = &["get", "patch", "update"];
    let said = version.at("subresources");
    let mut found = Vec::new();
    if said.has("status") {
        found.push(Subresource::new("status", kind, VERBS));
    }
    if said.has("scale") {
        found.push(Subresource::new("scale", "Scale", VERBS).of("autoscaling", "v1"));
    }
    Vec::leak(found)
}

fn scale(version: &Value) -> Option<Scale> {
    let scale = version.at("subresources").at("scale");
    scale.is_object().then(|| Scale {
        spec: scale.text("specReplicasPath").to_owned(),
        status: scale.text("statusReplicasPath").to_owned(),
        selector: scale.text("labelSelectorPath").to_owned(),
    })
}

fn columns(version: &Value) -> (&'static [Column], Vec<JsonPath>) {
    let said = version.list("additionalPrinterColumns");
    if said.is_empty() {
        let age = Column { r#type: "date", ..table::AGE };
        return (
            Vec::leak(vec![table::NAME, age]),
            vec![JsonPath::read(".metadata.creationTimestamp")],
        );
    }
    let mut columns = vec![table::NAME];
    let mut cells = Vec::new();
    for column in said {
        let path = column.text("jsonPath");
        let description = match column.text("description") {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            said => said.to_owned(),
        };
        columns.push(Column {
            name: keep(column.text("name")),
            r#type: keep(column.text("type")),
            format: keep(column.text("format")),
            priority: i32::try_from(column.int("priority").unwrap_or(0)).unwrap_or(0),
            description: keep(&description),
        });
        cells.push(JsonPath::read(path));
    }
    (Vec::leak(columns), cells)
}

/// What users of a deprecated version are told: its own words, else the newest served version that is not deprecated, if
/// that is newer.
fn deprecation(version: &Value, spec: &Value, group: &str, kind: &str) -> Option<String> {
    if !version.flag("deprecated") {
        return None;
    }
    if let Some(said) = version.at("deprecationWarning").as_str() {
        return Some(said.to_owned());
    }
    let name = version.text("name");
    let others = spec.list("versions").iter();
    let served = others.filter(|one| one.flag("served") && !one.flag("deprecated"));
    let better = served.map(|one| one.text("name")).filter(|one| newer(one) > newer(name));
    let instead = better.max_by_key(|one| newer(one));
    let instead = instead.map(|one| format!("; use {group}/{one} {kind}")).unwrap_or_default();
    Some(format!("{group}/{name} {kind} is deprecated{instead}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deprecated_version_is_told_with_what_to_use_instead() {
        let version = |name: &str, deprecated: bool| serde_json::json!({"name": name, "served": true, "deprecated": deprecated});
        let spec = serde_json::json!({"versions": [
            version("v1alpha1", true), version("v1", false), version("v1beta1", false), version("v2", true),
        ]});
        let told = |at: usize| deprecation(&spec["versions"][at], &spec, "g.io", "Kite");
        let text = "g.io/v1alpha1 Kite is deprecated; use g.io/v1 Kite";
        assert_eq!(told(0).as_deref(), Some(text));
        assert_eq!(told(1), None);
        assert_eq!(told(3).as_deref(), Some("g.io/v2 Kite is deprecated"), "v1 is older");
    }

    #[test]
    fn stable_versions_come_before_beta_and_alpha() {
        let mut versions = ["v1alpha1", "foo", "v2", "v11", "v1beta2", "v1", "v1beta1", "v10"];
        versions.sort_by_key(|version| std::cmp::Reverse(newer(version)));
        assert_eq!(versions, ["v11", "v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
    }
}
