use super::*;

fn newer() -> Value {
    json!({
        "metadata": {"name": "e", "namespace": "n"},
        "eventTime": "2026-01-01T00:00:00.000001Z",
        "reportingController": "example.com/c",
        "reportingInstance": "i",
        "action": "a",
        "reason": "r",
        "type": "Normal",
        "regarding": {"kind": "Pod", "namespace": "n", "name": "p"},
    })
}

#[track_caller]
fn told(found: Faults, expected: &[&str]) {
    let told: Vec<String> = found.iter().map(|f| format!("{}: {}", f.path, f.body)).collect();
    assert_eq!(told, expected);
}

#[test]
fn a_new_event_has_nothing_of_the_older_form() {
    let mut event = newer();
    event["deprecatedCount"] = 3.into();
    event["deprecatedFirstTimestamp"] = "2026-01-01T00:00:00Z".into();
    event["deprecatedSource"] = json!({"host": "h"});
    event["series"] = json!({"count": 1});
    let mut found = validate_loose(&event, &VIEWED);
    found.extend(validate_strict(&event));
    told(
        found,
        &[
            "series.count: Invalid value: \"\": should be at least 2",
            "series.lastObservedTime: Required value",
            "firstTimestamp: Invalid value: \"\": needs to be unset",
            "count: Invalid value: \"\": needs to be unset",
            "source: Invalid value: \"\": needs to be unset",
        ],
    );
}

#[test]
fn an_event_with_a_time_of_its_own_says_who_reports_in_either_form() {
    let event = json!({
        "metadata": {"namespace": "n"},
        "eventTime": "2026-01-01T00:00:00.000001Z",
        "involvedObject": {"namespace": "other"},
        "reason": "r",
    });
    let found = validate_loose(&event, &CORE);
    let paths: Vec<&str> = found.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "reportingComponent",
            "reportingComponent",
            "reportingComponent",
            "reportingInstance",
            "action"
        ]
    );
}

#[test]
fn an_older_event_lies_where_its_object_does() {
    let event = |here: &str, there: &str| json!({"metadata": {"namespace": here}, "involvedObject": {"namespace": there}});
    for (here, there, fits) in
        [("default", "", true), ("kube-system", "", false), ("n", "n", true), ("n", "m", false)]
    {
        assert_eq!(validate_loose(&event(here, there), &CORE).is_empty(), fits, "{here}/{there}");
    }
}

#[test]
fn only_the_series_of_a_newer_event_changes() {
    let old = newer();
    let mut event = newer();
    event["regarding"]["name"] = "q".into();
    event["reason"] = "s".into();
    event["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000001Z"});
    told(
        validate_kept(&event, &old),
        &[
            "involvedObject: Invalid value: {\"Kind\":\"Pod\",\"Namespace\":\"n\",\"Name\":\"q\",\"UID\":\"\",\"APIVersion\":\"\",\"ResourceVersion\":\"\",\"FieldPath\":\"\"}: field is immutable",
            "reason: Invalid value: \"s\": field is immutable",
            "reason: Invalid value: \"s\": field is immutable",
        ],
    );
}
