//! What pods of one operating system may not have of the other, and options of Windows.

use super::containers;
use crate::admit::faults::{self, Faults};
use crate::admit::json::Json;
use api::{FieldError, Path};
use serde_json::Value;

/// Longest specification of a group account, in KiB.
const ACCOUNT_KIB_MAX: usize = 64;
/// Characters a domain has fewer than.
const DOMAIN_END: usize = 256;
/// Longest name of a user without its domain.
const USER_MAX: usize = 104;

/// Faults of `windowsOptions`.
pub(crate) fn validate_options(found: &mut Faults, options: &Value, path: &Path) {
    if let Some(name) = options.at("gmsaCredentialSpecName").as_str() {
        faults::dns_subdomain(found, &path.child("gmsaCredentialSpecName"), name);
    }
    if let Some(account) = options.at("gmsaCredentialSpec").as_str() {
        let path = path.child("gmsaCredentialSpec");
        if account.is_empty() {
            let why = "gmsaCredentialSpec cannot be an empty string";
            found.push(FieldError::invalid(path, account, why));
        } else if account.len() > ACCOUNT_KIB_MAX * 1024 {
            let why = format!("gmsaCredentialSpec size must be under {ACCOUNT_KIB_MAX} KiB");
            found.push(FieldError::invalid(path, account, &why));
        }
    }
    if let Some(name) = options.at("runAsUserName").as_str() {
        for why in user_name(name) {
            found.push(FieldError::invalid(path.child("runAsUserName"), name, &why));
        }
    }
}

/// Why a name is not one of a user, with or without a domain.
fn user_name(name: &str) -> Vec<String> {
    let one = |why: &str| vec![format!("runAsUserName {why}")];
    if name.is_empty() {
        return one("cannot be an empty string");
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return one("cannot contain control characters");
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return one("cannot contain more than one backslash"),
    };
    let mut found = Vec::new();
    let mut wrong = |why: String| found.push(format!("runAsUserName's {why}"));
    if domain.is_some_and(|domain| domain.len() >= DOMAIN_END) {
        wrong(format!("Domain length must be under {DOMAIN_END} characters"));
    }
    if domain.is_some_and(|domain| !is_domain(domain)) {
        wrong("Domain doesn't match the NetBios nor the DNS format".to_owned());
    }
    if user.is_empty() {
        wrong("User cannot be empty".to_owned());
    } else if user.len() > USER_MAX {
        wrong(format!("User length must not be longer than {USER_MAX} characters"));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        wrong("User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(|c| r#""/\:;|=,+*?<>@[]"#.contains(c)) {
        wrong(r#"User cannot contain the following characters: "/\:;|=,+*?<>@[]"#.to_owned());
    }
    found
}

/// A NetBios name of a domain, or its DNS name.
fn is_domain(domain: &str) -> bool {
    let count = domain.chars().count();
    let net_bios = (1..=15).contains(&count)
        && !domain.starts_with('.')
        && !domain.contains(|c| r#"\/:*?"<>|"#.contains(c));
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    net_bios || domain.split('.').all(label)
}

/// Containers that are processes of the host: all of a pod or none.
pub(crate) fn validate_host_process(found: &mut Faults, spec: &Value, path: &Path) {
    let of = |context: &Value| context.at("windowsOptions").at("hostProcess").as_bool();
    let all = of(spec.at("securityContext"));
    let containers = containers::every(spec, path);
    let mut count = 0;
    for (path, container) in &containers {
        let own = of(container.at("securityContext"));
        if let (Some(all), Some(own)) = (all, own)
            && all != own
        {
            let why =
                format!("pod hostProcess value must be identical if both are specified, was {all}");
            let path = path.child("securityContext").child("windowsOptions").child("hostProcess");
            found.push(FieldError::invalid(path, own, &why));
        }
        count += usize::from(own.or(all) == Some(true));
    }
    if count == 0 {
        return;
    }
    if count != containers.len() {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        found.push(FieldError::invalid(path.clone(), "", why));
    }
    if !spec.flag("hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        found.push(FieldError::invalid(path.child("hostNetwork"), false, why));
    }
}

/// Fields of the pod itself that Windows does not have, and of its security context.
const POD: [(&str, bool); 15] = [
    ("appArmorProfile", true),
    ("seLinuxOptions", true),
    ("hostUsers", false),
    ("hostPID", false),
    ("hostIPC", false),
    ("seccompProfile", true),
    ("fsGroup", true),
    ("fsGroupChangePolicy", true),
    ("sysctls", true),
    ("shareProcessNamespace", false),
    ("runAsUser", true),
    ("runAsGroup", true),
    ("supplementalGroups", true),
    ("supplementalGroupsPolicy", true),
    ("seLinuxChangePolicy", true),
];

/// Fields of a container's security context that Windows does not have.
const CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// Faults of fields that the pod's operating system does not have.
pub(crate) fn validate_system(found: &mut Faults, spec: &Value, path: &Path) {
    let mut wrong = |path: Path, why: &str| found.push(FieldError::forbidden(path, why));
    let name = spec.at("os").text("name");
    let context = spec.at("securityContext");
    if name == "linux" {
        let why = "windows options cannot be set for a linux pod";
        let every = containers::every(spec, path);
        let own = std::iter::once((path.clone(), spec));
        for (path, of) in own.chain(every) {
            if of.at("securityContext").has("windowsOptions") {
                wrong(path.child("securityContext").child("windowsOptions"), why);
            }
        }
    } else if name == "windows" {
        let why = "cannot be set for a windows pod";
        for (key, inside) in POD {
            let (of, path) = if inside {
                (context, path.child("securityContext"))
            } else {
                (spec, path.clone())
            };
            // Two of the flags are no more than off when they are absent.
            let set = match key {
                "hostPID" | "hostIPC" => of.flag(key),
                "sysctls" => !of.list(key).is_empty(),
                _ => of.has(key),
            };
            if set {
                wrong(path.child(key), why);
            }
        }
        for (path, container) in containers::every(spec, path) {
            let context = container.at("securityContext");
            for key in CONTAINER.iter().filter(|key| context.has(key)) {
                wrong(path.child("securityContext").child(key), why);
            }
        }
    }
}
