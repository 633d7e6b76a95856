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
    let program =
        compile(rule, &schema(), false, Aim::Rule).unwrap_or_else(|why| panic!("{rule}: {why}"));
    matches!(program.run(value, None, &mut OBJECT_STEPS_MAX.clone()), Ok(Val::Bool(true)))
}

fn fault(rule: &str) -> String {
    compile(rule, &schema(), false, Aim::Rule).expect_err("no rule")
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
        "type(self.amount) == string && self.amount.endsWith('%') && type(self.size) != string",
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
        "compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope == 1\n | ....^"
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
fn broken_rules_are_told_in_the_words_and_places_of_upstreams_reader() {
    let value = "expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
    for (rule, told) in [
        ("self.size >", &[(12, format!("mismatched input '<EOF>' {value}"))][..]),
        ("* 2", &[(1, format!("extraneous input '*' {value}"))]),
        ("self.size > 1 2", &[(15, "extraneous input '2' expecting <EOF>".to_owned())]),
        ("self.size > 1 self.size", &[(15, "mismatched input 'self' expecting <EOF>".to_owned())]),
        ("(self.size > 1", &[(15, "missing ')' at '<EOF>'".to_owned())]),
        ("self.size > 1)", &[(14, "extraneous input ')' expecting <EOF>".to_owned())]),
        (
            "self.size = 1",
            &[
                (11, "token recognition error at: '= '".to_owned()),
                (13, "extraneous input '1' expecting <EOF>".to_owned()),
            ],
        ),
        (
            "1 + $",
            &[
                (5, "token recognition error at: '$'".to_owned()),
                (6, format!("mismatched input '<EOF>' {value}")),
            ],
        ),
        (
            "self.name == 'a",
            &[
                (14, "token recognition error at: ''a'".to_owned()),
                (16, format!("mismatched input '<EOF>' {value}")),
            ],
        ),
    ] {
        let shown: Vec<String> = told
            .iter()
            .map(|(at, why)| {
                let dots = ".".repeat(at - 1);
                format!("ERROR: <input>:1:{at}: Syntax error: {why}\n | {rule}\n | {dots}^")
            })
            .collect();
        assert_eq!(fault(rule), format!("compilation failed: {}", shown.join("\n")));
    }
    assert_eq!(
        fault("self.nope == 1 || self.nada == 2 && self.size == 1.5"),
        "compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope == 1 || self.nada == 2 && self.size == 1.5\n | ....^\n\
         ERROR: <input>:1:23: undefined field 'nada'\n | self.nope == 1 || self.nada == 2 && self.size == 1.5\n | ......................^\n\
         ERROR: <input>:1:47: found no matching overload for '_==_' applied to '(int, double)'\n | self.nope == 1 || self.nada == 2 && self.size == 1.5\n | ..............................................^"
    );
    let at = |rule: &str| fault(rule).lines().next().unwrap_or_default().to_owned();
    let why = "undeclared reference to 'foo' (in container '')";
    assert_eq!(at("foo(1) == 2"), format!("compilation failed: ERROR: <input>:1:4: {why}"));
    let why = "found no matching overload for '_&&_' applied to '(bool, int)'";
    assert_eq!(
        at("self.tags.all(t, t.size())"),
        format!("compilation failed: ERROR: <input>:1:14: {why}")
    );
    let why = "invalid matches argument";
    assert_eq!(
        at("self.name.matches('[')"),
        format!("compilation failed: ERROR: <input>:1:19: {why}")
    );
    let why = "invalid argument to has() macro";
    assert_eq!(at("has(self)"), format!("compilation failed: ERROR: <input>:1:5: {why}"));
    assert_eq!(fault("self.size + 1"), "cel expression must evaluate to a bool");
}

#[test]
fn a_rule_cannot_run_for_ever() {
    let many: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    let value = json!({"tags": many});
    let program = compile(
        "self.tags.all(a, self.tags.all(b, a != 'x' && b != 'x'))",
        &schema(),
        false,
        Aim::Rule,
    );
    assert!(matches!(
        program.expect("a rule").run(&value, None, &mut OBJECT_STEPS_MAX.clone()),
        Err(Stop::Steps)
    ));
    let deep = format!("{}true{}", "(".repeat(5000), ")".repeat(5000));
    assert!(fault(&deep).contains("nested too deeply"));
}

#[test]
fn long_chains_are_refused_and_not_a_stack_overflow() {
    let chain = |link: &str, count: usize| link.repeat(count);
    let shapes = |count: usize| {
        [
            format!("self{} == 1", chain(".b", count)),
            format!("self{} == 1", chain("[0]", count)),
            format!("self{} == 1", chain(".trim()", count)),
            format!("{}true", chain("!", count)),
            format!("{}self.size == 1", chain("-", count)),
            format!("1{} == 1", chain("+1", count)),
            format!("1{} == 1", chain("*1", count)),
            format!("true{}", chain("==true", count)),
            format!("{}true", chain("true?true:", count)),
        ]
    };
    for rule in shapes(30_000) {
        assert!(fault(&rule).contains("nested too deeply") || rule.len() > 100_000, "{rule:.40}");
    }
    let all =
        [format!("true{}", chain("&&true", 100_000)), format!("true{}", chain("||true", 100_000))];
    for rule in shapes(100_000).iter().chain(&all) {
        assert!(fault(rule).contains("expression code point size exceeds limit"), "{rule:.40}");
    }
}

#[test]
fn long_conjunctions_are_rules_and_the_highest_tree_fits_a_small_stack() {
    let rules = [
        format!("true{}", "&&true".repeat(16_000)),
        format!("false{}||true", "||false".repeat(14_000)),
        format!("1{} == 110", "+1".repeat(109)),
        format!("{}true", "!".repeat(110)),
    ];
    let thread = std::thread::Builder::new()
        .stack_size(1024 * 1024)
        .spawn(move || rules.iter().all(|rule| holds(rule, &json!({}))));
    assert!(thread.expect("a thread").join().expect("no overflow"));
}

#[test]
fn rules_say_true_or_false_and_messages_are_texts() {
    assert_eq!(fault("self.size"), "cel expression must evaluate to a bool");
    assert_eq!(fault("self.amount"), "cel expression must evaluate to a bool");
    let message = |text: &str| compile(text, &schema(), false, Aim::Message).map(drop);
    assert_eq!(message("'at most ' + string(self.size)"), Ok(()));
    assert_eq!(message("self.size"), Err("messageExpression must evaluate to a string".to_owned()));
}

#[test]
fn rules_below_the_root_are_about_their_own_fields() {
    let template = json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "has(self.metadata.labels) && self.kind == 7"}],
        "properties": {
            "kind": {"type": "integer"},
            "metadata": {"type": "object", "properties": {"labels": {"type": "object",
                "additionalProperties": {"type": "string"}}}}}});
    let whole = json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"template": template}}}});
    let schema = Schema::whole(&whole);
    let object = |template: Value| json!({"spec": {"template": template}});
    let faults = |object: &Value| check(object, None, &schema, &nowhere()).len();
    assert_eq!(faults(&object(json!({"kind": 7, "metadata": {"labels": {"a": "b"}}}))), 0);
    assert_eq!(faults(&object(json!({"kind": 7, "metadata": {}}))), 1);
    assert_eq!(faults(&object(json!({"kind": 8, "metadata": {"labels": {}}}))), 1);
}

#[test]
fn a_stored_rule_that_cannot_be_read_refuses_instead_of_passing() {
    let schema = Schema::whole(&json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "self.nope == 1"}]}));
    let faults = check(&json!({}), None, &schema, &nowhere());
    assert!(faults.iter().any(|fault| fault.body.contains("rule compile error")), "{faults:?}");
}

#[test]
fn one_object_has_one_budget_for_all_its_rules() {
    let rule = json!({"rule": "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, a + b + c > 0)))"});
    let schema = Schema::whole(&json!({"type": "object", "properties": {"tags": {"type": "array",
        "items": {"type": "string", "x-kubernetes-validations": [rule]}}}}));
    let object = |count: usize| json!({"tags": vec!["a"; count]});
    assert!(check(&object(10), None, &schema, &nowhere()).is_empty());
    let faults = check(&object(5_000), None, &schema, &nowhere());
    assert_eq!(faults.len(), 1, "one fault, and nothing is run after it");
    assert!(faults.iter().all(|fault| fault.body.contains("running out of cost budget")));
}

#[test]
fn nothing_is_run_after_one_rule_that_took_too_long() {
    let schema = Schema::whole(&json!({"type": "object",
        "properties": {"tags": {"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [
                {"rule": "self.all(x, self.all(y, x == y))"}, {"rule": "self.size() > 9999"}]}}}));
    let object = json!({"tags": vec!["a"; 1_000]});
    let faults = check(&object, None, &schema, &nowhere());
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0]
            .body
            .ends_with("due to call cost exceeds limit for rule: self.all(x, self.all(y, x == y))")
    );
}

#[test]
fn small_rules_cannot_make_large_values() {
    let value = json!({"name": "a".repeat(500_000), "tags": vec!["a"; 1000]});
    for rule in [
        "self.name.replace('', self.name).size() > 0",
        "self.tags.map(t, self.name).size() > 0",
        "self.tags.join(self.name).size() > 0",
        "self.tags.all(t, self.name.matches('^a*b$') || true)",
        "self.tags.all(t, self.name == self.name)",
        "self.tags.all(t, self.tags.all(u, self.tags == self.tags))",
    ] {
        let program = compile(rule, &schema(), false, Aim::Rule).expect("a rule");
        let mut left = OBJECT_STEPS_MAX;
        assert!(matches!(program.run(&value, None, &mut left), Err(Stop::Steps)), "{rule}");
    }
}

#[test]
fn regular_expressions_of_a_rule_are_built_with_it() {
    assert!(fault("self.name.matches('(')").contains("invalid matches argument"));
    assert!(fault("self.name.matches('((a{99}){99}){99}')").contains("invalid matches argument"));
}

#[test]
fn patterns_that_come_with_the_value_are_paid_for() {
    let rule = "self.tags.all(t, self.name.matches(t) || true)";
    let tags = |count: usize| json!({"name": "", "tags": vec!["a{9}"; count]});
    assert!(holds(rule, &tags(500)));
    assert!(!holds(rule, &tags(5_000)), "each is built anew");
    assert!(holds("self.tags.all(t, t.matches('^a.9.$'))", &tags(5_000)), "built once");
}

/// What a rule about a schema costs at most.
fn cost(rule: &str, schema: &Value) -> u64 {
    compile(rule, schema, false, Aim::Rule).unwrap_or_else(|why| panic!("{rule}: {why}")).cost()
}

#[test]
fn rules_cost_at_most_what_upstream_reckons() {
    let text = |most: u64| json!({"type": "string", "maxLength": most});
    let list = |items: Value, most: u64| json!({"type": "array", "items": items, "maxItems": most});
    let object = json!({"type": "object", "properties": {
        "text": text(10), "free": {"type": "string"}, "list": list(text(10), 5), "number": {"type": "integer"},
        "known": {"type": "string", "enum": ["a", "four"]},
        "map": {"type": "object", "maxProperties": 7, "additionalProperties": {"type": "integer"}},
        "open": {"type": "array", "items": {"type": "integer"}}}});
    for (rule, wanted) in [
        // A name and a field; then the operation, by the letters of the shorter side.
        ("self.number > 3", 3),
        ("self.text == 'abc'", 3),
        ("self.text == self.free", 8),
        ("self.known == self.free", 5),
        ("self.text.startsWith('abc')", 3),
        ("self.text.contains('abc')", 6),
        ("self.text.matches('^[a-z]+$')", 2 + 5 * 2),
        // Five rounds: the hidden sum of three, and the body.
        ("self.list.all(x, x == 'a')", 3 + 5 * (3 + 2)),
        ("self.list.exists(x, x == 'a')", 3 + 5 * (4 + 2)),
        ("self.list.all(x, self.list.all(y, x == y))", 3 + 5 * (3 + 3 + 5 * (3 + 6))),
        ("self.map.all(k, self.map[k] > 0)", 3 + 7 * (3 + 5)),
        ("'a' in self.list", 7),
        ("has(self.text)", 1),
        ("has(self.text) && self.list.size() > 2", 1 + 4),
    ] {
        assert_eq!(cost(rule, &object), wanted, "{rule}");
    }
    // As many numbers as fit into 3 MiB, three for the round and two for the body.
    assert_eq!(cost("self.open.all(x, x > 1)", &object), 3 + (3 * 1024 * 1024 - 2) / 2 * 5);
}
