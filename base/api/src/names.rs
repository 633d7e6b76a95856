//! What names and labels may look like, in upstream's words.

const ALNUM_MIDDLE: &str = "and must start and end with an alphanumeric character";

fn alnum_lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn label_like(text: &str, edge: fn(char) -> bool, middle: fn(char) -> bool) -> bool {
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || middle(c))
}

/// A DNS label (RFC 1123): at most 63 of a-z, 0-9 and inner dashes.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push("must be no more than 63 characters".to_owned());
    }
    let dotted = text.contains('.')
        && text.split('.').all(|part| label_like(part, alnum_lower, |c| c == '-'));
    if dotted {
        faults.push("must not contain dots".to_owned());
    } else if !label_like(text, alnum_lower, |c| c == '-') {
        faults.push(format!("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {ALNUM_MIDDLE} (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"));
    }
    faults
}

/// A DNS label of the older kind (RFC 1035): at most 63 of a-z, 0-9 and inner dashes, a letter first.
pub fn dns_1035_label(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push("must be no more than 63 characters".to_owned());
    }
    if !label_like(text, alnum_lower, |c| c == '-')
        || text.starts_with(|c: char| c.is_ascii_digit())
    {
        faults.push("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')".to_owned());
    }
    faults
}

/// A DNS subdomain: labels joined by dots, at most 253 characters.
pub fn dns_subdomain(text: &str) -> Vec<String> {
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
pub fn label_value(text: &str) -> Vec<String> {
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
pub fn qualified_name(text: &str) -> Vec<String> {
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

/// Letters of generated suffixes and of encoded hashes: no vowels, no 0, 1, 3, so that no words appear (spec B20).
pub const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Letters that follow a `generateName`.
const SUFFIX_LEN: usize = 5;
/// What is kept of a `generateName`, so that the name has at most 63 letters.
const BASE_MAX: usize = 58;

/// A name from a `generateName` and chance given by the caller.
pub fn generated(base: &str, mut chance: u64) -> String {
    let end = (0..=base.len().min(BASE_MAX)).rev().find(|i| base.is_char_boundary(*i)).unwrap_or(0);
    let mut name = base[..end].to_owned();
    let letters = ALPHABET.len() as u64;
    for _ in 0..SUFFIX_LEN {
        let place = usize::try_from(chance % letters).unwrap_or(0);
        name.push(char::from(ALPHABET[place]));
        chance /= letters;
    }
    name
}

/// A hash as label-safe text: the decimal digits of the number, each as a letter of the alphabet.
pub fn safe_encoded(hash: u32) -> String {
    hash.to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit_and_use_the_alphabet() {
        let name = generated(&"x".repeat(100), 123_456_789_012);
        assert_eq!(name.len(), 63);
        assert!(name[58..].bytes().all(|b| ALPHABET.contains(&b)));
        assert_ne!(generated("a-", 1), generated("a-", 2));
        assert!(safe_encoded(u32::MAX).len() <= 10);
    }

    #[test]
    fn names_are_judged_as_upstream_does() {
        assert!(
            dns_label("a-1").is_empty() && !dns_label("A").is_empty() && !dns_label("").is_empty()
        );
        assert!(dns_subdomain("a.b-c").is_empty() && !dns_subdomain("a..b").is_empty());
        assert!(label_value("").is_empty() && !label_value("-a").is_empty());
        assert!(
            qualified_name("example.com/My_name").is_empty() && !qualified_name("a/b/c").is_empty()
        );
    }
}
