//! What a Service is given: families, an address, ports of nodes. Runs before the rules look at it.

use super::{HEADLESS, is_headless, needs_address, needs_health_check, validate};
use crate::admit::address;
use crate::admit::faults::Faults;
use crate::admit::json::{Json, JsonMut};
use api::{FieldError, Path, Status};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Addresses and ports that may be given out.
pub(crate) trait Pools {
    /// Whether addresses are of the sixth version. There is one range, so one family.
    fn is_v6(&self) -> bool;
    /// Takes an address that was asked for; the error says why it cannot be had.
    fn take_address(&mut self, address: &str) -> Result<(), String>;
    /// Takes any address; none when all are taken.
    fn any_address(&mut self) -> Option<String>;
    /// Takes a port that was asked for; the error says why it cannot be had.
    fn take_port(&mut self, port: i64) -> Result<(), String>;
    /// Takes any port; none when all are taken.
    fn any_port(&mut self) -> Option<i64>;
}

/// Gives a new or changed Service what it needs.
pub(crate) fn allocate(
    service: &mut Value,
    old: Option<&Value>,
    pools: &mut dyn Pools,
) -> Result<(), Status> {
    let name = service.at("metadata").text("name").to_owned();
    let refuse = |faults: &[FieldError]| api::field::invalid("", "Service", &name, faults);
    let before = old.map_or(&Value::Null, |old| old.at("spec"));
    let spec = service.object("spec");
    if old.is_some() {
        keep_given(spec, before);
    }
    agree(spec, before);
    if !keeps_preference(spec, before) {
        settle_families(spec, before, pools).map_err(|faults| refuse(&faults))?;
        addresses(spec, before, pools, &refuse)?;
    }
    ports(spec, before, pools, &refuse)?;
    health_check(spec, before, pools)
}

/// Ports of nodes that a Service has.
pub(crate) fn node_ports(spec: &Value) -> Vec<i64> {
    let all = spec.list("ports").iter().map(|port| port.int("nodePort").unwrap_or(0));
    all.filter(|port| *port != 0).collect()
}

fn gets_node_ports(spec: &Value) -> bool {
    match spec.text("type") {
        "NodePort" => true,
        "LoadBalancer" => spec.at("allocateLoadBalancerNodePorts").as_bool() != Some(false),
        _ => false,
    }
}

/// Who sends the same manifest again means what was given before.
fn keep_given(spec: &mut Value, old: &Value) {
    if needs_address(old) && needs_address(spec) {
        if spec.text("clusterIP").is_empty() {
            spec.restore("clusterIP", old);
        }
        if spec.list("clusterIPs").is_empty() {
            spec.restore("clusterIPs", old);
        }
    }
    if gets_node_ports(old) && gets_node_ports(spec) {
        let new: BTreeSet<i64> = node_ports(spec).into_iter().collect();
        let used: BTreeSet<i64> = node_ports(old).into_iter().filter(|p| new.contains(p)).collect();
        // of several of one name the last counts
        let known: BTreeMap<&str, &Value> =
            old.list("ports").iter().map(|other| (other.text("name"), other)).collect();
        for port in spec.items("ports") {
            let had = known.get(port.text("name"));
            let had = had.and_then(|other| other.int("nodePort")).unwrap_or(0);
            if port.int("nodePort").unwrap_or(0) == 0 && had != 0 && !used.contains(&had) {
                port.set("nodePort", had);
            }
        }
    }
    if needs_health_check(old)
        && needs_health_check(spec)
        && spec.int("healthCheckNodePort").unwrap_or(0) == 0
    {
        spec.restore("healthCheckNodePort", old);
    }
}

/// The one address and the list of addresses say the same where only one of them was said.
fn agree(spec: &mut Value, old: &Value) {
    let (single, before) = (spec.text("clusterIP").to_owned(), old.text("clusterIP"));
    let same = spec.list("clusterIPs") == old.list("clusterIPs");
    if old.is_null() {
        if !single.is_empty() && spec.list("clusterIPs").is_empty() {
            spec.set("clusterIPs", json!([single]));
        }
        return;
    }
    if spec.list("clusterIPs").is_empty() && !old.list("clusterIPs").is_empty() && single == before
    {
        spec.restore("clusterIPs", old);
    }
    if single != before && same {
        if single.is_empty() {
            spec.unset("clusterIPs");
        } else {
            spec.set("clusterIPs", json!([single]));
        }
    }
}

/// A Service that prefers two families is not changed because the cluster was.
fn keeps_preference(spec: &Value, old: &Value) -> bool {
    let prefers = |spec: &Value| spec.text("ipFamilyPolicy") == "PreferDualStack";
    prefers(spec)
        && prefers(old)
        && ["clusterIPs", "ipFamilies"].iter().all(|key| spec.at(key) == old.at(key))
}

/// Fills in family policy and families, and refuses what the cluster cannot give.
fn settle_families(spec: &mut Value, old: &Value, pools: &dyn Pools) -> Result<(), Faults> {
    if !needs_address(spec) {
        return Ok(());
    }
    let alone = spec.text("clusterIP") == HEADLESS && spec.entries("selector").is_empty();
    if !spec.has("ipFamilyPolicy") {
        let policy = match old.text("ipFamilyPolicy") {
            "" if alone => "RequireDualStack",
            "" => "SingleStack",
            policy => policy,
        };
        spec.set("ipFamilyPolicy", policy.to_owned());
    }
    let faults = validate::families(spec, old);
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut found = Faults::new();
    if !old.is_null() {
        give_up_second(&mut found, spec, old);
    }
    only_one(&mut found, spec);
    infer(&mut found, spec, pools);
    if !found.is_empty() {
        return Err(found);
    }
    let single = spec.text("ipFamilyPolicy") == "SingleStack";
    let (own, other) = if pools.is_v6() { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
    if alone {
        let mut families = spec.list("ipFamilies").to_vec();
        if families.is_empty() {
            families.push(own.into());
        }
        if families.len() < 2 && !single {
            let second = if families[0] == own { other } else { own };
            families.push(second.into());
        }
        spec.set("ipFamilies", families);
        return Ok(());
    }
    configured(&mut found, spec, own);
    if !found.is_empty() {
        return Err(found);
    }
    if spec.list("ipFamilies").is_empty() {
        spec.set("ipFamilies", json!([own]));
    }
    Ok(())
}

/// `SingleStack` after two is clear enough; fewer without it is not.
fn give_up_second(found: &mut Faults, spec: &mut Value, old: &Value) {
    for (key, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (new, before) = (spec.list(key), old.list(key));
        if spec.text("ipFamilyPolicy") == "SingleStack" {
            if new == before && new.len() > 1 {
                let first = new[0].clone();
                spec.set(key, json!([first]));
            }
        } else if !new.is_empty() && new.len() < before.len() {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            let path = Path::new("spec").child("ipFamilyPolicy");
            found.push(FieldError::invalid(path, spec.at("ipFamilyPolicy").clone(), &why));
        }
    }
}

/// Two of anything need a policy that allows two.
fn only_one(found: &mut Faults, spec: &Value) {
    if spec.text("ipFamilyPolicy") != "SingleStack" {
        return;
    }
    for (key, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if spec.list(key).len() == 2 {
            let why = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            let path = Path::new("spec").child("ipFamilyPolicy");
            found.push(FieldError::invalid(path, "SingleStack", &why));
        }
    }
}

/// Families follow from addresses.
fn infer(found: &mut Faults, spec: &mut Value, pools: &dyn Pools) {
    let mut families = spec.list("ipFamilies").to_vec();
    let before = families.len();
    for (i, one) in spec.list("clusterIPs").iter().filter_map(Value::as_str).enumerate() {
        if one == HEADLESS {
            break;
        }
        let family = if address::is_v6(one) { "IPv6" } else { "IPv4" };
        if i < before {
            continue;
        }
        if address::is_v6(one) == pools.is_v6() {
            families.push(family.into());
        } else {
            let path = Path::new("spec").child("clusterIPs").index(i);
            let why = format!("{family} is not configured on this cluster");
            found.push(FieldError::invalid(path, spec.at("clusterIPs").clone(), &why));
        }
    }
    if !families.is_empty() {
        spec.set("ipFamilies", families);
    }
}

/// The cluster has one family.
fn configured(found: &mut Faults, spec: &Value, own: &str) {
    let path = Path::new("spec");
    if spec.text("ipFamilyPolicy") == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        let policy = spec.at("ipFamilyPolicy").clone();
        found.push(FieldError::invalid(path.child("ipFamilyPolicy"), policy, why));
    }
    for (i, family) in spec.list("ipFamilies").iter().enumerate().filter(|(_, one)| *one != own) {
        let at = path.child("ipFamilies").index(i);
        found.push(FieldError::invalid(at, family.clone(), "not configured on this cluster"));
    }
}

type Refuse<'a> = dyn Fn(&[FieldError]) -> Status + 'a;

/// An address for a Service that had none.
fn addresses(
    spec: &mut Value,
    old: &Value,
    pools: &mut dyn Pools,
    refuse: &Refuse<'_>,
) -> Result<(), Status> {
    let is_new = old.is_null() || !needs_address(old);
    if !needs_address(spec) || is_headless(spec) || !is_new {
        return Ok(());
    }
    let asked = spec.list("clusterIPs").first().and_then(Value::as_str).unwrap_or_default();
    let given = if asked.is_empty() {
        pools.any_address().ok_or_else(|| {
            Status::internal("failed to allocate a serviceIP for the Service: range is full")
        })?
    } else {
        pools.take_address(asked).map_err(|why| {
            let path = Path::new("spec").child("clusterIPs");
            let why = format!("failed to allocate IP {asked}: {why}");
            refuse(&[FieldError::invalid(path, spec.at("clusterIPs").clone(), &why)])
        })?;
        asked.to_owned()
    };
    spec.set("clusterIPs", json!([given]));
    spec.set("clusterIP", given);
    Ok(())
}

/// Ports of nodes.
fn ports(
    spec: &mut Value,
    old: &Value,
    pools: &mut dyn Pools,
    refuse: &Refuse<'_>,
) -> Result<(), Status> {
    if !matches!(spec.text("type"), "NodePort" | "LoadBalancer") {
        return Ok(());
    }
    let all = gets_node_ports(spec);
    let mut had: BTreeSet<i64> = node_ports(old).into_iter().collect();
    let mut by_port: BTreeMap<i64, i64> = BTreeMap::new();
    // of several of one port the first that says a port of the node
    let asked: BTreeMap<i64, i64> =
        spec.list("ports").iter().map(numbers).rev().filter(|(_, node)| *node != 0).collect();
    for (i, port) in spec.items("ports").iter_mut().enumerate() {
        let (number, mut node) = numbers(port);
        if node == 0 && !all {
            continue;
        }
        if old.is_null() {
            // TCP and UDP of one port share the node's port.
            let shared = by_port.get(&number).copied();
            let wanted = asked.get(&number).copied();
            node = match (shared, node) {
                (Some(shared), 0) => shared,
                (Some(_), node) => node,
                (None, _) => wanted.unwrap_or(0),
            };
            if shared == Some(node) {
                port.set("nodePort", node);
                continue;
            }
        }
        if node == 0 {
            node = pools.any_port().ok_or_else(full)?;
        } else if !had.contains(&node) {
            pools.take_port(node).map_err(|why| {
                let path = Path::new("spec").child("ports").index(i).child("nodePort");
                refuse(&[FieldError::invalid(path, node, &why)])
            })?;
            // A change may name one port twice, for TCP and for UDP; a new Service may not.
            if !old.is_null() {
                had.insert(node);
            }
        }
        port.set("nodePort", node);
        by_port.entry(number).or_insert(node);
    }
    Ok(())
}

fn numbers(port: &Value) -> (i64, i64) {
    (port.int("port").unwrap_or(0), port.int("nodePort").unwrap_or(0))
}

fn full() -> Status {
    Status::internal("failed to allocate a nodePort: range is full")
}

/// The port on which nodes answer a load balancer.
fn health_check(spec: &mut Value, old: &Value, pools: &mut dyn Pools) -> Result<(), Status> {
    if !needs_health_check(spec) || needs_health_check(old) {
        return Ok(());
    }
    match spec.int("healthCheckNodePort").unwrap_or(0) {
        0 => spec.set("healthCheckNodePort", pools.any_port().ok_or_else(full)?),
        port => pools.take_port(port).map_err(|why| {
            Status::internal(&format!(
                "failed to allocate requested HealthCheck NodePort {port}: {why}"
            ))
        })?,
    }
    Ok(())
}
