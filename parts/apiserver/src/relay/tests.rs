use super::*;
use serde_json::json;

fn refused(query: &str) -> (u16, String) {
    let status = options::Log::read(query, "p").unwrap_err();
    (status.code, status.message)
}

#[test]
fn log_options_are_refused_in_upstreams_words() {
    for (query, code, message) in [
        (
            "tailLines=-1",
            422,
            "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "limitBytes=0",
            422,
            "PodLogOptions \"p\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
        ),
        (
            "sinceSeconds=0",
            422,
            "PodLogOptions \"p\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z",
            422,
            "PodLogOptions \"p\" is invalid: : Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
        ("tailLines=many", 400, "strconv.ParseInt: parsing \"many\": invalid syntax"),
    ] {
        assert_eq!(refused(query), (code, message.to_owned()), "{query}");
    }
    let (code, message) = refused("sinceTime=yesterday");
    assert!(code == 400 && message.starts_with("parsing time \"yesterday\""), "{message}");
}

#[test]
fn log_options_reach_the_node() {
    let read = |query: &str| options::Log::read(query, "p").unwrap().for_kubelet();
    assert_eq!(read(""), "");
    assert_eq!(read("container=c&follow=false"), "");
    assert_eq!(
        read(
            "follow=1&previous=true&timestamps=true&tailLines=0&limitBytes=9&sinceTime=2026-01-01T00:00:00%2B01:00"
        ),
        "?follow=true&previous=true&timestamps=true&tailLines=0&limitBytes=9&sinceTime=2025-12-31T23%3A00%3A00Z"
    );
}

#[test]
fn exec_options_are_translated_for_the_node() {
    let options =
        options::Stream::read("command=sh&command=-c&command=a+b%26&stdin=true&stdout=1&tty=false");
    assert_eq!(
        options.for_kubelet("exec"),
        "?input=1&output=1&command=sh&command=-c&command=a%20b%26"
    );
    assert_eq!(options.for_kubelet("attach"), "?input=1&output=1");
    assert_eq!(options::Stream::read("ports=80&ports=90").ports_query(), "?port=80&port=90");
}

#[test]
fn a_container_is_named_or_the_only_one() {
    let pod = json!({"spec": {
        "containers": [{"name": "a"}, {"name": "b"}],
        "initContainers": [{"name": "i"}],
        "ephemeralContainers": [{"name": "e"}],
    }});
    let message = |asked| options::container(&pod, "p", asked).unwrap_err().message;
    assert_eq!(
        message(""),
        "a container name must be specified for pod p, choose one of: [i a b e]"
    );
    assert_eq!(message("z"), "container z is not valid for pod p");
    for one in ["a", "b", "i", "e"] {
        assert_eq!(options::container(&pod, "p", one).unwrap(), one);
    }
    let single = json!({"spec": {"containers": [{"name": "a"}]}});
    assert_eq!(options::container(&single, "p", "").unwrap(), "a");
}

#[test]
fn a_node_is_found_by_its_address_and_port() {
    let node = json!({"status": {
        "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.7"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}},
    }});
    let place = Place::of("n", &node).unwrap();
    assert_eq!(place.authority(), "10.0.0.7:10251");
    let six = json!({"status": {"addresses": [{"type": "InternalIP", "address": "fd00::7"}]}});
    assert_eq!(Place::of("n", &six).unwrap().authority(), "[fd00::7]:10250");
    assert_eq!(
        Place::of("n", &json!({})).unwrap_err(),
        "no preferred addresses found; known addresses: []"
    );
}

#[test]
fn what_follows_proxy_is_passed_on_as_written() {
    for (path, wanted) in [
        ("/api/v1/nodes/n/proxy", "/"),
        ("/api/v1/nodes/n/proxy/", "/"),
        ("/api/v1/nodes/n/proxy/stats/summary", "/stats/summary"),
        ("/api/v1/nodes/n:10250/proxy/a%2Fb/proxy/", "/a%2Fb/proxy/"),
    ] {
        assert_eq!(options::proxied(path, "/proxy"), wanted, "{path}");
    }
}

#[test]
fn credentials_of_the_caller_stay_here() {
    let request = http::Request::builder()
        .header("Authorization", "Bearer x")
        .header("Impersonate-User", "y")
        .header("Cookie", "z")
        .header("X-Stream-Protocol-Version", "v4.channel.k8s.io")
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "SPDY/3.1");
    let (parts, ()) = request.body(()).unwrap().into_parts();
    assert!(pipe::is_upgrade(&parts.headers));
    let node = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.7"}]}});
    let onward = pipe::upgrade(&parts, "/exec/a/b/c", &Place::of("n", &node).unwrap());
    let names: Vec<&str> = onward.headers().keys().map(http::HeaderName::as_str).collect();
    let mut names = names;
    names.sort_unstable();
    assert_eq!(names, ["connection", "host", "upgrade", "x-stream-protocol-version"]);
}
