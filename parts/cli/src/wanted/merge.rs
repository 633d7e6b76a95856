//! What `kubectl apply` makes of three objects: the live one, what was applied last, and the document. Fields that
//! were applied last and are not in the document go; those of the document win; the rest stays.

use serde_json::{Map, Value};

/// Lists whose items are objects with a name of their own, and the field that is the name. All others are replaced
/// as a whole.
const KEYED_LISTS: [(&str, &str); 9] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("ports", "containerPort"),
    ("hostAliases", "ip"),
];

/// Merges three objects.
pub fn three_way(live: &Value, last: &Value, document: &Value) -> Value {
    merged("", live, last, document)
}

fn merged(name: &str, live: &Value, last: &Value, wanted: &Value) -> Value {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => members(live, last, wanted),
        (Value::Array(live), Value::Array(wanted)) => {
            match KEYED_LISTS.iter().find(|(list, _)| *list == name) {
                Some((_, key)) => items(key, live, last, wanted),
                None => Value::Array(wanted.clone()),
            }
        }
        _ => wanted.clone(),
    }
}

fn members(live: &Map<String, Value>, last: &Value, wanted: &Map<String, Value>) -> Value {
    let mut out = live.clone();
    out.retain(|name, _| last.get(name).is_none() || wanted.contains_key(name));
    for (name, value) in wanted {
        if value.is_null() {
            out.remove(name);
            continue;
        }
        let (was, before) =
            (live.get(name).unwrap_or(&Value::Null), last.get(name).unwrap_or(&Value::Null));
        out.insert(name.clone(), merged(name, was, before, value));
    }
    Value::Object(out)
}

/// Items in the order of the document; live ones that were never applied stay behind them.
fn items(key: &str, live: &[Value], last: &Value, wanted: &[Value]) -> Value {
    let find = |list: &[Value], item: &Value| list.iter().find(|o| o[key] == item[key]).cloned();
    let last = last.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out: Vec<Value> = wanted
        .iter()
        .map(|item| {
            let was = find(live, item).unwrap_or_default();
            merged("", &was, &find(last, item).unwrap_or_default(), item)
        })
        .collect();
    let stays = |item: &&Value| find(last, item).is_none() && find(wanted, item).is_none();
    out.extend(live.iter().filter(stays).cloned());
    Value::Array(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_applied_and_is_gone_goes_and_what_others_set_stays() {
        let live = json!({"metadata": {"labels": {"a": "1", "b": "2", "theirs": "3"}}, "spec": {"template": {
            "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}},
            "spec": {"containers": [{"name": "c", "image": "x", "env": [{"name": "E", "value": "1"}, {"name": "F", "value": "2"}],
                "terminationMessagePath": "/dev/termination-log"}, {"name": "injected", "image": "side"}],
                "tolerations": [{"key": "a"}, {"key": "b"}]}}}});
        let last = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"template": {
            "spec": {"containers": [{"name": "c", "image": "x", "env": [{"name": "E", "value": "1"}, {"name": "F", "value": "2"}]}]}}}});
        let document = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"template": {
            "spec": {"containers": [{"name": "c", "image": "y", "env": [{"name": "F", "value": "2"}]}], "tolerations": [{"key": "b"}]}}}});
        let merged = three_way(&live, &last, &document);
        assert_eq!(merged["metadata"]["labels"], json!({"a": "1", "theirs": "3"}));
        let template = &merged["spec"]["template"];
        assert_eq!(template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"], "now");
        let containers = &template["spec"]["containers"];
        assert_eq!(containers[0]["image"], "y");
        assert_eq!(containers[0]["env"], json!([{"name": "F", "value": "2"}]));
        assert_eq!(containers[0]["terminationMessagePath"], "/dev/termination-log");
        assert_eq!(containers[1]["name"], "injected");
        assert_eq!(template["spec"]["tolerations"], json!([{"key": "b"}]));
    }

    #[test]
    fn applying_the_same_again_changes_nothing() {
        let live =
            json!({"metadata": {"uid": "1"}, "spec": {"a": [1, 2], "b": {"c": 1, "default": 2}}});
        let document = json!({"spec": {"a": [1, 2], "b": {"c": 1}}});
        assert_eq!(three_way(&live, &document, &document), live);
    }
}
