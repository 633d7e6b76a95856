//! What the bridge plugin put in for single pods, while our file told it to (`ipMasq`): it takes that out again only if the
//! file still says so when the pod ends. The rule for all pods covers these, too.

use super::Family;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Chains taken out at one look: four calls of 5 ms each, less than one second of the 30 between two looks. What is beyond
/// goes at the next one.
pub(super) const CHAINS_MAX: usize = 32;
/// How the plugin's remarks begin in a network of our name (`name: %q id: %q`).
const REMARK: &str = "name: \"pernode\" id: ";

/// What was put in for one pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pod {
    chain: String,
    /// The plugin's remark, which each of its rules has.
    remark: String,
    /// Calls that take out what leads to the chain.
    ways: Vec<Vec<String>>,
}

impl Pod {
    pub(super) fn chain(&self) -> &str {
        &self.chain
    }

    /// The calls that take everything out, in order: the ways there, what is in the chain, the chain. `None` where a rule
    /// in the chain, listed as `own`, is not the plugin's. Pure.
    pub(super) fn removal(&self, own: &str) -> Option<Vec<Vec<String>>> {
        let is_plugins = |line: &str| {
            words(line).is_some_and(|words| {
                words
                    .iter()
                    .zip(words.iter().skip(1))
                    .any(|(option, value)| option == "--comment" && *value == self.remark)
            })
        };
        if !own.lines().filter(|line| line.starts_with("-A ")).all(is_plugins) {
            return None;
        }
        let rest = ["-F", "-X"].map(|what| vec![what.to_owned(), self.chain.clone()]);
        Some([self.ways.as_slice(), &rest].concat())
    }
}

/// The pods of our network that have a chain of their own, where the chain POSTROUTING is listed as `listing` and the rule
/// for all pods is in place for `ranges`. Not those to which something else leads, or an address that the rule does not
/// cover. No other built-in chain can lead there: the kernel takes MASQUERADE after the routing only. Pure.
pub(super) fn pods(family: Family, ranges: &[String], listing: &str) -> Vec<Pod> {
    // by chain: whether it may go, and what leads there
    let mut chains: BTreeMap<&str, (bool, Pod)> = BTreeMap::new();
    for line in listing.lines() {
        let Some((_, chain)) = line.trim_end().rsplit_once(" -j ") else { continue };
        if !chain.starts_with("CNI-") {
            continue;
        }
        let new = || {
            let (remark, ways) = (String::new(), Vec::new());
            (true, Pod { chain: chain.to_owned(), remark, ways })
        };
        let (may_go, pod) = chains.entry(chain).or_insert_with(new);
        match way(line) {
            Some((address, way)) if ranges.iter().any(|range| covers(family, range, address)) => {
                pod.remark = way.get(7).cloned().unwrap_or_default();
                pod.ways.push(way);
            }
            _ => *may_go = false,
        }
    }
    let own = chains.into_values().filter(|(may_go, _)| *may_go);
    own.map(|(_, pod)| pod).take(CHAINS_MAX).collect()
}

/// A line by which the plugin leads one pod's address of our network to its chain: the address, and the call that takes
/// the line out.
fn way(line: &str) -> Option<(IpAddr, Vec<String>)> {
    let mut call = words(line)?;
    let known = ["-A", "POSTROUTING", "-s", "", "-m", "comment", "--comment", "", "-j", ""];
    let is_known = call.len() == known.len()
        && call.iter().zip(known).all(|(word, known)| known.is_empty() || word == known);
    let remark = call.get(7)?;
    if !is_known || !remark.starts_with(REMARK) {
        return None;
    }
    let (address, bits) = call.get(3)?.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    if bits != if address.is_ipv4() { "32" } else { "128" } {
        return None;
    }
    "-D".clone_into(call.first_mut()?);
    Some((address, call))
}

/// The words of a line as the program prints it: in quotation marks where they have blanks, with backslashes before marks.
/// `None`: the line breaks off within a word.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut all, mut word, mut is_quoted) = (Vec::new(), None::<String>, false);
    let mut letters = line.trim_end().chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().push(letters.next()?),
            ' ' if !is_quoted => all.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    all.extend(word);
    (!is_quoted).then_some(all)
}

/// Whether an address lies in a range that the rule of this family is for.
fn covers(family: Family, range: &str, address: IpAddr) -> bool {
    let Some((start, bits)) = range.split_once('/').filter(|_| family.has(range)) else {
        return false;
    };
    let (Ok(start), Ok(bits)) = (start.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    // as many bits as an address of six has, the range's at their front
    let whole = |address: IpAddr| match address {
        IpAddr::V4(address) => (32, u128::from(address.to_bits()) << 96),
        IpAddr::V6(address) => (128, address.to_bits()),
    };
    let ((kind, start), (other, address)) = (whole(start), whole(address));
    let differing = start ^ address;
    kind == other && bits <= kind && differing.leading_zeros() >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges() -> Vec<String> {
        vec!["10.7.0.0/24".to_owned(), "fd00:7::/64".to_owned()]
    }

    /// What the plugin puts in for one address of a network.
    fn pod(network: &str, address: &str, chain: &str) -> String {
        let remark =
            format!("-m comment --comment \"name: \\\"{network}\\\" id: \\\"{chain}-id\\\"\"");
        format!(
            "-N {chain}\n-A POSTROUTING -s {address} {remark} -j {chain}\n\
             -A {chain} -d 10.7.0.0/24 {remark} -j ACCEPT\n-A {chain} ! -d 224.0.0.0/4 {remark} -j MASQUERADE\n"
        )
    }

    fn taken(family: Family, listing: &str) -> Vec<Vec<String>> {
        let all = pods(family, &ranges(), listing);
        all.iter().filter_map(|pod| pod.removal(&own(listing, pod.chain()))).flatten().collect()
    }

    /// What `-S <chain>` shows.
    fn own(listing: &str, chain: &str) -> String {
        let starts = [format!("-N {chain}"), format!("-A {chain} ")];
        let own = listing.lines().filter(|line| starts.iter().any(|start| line.starts_with(start)));
        own.collect::<Vec<_>>().join("\n")
    }

    fn told(family: Family, listing: &str) -> Vec<String> {
        taken(family, listing).iter().map(|call| call.join(" ")).collect()
    }

    #[test]
    fn the_way_to_a_pods_own_chain_goes_and_then_the_chain() {
        let all = taken(Family::V4, &pod("pernode", "10.7.0.5/32", "CNI-5f"));
        let remark = "name: \"pernode\" id: \"CNI-5f-id\"";
        let way = [
            "-D",
            "POSTROUTING",
            "-s",
            "10.7.0.5/32",
            "-m",
            "comment",
            "--comment",
            remark,
            "-j",
            "CNI-5f",
        ];
        let way = way.map(str::to_owned).to_vec();
        let rest =
            [["-F", "CNI-5f"], ["-X", "CNI-5f"]].map(|call| call.map(str::to_owned).to_vec());
        assert_eq!(all, [vec![way], rest.to_vec()].concat());
        let six = told(Family::V6, &pod("pernode", "fd00:7::5/128", "CNI-6f"));
        assert!(six[0].starts_with("-D POSTROUTING -s fd00:7::5/128 "), "{six:?}");
        assert_eq!(six[1..], ["-F CNI-6f", "-X CNI-6f"]);
    }

    #[test]
    fn chains_of_others_stay_and_so_does_what_our_rule_does_not_cover() {
        let port = "-A POSTROUTING -m comment --comment \"CNI portfwd requiring masquerade\" -j CNI-HOSTPORT-MASQ";
        let ours = pod("pernode", "10.7.0.9/32", "CNI-1");
        let also = format!("{ours}-A POSTROUTING -j CNI-1\n");
        let within = format!("{ours}-A CNI-1 -s 10.7.0.9/32 -j ACCEPT\n");
        let elsewhere = pod("pernode", "10.7.0.9/32", "KUBE-1");
        let cut = "-A POSTROUTING -s 10.7.0.9/32 -m comment --comment \"name: \\\"pernode\\\" id: -j CNI-2";
        for listing in [
            pod("bridge", "10.7.0.5/32", "CNI-5f").as_str(),
            &pod("pernode2", "10.7.0.5/32", "CNI-5f"),
            &pod("pernode", "10.8.0.5/32", "CNI-5f"),
            &pod("pernode", "10.7.0.0/24", "CNI-5f"),
            &pod("pernode", "fd00:7::5/128", "CNI-5f"),
            port,
            &also,
            &within,
            &elsewhere,
            cut,
            "",
        ] {
            assert_eq!(told(Family::V4, listing), Vec::<String>::new(), "{listing}");
        }
    }

    #[test]
    fn a_look_takes_out_so_many_and_no_more() {
        let many = (0..CHAINS_MAX + 3).map(|at| {
            let one = pod("pernode", &format!("10.7.0.{at}/32"), &format!("CNI-{at}"));
            one + "-A POSTROUTING -m comment --comment \"name: \\\"other\\\" id: \\\"x\\\"\" -j CNI-other\n"
        });
        let listing: String = many.collect();
        assert_eq!(pods(Family::V4, &ranges(), &listing).len(), CHAINS_MAX);
    }

    #[test]
    fn an_address_is_compared_with_the_bits_of_its_range() {
        let is_in = |range: &str, address: &str| {
            let family = if range.contains(':') { Family::V6 } else { Family::V4 };
            covers(family, range, address.parse().unwrap())
        };
        assert!(is_in("10.7.0.0/24", "10.7.0.255") && !is_in("10.7.0.0/24", "10.7.1.0"));
        assert!(is_in("0.0.0.0/0", "203.0.113.9") && is_in("10.7.0.1/32", "10.7.0.1"));
        assert!(is_in("fd00:7::/64", "fd00:7::1:0:0:9") && !is_in("fd00:7::/64", "fd00:7:0:1::"));
        assert!(is_in("::/0", "fd00::1") && !is_in("::/0", "10.0.0.1"));
        assert!(!is_in("10.7.0.0/33", "10.7.0.0") && !is_in("10.7.0.0", "10.7.0.0"));
    }
}
