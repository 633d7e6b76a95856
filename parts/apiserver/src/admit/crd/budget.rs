//! What the rules of a schema may cost together, by estimates made before any value is seen.

use crate::admit::faults::Faults;
use api::{FieldError, Path};

/// Most that one rule may cost over one object; upstream's `StaticEstimatedCostLimit`.
const RULE_MAX: u64 = 10_000_000;
/// Most that all rules of a schema may cost; upstream's `StaticEstimatedCRDCostLimit`.
const SCHEMA_MAX: u64 = 100_000_000;
/// Rules that are named where all of them together cost too much.
const NAMED_MAX: usize = 4;

/// What was spent so far, and on what.
#[derive(Default)]
pub(super) struct Budget {
    /// Whether anything is held against it.
    binds: bool,
    total: u64,
    dearest: Vec<(u64, Path)>,
}

impl Budget {
    /// One that refuses what costs too much, if it `binds`.
    pub(super) fn new(binds: bool) -> Self {
        Self { binds, ..Self::default() }
    }

    /// Notes the cost of an expression; one that costs too much by itself is a fault.
    pub(super) fn spend(&mut self, what: &str, cost: u64, path: Path) -> Option<FieldError> {
        let fault = (self.binds && cost > RULE_MAX)
            .then(|| FieldError::forbidden(path.clone(), &exceeds(what, cost, RULE_MAX)));
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_MAX / 100 {
            self.dearest.push((cost, path));
            self.dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.dearest.truncate(NAMED_MAX);
        }
        fault
    }

    /// Faults of the schema at `path` as a whole.
    pub(super) fn faults(&self, path: &Path) -> Faults {
        let mut faults = Faults::new();
        if !self.binds || self.total <= SCHEMA_MAX {
            return faults;
        }
        for (_, path) in &self.dearest {
            let why = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema";
            faults.push(FieldError::forbidden(path.clone(), why));
        }
        let what = "x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema";
        faults.push(FieldError::forbidden(path.clone(), &exceeds(what, self.total, SCHEMA_MAX)));
        faults
    }
}

fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a factor of a few digits")]
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
