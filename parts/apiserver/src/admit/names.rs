//! What names and labels may look like, in upstream's words.

const ALNUM_MIDDLE: &str = "and must start and end with an alphanumeric character";

fn alnum_lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn label_like(text: &str, edge: fn(char) -> bool, middle: fn(char) -> bool) -> bool {
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || middle(c))
}

/// A DNS label (RFC 1123): at most 63 of a-z, 0-9 and inner dashes.
pub(crate) fn dns_label(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push("must be no more than 63 characters".to_owned());
    }
    if !label_like(text, alnum_lower, |c| c == '-') {
        faults.push(format!("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {ALNUM_MIDDLE} (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"));
    }
    faults
}

/// A DNS subdomain: labels joined by dots, at most 253 characters.
pub(crate) fn dns_subdomain(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push("must be no more than 253 characters".to_owned());
    }
    if !text.split('.').all(|part| label_like(part, alnum_lower, |c| c == '-')) {
        faults.push(format!("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', {ALNUM_MIDDLE} (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"));
    }
    faults
}

fn word(c: char) -> bool {
    c.is_ascii_alphanumeric()
}

fn word_middle(c: char) -> bool {
    matches!(c, '-' | '_' | '.')
}

/// A label value: empty, or at most 63 bytes.
pub(crate) fn label_value(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push("must be no more than 63 bytes".to_owned());
    }
    if !text.is_empty() && !label_like(text, word, word_middle) {
        faults.push(format!("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', {ALNUM_MIDDLE} (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"));
    }
    faults
}

/// A qualified name: `[prefix/]name`, the form of label keys.
pub(crate) fn qualified_name(text: &str) -> Vec<String> {
    const FORM: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let mut faults = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty".to_owned());
            } else {
                faults
                    .extend(dns_subdomain(prefix).into_iter().map(|f| format!("prefix part {f}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {FORM} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        faults.push("name part must be no more than 63 bytes".to_owned());
    }
    if !label_like(name, word, word_middle) {
        faults.push(format!("name part {FORM}"));
    }
    faults
}
