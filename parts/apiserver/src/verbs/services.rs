//! Addresses and ports of Services: what is taken is what stored Services have and what writes under way hold.
//! Nothing is kept apart from the Services themselves, so nothing can leak or disagree after a crash.

use super::{Call, create};
use crate::admit::service::allocate::{self, Pools};
use crate::admit::service::ranges::Range;
use crate::records::{Query, Records};
use crate::server::{Inner, bootstrap};
use api::Status;
use rand::RngCore;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Addresses at the beginning of a range are left to those who ask for one: a sixteenth, but at least 16 and at
/// most 256, as upstream has it.
const ASKED_MIN: u128 = 16;
const ASKED_MAX: u128 = 256;

/// What writes under way have taken.
#[derive(Debug, Default)]
pub(crate) struct Held {
    addresses: BTreeSet<IpAddr>,
    ports: BTreeSet<i64>,
}

/// What one write has taken; given back when the write is over, when the stored Service speaks for itself.
#[derive(Debug)]
pub(crate) struct Grant {
    server: Arc<Inner>,
    held: Held,
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut all = self.server.held.lock();
        all.addresses.retain(|address| !self.held.addresses.contains(address));
        all.ports.retain(|port| !self.held.ports.contains(port));
    }
}

/// Gives a Service about to be written what it needs; `None` for everything that is no Service.
pub(crate) fn allocate(
    call: &Call,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<Option<Grant>, Status> {
    let is_service = call.row.group.is_empty() && call.row.plural == "services";
    if !is_service || !call.subresource().is_empty() {
        return Ok(None);
    }
    let config = &call.server.config;
    let start = call.server.chance(RngCore::next_u64);
    // The lock is held while stored Services are looked at: a write that is over is among them before it lets go.
    let mut all = call.server.held.lock();
    let mut taken = stored(&call.server.records);
    taken.addresses.extend(&all.addresses);
    taken.ports.extend(&all.ports);
    let range = Range::new(config.service_range.0, config.service_range.1);
    // The first one is this server's own.
    let name = create::text(object, "name");
    if (call.namespace(), name.as_str()) != ("default", bootstrap::SERVICE) {
        taken.addresses.extend(range.at(1));
    }
    let mut here = Here { range, ports: config.node_ports, start, taken, held: Held::default() };
    allocate::allocate(object, old, &mut here)?;
    all.addresses.extend(&here.held.addresses);
    all.ports.extend(&here.held.ports);
    Ok(Some(Grant { server: Arc::clone(&call.server), held: here.held }))
}

/// What stored Services have.
fn stored(records: &Records) -> Held {
    let mut held = Held::default();
    let found = records.list(&Query::all("/services")).map(|snapshot| snapshot.records);
    for record in found.unwrap_or_default() {
        let Ok(service) = crate::encode::parse(&record.bytes) else { continue };
        let texts = service.pointer("/spec/clusterIPs").and_then(Value::as_array);
        let texts = texts.into_iter().flatten().filter_map(Value::as_str);
        held.addresses.extend(texts.filter_map(|text| text.parse::<IpAddr>().ok()));
        let ports = service.pointer("/spec/ports").and_then(Value::as_array);
        held.ports.extend(ports.into_iter().flatten().filter_map(|port| port["nodePort"].as_i64()));
        held.ports.extend(service.pointer("/spec/healthCheckNodePort").and_then(Value::as_i64));
    }
    held
}

/// The pools as one write sees them.
struct Here {
    range: Range,
    ports: (u16, u16),
    start: u64,
    taken: Held,
    held: Held,
}

impl Here {
    fn hold(&mut self, address: IpAddr) {
        self.taken.addresses.insert(address);
        self.held.addresses.insert(address);
    }

    fn hold_port(&mut self, port: i64) {
        self.taken.ports.insert(port);
        self.held.ports.insert(port);
    }
}

impl Pools for Here {
    fn is_v6(&self) -> bool {
        self.range.is_v6()
    }

    fn take_address(&mut self, address: &str) -> Result<(), String> {
        let range = self.range;
        let inside = address.parse().ok().filter(|address| range.contains(*address));
        let address: IpAddr =
            inside.ok_or("the provided network does not match the current range")?;
        if !range.is_usable(address) {
            return Err(format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
            ));
        }
        if self.taken.addresses.contains(&address) {
            return Err("provided IP is already allocated".to_owned());
        }
        self.hold(address);
        Ok(())
    }

    fn any_address(&mut self) -> Option<String> {
        let size = self.range.size();
        let asked = (size / ASKED_MIN).clamp(ASKED_MIN, ASKED_MAX).min(size);
        let free = |at: u128, here: &Self| {
            let address = here.range.at(at)?;
            let fits = here.range.is_usable(address) && !here.taken.addresses.contains(&address);
            fits.then_some(address)
        };
        // As many places as there are taken ones, and one more, are enough to find a free one if there is any.
        let tries = u128::try_from(self.taken.addresses.len()).unwrap_or(u128::MAX) + 3;
        let band = |from: u128, length: u128, here: &Self| {
            let start = u128::from(here.start) % length.max(1);
            (0..length.min(tries)).find_map(|i| free(from + (start + i) % length, here))
        };
        let found = band(asked, size - asked, self).or_else(|| band(0, asked, self))?;
        self.hold(found);
        Some(found.to_string())
    }

    fn take_port(&mut self, port: i64) -> Result<(), String> {
        let (low, high) = self.ports;
        if !(i64::from(low)..=i64::from(high)).contains(&port) {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {low}-{high}"
            ));
        }
        if self.taken.ports.contains(&port) {
            return Err("provided port is already allocated".to_owned());
        }
        self.hold_port(port);
        Ok(())
    }

    fn any_port(&mut self) -> Option<i64> {
        let (low, high) = (i64::from(self.ports.0), i64::from(self.ports.1));
        let length = high - low + 1;
        let start = i64::try_from(self.start % u64::try_from(length).ok()?).ok()?;
        let port = (0..length)
            .map(|i| low + (start + i) % length)
            .find(|port| !self.taken.ports.contains(port))?;
        self.hold_port(port);
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(range: (&str, u8), start: u64) -> Here {
        let range = Range::new(range.0.parse().expect("an address"), range.1);
        let mut taken = Held::default();
        taken.addresses.extend(range.at(1));
        Here { range, ports: (30000, 30002), start, taken, held: Held::default() }
    }

    #[test]
    fn addresses_are_given_from_the_upper_band_until_all_are_taken() {
        let mut pools = here(("10.96.0.0", 16), 7);
        assert_eq!(pools.any_address().as_deref(), Some("10.96.1.7"));
        assert_eq!(pools.any_address().as_deref(), Some("10.96.1.8"));
        let mut small = here(("10.96.0.0", 29), 0);
        let mut all: Vec<String> = std::iter::from_fn(|| small.any_address()).collect();
        all.sort();
        let expected: Vec<String> = (2..=6).map(|i| format!("10.96.0.{i}")).collect();
        assert_eq!(all, expected, "not the network's own, not the API's, not the last");
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        let mut pools = here(("10.96.0.0", 16), 0);
        assert_eq!(pools.take_address("10.96.0.9"), Ok(()));
        let why = |result: Result<(), String>| result.expect_err("a refusal");
        assert_eq!(why(pools.take_address("10.96.0.9")), "provided IP is already allocated");
        assert_eq!(why(pools.take_address("10.96.0.1")), "provided IP is already allocated");
        let outside = "the provided network does not match the current range";
        assert_eq!(why(pools.take_address("10.97.0.9")), outside);
        let first = "the provided IP (10.96.0.0) is not in the valid range. The range of valid IPs is 10.96.0.0/16";
        assert_eq!(why(pools.take_address("10.96.0.0")), first);
        assert_eq!(pools.take_port(30001), Ok(()));
        assert_eq!(why(pools.take_port(30001)), "provided port is already allocated");
        let range =
            "provided port is not in the valid range. The range of valid ports is 30000-30002";
        assert_eq!(why(pools.take_port(99)), range);
        assert_eq!(
            [pools.any_port(), pools.any_port(), pools.any_port()],
            [Some(30000), Some(30002), None]
        );
    }
}
