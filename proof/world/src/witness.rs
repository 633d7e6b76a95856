//! Looks at every state of the store from outside and says what must never be. Nothing here is shared with the engine:
//! who is eligible is worked out anew, for the few things that scenarios do.

mod read;

use apiserver::records::{Query, Records};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use read::{NodeSeen, PodSeen, RevisionSeen, SetSeen};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How old the engine's picture of a node may be: seconds for a held-up event, a server that is away, and a watch that
/// is begun anew with back-off.
const PICTURE_AGE_MAX: SignedDuration = SignedDuration::from_secs(60);
/// How old its picture of a pod may be where nothing was cut: an event may be held up for 5 seconds, a request for 3.
const NEWS_AGE_MAX: SignedDuration = SignedDuration::from_secs(10);
/// How long the engine's picture may lag behind one of these: the longest stall, then what was held up behind it.
const STALL_AGE_MAX: SignedDuration = SignedDuration::from_secs(45);
/// How long a pod may stay that should go: as old as a picture may be, then the request and its retries.
const UNWELCOME_MAX: SignedDuration = SignedDuration::from_secs(90);
/// More faults than this are not worth reading.
const FAULTS_MAX: usize = 20;

/// What was seen, and what was wrong with it.
#[derive(Debug, Default)]
pub struct Witness {
    nodes: BTreeMap<String, NodeSeen>,
    pods: BTreeMap<String, PodSeen>,
    sets: BTreeMap<String, SetSeen>,
    /// Revisions of changes, by collection.
    changes: BTreeMap<String, BTreeSet<u64>>,
    /// Answers to changes so far.
    answers: u64,
    /// The highest revision answered, by uid, after each of the answers about it.
    answered: BTreeMap<String, BTreeMap<u64, u64>>,
    /// Since when each node has been, or not been, eligible for each set.
    eligible: BTreeMap<(String, String), Standing>,
    /// Nodes whose available old pod the engine took, and which have had no available pod since.
    down: BTreeMap<String, BTreeSet<String>>,
    /// How many nodes may be down at once: the most since the picture of the set can be trusted, or since one is down.
    budgets: BTreeMap<String, (usize, Timestamp)>,
    /// Since when a pod has been where it should not: not eligible, or beside another.
    unwelcome: BTreeMap<String, (Timestamp, bool)>,
    /// When the engine's watches were held up last.
    stalled: Option<Timestamp>,
    revision: u64,
    closed: Option<Closed>,
    faults: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    is: bool,
    since: Timestamp,
    has_been: bool,
}

/// The store at the end of a server.
#[derive(Debug)]
struct Closed {
    /// No request was under way.
    is_sure: bool,
    revision: u64,
    objects: BTreeMap<String, u64>,
}

impl Witness {
    /// How many changes were answered: what is told to [`Self::saw`] of the moment in which a change was asked for.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Looks at the store after an acknowledged change that was asked for after `begun` answers. `act` is what the engine
    /// did, if it was the engine.
    pub fn saw(
        &mut self,
        records: &Records,
        act: Option<(&Method, &str)>,
        (answer, begun): (&Value, u64),
        now: Timestamp,
    ) {
        self.answer(answer, begun);
        let pod = act.and_then(|(method, path)| Some((method, path.split("/pods/").nth(1)?)));
        if let Some((&Method::DELETE, name)) = pod {
            self.engine_deletes(name, now);
        }
        self.look(records, now);
        if let Some((&Method::POST, path)) = act
            && path.ends_with("/pods")
        {
            self.engine_created(answer["metadata"]["name"].as_str().unwrap_or_default(), now);
        }
        self.check_budgets();
    }

    /// An event reached a client that watches a whole collection.
    pub fn delivered(
        &mut self,
        collection: &str,
        last: Option<u64>,
        revision: u64,
        is_bookmark: bool,
    ) {
        let Some(last) = last else { return };
        if revision < last || (revision == last && !is_bookmark) {
            self.fault(format!("a watch of {collection} went back from {last} to {revision}"));
            return;
        }
        let changes = self.changes.entry(collection.to_owned()).or_default();
        let missed: Vec<u64> =
            changes.range(last + 1..).take_while(|r| **r < revision).copied().collect();
        if !missed.is_empty() {
            self.fault(format!("a watch of {collection} missed {missed:?} before {revision}"));
        }
    }

    /// Whether an answer about this object was seen before, so that an older one would be noticed.
    pub fn may_go_back(&self, answer: &Value, begun: u64) -> bool {
        let known = answer["metadata"]["uid"].as_str().and_then(|uid| self.answered.get(uid));
        known.is_some_and(|known| known.range(..=begun).next().is_some())
    }

    /// The server ends; `is_sure` when no change was under way.
    pub fn closed(&mut self, records: &Records, is_sure: bool, now: Timestamp) {
        self.look(records, now);
        self.closed =
            Some(Closed { is_sure, revision: records.revision(), objects: self.revisions() });
    }

    /// A server has opened the same store: nothing acknowledged may be missing, and nothing may go back.
    pub fn reopened(&mut self, records: &Records, now: Timestamp) {
        self.look(records, now);
        let Some(before) = self.closed.take() else { return };
        if records.revision() < before.revision {
            self.fault(format!("revision {} after {}", records.revision(), before.revision));
        }
        let after = self.revisions();
        for (name, revision) in before.objects {
            match after.get(&name) {
                Some(found) if *found == revision => {}
                Some(found) if *found > revision && !before.is_sure => {}
                None if !before.is_sure => {}
                found => self.fault(format!("{name} was at {revision}, after a restart {found:?}")),
            }
        }
    }

    /// What the engine sees is held up from now on.
    pub fn stalled(&mut self, now: Timestamp) {
        self.stalled = Some(now);
    }

    /// What is wrong, in the order in which it was found.
    pub fn faults(&self) -> Vec<String> {
        self.faults.clone()
    }

    /// What is still missing until everything is as the sets say; empty at rest.
    pub fn unrest(&mut self, records: &Records, now: Timestamp) -> Vec<String> {
        self.look(records, now);
        let mut all = Vec::new();
        for (name, node) in &self.nodes {
            if !node.is_healthy() {
                all.push(format!("node {name} has {:?}", node.taints));
            }
        }
        let mut revisions = BTreeMap::new();
        let mut changes = BTreeMap::new();
        let kind = "apps/controllerrevisions";
        refresh(records, kind, &mut revisions, &mut changes, RevisionSeen::read);
        for (name, set) in &self.sets {
            self.unrest_of(name, set, &mut all);
            let is_in_use = |one: &RevisionSeen| {
                self.pods.values().any(|pod| pod.owner == set.uid && pod.image == one.image)
            };
            all.extend(history_of(name, set, revisions.values(), is_in_use));
        }
        for (name, pod) in &self.pods {
            if !pod.is_live() {
                all.push(format!("pod {name} is on its way: {pod:?}"));
            }
            if pod.node.as_ref().is_none_or(|node| !self.nodes.contains_key(node)) {
                all.push(format!("pod {name} is on {:?}, which does not exist", pod.node));
            }
        }
        all
    }

    /// The first daemon pod on a node, for deeds.
    pub fn pod_on(&self, node: &str) -> Option<String> {
        let mut here = self.pods.iter().filter(|(_, pod)| pod.node.as_deref() == Some(node));
        here.find(|(_, pod)| pod.is_live()).map(|(name, _)| name.clone())
    }

    /// A daemon pod by count, for deeds.
    pub fn pick_pod(&self, number: usize) -> Option<String> {
        let live: Vec<&String> =
            self.pods.iter().filter(|(_, pod)| pod.is_live()).map(|(name, _)| name).collect();
        Some((*live.get(number % live.len().max(1))?).clone())
    }

    fn unrest_of(&self, name: &str, set: &SetSeen, all: &mut Vec<String>) {
        let mut desired = 0;
        let mut misscheduled = 0;
        for (node_name, node) in &self.nodes {
            let pods: Vec<(&String, &PodSeen)> =
                self.pods.iter().filter(|(_, pod)| pod.is_of(set, node_name)).collect();
            if set.is_eligible(node) {
                desired += 1;
                let is_served =
                    |pod: &PodSeen| pod.is_live() && pod.is_ready && pod.image == set.image;
                if pods.len() != 1 || !pods.iter().all(|(_, pod)| is_served(pod)) {
                    all.push(format!("{name} on {node_name}: {pods:?}"));
                }
            } else if !set.leaves(node, &pods) {
                all.push(format!("{name} on {node_name}, which is not eligible: {pods:?}"));
            } else {
                // nodes are counted, not pods
                misscheduled += usize::from(!pods.is_empty());
            }
        }
        let wanted = [desired, desired, desired, desired, desired, misscheduled];
        if set.counters != wanted || set.observed_generation != set.generation {
            all.push(format!(
                "{name} says {:?} at generation {} of {}, should say {wanted:?}",
                set.counters, set.observed_generation, set.generation
            ));
        }
    }

    fn look(&mut self, records: &Records, now: Timestamp) {
        let revision = records.revision();
        if revision < self.revision {
            self.fault(format!("the store went back from {} to {revision}", self.revision));
        }
        self.revision = revision;
        refresh(records, "/nodes", &mut self.nodes, &mut self.changes, NodeSeen::read);
        refresh(records, "/pods", &mut self.pods, &mut self.changes, PodSeen::read);
        refresh(records, "apps/daemonsets", &mut self.sets, &mut self.changes, SetSeen::read);
        for set in self.sets.values_mut().filter(|set| set.is_edited) {
            set.is_edited = false;
            set.edited = Some(now);
        }
        for pod in self.pods.values_mut() {
            pod.first_seen.get_or_insert(now);
            if pod.is_ready {
                pod.ready_since.get_or_insert(now);
            }
        }
        self.stand(now);
        self.allow(now);
        self.mind_the_unwelcome(now);
    }

    /// Keeps up the budgets: one that was cut is only believed to be known after a while.
    fn allow(&mut self, now: Timestamp) {
        for (name, set) in &self.sets {
            let budget = self.budgets.entry(name.clone()).or_insert((set.unavailable_max, now));
            let is_free = self.down.get(name).is_none_or(BTreeSet::is_empty)
                && set.edited.is_none_or(|at| now.duration_since(at) > PICTURE_AGE_MAX);
            if is_free || set.unavailable_max >= budget.0 {
                *budget = (set.unavailable_max, now);
            }
        }
    }

    /// A pod that no set wants where it is goes within a bound; so does one of two on a node, outside a surge.
    fn mind_the_unwelcome(&mut self, now: Timestamp) {
        let mut found = BTreeMap::new();
        for set in self.sets.values() {
            let is_settled = set.edited.is_none_or(|at| now.duration_since(at) > PICTURE_AGE_MAX);
            for (node_name, node) in &self.nodes {
                let live =
                    self.pods.iter().filter(|(_, pod)| pod.is_of(set, node_name) && pod.is_live());
                let live: Vec<&String> = live.map(|(name, _)| name).collect();
                let may_stay = set.may_stay(node);
                let is_crowd = live.len() > 1 + usize::from(set.surges) && is_settled;
                if !may_stay || is_crowd {
                    found.extend(live.into_iter().map(|name| (name.clone(), may_stay)));
                }
            }
        }
        self.unwelcome.retain(|name, _| found.contains_key(name));
        let mut faults = Vec::new();
        for (name, may_stay) in found {
            let known = self.unwelcome.entry(name.clone()).or_insert((now, false));
            if now.duration_since(known.0) > UNWELCOME_MAX && !known.1 {
                known.1 = true;
                let why = if may_stay { "beside another" } else { "where it may not stay" };
                faults.push(format!("pod {name} lives on for {UNWELCOME_MAX:#} {why}"));
            }
        }
        for fault in faults {
            self.fault(fault);
        }
    }

    /// Keeps up who is eligible since when.
    fn stand(&mut self, now: Timestamp) {
        for (set_name, set) in &self.sets {
            let known = self.eligible.keys().filter(|(set, _)| set == set_name);
            let names: BTreeSet<String> =
                known.map(|(_, node)| node.clone()).chain(self.nodes.keys().cloned()).collect();
            for name in names {
                let is = self.nodes.get(&name).is_some_and(|node| set.is_eligible(node));
                let standing = self.eligible.entry((set_name.clone(), name)).or_insert(Standing {
                    is,
                    since: now,
                    has_been: is,
                });
                if standing.is != is {
                    *standing = Standing { is, since: now, has_been: true };
                }
            }
        }
    }

    /// Answers to requests that were under way together may come in any order: an answer is held against those that were
    /// there when it was asked for.
    fn answer(&mut self, answer: &Value, begun: u64) {
        let meta = &answer["metadata"];
        let revision = meta["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
        let (Some(uid), Some(revision)) = (meta["uid"].as_str(), revision) else { return };
        let known = self.answered.entry(uid.to_owned()).or_default();
        let before = known.range(..=begun).next_back().map_or(0, |(_, revision)| *revision);
        let highest = known.last_key_value().map_or(revision, |(_, last)| revision.max(*last));
        self.answers += 1;
        known.insert(self.answers, highest);
        if revision < before {
            let name = meta["name"].as_str().unwrap_or_default();
            self.fault(format!("an answer about {name} has revision {revision} after {before}"));
        }
    }

    /// A pod may be created where one should run, as the engine may know it, and where no other stands in its way.
    fn engine_created(&mut self, name: &str, now: Timestamp) {
        let Some(pod) = self.pods.get(name).cloned() else { return };
        let Some(node) = pod.node.clone() else {
            return self.fault(format!("pod {name} was created for no node"));
        };
        let Some((set_name, set)) = self.sets.iter().find(|(_, set)| pod.owner == set.uid) else {
            return;
        };
        let standing = self.eligible.get(&(set_name.clone(), node.clone())).copied();
        let others =
            self.pods.iter().filter(|(other, seen)| *other != name && seen.is_of(set, &node));
        let in_the_way: Vec<&String> = others
            .filter(|(_, other)| if set.surges { other.is_live() } else { !other.is_over() })
            .map(|(other, _)| other)
            .collect();
        // whoever believes that a set still surges as it did makes a pod beside another
        let may_surge =
            set.surges || set.edited.is_some_and(|at| now.duration_since(at) <= PICTURE_AGE_MAX);
        let crowd = (in_the_way.len() > usize::from(may_surge))
            .then(|| format!("pod {name} was created on {node} beside {in_the_way:?}"));
        let is_lawful = standing.is_some_and(|s| {
            s.is || (s.has_been && now.duration_since(s.since) <= PICTURE_AGE_MAX)
        });
        if let Some(crowd) = crowd {
            self.fault(crowd);
        }
        if !is_lawful {
            self.fault(format!(
                "pod {name} was created on {node}, which is not eligible: {standing:?}"
            ));
        }
    }

    /// Notes when the engine takes an available old pod from a node that should have one.
    fn engine_deletes(&mut self, name: &str, now: Timestamp) {
        // one that only just became ready may be taken for broken, and those go at once
        let is_known = |pod: &&PodSeen| {
            let since = pod.ready_since.filter(|_| pod.is_live());
            let stall = self.stalled.filter(|at| now.duration_since(*at) <= STALL_AGE_MAX);
            let known_at = stall.unwrap_or(now);
            since.is_some_and(|since| known_at.duration_since(since) > NEWS_AGE_MAX)
        };
        let Some(pod) = self.pods.get(name).filter(is_known) else { return };
        let Some((set_name, set)) = self.sets.iter().find(|(_, set)| pod.owner == set.uid) else {
            return;
        };
        let Some(node) = pod.node.clone() else { return };
        let standing = self.eligible.get(&(set_name.clone(), node.clone())).copied();
        // the engine may still believe that a node is not eligible, unless it made this pod since it is
        let is_placed = standing.is_some_and(|s| {
            let is_made_since = pod.first_seen.is_some_and(|seen| seen >= s.since);
            s.is && (is_made_since || now.duration_since(s.since) > PICTURE_AGE_MAX)
        });
        if !set.surges && is_placed && pod.image != set.image {
            self.down.entry(set_name.clone()).or_default().insert(node);
        }
    }

    fn check_budgets(&mut self) {
        let mut over = Vec::new();
        for (set_name, down) in &mut self.down {
            let Some(set) = self.sets.get(set_name) else { continue };
            let is_served = |node: &str| {
                self.pods.values().any(|pod| pod.is_of(set, node) && pod.is_live() && pod.is_ready)
            };
            down.retain(|node| {
                let seen = self.nodes.get(node);
                let is_counted = seen.is_some_and(|seen| set.is_eligible(seen) && !seen.is_down);
                is_counted && !is_served(node)
            });
            let most = self.budgets.get(set_name).map_or(set.unavailable_max, |budget| budget.0);
            if down.len() > most {
                over.push(format!("{set_name} took the pods of {down:?} at once"));
            }
        }
        for fault in over {
            self.fault(fault);
        }
    }

    fn revisions(&self) -> BTreeMap<String, u64> {
        let nodes = self.nodes.iter().map(|(name, seen)| (format!("node {name}"), seen.revision));
        let pods = self.pods.iter().map(|(name, seen)| (format!("pod {name}"), seen.revision));
        let sets = self.sets.iter().map(|(name, seen)| (format!("set {name}"), seen.revision));
        nodes.chain(pods).chain(sets).collect()
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }
}

/// What is wrong with a set's history at rest: numbers are its own, the last one is the template, no more are kept than
/// asked for, but for those that a pod still carries (spec B58): one on a node with a new taint stays as it is (B95).
fn history_of<'r>(
    name: &str,
    set: &SetSeen,
    revisions: impl Iterator<Item = &'r RevisionSeen>,
    is_in_use: impl Fn(&RevisionSeen) -> bool,
) -> Option<String> {
    let mut own: Vec<&RevisionSeen> = revisions.filter(|one| one.owner == set.uid).collect();
    own.sort_by_key(|one| one.number);
    let is_unique = own.windows(2).all(|pair| pair[0].number < pair[1].number);
    let is_current =
        own.last().is_some_and(|last| last.image == set.image && last.zone == set.zone);
    let spare = own.iter().rev().skip(1).filter(|one| !is_in_use(one)).count();
    let is_short = own.len() <= set.history_limit + 1 || spare == 0;
    (!(is_unique && is_current && is_short))
        .then(|| format!("the history of {name} at {} {:?} is {own:?}", set.image, set.zone))
}

/// Reads again what has changed in a collection.
fn refresh<T: read::Seen>(
    records: &Records,
    collection: &str,
    known: &mut BTreeMap<String, T>,
    changes: &mut BTreeMap<String, BTreeSet<u64>>,
    read: fn(&Value, u64) -> T,
) {
    let Ok(snapshot) = records.list(&Query::all(collection)) else { return };
    let mut gone: BTreeSet<String> = known.keys().cloned().collect();
    for record in snapshot.records {
        let name = record.key.name.to_string();
        gone.remove(&name);
        if known.get(&name).is_some_and(|seen| seen.revision() == record.revision) {
            continue;
        }
        changes.entry(collection.to_owned()).or_default().insert(record.revision);
        let value: Value = serde_json::from_slice(&record.bytes).unwrap_or_default();
        let mut seen = read(&value, record.revision);
        if let Some(before) = known.get(&name) {
            seen.inherit(before);
        }
        known.insert(name, seen);
    }
    for name in gone {
        known.remove(&name);
    }
}
