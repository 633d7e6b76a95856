//! Pods that mind who is where (spec C10).

use super::*;

/// A node in a zone; none where it is empty.
fn placed(name: &str, zone: &str) -> Arc<k8s_openapi::api::core::v1::Node> {
    let mut node = k8s_openapi::api::core::v1::Node::clone(&node(name, "4"));
    if !zone.is_empty() {
        node.metadata.labels.get_or_insert_default().insert("zone".into(), zone.into());
    }
    Arc::new(node)
}

/// A pod of an app, with more in its spec.
fn of_app(name: &str, app: &str, more: &Value) -> Arc<Pod> {
    let mut spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let meta = json!({"name": name, "namespace": "d", "uid": name, "labels": {"app": app}});
    Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
}

fn term(app: &str, key: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
}

fn near(term: &Value) -> Value {
    json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

fn far(term: &Value) -> Value {
    json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

fn spread(app: &str, key: &str, more: &Value) -> Value {
    let mut one = json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": app}}});
    one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"topologySpreadConstraints": [one]})
}

/// Two nodes in zone x, one in y, one nowhere.
fn town(pods: &[(&str, Arc<Pod>)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, zone) in [("a", "x"), ("b", "x"), ("c", "y"), ("d", "")] {
        snapshot.put_node(placed(name, zone));
    }
    for (node, pod) in pods {
        snapshot.assume(pod, node);
    }
    snapshot
}

/// The node, or the first sentence of why there is none.
fn answer(pod: &Pod, snapshot: &Snapshot) -> String {
    match plan(pod, snapshot) {
        Plan::Bind(node) => node,
        Plan::Fail(Failure { message, minds_company, .. }) => {
            assert!(minds_company, "it must look again when pods come and go");
            message.split_once(". ").map_or(message.as_str(), |(first, _)| first).to_owned()
        }
    }
}

#[test]
fn a_pod_goes_where_the_pods_it_must_be_near_are_and_the_first_of_its_kind_anywhere() {
    let here = town(&[("c", of_app("w", "web", &json!({})))]);
    let fan = |key: &str| of_app("f", "fan", &near(&term("web", key)));
    assert_eq!(answer(&fan("zone"), &here), "c");
    assert_eq!(
        answer(&fan("rack"), &here),
        "0/4 nodes are available: 4 node(s) didn't match pod affinity rules"
    );
    assert_eq!(
        answer(&fan("zone"), &town(&[])),
        "0/4 nodes are available: 4 node(s) didn't match pod affinity rules"
    );
    let first = of_app("w", "web", &near(&term("web", "zone")));
    assert_eq!(answer(&first, &town(&[])), "a", "the first of its kind");
    assert_eq!(answer(&first, &town(&[("c", of_app("v", "web", &json!({})))])), "c");
}

#[test]
fn a_pod_keeps_away_from_those_it_must_be_far_from_and_they_from_it() {
    let loner = far(&term("web", "zone"));
    let town_of =
        |spec: &Value| town(&[("a", of_app("w1", "web", spec)), ("c", of_app("w2", "web", spec))]);
    assert_eq!(answer(&of_app("l", "loner", &loner), &town_of(&json!({}))), "d");
    let pinned = json!({"nodeName": "a"});
    let at_a = of_app("l", "loner", &{
        let mut spec = loner.clone();
        spec.as_object_mut().unwrap().extend(pinned.as_object().unwrap().clone());
        spec
    });
    assert_eq!(
        answer(&at_a, &town_of(&json!({}))),
        "0/4 nodes are available: 1 node(s) didn't match pod anti-affinity rules, 3 node(s) didn't match the requested \
         node name"
    );
    // those who are there mind, though the new one does not
    let guarded = town_of(&loner);
    assert_eq!(answer(&of_app("w3", "web", &json!({})), &guarded), "d");
    let web_at_a = of_app("w3", "web", &pinned);
    assert!(
        answer(&web_at_a, &guarded)
            .contains("1 node(s) didn't satisfy existing pods anti-affinity rules")
    );
    assert_eq!(answer(&of_app("o", "other", &pinned), &guarded), "a", "they do not mind others");
    let mut after = town_of(&loner);
    after.remove_pod(&of_app("w1", "web", &loner));
    assert_eq!(answer(&web_at_a, &after), "a");
}

#[test]
fn terms_mean_the_pods_own_namespace_unless_they_say_otherwise() {
    let mut stranger = Pod::clone(&of_app("s", "web", &json!({})));
    stranger.metadata.namespace = Some("e".into());
    let here = town(&[("c", Arc::new(stranger))]);
    let fan = |more: &Value| {
        let mut term = term("web", "zone");
        term.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        answer(&of_app("f", "fan", &near(&term)), &here)
    };
    assert!(fan(&json!({})).contains("didn't match pod affinity rules"));
    assert_eq!(fan(&json!({"namespaces": ["e"]})), "c");
    assert_eq!(fan(&json!({"namespaceSelector": {}})), "c");
    assert_eq!(fan(&json!({"namespaceSelector": {"matchLabels": {"team": "two"}}})), "c");
    assert!(
        fan(&json!({"namespaceSelector": {"matchLabels": {"team": "one"}}}))
            .contains("affinity rules")
    );
}

#[test]
fn a_spread_is_kept_over_the_domains_that_count() {
    let wide = |more: &Value| spread("web", "zone", more);
    let web = |more: &Value| of_app("new", "web", &wide(more));
    let plain = json!({});
    // x has one and y none: only y keeps the skew at 1; d has no zone
    let one = town(&[("a", of_app("w1", "web", &plain))]);
    assert_eq!(answer(&web(&plain), &one), "c");
    let mut only_x = wide(&plain);
    only_x["nodeSelector"] = json!({"zone": "x"});
    // the selector leaves x as the only domain
    assert_eq!(answer(&of_app("new", "web", &only_x), &one), "b");
    only_x["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = json!("Ignore");
    assert_eq!(
        answer(&of_app("new", "web", &only_x), &one),
        "0/4 nodes are available: 2 node(s) didn't match Pod's node affinity/selector, 2 node(s) didn't match pod \
         topology spread constraints"
    );
    let unplaced = {
        let mut spec = wide(&plain);
        spec["nodeName"] = json!("d");
        of_app("new", "web", &spec)
    };
    assert!(answer(&unplaced, &one).contains(
        "1 node(s) didn't match pod topology spread constraints (missing required label)"
    ));
    // with fewer domains than asked for, none may have more than the skew
    let even = town(&[("a", of_app("w1", "web", &plain)), ("c", of_app("w2", "web", &plain))]);
    assert_eq!(answer(&web(&plain), &even), "b");
    assert!(answer(&web(&json!({"minDomains": 3})), &even).contains("spread constraints"));
    // only pods of the same revision are counted
    let keyed = web(&json!({"matchLabelKeys": ["rev"]}));
    let mut keyed = Pod::clone(&keyed);
    keyed.metadata.labels.as_mut().unwrap().insert("rev".into(), "2".into());
    assert_eq!(answer(&keyed, &one), "b");
}

#[test]
fn four_replicas_spread_evenly_over_two_nodes() {
    let mut snapshot = Snapshot::default();
    for name in ["a", "b"] {
        snapshot.put_node(placed(name, name));
    }
    for n in 0..4 {
        let pod = of_app(&format!("w{n}"), "web", &spread("web", "zone", &json!({})));
        let Plan::Bind(node) = plan(&pod, &snapshot) else { panic!("pod {n} has no node") };
        snapshot.assume(&pod, &node);
    }
    let pods: Vec<usize> = snapshot.seats.values().map(|seat| seat.pods.len()).collect();
    assert_eq!(pods, [2, 2]);
}

#[test]
fn a_more_important_pod_drives_away_those_that_keep_it_out() {
    let loner = far(&term("web", "zone"));
    let with_priority = |pod: Arc<Pod>, priority: i32| {
        let mut pod = Pod::clone(&pod);
        pod.spec.as_mut().unwrap().priority = Some(priority);
        Arc::new(pod)
    };
    let guard = with_priority(of_app("low", "loner", &loner), 1);
    let mut town = Snapshot::default();
    town.put_node(placed("a", "x"));
    town.assume(&guard, "a");
    let high = with_priority(of_app("high", "web", &json!({})), 5);
    assert_eq!(room(&high, &town, &[]), ("a".into(), vec!["low".into()], vec![]));
    let equal = with_priority(of_app("equal", "web", &json!({})), 1);
    assert!(answer(&equal, &town).contains("existing pods anti-affinity rules"));
}

fn rather(side: &str, weight: i64, term: &Value) -> Value {
    let preferred = json!([{"weight": weight, "podAffinityTerm": term}]);
    json!({"affinity": {side: {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}})
}

fn chosen(pod: &Pod, snapshot: &Snapshot) -> String {
    match plan(pod, snapshot) {
        Plan::Bind(node) => node,
        other @ Plan::Fail(_) => panic!("{other:?}"),
    }
}

#[test]
fn who_waits_for_room_keeps_others_away_before_it_is_there() {
    let mut here = town(&[]);
    let guard = of_app("high", "db", &far(&term("web", "zone")));
    let mut guard = Pod::clone(&guard);
    guard.spec.as_mut().unwrap().priority = Some(9);
    let guard = Arc::new(guard);
    let _nobody = here.nominate(&guard, Some("a"));
    let mut pinned = Pod::clone(&pod("w", "1", 0, Some("a")));
    pinned.metadata.labels = Some(Labels::from([("app".to_owned(), "web".to_owned())]));
    assert_eq!(
        answer(&pinned, &here),
        "0/4 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules, \
         3 node(s) didn't satisfy plugin(s) [NodeAffinity]"
    );
    pinned.spec.as_mut().unwrap().priority = Some(10);
    assert_eq!(chosen(&pinned, &here), "a", "its betters do not mind");
    pinned.spec.as_mut().unwrap().priority = Some(0);
    let _nobody = here.nominate(&guard, None);
    assert_eq!(chosen(&pinned, &here), "a", "it waits there no more");
}

#[test]
fn a_pod_goes_rather_to_those_it_likes_and_away_from_those_it_does_not() {
    let taken = [("c", of_app("w", "web", &json!({})))];
    let fan =
        of_app("f", "fan", &rather("podAffinity", 100, &term("web", "kubernetes.io/hostname")));
    assert_eq!(chosen(&fan, &town(&taken)), "c");
    let shy = of_app("f", "fan", &rather("podAntiAffinity", 100, &term("web", "zone")));
    let here = [("a", of_app("w", "web", &json!({}))), ("d", of_app("o", "other", &json!({})))];
    assert_eq!(chosen(&shy, &town(&here)), "c", "neither near the one nor where room is taken");
    // those who run have a say, too
    let host = of_app("h", "host", &rather("podAffinity", 100, &term("guest", "zone")));
    assert_eq!(chosen(&of_app("g", "guest", &json!({})), &town(&[("c", host)])), "c");
}

#[test]
fn a_spread_that_need_not_be_kept_is_kept_where_it_can_be() {
    let anyway = json!({"whenUnsatisfiable": "ScheduleAnyway"});
    let like = |name: &str| of_app(name, "web", &json!({}));
    let here = [("a", like("1")), ("a", like("2")), ("b", like("3")), ("c", like("4"))];
    let next = of_app("n", "web", &spread("web", "zone", &anyway));
    assert_eq!(chosen(&next, &town(&here)), "c");
    let only = [("a", "4")];
    assert_eq!(chosen(&next, &snapshot(&only, &[])), "a", "rather there than nowhere");
}
