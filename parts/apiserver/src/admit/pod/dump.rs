//! The spec of a pod as upstream's errors print it: a JSON document of its internal structs, with every field.

use crate::admit::json::{Json, JsonMut};
use serde_json::{Value, json};

/// Fields of upstream's structs in their order, each with how it is printed when it is absent: `Name` as an empty
/// text, `Name#` as 0, `Name!` as false, `Name?` as null, `=name` not at all; `<Struct` stands for the
/// fields of another. A struct's name after the mark (or
/// after `:`, for one that is always there) says how the value, or each item of it, is printed in turn.
const STRUCTS: &[(&str, &str)] = &[
    (
        "PodSpec",
        "Volumes?Volume InitContainers?Container Containers?Container EphemeralContainers?EphemeralContainer \
         RestartPolicy TerminationGracePeriodSeconds? ActiveDeadlineSeconds? DNSPolicy NodeSelector? \
         ServiceAccountName AutomountServiceAccountToken? NodeName SecurityContext?PodSecurityContext \
         ImagePullSecrets?Named Hostname Subdomain SetHostnameAsFQDN? Affinity?Affinity SchedulerName \
         Tolerations?Toleration HostAliases?HostAlias PriorityClassName Priority? PreemptionPolicy? \
         DNSConfig?DNSConfig ReadinessGates?ReadinessGate RuntimeClassName? Overhead? EnableServiceLinks? \
         TopologySpreadConstraints?Spread OS?Named SchedulingGates?Named ResourceClaims?PodClaim \
         Resources?Resources HostnameOverride? SchedulingGroup?SchedulingGroup",
    ),
    (
        "PodSecurityContext",
        "HostNetwork! HostPID! HostIPC! ShareProcessNamespace? HostUsers? SELinuxOptions?SELinux \
         WindowsOptions?Windows RunAsUser? RunAsGroup? RunAsNonRoot? SupplementalGroups? \
         SupplementalGroupsPolicy? FSGroup? FSGroupChangePolicy? Sysctls?NameValue SeccompProfile?Profile \
         AppArmorProfile?Profile SELinuxChangePolicy?",
    ),
    ("SELinux", "User Role Type Level"),
    ("Windows", "GMSACredentialSpecName? GMSACredentialSpec? RunAsUserName? HostProcess?"),
    ("Profile", "Type LocalhostProfile?"),
    ("NameValue", "Name Value"),
    ("Named", "Name"),
    ("Toleration", "Key Operator Value Effect TolerationSeconds?"),
    ("HostAlias", "IP Hostnames?"),
    ("DNSConfig", "Nameservers? Searches? Options?DNSOption"),
    ("DNSOption", "Name Value?"),
    ("ReadinessGate", "ConditionType"),
    ("PodClaim", "Name ResourceClaimName? ResourceClaimTemplateName?"),
    ("SchedulingGroup", "PodGroupName?"),
    (
        "Spread",
        "MaxSkew# TopologyKey WhenUnsatisfiable LabelSelector?Selector MinDomains? NodeAffinityPolicy? \
         NodeTaintsPolicy? MatchLabelKeys?",
    ),
    ("Selector", "=matchLabels =matchExpressions?SelectorTerm"),
    ("SelectorTerm", "=key =operator =values"),
    ("Affinity", "NodeAffinity?NodeAffinity PodAffinity?PodAffinity PodAntiAffinity?PodAffinity"),
    (
        "NodeAffinity",
        "RequiredDuringSchedulingIgnoredDuringExecution?NodeSelector \
         PreferredDuringSchedulingIgnoredDuringExecution?NodePreference",
    ),
    ("NodeSelector", "NodeSelectorTerms?NodeTerm"),
    ("NodePreference", "Weight# Preference:NodeTerm"),
    ("NodeTerm", "MatchExpressions?NodeExpression MatchFields?NodeExpression"),
    ("NodeExpression", "Key Operator Values?"),
    (
        "PodAffinity",
        "RequiredDuringSchedulingIgnoredDuringExecution?PodTerm \
         PreferredDuringSchedulingIgnoredDuringExecution?PodPreference",
    ),
    ("PodPreference", "Weight# PodAffinityTerm:PodTerm"),
    (
        "PodTerm",
        "LabelSelector?Selector Namespaces? TopologyKey NamespaceSelector?Selector MatchLabelKeys? \
         MismatchLabelKeys?",
    ),
    (
        "Container",
        "Name Image Command? Args? WorkingDir Ports?Port EnvFrom?EnvFrom Env?Env \
     Resources:Resources ResizePolicy?Resize RestartPolicy? RestartPolicyRules?Rule VolumeMounts?Mount \
     VolumeDevices?Device LivenessProbe?Probe ReadinessProbe?Probe StartupProbe?Probe Lifecycle?Lifecycle \
     TerminationMessagePath TerminationMessagePolicy ImagePullPolicy SecurityContext?SecurityContext Stdin! \
     StdinOnce! TTY!",
    ),
    ("EphemeralContainer", "<Container TargetContainerName"),
    ("Port", "Name HostPort# ContainerPort# Protocol HostIP"),
    ("EnvFrom", "Prefix ConfigMapRef?EnvSource SecretRef?EnvSource"),
    ("EnvSource", "Name Optional?"),
    ("Env", "Name Value ValueFrom?ValueFrom"),
    (
        "ValueFrom",
        "FieldRef?FieldRef ResourceFieldRef?ResourceRef ConfigMapKeyRef?KeyRef SecretKeyRef?KeyRef \
         FileKeyRef?FileRef",
    ),
    ("FieldRef", "APIVersion FieldPath"),
    ("ResourceRef", "ContainerName Resource Divisor"),
    ("KeyRef", "Name Key Optional?"),
    ("FileRef", "VolumeName Path Key Optional?"),
    ("Resources", "Limits? Requests? Claims?ResourceClaim"),
    ("ResourceClaim", "Name Request"),
    ("Resize", "ResourceName RestartPolicy"),
    ("Rule", "Action ExitCodes?ExitCodes"),
    ("ExitCodes", "Operator Values?"),
    ("Mount", "Name ReadOnly! RecursiveReadOnly? MountPath SubPath MountPropagation? SubPathExpr"),
    ("Device", "Name DevicePath"),
    (
        "Probe",
        "Exec?Exec HTTPGet?HTTPGet TCPSocket?TCPSocket GRPC?GRPC InitialDelaySeconds# TimeoutSeconds# \
         PeriodSeconds# SuccessThreshold# FailureThreshold# TerminationGracePeriodSeconds?",
    ),
    ("Lifecycle", "PostStart?Hook PreStop?Hook StopSignal?"),
    ("Hook", "Exec?Exec HTTPGet?HTTPGet TCPSocket?TCPSocket Sleep?Sleep"),
    ("Exec", "Command?"),
    ("HTTPGet", "Path Port# Host Scheme HTTPHeaders?NameValue"),
    ("TCPSocket", "Port# Host"),
    ("GRPC", "Port# Service?"),
    ("Sleep", "Seconds#"),
    (
        "SecurityContext",
        "Capabilities?Capabilities Privileged? SELinuxOptions?SELinux WindowsOptions?Windows RunAsUser? \
         RunAsGroup? RunAsNonRoot? ReadOnlyRootFilesystem? AllowPrivilegeEscalation? ProcMount? \
         SeccompProfile?Profile AppArmorProfile?Profile",
    ),
    ("Capabilities", "Add? Drop?"),
    (
        "Volume",
        "Name HostPath?HostPath EmptyDir?EmptyDir GCEPersistentDisk? AWSElasticBlockStore? GitRepo? \
         Secret?Secret NFS?NFS ISCSI? Glusterfs? PersistentVolumeClaim?Claim RBD? Quobyte? FlexVolume? Cinder? \
         CephFS? Flocker? DownwardAPI?Downward FC? AzureFile? ConfigMap?ConfigMap VsphereVolume? AzureDisk? \
         PhotonPersistentDisk? Projected?Projected PortworxVolume? ScaleIO? StorageOS? CSI?CSI Ephemeral? \
         Image?Image",
    ),
    ("HostPath", "Path Type?"),
    ("EmptyDir", "Medium SizeLimit?"),
    ("Secret", "SecretName Items?Item DefaultMode? Optional?"),
    ("ConfigMap", "Name Items?Item DefaultMode? Optional?"),
    ("Item", "Key Path Mode?"),
    ("NFS", "Server Path ReadOnly!"),
    ("Claim", "ClaimName ReadOnly!"),
    ("Downward", "Items?File DefaultMode?"),
    ("File", "Path FieldRef?FieldRef ResourceFieldRef?ResourceRef Mode?"),
    ("Projected", "Sources?Projection DefaultMode?"),
    (
        "Projection",
        "Secret?ProjectedItems DownwardAPI?ProjectedFiles ConfigMap?ProjectedItems \
         ServiceAccountToken?Token ClusterTrustBundle?Bundle PodCertificate?Certificate",
    ),
    ("ProjectedItems", "Name Items?Item Optional?"),
    ("ProjectedFiles", "Items?File"),
    ("Token", "Audience ExpirationSeconds# Path"),
    ("Bundle", "Name? SignerName? LabelSelector?Selector Optional? Path"),
    (
        "Certificate",
        "SignerName KeyType MaxExpirationSeconds? CredentialBundlePath KeyPath CertificateChainPath \
         UserAnnotations?",
    ),
    ("CSI", "Driver ReadOnly? FSType? VolumeAttributes? NodePublishSecretRef?Named"),
    ("Image", "Reference PullPolicy"),
];

/// Fields whose names in JSON do not follow from upstream's.
const NAMES: [(&str, &str); 2] = [("CephFS", "cephfs"), ("StorageOS", "storageos")];

/// The lines of a pod's spec.
pub(super) fn spec(spec: &Value) -> Vec<String> {
    let mut spec = spec.clone();
    // Upstream keeps these inside the security context.
    for key in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"] {
        let value = spec.at(key).clone();
        if !value.is_null() {
            spec.object("securityContext").set(key, value);
        }
    }
    lines(&spec, "PodSpec")
}

/// The lines of an ephemeral container.
pub(super) fn ephemeral_container(container: &Value) -> Vec<String> {
    lines(container, "EphemeralContainer")
}

/// One alternative of what a pod demands of nodes, on one line.
pub(super) fn node_term(term: &Value) -> String {
    lines(term, "NodeTerm")
        .iter()
        .map(|line| line.trim_start().replacen("\": ", "\":", 1))
        .collect()
}

fn lines(value: &Value, kind: &str) -> Vec<String> {
    let mut out = String::new();
    print(&mut out, value, kind, 0);
    out.lines().map(str::to_owned).collect()
}

/// Prints a value of a struct, or a list of them; what no struct describes is printed as it is.
fn print(out: &mut String, value: &Value, kind: &str, depth: usize) {
    let fields = fields_of(kind);
    match (value, fields) {
        (Value::Array(items), _) => {
            let each = items.iter().map(|item| (String::new(), item.clone(), kind)).collect();
            block(out, ['[', ']'], each, depth);
        }
        (Value::Object(map), None) => {
            let each = map.iter().map(|(key, value)| (quoted(key), value.clone(), "")).collect();
            block(out, ['{', '}'], each, depth);
        }
        (Value::Object(_), Some(fields)) => {
            let each = every(fields).filter_map(|field| member(value, field)).collect();
            block(out, ['{', '}'], each, depth);
        }
        (plain, _) => out.push_str(&plain.to_string()),
    }
}

fn fields_of(kind: &str) -> Option<&'static str> {
    STRUCTS.iter().find(|(name, _)| *name == kind).map(|(_, fields)| *fields)
}

/// The fields, with those of structs that are part of this one.
fn every(fields: &'static str) -> impl Iterator<Item = &'static str> {
    fields.split_whitespace().flat_map(|field| match field.strip_prefix('<') {
        Some(part) => fields_of(part).unwrap_or_default().split_whitespace().collect(),
        None => vec![field],
    })
}

fn quoted(name: &str) -> String {
    format!("{}: ", json!(name))
}

/// One field of a struct: its printed name, its value, the struct that describes it.
fn member<'f>(of: &Value, field: &'f str) -> Option<(String, Value, &'f str)> {
    if let Some(name) = field.strip_prefix('=') {
        let (name, kind) = name.split_once('?').unwrap_or((name, ""));
        return of.has(name).then(|| (quoted(name), of.at(name).clone(), kind));
    }
    let end = field.find(['?', '#', '!', ':']).unwrap_or(field.len());
    let (name, rest) = field.split_at(end);
    let absent = match rest.chars().next() {
        None => json!(""),
        Some('#') => json!(0),
        Some('!') => json!(false),
        Some(':') => json!({}),
        Some(_) => Value::Null,
    };
    let value = of.at(&key(name)).clone();
    let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let kind = rest.get(1..).unwrap_or_default();
    Some((quoted(name), if empty { absent } else { value }, kind))
}

/// The name in JSON: capitals at the beginning become small, but for one that begins a word.
fn key(name: &str) -> String {
    if let Some((_, key)) = NAMES.iter().find(|(known, _)| *known == name) {
        return (*key).to_owned();
    }
    let capitals = name.chars().take_while(char::is_ascii_uppercase).count();
    let small = if capitals > 1 && capitals < name.len() { capitals - 1 } else { capitals };
    let (head, tail) = name.split_at(small);
    format!("{}{tail}", head.to_ascii_lowercase())
}

/// A list or an object over several lines, indented by one space for each level.
fn block(out: &mut String, ends: [char; 2], each: Vec<(String, Value, &str)>, depth: usize) {
    out.push(ends[0]);
    let count = each.len();
    for (i, (name, value, kind)) in each.into_iter().enumerate() {
        out.push('\n');
        out.push_str(&" ".repeat(depth + 1));
        out.push_str(&name);
        print(out, &value, kind, depth + 1);
        if i + 1 < count {
            out.push(',');
        }
    }
    if count > 0 {
        out.push('\n');
        out.push_str(&" ".repeat(depth));
    }
    out.push(ends[1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_json_follow_from_upstreams() {
        for (name, want) in [
            ("Name", "name"),
            ("DNSPolicy", "dnsPolicy"),
            ("TTY", "tty"),
            ("HTTPGet", "httpGet"),
            ("HostIP", "hostIP"),
            ("SELinuxOptions", "seLinuxOptions"),
            ("CephFS", "cephfs"),
        ] {
            assert_eq!(key(name), want);
        }
    }

    #[test]
    fn every_struct_that_is_named_is_there() {
        for (kind, fields) in STRUCTS {
            for field in fields.split_whitespace() {
                let named = field.trim_start_matches(['=', '<']);
                let part = named.split(['?', ':']).nth(1).unwrap_or_default();
                let part = if field.starts_with('<') { named } else { part };
                assert!(part.is_empty() || fields_of(part).is_some(), "{kind} {field}");
            }
        }
    }

    #[test]
    fn what_is_absent_is_printed_empty() {
        let exec = json!({"exec": {"command": ["a"]}, "periodSeconds": 5});
        let text = lines(&exec, "Probe").join("\n");
        let want = [
            "{",
            r#" "Exec": {"#,
            r#"  "Command": ["#,
            r#"   "a""#,
            "  ]",
            " },",
            r#" "HTTPGet": null,"#,
            r#" "TCPSocket": null,"#,
            r#" "GRPC": null,"#,
            r#" "InitialDelaySeconds": 0,"#,
            r#" "TimeoutSeconds": 0,"#,
            r#" "PeriodSeconds": 5,"#,
            r#" "SuccessThreshold": 0,"#,
            r#" "FailureThreshold": 0,"#,
            r#" "TerminationGracePeriodSeconds": null"#,
            "}",
        ];
        assert_eq!(text, want.join("\n"));
    }
}
