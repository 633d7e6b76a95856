//! Volumes that do not work any more, and files of volumes that lie on top of each other.

use super::fraction;
use crate::admit::json::Json;
use crate::encode::warning::Texts;
use api::Path;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Sources that are old, the names they are told by, and what is said of them; claims of pods stand between.
const OLD: [(&str, &str, &str); 9] = [
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings about all volumes.
pub(super) fn all(all: &mut Vec<String>, volumes: &[Value], path: &Path) {
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        // A volume has one source, so that the order among sources does not show.
        for (_, shown, why) in OLD.iter().filter(|(key, ..)| volume.has(key)) {
            all.push(format!("{}: {why}", path.child(shown)));
        }
        let requests =
            volume.dig(&["ephemeral", "volumeClaimTemplate", "spec", "resources", "requests"]);
        let at = path.child("ephemeral").child("volumeClaimTemplate").child("spec");
        fraction(all, requests, "storage", &at.child("resources").child("requests"));
    }
    let mut texts = Texts::default();
    for volume in volumes {
        if texts.full() {
            break;
        }
        overlaps(&mut texts, volume);
    }
    all.extend(texts.into_vec());
}

/// A file's path, and where it comes from; empty where that goes without saying.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    path: String,
    source: String,
}

impl std::fmt::Display for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.source.as_str() {
            "" => write!(f, "{:?}", self.path),
            source => write!(f, "{:?} ({source})", self.path),
        }
    }
}

impl File {
    fn new(path: &str, source: &str) -> Self {
        Self { path: path.trim_end_matches('/').to_owned(), source: source.to_owned() }
    }
}

fn overlaps(texts: &mut Texts, volume: &Value) {
    let name = volume.text("name");
    for (key, kind, called) in [
        ("configMap", "ConfigMap", Some("name")),
        ("secret", "Secret", Some("secretName")),
        ("downwardAPI", "DownwardAPI", None),
    ] {
        let source = volume.at(key);
        let what = match called {
            Some(called) => format!("{kind} {:?}", source.text(called)),
            None => kind.to_owned(),
        };
        collide(texts, name, &what, items(source, ""));
    }
    let mut files = Vec::new();
    for source in volume.at("projected").list("sources") {
        if source.as_object().is_none_or(serde_json::Map::is_empty) {
            texts.add(format!("volume {name:?} (Projected) has no sources provided"));
        }
        files.extend(projected(source));
    }
    collide(texts, name, "Projected", files);
}

/// Each file with those before it that are the same, lie below it or hold it.
fn collide(texts: &mut Texts, name: &str, what: &str, files: Vec<File>) {
    let mut before = Before::default();
    for file in files.into_iter().filter(|file| !file.path.is_empty()) {
        let near = before.near(&file.path);
        let own = before.number(&file);
        for other in near {
            if texts.full() {
                return;
            }
            if before.told.insert((own, other)) {
                let other = &before.files[other];
                texts.add(format!(
                    "volume {name:?} ({what}): overlapping paths: {file} with {other}"
                ));
            }
        }
    }
}

/// Different files in the order in which they came; a number is a place in it.
#[derive(Default)]
struct Before {
    files: Vec<File>,
    numbers: BTreeMap<File, usize>,
    /// The numbers by path, each path ending in a slash so that what lies below it follows it.
    below: BTreeMap<String, Vec<usize>>,
    /// Lengths of the paths in `below`; fewer than the root of twice the size of the body.
    lengths: BTreeSet<usize>,
    /// What was compared.
    told: BTreeSet<(usize, usize)>,
}

impl Before {
    /// The number of a file, from here on known.
    fn number(&mut self, file: &File) -> usize {
        if let Some(known) = self.numbers.get(file) {
            return *known;
        }
        let number = self.files.len();
        let path = format!("{}/", file.path);
        self.lengths.insert(path.len());
        self.below.entry(path).or_default().push(number);
        self.numbers.insert(file.clone(), number);
        self.files.push(file.clone());
        number
    }

    /// Files known that are at, above or below a path.
    fn near(&self, path: &str) -> Vec<usize> {
        let path = format!("{path}/");
        let lengths = self.lengths.range(..path.len());
        let above = lengths
            .filter(|length| path.as_bytes()[**length - 1] == b'/')
            .filter_map(|length| self.below.get(&path[..*length]));
        let below =
            self.below.range(path.clone()..).take_while(|(other, _)| other.starts_with(&path));
        let mut found: Vec<usize> =
            above.chain(below.map(|(_, at)| at)).flatten().copied().collect();
        found.sort_unstable();
        found
    }
}

fn items(source: &Value, told: &str) -> Vec<File> {
    source.list("items").iter().map(|item| File::new(item.text("path"), told)).collect()
}

/// Files that one source of a projected volume makes for certain.
fn projected(source: &Value) -> Vec<File> {
    for (key, kind) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        let from = source.at(key);
        if from.has("items") {
            return items(from, &format!("{kind} {:?}", from.text("name")));
        }
    }
    if source.at("downwardAPI").has("items") {
        return items(source.at("downwardAPI"), "DownwardAPI");
    }
    if source.has("serviceAccountToken") {
        let path = source.at("serviceAccountToken").text("path");
        return vec![File::new(path, "ServiceAccountToken")];
    }
    let bundle = source.at("clusterTrustBundle");
    if !bundle.is_null() {
        let key = if bundle.has("name") { "name" } else { "signerName" };
        let told = format!("ClusterTrustBundle {:?}", bundle.text(key));
        return vec![File::new(bundle.text("path"), &told)];
    }
    let certificate = source.at("podCertificate");
    [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ]
    .iter()
    .filter(|(key, _)| !certificate.text(key).is_empty())
    .map(|(key, told)| File::new(certificate.text(key), told))
    .collect()
}
