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
        ("/api/v1/nodes/n/proxy", ""),
        ("/api/v1/nodes/n/proxy/", "/"),
        ("/api/v1/nodes/n/proxy/stats/summary", "/stats/summary"),
        ("/api/v1/nodes/n:10250/proxy/a%2Fb/proxy/", "/a%2Fb/proxy/"),
        ("//api//v1/nodes/proxy/proxy//x", "//x"),
    ] {
        assert_eq!(options::proxied(path, NODE_PARTS).1, wanted, "{path}");
    }
    let path = "/api/v1/namespaces/pods/pods/proxy/proxy/pods";
    let cut = options::proxied(path, POD_PARTS);
    assert_eq!(cut, ("/api/v1/namespaces/pods/pods/proxy/proxy", "/pods"));
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

/// A pod that answers every connection with `answer`, and tells what it was asked.
async fn pod_that_says(answer: &'static str) -> (reach::Backend, tokio::task::JoinSet<String>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let mut heard = tokio::task::JoinSet::new();
    heard.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") && !heard.ends_with(b"END") {
            let read = stream.read_buf(&mut heard).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&heard));
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8(heard).unwrap()
    });
    (reach::Backend::at("http", place.ip(), place.port().to_string()), heard)
}

const POD_ROOT: &str = "/api/v1/namespaces/a/pods/p/proxy";

async fn passed(
    backend: &reach::Backend,
    request: http::request::Builder,
    body: &'static str,
) -> Result<(http::response::Parts, String), Status> {
    let (parts, body) = request.body(Body::from(body)).unwrap().into_parts();
    let (relays, stop) = (Relays::default(), tokio_util::sync::CancellationToken::new());
    let path = "/x%2Fy?q=1";
    let from = Some([10, 0, 0, 9].into());
    let passed = reach::Passed { parts: &parts, root: POD_ROOT, path, from };
    let answer = backend.pass((&relays, &stop), &passed, body).await?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Ok((head, String::from_utf8(body.to_vec()).unwrap()))
}

#[tokio::test]
async fn a_pod_is_asked_what_the_caller_asks_and_its_answer_is_passed_on() {
    let (backend, mut heard) = pod_that_says(
        "HTTP/1.1 418 I'm a teapot\r\nX-Pod: yes\r\nAccess-Control-Allow-Origin: *\r\nKeep-Alive: 5\r\nContent-Length: 5\r\n\r\nhello",
    )
    .await;
    let request = http::Request::builder()
        .method("PUT")
        .header("Host", "api:6443")
        .header("Authorization", "Bearer secret")
        .header("Impersonate-User", "y")
        .header("Cookie", "its=own")
        .header("Connection", "close, X-Hop")
        .header("X-Hop", "1")
        .header("X-Mine", "2")
        .header("X-Forwarded-For", "10.0.0.1");
    let (head, body) = passed(&backend, request, "bodyEND").await.unwrap();
    assert_eq!((head.status.as_u16(), body.as_str()), (418, "hello"));
    assert_eq!(head.headers["x-pod"], "yes");
    for name in ["access-control-allow-origin", "keep-alive"] {
        assert!(!head.headers.contains_key(name), "{name}");
    }
    let heard = heard.join_next().await.unwrap().unwrap();
    let mut lines: Vec<&str> = heard.split("\r\n").collect();
    assert_eq!((lines.remove(0), lines.pop()), ("PUT /x%2Fy?q=1 HTTP/1.1", Some("bodyEND")));
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "",
            "content-length: 7",
            "cookie: its=own",
            "host: api:6443",
            "x-forwarded-for: 10.0.0.1, 10.0.0.9",
            "x-forwarded-uri: /api/v1/namespaces/a/pods/p/proxy/x%2Fy",
            "x-mine: 2",
        ]
    );
}

#[tokio::test]
async fn pages_and_redirects_lead_back_through_the_proxy() {
    let (backend, _pod) = pod_that_says(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<a href=\"/rewriteme\">test</a>",
    )
    .await;
    let (_, page) = passed(&backend, http::Request::builder(), "").await.unwrap();
    assert_eq!(page, format!("<a href=\"{POD_ROOT}/rewriteme\">test</a>"));
    let (backend, _pod) =
        pod_that_says("HTTP/1.1 302 Found\r\nLocation: /login?to=/\r\nContent-Length: 0\r\n\r\n")
            .await;
    let (head, _) = passed(&backend, http::Request::builder(), "").await.unwrap();
    assert_eq!(head.headers["location"], format!("{POD_ROOT}/login?to=/"));
}

#[tokio::test]
async fn a_pod_that_cannot_be_reached_is_told_of_in_upstreams_words() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    drop(listener);
    let refused = reach::Backend::at("http", place.ip(), place.port().to_string());
    let nameless = reach::Backend::at("http", place.ip(), "web".to_owned());
    for (backend, why) in [
        (refused, format!("dial tcp {place}: connect: connection refused")),
        (nameless, "dial tcp: lookup tcp/web: unknown port".to_owned()),
    ] {
        let status = passed(&backend, http::Request::builder(), "").await.unwrap_err();
        assert_eq!((status.code, status.reason.as_str()), (503, "ServiceUnavailable"));
        assert_eq!(status.message, format!("error trying to reach service: {why}"));
    }
}

#[test]
fn a_pod_answers_at_the_first_port_that_it_names() {
    let pod = json!({
        "spec": {"containers": [
            {"name": "a"},
            {"name": "b", "ports": [{"containerPort": 9376}, {"containerPort": 80}]},
        ]},
        "status": {"podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}]},
    });
    let of = |scheme: &str, pod: &Value, port: Option<&str>| {
        reach::Backend::of_pod(scheme, pod, port.map(str::to_owned))
    };
    let at = |scheme: &str, port: &str| {
        Ok(reach::Backend::at(scheme, [10, 0, 0, 7].into(), port.to_owned()))
    };
    assert_eq!(of("", &pod, None), at("", "9376"));
    assert_eq!(of("https", &pod, Some("443")), at("https", "443"));
    for address in
        ["", "127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "::ffff:127.0.0.1", "224.0.0.1"]
    {
        let mut pod = pod.clone();
        pod["status"] = json!({"podIPs": [{"ip": address}]});
        let refused = of("", &pod, None).unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (400, "address not allowed"),
            "{address}"
        );
    }
}

#[test]
fn a_service_leads_to_the_ends_of_its_port() {
    let endpoints = json!({"subsets": [
        {"addresses": [{"ip": "10.0.0.7"}, {"ip": "10.0.0.8"}], "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]},
        {"notReadyAddresses": [{"ip": "10.0.0.9"}], "ports": [{"name": "b", "port": 82}]},
        {"addresses": [{"ip": "10.0.0.6"}], "ports": [{"port": 83}]},
    ]});
    let ends = |port: &str| -> Vec<String> {
        let found = reach::ends_of(&endpoints, port).into_iter();
        found.map(|(address, port)| format!("{}:{port}", address["ip"].as_str().unwrap())).collect()
    };
    assert_eq!(ends("b"), ["10.0.0.7:81", "10.0.0.8:81"]);
    assert_eq!(ends(""), ["10.0.0.6:83"]);
    assert!(ends("c").is_empty());
    let service = json!({"spec": {"ports": [{"name": "a", "port": 8080}]}});
    let name = |port: &str| reach::port_name(&service, "s", port.to_owned());
    assert_eq!(name("8080").unwrap(), "a");
    assert_eq!(name("a").unwrap(), "a");
    assert_eq!(name("80").unwrap_err().message, "no service port 80 found for service \"s\"");
}
