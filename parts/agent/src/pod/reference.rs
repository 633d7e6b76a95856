//! Names of images: `[host[:port]/]path[:tag][@digest]` (spec E22).

/// Longest name without tag and digest.
const NAME_MAX: usize = 255;
/// Longest tag.
const TAG_MAX: usize = 128;

/// Why a name cannot be read.
pub(super) fn fault(image: &str) -> Option<&'static str> {
    const FORMAT: &str = "invalid reference format";
    const LOWER: &str = "invalid reference format: repository name must be lowercase";
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return Some(FORMAT);
    }
    let (host, path) = match rest.split_once('/') {
        Some((first, path)) if is_host_like(first) => (Some(first), path),
        _ => (None, rest),
    };
    let (path, tag) = match path.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (path, None),
    };
    if path.chars().any(|letter| letter.is_ascii_uppercase()) {
        return Some(LOWER);
    }
    let is_good = host.is_none_or(is_host)
        && tag.is_none_or(is_tag)
        && path.split('/').all(is_component)
        && path.len() + host.map_or(0, str::len) <= NAME_MAX;
    (!is_good).then_some(FORMAT)
}

/// The first part of a name is a host if it could not be a part of a path at Docker's registry.
fn is_host_like(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.chars().any(|c| c.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, rest)) => {
            let is_address = inside.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
            return is_address && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    name.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.chars().all(|c| c.is_ascii_digit())
}

/// Letters and digits, joined by one dot, one or two underscores, or any number of dashes.
fn is_component(part: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_joint = |joint: &str| {
        matches!(joint, "." | "_" | "__") || (!joint.is_empty() && joint.chars().all(|c| c == '-'))
    };
    let mut joints = part.split(is_plain).filter(|joint| !joint.is_empty());
    part.starts_with(is_plain) && part.ends_with(is_plain) && joints.all(is_joint)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.starts_with(is_word)
        && tag.len() <= TAG_MAX
        && tag.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

fn is_digest(digest: &str) -> bool {
    let Some((kind, hex)) = digest.split_once(':') else { return false };
    !kind.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_registries_read_them() {
        let hex = "0".repeat(64);
        let digest = format!("busybox:1@sha256:{hex}");
        let good = [
            "busybox",
            "busybox:1.36",
            "a/b__c/d--e:T_1",
            "localhost/x",
            "r.example:5000/a/b",
            "[::1]:5000/a",
            "R.example/x",
            &digest,
        ];
        for image in good {
            assert_eq!(fault(image), None, "{image}");
        }
        let bad = [
            "",
            " ",
            "a b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a:",
            "a:-t",
            "a@sha256:1",
            "/a",
            "a/",
            "r.example:x/a",
        ];
        for image in bad {
            assert_eq!(fault(image), Some("invalid reference format"), "{image:?}");
        }
        let upper = fault("Busy Box").unwrap();
        assert_eq!(upper, "invalid reference format: repository name must be lowercase");
    }
}
