use super::*;
use serde_json::json;

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "size": {"type": "integer"}, "replicas": {"type": "integer"}, "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "limits": {"type": "object", "additionalProperties": {"type": "integer"}},
        "until": {"type": "string", "format": "date-time"}, "wait": {"type": "string", "format": "duration"},
        "dash-ed": {"type": "boolean"}, "amount": {"x-kubernetes-int-or-string": true}}})
}

fn holds(rule: &str, value: &Value) -> bool {
    let program = compile(rule, &schema(), false).unwrap_or_else(|why| panic!("{rule}: {why}"));
    matches!(program.run(value, None), Ok(Val::Bool(true)))
}

fn fault(rule: &str) -> String {
    compile(rule, &schema(), false).expect_err("no rule")
}

#[test]
fn rules_hold_or_do_not() {
    let value = json!({"size": 3, "name": "abc", "tags": ["a", "b"], "limits": {"x": 1},
        "until": "2026-01-01T00:00:00Z", "wait": "90s", "dash-ed": true, "amount": "50%"});
    for rule in [
        "!has(self.replicas) || self.replicas <= self.size",
        "self.size in [1, 2, 3] && self.name.startsWith('a')",
        "self.tags.all(t, t.size() == 1) && self.tags.exists_one(t, t == 'b')",
        "self.tags.map(t, t + '!') == ['a!', 'b!']",
        "self.tags.filter(t, t != 'a').size() == 1",
        "self.limits['x'] == 1 && self.limits.all(k, self.limits[k] > 0)",
        "self.wait > duration('1m') && self.wait.getSeconds() == 90",
        "self.until < timestamp('2026-01-02T00:00:00Z')",
        "type(self.amount) == 'string' && self.amount.endsWith('%')",
        "self.name.matches('^[a-z]+$') && self.name.upperAscii() == 'ABC'",
        "self.size > 2 ? self.name == \"abc\" : false",
        "quantity('1Gi').isGreaterThan(quantity('1G'))",
        "(1 + 2) * 3 - 4 / 2 % 3 == 7",
    ] {
        assert!(holds(rule, &value), "{rule}");
    }
    assert!(!holds("self.replicas == 1", &value), "what is not there is a fault");
    assert!(holds("self.dash__dash__ed", &value));
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    assert_eq!(
        fault("self.nope == 1"),
        "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope == 1\n | ....^"
    );
    assert!(
        fault("self.size == 'a'")
            .contains("found no matching overload for '_==_' applied to '(int, string)'")
    );
    assert!(fault("other.size").contains("undeclared reference to 'other' (in container '')"));
    assert!(fault("self.size ==").contains("Syntax error"));
    assert!(fault("cel.bind(x, 1, x)").contains("undeclared reference"));
}

#[test]
fn a_rule_cannot_run_for_ever() {
    let many: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    let value = json!({"tags": many});
    let program =
        compile("self.tags.all(a, self.tags.all(b, a != 'x' && b != 'x'))", &schema(), false);
    assert!(matches!(program.expect("a rule").run(&value, None), Err(Stop::Steps)));
    let deep = format!("{}true{}", "(".repeat(5000), ")".repeat(5000));
    assert!(fault(&deep).contains("nested too deeply"));
}
