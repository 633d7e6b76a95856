//! The DaemonSet itself. Its template stays JSON: a typed round trip would drop fields that this build does
//! not know, and a revision's identity is the template's bytes (spec A15, B51).

use crate::condition::Condition;
use crate::json;
use crate::words::{
    AUTOMATIC_TOLERATIONS, BLAME_WINDOW_ANNOTATION, COMPAT_ANNOTATION, COMPAT_UPSTREAM,
    TEMPLATE_GENERATION_ANNOTATION,
};
use api::LabelSelector;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{NodeSelector, Toleration};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A DaemonSet, read from its JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether `deletionTimestamp` is set; then nothing at all is done (spec B131).
    pub is_deleting: bool,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec.selector`.
    pub selector: LabelSelector,
    /// `spec.template`.
    pub template: Arc<Value>,
    /// What the template says about nodes.
    pub placement: Arc<Placement>,
    /// `spec.updateStrategy`.
    pub strategy: Strategy,
    /// `spec.minReadySeconds`.
    pub min_ready: SignedDuration,
    /// `spec.revisionHistoryLimit`.
    pub history_limit: usize,
    /// `status`.
    pub status: Status,
    /// Whose behaviour is wanted where ours differs (docs/differences.md).
    pub compat: Compat,
    /// How long after it received the new pod a node that goes down is held against the new template.
    pub blame_window: SignedDuration,
}

/// Whose behaviour is wanted in the rows of `docs/differences.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// Ours.
    #[default]
    Ours,
    /// Upstream's, to the letter.
    Upstream,
}

/// What the template says about nodes, with the automatic tolerations (spec 2.2).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// `spec.nodeName`.
    pub node_name: Option<String>,
    /// `spec.nodeSelector`.
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Required node affinity.
    pub required: Option<NodeSelector>,
    /// Tolerations of every pod.
    pub tolerations: Vec<Toleration>,
}

impl Placement {
    /// As `fit` asks for it.
    pub fn wish(&self) -> fit::Wish<'_> {
        fit::Wish {
            node_name: self.node_name.as_deref(),
            node_selector: self.node_selector.as_ref(),
            required: self.required.as_ref(),
            tolerations: &self.tolerations,
        }
    }
}

/// How pods of an old template are replaced.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// Only when someone deletes them.
    OnDelete,
    /// By the engine, within these limits.
    RollingUpdate {
        /// Nodes that may be without an available pod.
        max_unavailable: IntOrString,
        /// Nodes that may have a second pod.
        max_surge: IntOrString,
    },
}

/// The counters of the status, and what else of it the plan reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the fields of DaemonSetStatus")]
pub struct Status {
    pub current_number_scheduled: usize,
    pub number_misscheduled: usize,
    pub desired_number_scheduled: usize,
    pub number_ready: usize,
    pub observed_generation: i64,
    pub updated_number_scheduled: usize,
    pub number_available: usize,
    pub number_unavailable: usize,
    pub collision_count: Option<i64>,
    /// Ours, in the fixed order of their types; those of others are not read.
    pub conditions: Vec<Condition>,
}

/// Trouble that keeps a DaemonSet from being planned, as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A field could not be read. The server's validation refuses such objects.
    Unreadable {
        /// Path of the field.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The selector is empty.
    SelectsAll,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { field, why } => write!(f, "cannot read {field}: {why}"),
            Self::SelectsAll => f.write_str("the selector is empty and would select all pods"),
        }
    }
}

impl std::error::Error for Problem {}

/// How long a node that goes down is held against the new template, unless the DaemonSet says otherwise.
const BLAME_WINDOW_DEFAULT: SignedDuration = SignedDuration::from_mins(5);

/// Kept revisions where the spec does not say (spec A12).
const HISTORY_LIMIT_DEFAULT: i64 = 10;

impl Set {
    /// Reads a DaemonSet from its JSON.
    ///
    /// # Errors
    /// A [`Problem`] names the field that cannot be read.
    pub fn read(object: &Value) -> Result<Self, Problem> {
        let (meta, spec) = (&object["metadata"], &object["spec"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Self {
            namespace: text(&meta["namespace"]),
            name: text(&meta["name"]),
            uid: text(&meta["uid"]),
            generation: meta["generation"].as_i64().unwrap_or(0),
            is_deleting: meta["deletionTimestamp"].is_string(),
            annotations: json::strings(&meta["annotations"]),
            selector: selector(&spec["selector"])?,
            template: Arc::new(spec["template"].clone()),
            placement: Arc::new(placement(&spec["template"]["spec"])?),
            strategy: strategy(&spec["updateStrategy"])?,
            min_ready: SignedDuration::from_secs(spec["minReadySeconds"].as_i64().unwrap_or(0)),
            history_limit: spec["revisionHistoryLimit"]
                .as_i64()
                .unwrap_or(HISTORY_LIMIT_DEFAULT)
                .try_into()
                .unwrap_or(0),
            status: status(&object["status"]),
            compat: match meta["annotations"][COMPAT_ANNOTATION].as_str() {
                Some(COMPAT_UPSTREAM) => Compat::Upstream,
                _ => Compat::Ours,
            },
            blame_window: meta["annotations"][BLAME_WINDOW_ANNOTATION]
                .as_str()
                .and_then(|text| text.parse().ok())
                .unwrap_or(BLAME_WINDOW_DEFAULT),
        })
    }

    /// Whether the selector matches these labels. An empty selector matches nothing here, so that a set
    /// that selects all is never acted upon.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.selects_all() && self.selector.matches(labels)
    }

    /// Whether the rows of `docs/differences.md` are ours.
    pub fn is_ours(&self) -> bool {
        self.compat == Compat::Ours
    }

    /// Whether the selector is empty.
    pub fn selects_all(&self) -> bool {
        self.selector.is_everything()
    }

    /// The template generation that old clients compare (spec A23, B56), if the annotation is a number.
    pub fn template_generation(&self) -> Option<i64> {
        self.annotations.get(TEMPLATE_GENERATION_ANNOTATION)?.parse().ok()
    }

    /// Whether a second pod may stand beside an old one; asked as if for one node (spec B65).
    pub fn may_surge(&self) -> bool {
        match &self.strategy {
            Strategy::OnDelete => false,
            Strategy::RollingUpdate { max_surge, .. } => scaled(max_surge, 1) > 0,
        }
    }
}

/// The value of a knob for `total` nodes; percentages round up (spec B90). What is neither a number nor a
/// percentage counts as zero (spec A55).
pub fn scaled(knob: &IntOrString, total: usize) -> usize {
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    let scaled = api::intstr::scaled(knob, total, true).unwrap_or(0);
    usize::try_from(scaled).unwrap_or(0)
}

fn selector(value: &Value) -> Result<LabelSelector, Problem> {
    LabelSelector::from_json(value)
        .map_err(|error| Problem::Unreadable { field: "spec.selector", why: error.to_string() })
}

fn typed<T: DeserializeOwned>(value: &Value, field: &'static str) -> Result<T, Problem> {
    T::deserialize(value).map_err(|error| Problem::Unreadable { field, why: error.to_string() })
}

fn placement(spec: &Value) -> Result<Placement, Problem> {
    let affinity =
        &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    Ok(Placement {
        node_name: spec["nodeName"].as_str().filter(|name| !name.is_empty()).map(str::to_owned),
        node_selector: typed(&spec["nodeSelector"], "spec.template.spec.nodeSelector")?,
        required: typed(affinity, "spec.template.spec.affinity.nodeAffinity")?,
        tolerations: typed(&Value::Array(tolerations(spec)), "spec.template.spec.tolerations")?,
    })
}

/// The template's tolerations with the automatic ones: an equal one (key, effect, operator, value) is
/// replaced where it stands, others are appended (spec B11).
pub(crate) fn tolerations(spec: &Value) -> Vec<Value> {
    let mut all = spec["tolerations"].as_array().cloned().unwrap_or_default();
    let is_on_host_network = spec["hostNetwork"] == Value::Bool(true);
    for (key, effect, only_host_network) in AUTOMATIC_TOLERATIONS {
        if *only_host_network && !is_on_host_network {
            continue;
        }
        let automatic = json!({"key": key, "operator": "Exists", "effect": effect});
        let is_equal = |other: &Value| {
            ["key", "effect", "operator", "value"].iter().all(|field| {
                other[*field].as_str().unwrap_or_default()
                    == automatic[*field].as_str().unwrap_or_default()
            })
        };
        let mut is_there = false;
        for equal in all.iter_mut().filter(|other| is_equal(other)) {
            equal.clone_from(&automatic);
            is_there = true;
        }
        if !is_there {
            all.push(automatic);
        }
    }
    all
}

fn strategy(value: &Value) -> Result<Strategy, Problem> {
    if value["type"] == "OnDelete" {
        return Ok(Strategy::OnDelete);
    }
    let knobs = &value["rollingUpdate"];
    let knob = |name: &str, default: i32, field: &'static str| {
        let found: Option<IntOrString> = typed(&knobs[name], field)?;
        Ok(found.unwrap_or(IntOrString::Int(default)))
    };
    Ok(Strategy::RollingUpdate {
        max_unavailable: knob(
            "maxUnavailable",
            1,
            "spec.updateStrategy.rollingUpdate.maxUnavailable",
        )?,
        max_surge: knob("maxSurge", 0, "spec.updateStrategy.rollingUpdate.maxSurge")?,
    })
}

fn status(value: &Value) -> Status {
    let count = |name: &str| value[name].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0);
    Status {
        current_number_scheduled: count("currentNumberScheduled"),
        number_misscheduled: count("numberMisscheduled"),
        desired_number_scheduled: count("desiredNumberScheduled"),
        number_ready: count("numberReady"),
        observed_generation: value["observedGeneration"].as_i64().unwrap_or(0),
        updated_number_scheduled: count("updatedNumberScheduled"),
        number_available: count("numberAvailable"),
        number_unavailable: count("numberUnavailable"),
        collision_count: value["collisionCount"].as_i64(),
        conditions: crate::condition::read(&value["conditions"]),
    }
}
