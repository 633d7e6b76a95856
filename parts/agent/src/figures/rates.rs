//! How fast counters of processor time grow. Pure.

use super::{Cpu, Sample};
use std::collections::BTreeMap;

/// Two looks that are closer than this give no rate: the one before them is used again. Nanoseconds.
const APART_MIN: i64 = 1_000_000_000;
/// A look that is older than this says nothing of now. Nanoseconds.
const APART_MAX: i64 = 600_000_000_000;

/// The last looks: one entry for each container that was there at the last question.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    seen: BTreeMap<String, Cpu>,
}

impl Rates {
    /// Writes rates into a sample, and remembers it.
    pub(super) fn fill(&mut self, sample: &mut Sample) {
        let before = std::mem::take(&mut self.seen);
        let containers = sample.pods.iter_mut().flat_map(|pod| &mut pod.containers);
        let counters = containers.filter_map(|one| Some((one.id.clone(), one.cpu.as_mut()?)));
        for (id, cpu) in counters.chain([(String::new(), &mut sample.node.cpu)]) {
            let kept = rate(before.get(&id), cpu);
            self.seen.insert(id, kept);
        }
    }
}

/// Sets the rate; what is to be remembered.
fn rate(before: Option<&Cpu>, now: &mut Cpu) -> Cpu {
    let Some(before) = before.filter(|before| before.used <= now.used) else { return *now };
    let apart = now.at - before.at;
    if apart < APART_MIN {
        now.rate = before.rate;
        return *before;
    }
    if apart <= APART_MAX {
        let grown = u128::from(now.used - before.used) * 1_000_000_000;
        now.rate = u64::try_from(grown / u128::from(apart.unsigned_abs())).ok();
    }
    *now
}
