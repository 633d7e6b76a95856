//! What passed, by topic.

use std::collections::{BTreeMap, BTreeSet};

/// One exchange's outcome.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its case.
    pub case: String,
    /// Its step.
    pub step: i64,
    /// Its topic.
    pub topic: String,
    /// User, method and path.
    pub asked: String,
    /// What differed; empty when it passed.
    pub differences: Vec<String>,
    /// It makes a namespace, and does not count.
    pub setup: bool,
}

impl Verdict {
    /// `case/step`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.case, self.step)
    }

    /// Whether it counts and passed.
    pub fn passed(&self) -> bool {
        !self.setup && self.differences.is_empty()
    }
}

/// How many passed, of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Passed.
    pub passed: usize,
    /// Sent.
    pub all: usize,
}

/// All verdicts of a replay.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// In the order in which they were sent.
    pub verdicts: Vec<Verdict>,
}

impl Score {
    /// By topic.
    pub fn topics(&self) -> BTreeMap<&str, Count> {
        let mut topics: BTreeMap<&str, Count> = BTreeMap::new();
        for verdict in self.verdicts.iter().filter(|verdict| !verdict.setup) {
            let count = topics.entry(&verdict.topic).or_default();
            count.all += 1;
            count.passed += usize::from(verdict.passed());
        }
        topics
    }

    /// In all.
    pub fn total(&self) -> Count {
        self.topics().values().fold(Count::default(), |sum, count| Count {
            passed: sum.passed + count.passed,
            all: sum.all + count.all,
        })
    }

    /// Names of the exchanges that passed.
    pub fn passed(&self) -> BTreeSet<String> {
        self.verdicts.iter().filter(|verdict| verdict.passed()).map(Verdict::name).collect()
    }

    /// One line for each topic, and the sum.
    pub fn table(&self, tape: &str) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (topic, count) in self.topics() {
            let mark = if count.passed == count.all { "" } else { "  <" };
            lines.push(format!("{topic:<26}{:>5} of {:>4}{mark}", count.passed, count.all));
        }
        let Count { passed, all } = self.total();
        lines.push(format!("tape {tape}: {passed} of {all} exchanges pass"));
        lines.join("\n")
    }

    /// What differed, exchange by exchange, at most `most` lines each.
    pub fn failures(&self, most: usize) -> String {
        let mut lines = Vec::new();
        for verdict in self.verdicts.iter().filter(|verdict| !verdict.differences.is_empty()) {
            lines.push(format!("{} [{}] {}", verdict.name(), verdict.topic, verdict.asked));
            let shown = verdict.differences.iter().take(most);
            lines.extend(shown.map(|difference| format!("    {difference}")));
            if verdict.differences.len() > most {
                lines.push(format!("    ... {} more", verdict.differences.len() - most));
            }
        }
        lines.join("\n")
    }
}
