//! Lists of amounts by resource name, and what a pod as a whole asks for.

use crate::admit::json::Json;
use crate::admit::pod::resources;
use api::Quantity;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Amounts by resource name, each in the notation it was first written in.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// A resource list of an object; what cannot be read (decoding refused it before) is left out.
pub(crate) fn read(list: &Value) -> Amounts {
    let amount = |value: &Value| match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    };
    let entries = list.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), amount(value)?))).collect()
}

/// As a resource list of an object.
pub(crate) fn write(amounts: &Amounts) -> Value {
    let list: Map<String, Value> =
        amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string().into())).collect();
    list.into()
}

/// `a=1,b=2`, as messages show them.
pub(crate) fn shown(amounts: &Amounts) -> String {
    let parts: Vec<String> =
        amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    parts.join(",")
}

pub(crate) fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        to.entry(name.clone()).and_modify(|held| *held = held.plus(amount)).or_insert(*amount);
    }
}

fn raise(to: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let held = to.entry(name.clone()).or_insert(*amount);
        if *held < *amount {
            *held = *amount;
        }
    }
}

/// What a pod asks for (`side` is `requests` or `limits`), without its overhead: what its containers ask for; amounts
/// stated for the pod as a whole take their place.
pub(crate) fn of_pod(spec: &Value, side: &str) -> Amounts {
    let mut total = of_containers(spec, side);
    for (name, amount) in read(spec.at("resources").at(side)) {
        if resources::is_of_whole_pod(&name) {
            total.insert(name, amount);
        }
    }
    total
}

/// What the containers of a pod ask for: all containers and sidecars together, or the most that is asked for while it
/// starts.
pub(crate) fn of_containers(spec: &Value, side: &str) -> Amounts {
    let own = |container: &Value| read(container.at("resources").at(side));
    let mut total = Amounts::new();
    for container in spec.list("containers") {
        add(&mut total, &own(container));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in spec.list("initContainers") {
        let own = own(container);
        if container.text("restartPolicy") == "Always" {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut starting, &sidecars);
        } else {
            let mut together = own;
            add(&mut together, &sidecars);
            raise(&mut starting, &together);
        }
    }
    raise(&mut total, &starting);
    total
}
