//! Definitions of kinds: what is said of their schemas and versions, in which order.

use super::*;

const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";
const SCHEMA: &str = "spec.validation.openAPIV3Schema";

fn definition(schema: &Value, spec: &Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    merge(&mut object, &json!({"spec": spec}));
    object
}

fn stored(schema: &Value, spec: &Value) -> Value {
    let mut object = definition(schema, spec);
    create(row(DEFINITIONS), &mut object).expect("accepted");
    object
}

/// The schema of an object with one field.
fn field(schema: &Value) -> Value {
    json!({"type": "object", "properties": {"f": schema}})
}

#[track_caller]
fn schema_refused(rule: &str, schema: &Value, expected: &[&str]) {
    let found = faults(create(row(DEFINITIONS), &mut definition(schema, &json!({}))));
    let expected: Vec<String> = expected.iter().map(|line| line.replace('~', SCHEMA)).collect();
    assert_eq!(found, expected, "{rule}");
}

#[test]
fn structure_is_judged_before_words_and_rules() {
    schema_refused(
        "structure in the order of its texts, words after it, rules not at all",
        &json!({"type": "object", "properties": {
            "z": {"type": "object", "uniqueItems": true},
            "b": {"x-kubernetes-validations": [{"rule": "self.nope"}]},
            "a": {"type": "string", "pattern": "("},
            "l": {"type": "array"},
        }}),
        &[
            "~.properties[a].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`",
            "~.properties[b].type: Required value: must not be empty for specified object fields",
            "~.properties[l].items: Required value: must be specified",
            "~.properties[z].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ],
    );
    schema_refused(
        "a schema of another dialect is not read at all",
        &json!({"type": "object", "properties": {"a": {"$ref": "x", "id": "y"}, "b": {}}}),
        &[
            "~.properties[a].id: Forbidden: id is not supported",
            "~.properties[a].$ref: Forbidden: $ref is not supported",
        ],
    );
    schema_refused(
        "which one, where nothing else is wrong",
        &json!({"type": "object", "$schema": "x"}),
        &["~: Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported"],
    );
}

#[test]
fn words_of_values_say_nothing_of_fields() {
    schema_refused(
        "below not",
        &field(
            &json!({"type": "string", "not": {"x-kubernetes-list-map-keys": ["a"], "nullable": true}}),
        ),
        &[
            "~.properties[f].not.nullable: Forbidden: must be false to be structural",
            "~.properties[f].not.x-kubernetes-list-map-keys: Forbidden: must be empty to be structural",
            "~.properties[f].not.x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty",
        ],
    );
    let either = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
    stored(&field(&either), &json!({}));
}

#[test]
fn metadata_at_the_root_is_the_servers() {
    schema_refused(
        "no default of its own",
        &json!({"type": "object", "properties": {"metadata": {"type": "object", "default": {}}}}),
        &["~.properties[metadata].default: Forbidden: must not be set in top-level metadata"],
    );
    let shut = json!({"type": "object", "properties": {"metadata": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}}});
    schema_refused(
        "only names",
        &shut,
        &[
            "~.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ],
    );
}

#[test]
fn lists_say_how_they_are_merged() {
    schema_refused(
        "types of lists",
        &field(
            &json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "bag"}),
        ),
        &[
            "~.properties[f].x-kubernetes-list-type: Unsupported value: \"bag\": supported values: \"atomic\", \"set\", \"map\"",
        ],
    );
    schema_refused(
        "items of a set",
        &field(
            &json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "nullable": true}}),
        ),
        &[
            "~.properties[f].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
            "~.properties[f].items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set",
        ],
    );
    schema_refused(
        "keys of a map",
        &field(&json!({
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
            "items": {"type": "object", "required": ["a"], "properties": {
                "a": {"type": "array", "items": {"type": "string"}}, "b": {"type": "string"}}},
        })),
        &[
            "~.properties[f].items.properties[a].type: Invalid value: \"object\": must be a scalar type if parent array's x-kubernetes-list-type is map",
            "~.properties[f].items.properties[b].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ],
    );
}

#[test]
fn what_stands_beside_a_rule_is_judged() {
    let with = |rule: Value| {
        let mut whole = json!({"rule": "self.f > 0"});
        merge(&mut whole, &rule);
        let mut schema = field(&json!({"type": "integer"}));
        schema["x-kubernetes-validations"] = json!([whole]);
        schema
    };
    let one = |rule: &str, given: Value, expected: &str| {
        let expected = format!("~.x-kubernetes-validations[0].{expected}");
        schema_refused(rule, &with(given), &[&expected]);
    };
    one("no rule", json!({"rule": " "}), "rule: Required value: rule is not specified");
    one(
        "blank message",
        json!({"message": " "}),
        "message: Invalid value: \" \": message must be non-empty if specified",
    );
    one(
        "lines",
        json!({"rule": "self.f\n> 0"}),
        "message: Required value: message must be specified if rule contains line breaks",
    );
    one(
        "blank expression",
        json!({"messageExpression": " "}),
        "messageExpression: Required value: messageExpression must be non-empty if specified",
    );
    one(
        "reason",
        json!({"reason": "Odd"}),
        "reason: Unsupported value: \"Odd\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
    );
    one(
        "path",
        json!({"fieldPath": ".g"}),
        "fieldPath: Invalid value: \".g\": fieldPath must be a valid path",
    );
    stored(&with(json!({"fieldPath": ".f", "reason": "FieldValueForbidden"})), &json!({}));
    schema_refused(
        "items of a list cannot be told apart",
        &field(
            &json!({"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}),
        ),
        &[
            "~.properties[f].items.x-kubernetes-validations[0].rule: Invalid value: \"self >= oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within ~.properties[f]",
        ],
    );
}

#[test]
fn versions_warn_and_convert_by_their_rules() {
    let version = |patch: Value| {
        let mut version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}});
        merge(&mut version, &patch);
        json!({"versions": [version]})
    };
    let found = |spec: Value| {
        faults(create(row(DEFINITIONS), &mut definition(&json!({"type": "object"}), &spec)))
    };
    let long = "x".repeat(257);
    assert_eq!(
        found(version(json!({"deprecationWarning": long}))),
        [format!(
            "spec.versions[0].deprecationWarning: Invalid value: \"{long}\": can only be set for deprecated versions"
        )]
    );
    assert_eq!(
        found(version(json!({"deprecated": true, "deprecationWarning": long}))),
        [format!(
            "spec.versions[0].deprecationWarning: Invalid value: \"{long}\": must be <= 256 characters long"
        )]
    );
    assert_eq!(
        found(
            json!({"conversion": {"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}}})
        ),
        [
            "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook"
        ]
    );
}

#[test]
fn a_version_that_was_stored_stays() {
    let old = stored(&json!({"type": "object"}), &json!({}));
    let mut new = old.clone();
    new["spec"]["versions"][0]["name"] = json!("v2");
    assert_eq!(
        faults(update(row(DEFINITIONS), &mut new, &old, "")),
        [
            "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"
        ]
    );
    let mut new = old.clone();
    new["status"]["storedVersions"] = json!([]);
    update(row(DEFINITIONS), &mut new, &old, "status").expect("accepted");
}

#[test]
fn a_new_plural_is_no_new_name() {
    let old = stored(&json!({"type": "object"}), &json!({}));
    let mut new = old.clone();
    new["spec"]["names"]["plural"] = json!("gadgets");
    assert_eq!(
        faults(update(row(DEFINITIONS), &mut new, &old, "")),
        ["spec.names.plural: Invalid value: \"gadgets\": field is immutable"]
    );
}

#[test]
fn rules_that_would_cost_too_much_are_refused_before_they_run() {
    const HINT: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
    let rule = |rule: &str| json!([{"rule": rule}]);
    let list = |rule: Value| json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": rule});
    let total = "x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x";
    let contributed = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema";
    let at = "~.properties[f].x-kubernetes-validations[0].rule: Forbidden:";
    schema_refused(
        "two loops over lists without a bound",
        &field(&list(rule("self.all(a, self.exists(b, a == b))"))),
        &[
            &format!("{at} estimated rule cost exceeds budget by factor of more than 100x {HINT}"),
            &format!("{at} {contributed}"),
            &format!("~: Forbidden: {total} {HINT}"),
        ],
    );
    // One loop costs 5 for each of the 1,048,575 texts that a request holds, and 2 for a literal.
    stored(&field(&list(rule("self.all(a, a == 'x')"))), &json!({}));
    // Texts without a bound in lists without one: 3 for each text, run as often as texts fit.
    let items = json!({"type": "string", "x-kubernetes-validations": rule("self.contains('abcdefghijklm')")});
    schema_refused(
        "what is run for every item is multiplied",
        &field(&json!({"type": "array", "items": items})),
        &[
            &format!(
                "~.properties[f].items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {HINT}"
            ),
            &format!(
                "~.properties[f].items.x-kubernetes-validations[0].rule: Forbidden: {contributed}"
            ),
            &format!("~: Forbidden: {total} {HINT}"),
        ],
    );
    let bounded = json!({"type": "string", "maxLength": 64, "x-kubernetes-validations": rule("self.contains('abcdefghijklm')")});
    stored(&field(&json!({"type": "array", "maxItems": 100, "items": bounded})), &json!({}));
    let letters = json!({"type": "string", "maxLength": 1_000_000, "x-kubernetes-validations": rule("self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?(.[a-z]*)$')")});
    schema_refused(
        "small factors have a digit",
        &field(&json!({"type": "array", "maxItems": 5, "items": letters})),
        &[&format!(
            "~.properties[f].items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of 2.0x {HINT}"
        )],
    );
}

#[test]
fn what_rules_may_cost_is_not_asked_of_a_schema_that_was_there_before() {
    let dear = field(
        &json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": "self.all(a, self.exists(b, a == b))"}]}),
    );
    let mut old = stored(&json!({"type": "object"}), &json!({}));
    old["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = dear.clone();
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    update(row(DEFINITIONS), &mut labelled, &old, "").expect("nothing of its schema changed");
    let mut changed = old.clone();
    changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["g"] =
        json!({"type": "string"});
    assert_eq!(faults(update(row(DEFINITIONS), &mut changed, &old, "")).len(), 3);
}

#[test]
fn of_a_rule_that_is_no_rule_a_hundred_faults_are_told_at_most() {
    let rules = |text: String, count: usize| {
        let rules: Vec<Value> = (0..count).map(|_| json!({"rule": text})).collect();
        field(&json!({"type": "string", "x-kubernetes-validations": rules}))
    };
    let told =
        |schema: &Value| faults(create(row(DEFINITIONS), &mut definition(schema, &json!({}))));
    for text in ["$".repeat(90_000), "self.a||".repeat(9_000) + "self.a"] {
        let found = told(&rules(text, 1)).concat();
        let marks = found.matches("ERROR: <input>").count();
        assert!((1..=101).contains(&marks), "{marks}");
        assert!(found.len() < 400_000, "long lines are not shown: {}", found.len());
    }
    // Lines that are shown, many times over: after a while no more rules are looked at.
    let all = told(&rules("$".repeat(9_000), 60));
    assert!((1..60).contains(&all.len()), "{}", all.len());
}
