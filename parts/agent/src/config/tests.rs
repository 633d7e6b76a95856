use super::*;
use serde_json::json;

fn pod(spec: serde_json::Value) -> Pod {
    let metadata = json!({"name": "p", "namespace": "ns", "uid": "u"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn parts<'a>(sources: &'a Sources, place: &'a Place) -> Parts<'a> {
    Parts {
        attempt: 3,
        image: "img".to_owned(),
        mounts: Vec::new(),
        sources,
        place,
        message_file: String::new(),
        image_user: ImageUser::default(),
    }
}

#[test]
fn a_host_network_pod_has_the_nodes_namespaces_and_no_port_mappings() {
    let ports = json!([{"containerPort": 9100, "hostPort": 9100}]);
    let pod = pod(
        json!({"hostNetwork": true, "hostPID": true, "containers": [{"name": "c", "ports": ports}]}),
    );
    let config = sandbox(&pod, 0, &Setting::default());
    let options = config.linux.unwrap().security_context.unwrap().namespace_options.unwrap();
    assert_eq!(options.network(), v1::NamespaceMode::Node);
    assert_eq!(options.pid(), v1::NamespaceMode::Node);
    assert_eq!(options.ipc(), v1::NamespaceMode::Pod);
    assert!(config.port_mappings.is_empty() && config.hostname.is_empty());
}

#[test]
fn command_and_arguments_expand_and_the_log_is_numbered_by_restarts() {
    let pod = pod(json!({"containers": [{"name": "c", "env": [{"name": "A", "value": "x"}],
        "command": ["/bin/$(A)"], "args": ["$(A)$(B)"]}]}));
    let (sources, place) = (Sources::default(), Place::default());
    let one = &pod.spec.as_ref().unwrap().containers[0];
    let config = container(&pod, one, parts(&sources, &place), &Setting::default()).unwrap();
    assert_eq!((config.command, config.args), (vec!["/bin/x".into()], vec!["x$(B)".into()]));
    assert_eq!(config.log_path, "c/3.log");
}

#[test]
fn a_privileged_container_sees_everything_and_others_do_not() {
    let (sources, place) = (Sources::default(), Place::default());
    for (is_privileged, masked) in [(true, 0), (false, MASKED.len())] {
        let pod = pod(
            json!({"containers": [{"name": "c", "securityContext": {"privileged": is_privileged}}]}),
        );
        let one = &pod.spec.as_ref().unwrap().containers[0];
        let config = container(&pod, one, parts(&sources, &place), &Setting::default()).unwrap();
        let context = config.linux.unwrap().security_context.unwrap();
        assert_eq!((context.privileged, context.masked_paths.len()), (is_privileged, masked));
    }
}

#[test]
fn root_is_refused_where_the_pod_forbids_it() {
    let pod = pod(
        json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 0}, "containers": [{"name": "c"}]}),
    );
    let (sources, place) = (Sources::default(), Place::default());
    let one = &pod.spec.as_ref().unwrap().containers[0];
    let error = container(&pod, one, parts(&sources, &place), &Setting::default()).unwrap_err();
    assert_eq!(error, "container's runAsUser breaks non-root policy");
}

#[test]
fn labels_and_profiles_of_the_kernels_modules_reach_the_runtime() {
    let pod = pod(json!({
        "securityContext": {"seLinuxOptions": {"type": "spc_t", "level": "s0:c1"}},
        "containers": [{"name": "c", "securityContext": {
            "seLinuxOptions": {"level": "s0:c2"},
            "appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}}}]
    }));
    let (sources, place) = (Sources::default(), Place::default());
    let one = &pod.spec.as_ref().unwrap().containers[0];
    let config = container(&pod, one, parts(&sources, &place), &Setting::default()).unwrap();
    let context = config.linux.unwrap().security_context.unwrap();
    let labels = context.selinux_options.unwrap();
    assert_eq!((labels.r#type.as_str(), labels.level.as_str()), ("spc_t", "s0:c2"));
    let profile = context.apparmor.unwrap();
    let localhost = v1::security_profile::ProfileType::Localhost;
    assert_eq!((profile.profile_type(), profile.localhost_ref.as_str()), (localhost, "mine"));
}

#[test]
fn name_servers_are_read_and_added_to() {
    let host = resolv("# x\nnameserver 192.0.2.53\nsearch a b\noptions ndots:5\n");
    let pod = pod(
        json!({"containers": [], "dnsConfig": {"nameservers": ["192.0.2.1"], "options": [{"name": "timeout", "value": "1"}]}}),
    );
    let dns = dns(pod.spec.as_ref().unwrap(), &host);
    assert_eq!(dns.servers, ["192.0.2.53", "192.0.2.1"]);
    assert_eq!(dns.options, ["ndots:5", "timeout:1"]);
}

#[test]
fn a_container_joins_the_processes_of_another_where_its_own_would_be_alone() {
    for (spec, wanted) in [
        (json!({}), (v1::NamespaceMode::Target, "id")),
        (json!({"hostPID": true}), (v1::NamespaceMode::Node, "")),
        (json!({"shareProcessNamespace": true}), (v1::NamespaceMode::Pod, "")),
    ] {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let security = v1::LinuxContainerSecurityContext {
            namespace_options: Some(namespaces(&spec)),
            ..Default::default()
        };
        let linux =
            v1::LinuxContainerConfig { security_context: Some(security), ..Default::default() };
        let mut config = v1::ContainerConfig { linux: Some(linux), ..Default::default() };
        join_processes(&mut config, "id".to_owned());
        let names = config.linux.unwrap().security_context.unwrap().namespace_options.unwrap();
        assert_eq!((names.pid(), names.target_id.as_str()), wanted);
    }
}

#[test]
fn names_of_kernel_settings_have_dots_between_their_parts() {
    for (said, wanted) in [
        ("kernel/shm_rmid_forced", "kernel.shm_rmid_forced"),
        ("net.ipv4.conf.eno2/100.rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
        ("net/ipv4/conf/eno2.100/rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
        ("plain", "plain"),
    ] {
        assert_eq!(sysctl_name(said), wanted);
    }
}

#[test]
fn a_host_name_in_full_is_the_kernels_only_where_it_is_asked_for_and_fits() {
    let pod = |name: &str, below: &str, is_full: bool| -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns"}, "spec": {
            "containers": [], "subdomain": below, "setHostnameAsFQDN": is_full}}))
        .unwrap()
    };
    assert_eq!(kernel_name(&pod("p", "s", true)).unwrap(), "p.s.ns.svc.cluster.local");
    assert_eq!(kernel_name(&pod("p", "s", false)).unwrap(), "p");
    assert_eq!(kernel_name(&pod("p", "", true)).unwrap(), "p");
    let problem = kernel_name(&pod(&"a".repeat(60), "s", true)).unwrap_err();
    assert!(problem.contains("is too long (64 characters is the max, 83 characters"), "{problem}");
}

#[test]
fn a_pod_that_wants_users_of_its_own_does_not_get_the_nodes() {
    let pod = |users: serde_json::Value| -> Pod {
        serde_json::from_value(json!({"spec": {"containers": [], "hostUsers": users}})).unwrap()
    };
    assert!(users(&pod(json!(false))).unwrap_err().contains("hostUsers: false"));
    assert_eq!(users(&pod(json!(true))), Ok(()));
    assert_eq!(users(&pod(json!(null))), Ok(()));
}
