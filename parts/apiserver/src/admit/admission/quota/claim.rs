//! What a PersistentVolumeClaim costs: itself and its storage, in all and of its class.

use super::{Amounts, totals};
use crate::admit::json::Json;
use api::Quantity;
use serde_json::Value;

/// What a quota counts of claims, in all or, after a class and [`OF_CLASS`], of one class.
const OF_CLAIMS: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];

/// Stands between the name of a class and what is counted of it.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

/// Where the class stood before it was a field.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Whether a name in a quota is about claims.
pub(super) fn counts(name: &str) -> bool {
    let plain = name.split_once(OF_CLASS).map_or(name, |(_, plain)| plain);
    name == "count/persistentvolumeclaims" || OF_CLAIMS.contains(&plain)
}

pub(super) fn usage(claim: &Value) -> Amounts {
    let one = Quantity::from_units(1);
    let mut plain = Amounts::from([("persistentvolumeclaims".to_owned(), one)]);
    let asked = totals::read(claim.at("spec").at("resources").at("requests"));
    let given = totals::read(claim.at("status").at("allocatedResources"));
    if let Some(asked) = asked.get("storage") {
        // what is being given may be more than is asked for since
        let most = given.get("storage").filter(|given| *given > asked).unwrap_or(asked);
        plain.insert("requests.storage".to_owned(), *most);
    }
    let old = claim.at("metadata").at("annotations").text(CLASS);
    let class = if old.is_empty() { claim.at("spec").text("storageClassName") } else { old };
    let mut usage = plain.clone();
    usage.insert("count/persistentvolumeclaims".to_owned(), one);
    if !class.is_empty() {
        usage.extend(
            plain.into_iter().map(|(name, amount)| (format!("{class}{OF_CLASS}{name}"), amount)),
        );
    }
    usage
}

/// Of all scopes only one speaks of claims.
pub(super) fn in_scope(scope: &str, requirement: &Value, claim: &Value) -> bool {
    if scope != "VolumeAttributesClass" {
        return false;
    }
    let status = claim.at("status");
    let classes = [
        claim.at("spec").text("volumeAttributesClassName"),
        status.text("currentVolumeAttributesClassName"),
        status.at("modifyVolumeStatus").text("targetVolumeAttributesClassName"),
    ];
    let classes: Vec<&str> = classes.into_iter().filter(|class| !class.is_empty()).collect();
    let listed = |class: &&str| requirement.list("values").iter().any(|value| value == *class);
    match requirement.text("operator") {
        "" | "Exists" => !classes.is_empty(),
        "DoesNotExist" => classes.is_empty(),
        "In" => classes.iter().any(listed),
        "NotIn" => classes.is_empty() || !classes.iter().all(listed),
        _ => false,
    }
}
