//! Pressure: the node is short of memory, disk, files or process ids, and ends pods for that (spec E4, E62). Pure.

use crate::host::{self, Room};
use crate::resources::{self, CRITICAL_PRIORITY, Kind};
use crate::words::reason;
use crate::world::Ending;
use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Taint};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) mod watch;

/// How long a condition stays after the shortage was seen last (upstream's pressure transition period).
const STAYS: Duration = Duration::from_secs(300);
/// Grace of a pod that is ended for a shortage (upstream's number).
const AT_ONCE: Duration = Duration::from_secs(1);

/// What a node can run out of, in the order in which shortages are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scarce {
    Memory,
    Disk,
    Files,
    Pids,
}

/// Conditions of a Node that tell of a shortage.
pub(crate) type Conditions = BTreeSet<&'static str>;

impl Scarce {
    /// The Node's condition.
    pub(crate) fn condition(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk | Self::Files => "DiskPressure",
            Self::Pids => "PIDPressure",
        }
    }

    /// As upstream names it to users.
    fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "ephemeral-storage",
            Self::Files => "inodes",
            Self::Pids => "pids",
        }
    }
}

/// One shortage: what there should be at least, and what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) scarce: Scarce,
    threshold: String,
    available: String,
}

impl Shortage {
    /// Whether room is gained by removing files.
    pub(crate) fn is_of_disk(&self) -> bool {
        matches!(self.scarce, Scarce::Disk | Scarce::Files)
    }
}

/// As Kubernetes writes it.
fn bytes(bytes: u64) -> String {
    Quantity::from_bytes(i64::try_from(bytes).unwrap_or(i64::MAX)).to_string()
}

/// What the node is short of, by upstream's thresholds.
pub(crate) fn shortages(room: &Room) -> Vec<Shortage> {
    let percent = |percent: u64| format!("{percent}%");
    let least_disk = room.disk / 100 * host::DISK_LOW_PERCENT;
    let all = [
        (
            Scarce::Memory,
            room.memory_free < host::MEMORY_LOW,
            bytes(host::MEMORY_LOW),
            bytes(room.memory_free),
        ),
        (
            Scarce::Disk,
            room.disk_free_percent() < host::DISK_LOW_PERCENT,
            bytes(least_disk),
            bytes(room.disk_free),
        ),
        (
            Scarce::Files,
            room.files_free_percent < host::FILES_LOW_PERCENT,
            percent(host::FILES_LOW_PERCENT),
            percent(room.files_free_percent),
        ),
        (
            Scarce::Pids,
            room.pids_free_percent < host::PIDS_LOW_PERCENT,
            percent(host::PIDS_LOW_PERCENT),
            percent(room.pids_free_percent),
        ),
    ];
    let short = all.into_iter().filter(|(_, is_short, _, _)| *is_short);
    short
        .map(|(scarce, _, threshold, available)| Shortage { scarce, threshold, available })
        .collect()
}

/// Remembers shortages for as long as their conditions stay.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<&'static str, Instant>);

impl Seen {
    /// The conditions that hold now.
    pub(crate) fn note(&mut self, shortages: &[Shortage], now: Instant) -> Conditions {
        for shortage in shortages {
            self.0.insert(shortage.scarce.condition(), now);
        }
        self.0.retain(|_, seen| now.saturating_duration_since(*seen) < STAYS);
        self.0.keys().copied().collect()
    }
}

/// What a container uses, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerUsage {
    pub(crate) name: String,
    pub(crate) memory: u64,
    pub(crate) disk: u64,
    /// Files and folders, by number.
    pub(crate) entries: u64,
}

/// What a pod uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) containers: Vec<ContainerUsage>,
    /// Bytes of logs and of volumes that lie on the node's disk.
    pub(crate) files: u64,
    /// Their number.
    pub(crate) entries: u64,
    pub(crate) pids: u64,
}

impl Usage {
    fn of(&self, scarce: Scarce) -> i128 {
        let sum = |of: fn(&ContainerUsage) -> u64| self.containers.iter().map(of).sum::<u64>();
        i128::from(match scarce {
            Scarce::Memory => sum(|one| one.memory),
            Scarce::Disk => sum(|one| one.disk) + self.files,
            Scarce::Files => sum(|one| one.entries) + self.entries,
            Scarce::Pids => self.pids,
        })
    }
}

fn requested(spec: &PodSpec, scarce: Scarce) -> i128 {
    match scarce {
        // nobody can ask for these
        Scarce::Pids | Scarce::Files => 0,
        Scarce::Memory => fit::Amounts::requested(spec).get("memory") / 1000,
        Scarce::Disk => fit::Amounts::requested(spec).get("ephemeral-storage") / 1000,
    }
}

fn is_critical(pod: &Pod) -> bool {
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
    priority.is_some_and(|priority| priority >= CRITICAL_PRIORITY)
}

/// The pod that goes first, by its place in the list: one that uses more than it asked for, of the lowest priority, the one
/// that exceeds its request by most (spec E62). Critical pods never go.
pub(crate) fn first_to_go(scarce: Scarce, pods: &[(&Pod, Usage)]) -> Option<usize> {
    let may_go = pods.iter().enumerate().filter(|(_, (pod, _))| !is_critical(pod));
    let rank = |(pod, usage): &(&Pod, Usage)| {
        let spec = pod.spec.clone().unwrap_or_default();
        let excess = usage.of(scarce) - requested(&spec, scarce);
        let is_modest = scarce != Scarce::Pids && excess <= 0;
        (is_modest, spec.priority.unwrap_or(0), Reverse(excess), pod.metadata.uid.clone())
    };
    may_go.min_by_key(|(_, one)| rank(one)).map(|(place, _)| place)
}

/// Why it ends, as upstream tells it.
pub(crate) fn ending(shortage: &Shortage, pod: &Pod, usage: &Usage) -> Ending {
    let Shortage { scarce, threshold, available } = shortage;
    let resource = scarce.resource();
    let mut message = format!(
        "The node was low on resource: {resource}. Threshold quantity: {threshold}, available: {available}. "
    );
    let of: Option<fn(&ContainerUsage) -> u64> = match scarce {
        Scarce::Memory => Some(|one| one.memory),
        Scarce::Disk => Some(|one| one.disk),
        Scarce::Files | Scarce::Pids => None,
    };
    for (one, of) in usage.containers.iter().filter_map(|one| Some((one, of?))) {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let own = containers.into_iter().find(|container| container.name == one.name);
        let asked = own.map_or(0, |own| resources::milli(own, resource, Kind::Request) / 1000);
        let asked = u64::try_from(asked).unwrap_or(0);
        if of(one) > asked {
            let (used, asked) = (bytes(of(one)), bytes(asked));
            let name = &one.name;
            let _ = write!(
                message,
                "Container {name} was using {used}, request is {asked}, has larger consumption of {resource}. "
            );
        }
    }
    Ending {
        reason: reason::EVICTED,
        message,
        grace: Some(AT_ONCE),
        disruption: Some(reason::TERMINATION_BY_KUBELET),
    }
}

/// Why a node under pressure does not take a pod: reason and message (spec E4).
pub(crate) fn refusal(conditions: &Conditions, pod: &Pod) -> Option<(String, String)> {
    if conditions.is_empty() || is_critical(pod) {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    if conditions.iter().all(|condition| *condition == Scarce::Memory.condition()) {
        let taint = Taint {
            key: "node.kubernetes.io/memory-pressure".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        let mut tolerations = spec.tolerations.iter().flatten();
        let is_tolerated = tolerations.any(|one| fit::taint::tolerates(one, &taint));
        if resources::qos(spec) != "BestEffort" || is_tolerated {
            return None;
        }
    }
    let list: Vec<&str> = conditions.iter().copied().collect();
    let text = format!("Pod was rejected: The node had condition: [{}]. ", list.join(" "));
    Some((reason::EVICTED.to_owned(), text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PLENTY: Room = Room {
        disk: 100 << 30,
        disk_free: 50 << 30,
        files_free_percent: 100,
        memory_free: 8 << 30,
        pids_free_percent: 100,
    };

    fn pod(name: &str, priority: i32, memory: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name},
            "spec": {"priority": priority, "containers": [{"name": "c",
                "resources": {"requests": {"memory": memory, "ephemeral-storage": "1Gi"}}}]},
        }))
        .unwrap()
    }

    fn uses(memory: u64, disk: u64, pids: u64) -> Usage {
        let one = ContainerUsage {
            name: "c".to_owned(),
            memory: memory << 20,
            disk: disk << 20,
            entries: 0,
        };
        Usage { containers: vec![one], pids, ..Usage::default() }
    }

    fn order(scarce: Scarce, mut pods: Vec<(&Pod, Usage)>) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(place) = first_to_go(scarce, &pods) {
            names.push(pods.remove(place).0.metadata.name.clone().unwrap());
        }
        names
    }

    #[test]
    fn a_shortage_begins_below_upstreams_thresholds() {
        assert_eq!(shortages(&PLENTY), []);
        let short = Room {
            memory_free: (100 << 20) - 1024,
            disk_free: (10 << 30) - (1 << 20),
            files_free_percent: 4,
            pids_free_percent: 4,
            ..PLENTY
        };
        let found: Vec<_> = shortages(&short)
            .into_iter()
            .map(|one| format!("{} {} {}", one.scarce.condition(), one.threshold, one.available))
            .collect();
        assert_eq!(
            found,
            [
                "MemoryPressure 100Mi 102399Ki",
                "DiskPressure 10Gi 10239Mi",
                "DiskPressure 5% 4%",
                "PIDPressure 5% 4%"
            ]
        );
        let just = Room { memory_free: 100 << 20, files_free_percent: 5, ..PLENTY };
        assert_eq!(shortages(&just), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_stays_five_minutes_after_its_shortage() {
        let mut seen = Seen::default();
        let short = shortages(&Room { memory_free: 0, ..PLENTY });
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        assert_eq!(seen.note(&short, begin), Conditions::from(["MemoryPressure"]));
        assert_eq!(seen.note(&[], after(299)), Conditions::from(["MemoryPressure"]));
        assert_eq!(seen.note(&[], after(300)), Conditions::new());
    }

    #[test]
    fn those_who_exceed_their_request_go_first_then_the_lowest_priority_then_the_greediest() {
        let (modest, high, low, greedy, critical) = (
            pod("modest", -5, "1Gi"),
            pod("high", 10, "1Mi"),
            pod("low", 0, "1Mi"),
            pod("greedy", 0, "1Mi"),
            pod("critical", CRITICAL_PRIORITY, "1Mi"),
        );
        let pods = vec![
            (&critical, uses(900, 0, 0)),
            (&modest, uses(500, 0, 0)),
            (&high, uses(800, 0, 0)),
            (&low, uses(10, 0, 0)),
            (&greedy, uses(20, 0, 0)),
        ];
        assert_eq!(order(Scarce::Memory, pods), ["greedy", "low", "high", "modest"]);
    }

    #[test]
    fn disk_counts_logs_and_volumes_and_process_ids_count_by_number() {
        let (one, two) = (pod("one", 0, "0"), pod("two", 0, "0"));
        let logs = Usage { files: 5 << 30, ..uses(0, 0, 3) };
        let pods = vec![(&one, uses(0, 2000, 7)), (&two, logs)];
        assert_eq!(order(Scarce::Disk, pods.clone()), ["two", "one"]);
        assert_eq!(order(Scarce::Pids, pods), ["one", "two"]);
    }

    #[test]
    fn who_has_most_files_goes_first_when_files_are_short_however_large_they_are() {
        let (large, many) = (pod("large", 0, "0"), pod("many", 0, "0"));
        let files = |files: u64, entries: u64| Usage { files, entries, ..uses(0, 0, 0) };
        let pods = vec![(&large, files(50 << 30, 3)), (&many, files(1 << 20, 90_000))];
        assert_eq!(order(Scarce::Files, pods.clone()), ["many", "large"]);
        assert_eq!(order(Scarce::Disk, pods), ["large", "many"]);
    }

    #[test]
    fn the_message_is_upstreams() {
        let short = shortages(&Room { memory_free: 50 << 20, ..PLENTY });
        let ending = ending(&short[0], &pod("p", 0, "1Mi"), &uses(20, 0, 0));
        assert_eq!(
            ending.message,
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 20Mi, \
             request is 1Mi, has larger consumption of memory. "
        );
        assert_eq!((ending.reason, ending.disruption), ("Evicted", Some("TerminationByKubelet")));
    }

    #[test]
    fn a_node_under_pressure_takes_only_those_that_upstream_takes() {
        let (memory, disk) =
            (Conditions::from(["MemoryPressure"]), Conditions::from(["DiskPressure"]));
        let plain: Pod =
            serde_json::from_value(json!({"spec": {"containers": [{"name": "c"}]}})).unwrap();
        let mut daemon = plain.clone();
        daemon.spec.as_mut().unwrap().tolerations = serde_json::from_value(json!([
            {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoSchedule"}]))
        .unwrap();
        let asking = pod("asking", 0, "1Mi");
        let critical = pod("critical", CRITICAL_PRIORITY, "0");
        let refused = |conditions: &Conditions| {
            [&plain, &daemon, &asking, &critical].map(|pod| refusal(conditions, pod).is_some())
        };
        assert_eq!(refused(&Conditions::new()), [false; 4]);
        assert_eq!(refused(&memory), [true, false, false, false]);
        assert_eq!(refused(&disk), [true, true, true, false]);
        assert_eq!(
            refusal(&disk, &plain),
            Some((
                "Evicted".to_owned(),
                "Pod was rejected: The node had condition: [DiskPressure]. ".to_owned()
            ))
        );
    }
}
