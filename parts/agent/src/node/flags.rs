//! What flags say about the node.

use k8s_openapi::api::core::v1::Taint;
use std::collections::BTreeMap;

/// What the machine keeps for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub(crate) cpu_milli: u64,
    pub(crate) memory: u64,
    pub(crate) disk: u64,
}

/// Reads `--reserved`: `cpu=100m,memory=256Mi,ephemeral-storage=1Gi`.
pub(crate) fn parse_reserved(text: &str) -> Result<Reserved, String> {
    let mut reserved = Reserved::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let wrong =
            || format!("\"{part}\" is not cpu=, memory= or ephemeral-storage= with a quantity");
        let (name, amount) = part.split_once('=').ok_or_else(wrong)?;
        let amount = api::Quantity::parse(amount).map_err(|_| wrong())?;
        let milli = u64::try_from(amount.milli()).map_err(|_| wrong())?;
        match name {
            "cpu" => reserved.cpu_milli = milli,
            "memory" => reserved.memory = milli / 1000,
            "ephemeral-storage" => reserved.disk = milli / 1000,
            _ => return Err(wrong()),
        }
    }
    Ok(reserved)
}

/// Reads `--node-labels`.
pub(crate) fn parse_labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!("\"{part}\" is not key=value")),
        })
        .collect()
}

/// Reads `--node-taints`.
pub(crate) fn parse_taints(text: &str) -> Result<Vec<Taint>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let wrong = || format!("\"{part}\" is not key=value:Effect or key:Effect");
            let (left, effect) = part.rsplit_once(':').ok_or_else(wrong)?;
            let (key, value) = left.split_once('=').unwrap_or((left, ""));
            if key.is_empty() || !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect)
            {
                return Err(wrong());
            }
            Ok(Taint {
                key: key.to_owned(),
                value: (!value.is_empty()).then(|| value.to_owned()),
                effect: effect.to_owned(),
                time_added: None,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_taints_are_read_or_refused_with_the_part_that_is_wrong() {
        assert_eq!(parse_labels("a=1, b=,").unwrap().len(), 2);
        assert!(parse_labels("a").unwrap_err().contains("\"a\""));
        let taints = parse_taints("k=v:NoSchedule,edge:NoExecute").unwrap();
        assert_eq!((taints[0].value.as_deref(), taints[1].value.as_deref()), (Some("v"), None));
        assert!(parse_taints("k:Never").is_err());
    }
}
