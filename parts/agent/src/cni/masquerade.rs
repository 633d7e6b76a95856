//! Pods of the node's own network reach others with the node's address: one rule for each range, put in once. The bridge
//! plugin would do it anew for every pod (`ipMasq`), by several programs each time: half of its time.

use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::Instant;

mod leftover;

/// Our chain of the nat table.
const CHAIN: &str = "PERNODE-MASQ";
/// Shown beside the rule that leads there.
const COMMENT: &str = "pernode: pods reach other networks with the address of the node";
/// How often the rules are looked for: somebody may have flushed them (upstream's agent looks every minute). Two looks are
/// 10 ms of a processor: 0.03 % of one.
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

/// Which calls put everything in, where the nat table is listed as `listing` (`iptables -S`). Pure.
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

/// Runs a program of this machine; what it printed.
async fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(RUN_MAX, command.output())
        .await
        .map_err(|_| format!("{program} did not end in {RUN_MAX:?}"))?
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", args.join(" "), said.lines().next().unwrap_or("failed")))
}

async fn nat(family: Family, args: &[&str]) -> Result<String, String> {
    run(family.program(), &[&["-w", LOCK, "-t", "nat"], args].concat()).await
}

/// The rules, as far as the agent knows them.
#[derive(Debug, Default)]
pub(super) struct Masquerade {
    /// For which ranges they were found or put in, and when.
    seen: Option<(Vec<String>, Instant)>,
    /// When they were last tried in vain.
    failed: Option<Instant>,
    is_told: bool,
    /// Nothing is left, as far as can be told.
    is_removed: bool,
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
                         pod: {problem}"
                    );
                }
                (self.seen, self.failed) = (None, Some(Instant::now()));
                false
            }
        }
    }

    /// Takes everything out, once nothing is connected to the bridge any more: a pod that still is needs the rules until
    /// it ends. What cannot be asked has nothing of ours.
    pub(super) async fn end(&mut self, bridge: &str) {
        if self.is_removed || self.asked.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.asked = Some(Instant::now());
        let connected = run("ip", &["-o", "link", "show", "master", bridge]).await;
        if connected.is_ok_and(|listed| !listed.trim().is_empty()) {
            return;
        }
        *self = Self { is_removed: true, ..Self::default() };
        for family in [Family::V4, Family::V6] {
            let Ok(listing) = nat(family, &["-S"]).await else { continue };
            for call in removal(&listing) {
                if let Err(problem) = nat(family, &call).await {
                    tracing::warn!("a rule for pods' addresses stays: {problem}");
                }
            }
        }
    }
}

/// Takes out what was put in for one pod. What fails is tried again at the next look: the plugin may be at it, too.
async fn take_out(family: Family, removal: Vec<Vec<String>>) {
    for call in removal {
        let call: Vec<&str> = call.iter().map(String::as_str).collect();
        if let Err(problem) = nat(family, &call).await {
            tracing::debug!("rules of a single pod stay for now: {problem}");
            return;
        }
    }
}

/// Puts in what is missing; where all is in place, what the plugin left of single pods goes.
async fn put(ranges: &[String]) -> Result<(), String> {
    for family in [Family::V4, Family::V6] {
        if !ranges.iter().any(|range| family.has(range)) {
            continue;
        }
        let listing = nat(family, &["-S"]).await?;
        for call in calls(family, ranges, &listing) {
            nat(family, &call).await?;
        }
        for removal in leftover::removals(family, ranges, &listing) {
            take_out(family, removal).await;
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

    /// The nat table as `iptables -S` lists it, with these lines after the built-in chains.
    fn listing(lines: &[&str]) -> String {
        let built_in = ["-P PREROUTING ACCEPT", "-P POSTROUTING ACCEPT", "-N CNI-HOSTPORT-MASQ"];
        [&built_in, lines].concat().join("\n")
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
}
