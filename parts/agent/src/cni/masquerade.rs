//! Pods of the node's own network reach others with the node's address: one rule for each range, put in once. The bridge
//! plugin would do it anew for every pod (`ipMasq`), by several programs each time: half of its time.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::Instant;

mod leftover;

/// Our chain of the nat table.
const CHAIN: &str = "PERNODE-MASQ";
/// Where the kernel shows its network devices; a bridge has a folder `brif` there, with what is connected to it.
const DEVICES: &str = "/sys/class/net";
/// Shown beside the rule that leads there.
const COMMENT: &str = "pernode: pods reach other networks with the address of the node";
/// How often the rules are looked for: somebody may have flushed them (upstream's agent looks every minute). A look
/// lists two chains, 5 ms of a processor each: 0.03 % of one. Never the table: a proxy's rules there are tens of thousands.
const LOOK: Duration = Duration::from_secs(30);
/// How long a program waits for others that change rules, in seconds, as it is told.
const LOCK: &str = "5";
/// Longest run of one program: its wait for the lock, and as much again.
const RUN_MAX: Duration = Duration::from_secs(10);

/// The kinds of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn has(self, range: &str) -> bool {
        range.contains(':') == (self == Self::V6)
    }

    fn program(self) -> &'static str {
        match self {
            Self::V4 => "iptables",
            Self::V6 => "ip6tables",
        }
    }

    /// The range of every address.
    fn all(self) -> &'static str {
        match self {
            Self::V4 => "0.0.0.0/0",
            Self::V6 => "::/0",
        }
    }

    /// Addresses of groups: what is sent there keeps its sender.
    fn groups(self) -> &'static str {
        match self {
            Self::V4 => "224.0.0.0/4",
            Self::V6 => "ff00::/8",
        }
    }
}

/// What is in our chain, as the program takes and lists it.
fn rules(family: Family, ranges: &[String]) -> Vec<Vec<&str>> {
    let own = ranges.iter().filter(|range| family.has(range));
    own.flat_map(|range| {
        [
            vec!["-s", range, "-d", range, "-j", "RETURN"],
            vec!["-s", range, "!", "-d", family.groups(), "-j", "MASQUERADE"],
        ]
    })
    .collect()
}

/// The rule that leads to our chain, without the word that adds or removes it.
const HOOK: [&str; 6] = ["POSTROUTING", "-m", "comment", "--comment", COMMENT, "-j"];

/// Which calls put everything in, where our chain and the one that leads there are listed as `listing` (`iptables -S`).
/// Pure.
fn calls<'a>(family: Family, ranges: &'a [String], listing: &str) -> Vec<Vec<&'a str>> {
    let wanted = rules(family, ranges);
    let in_chain: Vec<&str> =
        listing.lines().filter_map(|line| line.strip_prefix("-A PERNODE-MASQ ")).collect();
    let is_whole = in_chain.len() == wanted.len()
        && wanted.iter().zip(&in_chain).all(|(rule, line)| rule.join(" ") == line.trim());
    let mut calls = Vec::new();
    if !listing.lines().any(|line| line.trim() == "-N PERNODE-MASQ") {
        calls.push(vec!["-N", CHAIN]);
    }
    if !is_whole {
        calls.push(vec!["-F", CHAIN]);
        calls.extend(wanted.into_iter().map(|rule| [vec!["-A", CHAIN], rule].concat()));
    }
    if !listing.lines().any(is_hook) {
        calls.push([vec!["-A"], HOOK.to_vec(), vec![CHAIN]].concat());
    }
    calls
}

/// Which calls take everything out. Pure.
fn removal(listing: &str) -> Vec<Vec<&'static str>> {
    let hooks = listing.lines().filter(|line| is_hook(line)).count();
    let mut calls = vec![[vec!["-D"], HOOK.to_vec(), vec![CHAIN]].concat(); hooks];
    if listing.lines().any(|line| line.trim() == "-N PERNODE-MASQ") {
        calls.extend([vec!["-F", CHAIN], vec!["-X", CHAIN]]);
    }
    calls
}

fn is_hook(line: &str) -> bool {
    line.starts_with("-A POSTROUTING ") && line.trim_end().ends_with("-j PERNODE-MASQ")
}

/// Why a call had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// A chain that was asked for is not there.
    NoChain(String),
    /// This machine has no such program, or no such table: nobody has rules there.
    NoTable(String),
    /// Whatever else: nothing is known of the rules.
    Other(String),
}

impl Failure {
    /// What a program means that ended with this code. It ends with 1 for a chain that is not there (in words that differ
    /// from version to version, one of them "incompatible"), with 2 for a wrong call, 3 for what the kernel lacks or
    /// refuses, 4 for a lock that others hold.
    fn of(code: Option<i32>, said: &str) -> fn(String) -> Self {
        match code {
            Some(1) => Self::NoChain,
            Some(3) if said.contains("Table does not exist") => Self::NoTable,
            _ => Self::Other,
        }
    }

    fn text(self) -> String {
        match self {
            Self::NoChain(text) | Self::NoTable(text) | Self::Other(text) => text,
        }
    }
}

/// Runs the program that knows the nat table; what it printed.
async fn nat(family: Family, args: &[&str]) -> Result<String, Failure> {
    let program = family.program();
    let mut command = Command::new(program);
    command.args(["-w", LOCK, "-t", "nat"]).args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(RUN_MAX, command.output())
        .await
        .map_err(|_| Failure::Other(format!("{program} did not end in {RUN_MAX:?}")))?
        .map_err(|error| {
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            let why = if is_missing { Failure::NoTable } else { Failure::Other };
            why(format!("{program}: {error}"))
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("failed");
    Err(Failure::of(output.status.code(), &said)(format!("{program} {}: {first}", args.join(" "))))
}

/// The rules of our chain, and those of the one that leads there: all that is ours.
async fn listed(family: Family) -> Result<String, Failure> {
    let ways = nat(family, &["-S", "POSTROUTING"]).await?;
    match nat(family, &["-S", CHAIN]).await {
        Ok(own) => Ok(format!("{ways}\n{own}")),
        Err(Failure::NoChain(_)) => Ok(ways),
        Err(problem) => Err(problem),
    }
}

/// Whether anything is connected to a bridge, by the kernel's folder of network devices. An error: it cannot be told.
fn is_connected(devices: &Path, bridge: &str) -> io::Result<bool> {
    match devices.join(bridge).join("brif").read_dir() {
        Ok(mut ports) => Ok(ports.next().is_some()),
        // no such bridge, if devices are shown at all
        Err(error) if error.kind() == io::ErrorKind::NotFound => devices.read_dir().map(|_| false),
        Err(error) => Err(error),
    }
}

/// The rules, as far as the agent knows them.
#[derive(Debug, Default)]
pub(super) struct Masquerade {
    /// For which ranges they were found or put in, and when.
    seen: Option<(Vec<String>, Instant)>,
    /// When they were last tried in vain.
    failed: Option<Instant>,
    is_told: bool,
    /// Nothing is left: every call that was to take something out worked.
    is_removed: bool,
    /// That something may be left was said.
    is_rest_told: bool,
    /// When it was last asked who still needs them.
    asked: Option<Instant>,
}

impl Masquerade {
    /// Puts in what is missing, and looks from time to time whether it is still there. Whether everything is in place.
    pub(super) async fn keep(&mut self, ranges: &[String]) -> bool {
        self.is_removed = false;
        match &self.seen {
            Some((own, at)) if own == ranges && at.elapsed() < LOOK => return true,
            _ if self.failed.is_some_and(|at| at.elapsed() < LOOK) => return false,
            _ => {}
        }
        match put(ranges).await {
            Ok(()) => {
                self.seen = Some((ranges.to_vec(), Instant::now()));
                (self.failed, self.is_told) = (None, false);
                true
            }
            Err(problem) => {
                if !self.is_told {
                    self.is_told = true;
                    tracing::warn!(
                        "one rule for the addresses of all pods cannot be put in: the network's plugin makes one for each \
                         pod: {}",
                        problem.text()
                    );
                }
                (self.seen, self.failed) = (None, Some(Instant::now()));
                false
            }
        }
    }

    /// Takes everything out, once nothing is connected to the bridge any more: a pod that still is needs the rules until
    /// it ends. What fails is tried again at the next look.
    pub(super) async fn end(&mut self, bridge: &str) {
        if self.is_removed || self.asked.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.asked = Some(Instant::now());
        match is_connected(Path::new(DEVICES), bridge) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => return self.tell_rest(&format!("{DEVICES}: {error}")),
        }
        (self.seen, self.failed, self.is_told) = (None, None, false);
        let mut is_removed = true;
        for family in [Family::V4, Family::V6] {
            match clear(family).await {
                Ok(is_clear) => is_removed &= is_clear,
                Err(Failure::NoTable(_)) => {}
                Err(problem) => {
                    is_removed = false;
                    self.tell_rest(&problem.text());
                }
            }
        }
        self.is_removed = is_removed;
        self.is_rest_told &= !is_removed;
    }

    fn tell_rest(&mut self, problem: &str) {
        if !self.is_rest_told {
            self.is_rest_told = true;
            tracing::warn!(
                "rules for the addresses of pods may be left, and are looked for again: {problem}"
            );
        }
    }
}

/// Takes out what is ours, and what the plugin left of single pods. Whether that was all.
async fn clear(family: Family) -> Result<bool, Failure> {
    let listing = listed(family).await?;
    for call in removal(&listing) {
        nat(family, &call).await?;
    }
    // nothing is connected: whatever their addresses are, those pods are gone
    let left = leftover::pods(family, &[family.all().to_owned()], &listing);
    for pod in &left {
        take_out(family, pod).await?;
    }
    Ok(left.len() < leftover::CHAINS_MAX)
}

/// Takes out what was put in for one pod, unless somebody else has rules there, too.
async fn take_out(family: Family, pod: &leftover::Pod) -> Result<(), Failure> {
    let own = nat(family, &["-S", pod.chain()]).await?;
    for call in pod.removal(&own).into_iter().flatten() {
        let call: Vec<&str> = call.iter().map(String::as_str).collect();
        nat(family, &call).await?;
    }
    Ok(())
}

/// Puts in what is missing; where all is in place, what the plugin left of single pods goes.
async fn put(ranges: &[String]) -> Result<(), Failure> {
    for family in [Family::V4, Family::V6] {
        if !ranges.iter().any(|range| family.has(range)) {
            continue;
        }
        let listing = listed(family).await?;
        for call in calls(family, ranges, &listing) {
            nat(family, &call).await?;
        }
        for pod in leftover::pods(family, ranges, &listing) {
            // tried again at the next look: the plugin may be at it, too
            if let Err(problem) = take_out(family, &pod).await {
                tracing::debug!("rules of a single pod stay for now: {}", problem.text());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> Vec<String> {
        vec!["10.7.0.0/24".to_owned(), "fd00:7::/64".to_owned()]
    }

    /// Chains as `iptables -S` lists them, with these lines after the built-in one.
    fn listing(lines: &[&str]) -> String {
        let others = ["-P POSTROUTING ACCEPT", "-A POSTROUTING -j CNI-HOSTPORT-MASQ"];
        [&others, lines].concat().join("\n")
    }

    const WHOLE: [&str; 4] = [
        "-N PERNODE-MASQ",
        "-A POSTROUTING -m comment --comment \"pernode: pods reach other networks with the address of the node\" -j PERNODE-MASQ",
        "-A PERNODE-MASQ -s 10.7.0.0/24 -d 10.7.0.0/24 -j RETURN",
        "-A PERNODE-MASQ -s 10.7.0.0/24 ! -d 224.0.0.0/4 -j MASQUERADE",
    ];

    #[test]
    fn an_empty_table_gets_the_chain_its_rules_and_last_the_way_there() {
        let ranges = both();
        let calls = calls(Family::V4, &ranges, &listing(&[]));
        let text: Vec<String> = calls.iter().map(|call| call.join(" ")).collect();
        assert_eq!(text[0], "-N PERNODE-MASQ");
        assert_eq!(text[1], "-F PERNODE-MASQ");
        assert_eq!(text[2], WHOLE[2]);
        assert_eq!(text[3], WHOLE[3]);
        assert_eq!(text[4], WHOLE[1].replace('"', ""));
        assert_eq!(text.len(), 5);
        let six = super::calls(Family::V6, &ranges, &listing(&[]));
        assert_eq!(six[3].join(" "), "-A PERNODE-MASQ -s fd00:7::/64 ! -d ff00::/8 -j MASQUERADE");
    }

    #[test]
    fn a_whole_table_is_left_alone_and_only_what_was_flushed_comes_again() {
        let ranges = both();
        assert_eq!(calls(Family::V4, &ranges, &listing(&WHOLE)), Vec::<Vec<&str>>::new());
        let unhooked = calls(Family::V4, &ranges, &listing(&[WHOLE[0], WHOLE[2], WHOLE[3]]));
        assert_eq!(unhooked.len(), 1);
        assert_eq!(unhooked[0].last(), Some(&CHAIN));
        let flushed = calls(Family::V4, &ranges, &listing(&WHOLE[..1]));
        assert_eq!(flushed.len(), 4, "{flushed:?}");
    }

    #[test]
    fn rules_of_another_range_are_replaced() {
        let ranges = vec!["10.8.0.0/24".to_owned()];
        let calls = calls(Family::V4, &ranges, &listing(&WHOLE));
        let text: Vec<String> = calls.iter().map(|call| call.join(" ")).collect();
        assert_eq!(text[0], "-F PERNODE-MASQ");
        assert!(text[1].contains("-s 10.8.0.0/24 -d 10.8.0.0/24"), "{text:?}");
        assert_eq!(text.len(), 3);
    }

    #[test]
    fn nothing_is_left_after_the_removal_and_nothing_of_others_is_touched() {
        let twice = listing(&[WHOLE[0], WHOLE[1], WHOLE[1], WHOLE[2], WHOLE[3]]);
        let text: Vec<String> = removal(&twice).iter().map(|call| call.join(" ")).collect();
        assert_eq!(text[0], text[1]);
        assert!(text[0].starts_with("-D POSTROUTING "), "{text:?}");
        assert_eq!(text[2..], ["-F PERNODE-MASQ", "-X PERNODE-MASQ"]);
        assert_eq!(removal(&listing(&[])), Vec::<Vec<&str>>::new());
    }

    #[test]
    fn a_chain_that_is_missing_is_no_failure_and_a_lock_that_is_held_is_one() {
        let said = |code, said: &str| Failure::of(Some(code), said)(String::new());
        let none = Failure::NoChain(String::new());
        let unlike = "chain `PERNODE-MASQ' in table `nat' is incompatible, use 'nft' tool.";
        assert_eq!(said(1, "iptables: No chain/target/match by that name."), none);
        assert_eq!(said(1, unlike), none);
        let no_table =
            "can't initialize ip6tables table `nat': Table does not exist (do you need to insmod?)";
        assert_eq!(said(3, no_table), Failure::NoTable(String::new()));
        let other = Failure::Other(String::new());
        assert_eq!(said(3, "can't initialize iptables table `nat': Permission denied"), other);
        assert_eq!(said(4, "Another app is currently holding the xtables lock."), other);
        assert_eq!(Failure::of(None, "")(String::new()), other, "ended by a signal");
    }

    #[test]
    fn a_bridge_is_free_where_it_has_no_ports_and_unknown_where_no_devices_are_shown() {
        let devices = tempfile::tempdir().unwrap();
        assert!(!is_connected(devices.path(), "pernode0").unwrap(), "no such bridge");
        let ports = devices.path().join("pernode0/brif");
        std::fs::create_dir_all(&ports).unwrap();
        assert!(!is_connected(devices.path(), "pernode0").unwrap());
        std::fs::write(ports.join("veth5"), "").unwrap();
        assert!(is_connected(devices.path(), "pernode0").unwrap());
        assert!(is_connected(&devices.path().join("none"), "pernode0").is_err());
    }
}
