use super::*;

const CONFIG: Wanted =
    Wanted { group: "", version: "v1", kind: "ConfigMap", schema: "", custom: None };
const DAEMON: Wanted =
    Wanted { group: "apps", version: "v1", kind: "DaemonSet", schema: "", custom: None };

fn refusal(body: &str, wanted: Wanted) -> String {
    object(body.as_bytes(), Media::Json, wanted, FieldValidation::Warn)
        .expect_err("refused")
        .message
}

#[test]
fn what_is_no_json_is_shown() {
    assert_eq!(
        refusal(r#"{"apiVersion":"v1","kind":"ConfigMap""#, CONFIG),
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; \
         json parse error: unexpected end of JSON input ({\"apiVersion\":\"v1\",\"kind\":\"Con ...)"
    );
    assert!(refusal("", CONFIG).ends_with("unexpected end of JSON input (<empty>)"));
    assert!(refusal("[]", CONFIG).ends_with("(5b5d)"));
}

#[test]
fn the_kind_must_be_the_one_of_the_path() {
    assert_eq!(
        refusal(r#"{"apiVersion":"v1","kind":"Secret"}"#, CONFIG),
        "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion"
    );
    assert_eq!(
        refusal(r#"{"apiVersion":"v2","kind":"ConfigMap"}"#, CONFIG),
        "ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
    );
    assert_eq!(
        refusal(r#"{"apiVersion":"extensions/v1beta1","kind":"DaemonSet"}"#, DAEMON),
        "the API version in the data (extensions/v1beta1) does not match the expected API version (apps/v1)"
    );
}

#[test]
fn gaps_are_filled_from_the_path() {
    for body in ["null", "{}", r#"{"kind":"ConfigMap"}"#] {
        let decoded =
            object(body.as_bytes(), Media::Json, CONFIG, FieldValidation::Strict).expect("fine");
        assert_eq!(decoded.object, serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap"}));
    }
}

#[test]
fn charsets_are_json_and_texts_are_not() {
    assert_eq!(media(Some("application/json; charset=utf-8")).expect("json"), Media::Json);
    assert_eq!(media(Some("text/plain")).expect_err("unknown").code, 415);
}
