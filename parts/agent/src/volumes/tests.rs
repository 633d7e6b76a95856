use super::host::host_path;
use super::*;
use k8s_openapi::api::core::v1::HostPathVolumeSource;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

fn check(path: &Path, kind: &str) -> Result<(), String> {
    host_path(&HostPathVolumeSource {
        path: path.to_string_lossy().into_owned(),
        type_: Some(kind.to_owned()),
    })
}

#[test]
fn a_host_path_of_another_kind_is_named_as_upstream_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let shown = file.display();
    let cases = [
        ("Directory", "a directory"),
        ("Socket", "a socket file"),
        ("CharDevice", "a character device"),
        ("BlockDevice", "a block device"),
        ("DirectoryOrCreate", "a directory"),
    ];
    for (kind, what) in cases {
        let wanted = format!("hostPath type check failed: {shown} is not {what}");
        assert_eq!(check(&file, kind).unwrap_err(), wanted);
    }
    let wanted = format!("hostPath type check failed: {} is not a file", dir.path().display());
    assert_eq!(check(dir.path(), "File").unwrap_err(), wanted);
    assert_eq!(check(&file, "File"), Ok(()));
    assert_eq!(check(Path::new("/dev/null"), "CharDevice"), Ok(()));
    assert!(check(&dir.path().join("absent"), "").is_ok());
}

#[test]
fn what_may_be_created_is_created_with_upstreams_modes() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, file) = (dir.path().join("a/b"), dir.path().join("a/c"));
    check(&folder, "DirectoryOrCreate").unwrap();
    check(&file, "FileOrCreate").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&file)), (0o755, 0o644));
    assert!(check(&dir.path().join("no/parent"), "FileOrCreate").is_err());
}

fn pod(volumes: serde_json::Value, mounts: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u-1"},
        "spec": {"volumes": volumes, "containers": [{"name": "c", "volumeMounts": mounts}]}
    }))
    .unwrap()
}

#[test]
fn a_config_map_volume_changes_all_at_once() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod(json!([{"name": "v", "configMap": {"name": "m"}}]), json!([]));
    let sources = |data: serde_json::Value| Sources {
        config_maps: [("m".to_owned(), serde_json::from_value(json!({"data": data})).unwrap())]
            .into(),
        ..Sources::default()
    };
    let run = |data| prepare(root.path(), &pod, &sources(data), &Place::default());
    run(json!({"a": "1", "b": "2"})).unwrap();
    let dir = pod_dir(root.path(), "u-1").join("volumes/kubernetes.io~configmap/v");
    assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
    let first = fs::read_link(dir.join("..data")).unwrap();
    run(json!({"a": "1", "b": "2"})).unwrap();
    assert_eq!(fs::read_link(dir.join("..data")).unwrap(), first, "nothing changed, nothing moves");
    run(json!({"a": "3"})).unwrap();
    assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
    assert!(!dir.join("b").exists());
    remove(root.path(), "u-1").unwrap();
    assert!(!pod_dir(root.path(), "u-1").exists());
}

#[test]
fn a_missing_config_map_is_told_with_the_volume() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod(json!([{"name": "v", "configMap": {"name": "m"}}]), json!([]));
    let missing = prepare(root.path(), &pod, &Sources::default(), &Place::default()).unwrap_err();
    let wanted = "MountVolume.SetUp failed for volume \"v\" : configmap \"m\" not found";
    assert_eq!(missing.message(), wanted);
}

#[test]
fn a_sub_path_expression_with_an_unknown_variable_is_refused() {
    let mount: VolumeMount =
        serde_json::from_value(json!({"name": "v", "mountPath": "/x", "subPathExpr": "$(A)/$(B)"}))
            .unwrap();
    let known = |name: &str| (name == "A").then(|| "a".to_owned());
    assert_eq!(sub_path_of(&mount, known).unwrap_err(), "missing value for \"$(A)/$(B)\"");
    assert_eq!(sub_path_of(&mount, |_| Some("x".to_owned())), Ok(Some("x/x".to_owned())));
}

#[test]
fn mounts_carry_read_only_and_propagation() {
    let root = tempfile::tempdir().unwrap();
    let mount = json!([{"name": "v", "mountPath": "logs", "readOnly": true, "mountPropagation": "HostToContainer"}]);
    let pod = pod(json!([{"name": "v", "hostPath": {"path": "/var/log"}}]), mount);
    let list =
        mounts(root.path(), &pod, &pod.spec.as_ref().unwrap().containers[0], |_| None).unwrap();
    assert_eq!(
        (list[0].container_path.as_str(), list[0].host_path.as_str()),
        ("/logs", "/var/log")
    );
    assert!(list[0].readonly);
    assert_eq!(list[0].propagation(), v1::MountPropagation::PropagationHostToContainer);
}

#[test]
fn mounts_below_a_folder_are_found_and_others_left() {
    let table = "1 0 0:1 / / rw - x x rw\n2 1 0:2 / /r/pods/u/v rw - tmpfs t rw\n3 1 0:2 / /r/pods/uu rw - t t rw\n";
    assert_eq!(mounts_below(table, Path::new("/r/pods/u")), [PathBuf::from("/r/pods/u/v")]);
}

#[test]
fn what_an_agent_left_that_ended_right_after_the_turn_is_mended() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod(json!([{"name": "v", "configMap": {"name": "m"}}]), json!([]));
    let data = json!({"data": {"a": "1", "b": "2"}});
    let sources = Sources {
        config_maps: [("m".to_owned(), serde_json::from_value(data).unwrap())].into(),
        ..Sources::default()
    };
    let run = || prepare(root.path(), &pod, &sources, &Place::default()).unwrap();
    run();
    let dir = pod_dir(root.path(), "u-1").join("volumes/kubernetes.io~configmap/v");
    // the links were not made yet, and the folder before was not removed
    fs::remove_file(dir.join("a")).unwrap();
    fs::create_dir(dir.join("..7")).unwrap();
    fs::write(dir.join("..7/a"), "0").unwrap();
    run();
    assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
    assert!(!dir.join("..7").exists());
    assert_eq!(fs::read_to_string(dir.join("b")).unwrap(), "2");
}

#[test]
fn the_volumes_of_a_pod_that_is_over_go_and_its_messages_stay() {
    let root = tempfile::tempdir().unwrap();
    let pod = pod(json!([{"name": "v", "emptyDir": {}}]), json!([]));
    prepare(root.path(), &pod, &Sources::default(), &Place::default()).unwrap();
    let dir = pod_dir(root.path(), "u-1");
    fs::create_dir_all(dir.join("containers/c")).unwrap();
    fs::create_dir_all(dir.join("volume-subpaths/v/c/0")).unwrap();
    fs::write(dir.join("containers/c/0.message"), "done").unwrap();
    for _ in 0..2 {
        remove_volumes(root.path(), "u-1").unwrap();
    }
    assert!(!dir.join("volumes").exists() && !dir.join("volume-subpaths").exists());
    assert!(dir.join("containers/c/0.message").exists());
}
