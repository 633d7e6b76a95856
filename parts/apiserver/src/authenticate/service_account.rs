//! Service account tokens: what they claim, and whether it still holds.
//!
//! A token is a signed statement about a service account and perhaps a pod, a secret or a node. It holds while all
//! of these are there with the uids that it names; that is looked up, so deleting any of them ends it.

use super::signing::{SigningKey, unverified};
use super::{Proven, secret_hash};
use crate::authorize::Lookup;
use crate::identity::{self, Identity};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a token that held is taken to hold without looking again, seconds. Upstream's
/// `TokenSuccessCacheTTL`.
const REMEMBERED_SECONDS: i64 = 10;

/// Tokens remembered at most: at about 1 KiB each 4 MiB. One more takes the place of the oldest, which costs its
/// next request a verification of some 50 µs.
const REMEMBERED_MAX: usize = 4096;

/// How far clocks may be apart, seconds: a token holds this long after its end and before its beginning, and
/// after the deletion of what it is bound to began. Upstream's `jwt.DefaultLeeway`.
const LEEWAY_SECONDS: i64 = 60;

/// An object that a token speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its uid; empty for a node that is not there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What the token says beside the registered claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// The service account's namespace.
    pub namespace: String,
    /// The node it is bound to, or on which its pod runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// The pod it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The secret it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The service account.
    pub serviceaccount: Reference,
    /// When its holder should have come for a new one, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// A token's claims; times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// For whom.
    pub aud: Vec<String>,
    /// Until when.
    pub exp: i64,
    /// Made when.
    pub iat: i64,
    /// By whom.
    pub iss: String,
    /// Its own id.
    pub jti: String,
    /// About whom.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Subject,
    /// From when.
    pub nbf: i64,
    /// The user name.
    pub sub: String,
}

/// Checks tokens of service accounts.
#[derive(Debug)]
pub struct ServiceAccountTokens {
    key: Arc<SigningKey>,
    issuer: String,
    lookup: Arc<dyn Lookup>,
    remembered: Mutex<BTreeMap<[u8; 32], Remembered>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    proven: Proven,
    until: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: RawMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMeta {
    uid: String,
    deletion_timestamp: Option<jiff::Timestamp>,
}

impl ServiceAccountTokens {
    /// Tokens of `issuer`, signed with `key`.
    pub fn new(key: Arc<SigningKey>, issuer: &str, lookup: Arc<dyn Lookup>) -> Self {
        Self { key, issuer: issuer.to_owned(), lookup, remembered: Mutex::default() }
    }

    /// Who holds a token, for which of the wanted audiences. `None` when it is no token of ours; the error says
    /// why one of ours does not hold, in upstream's words.
    pub(super) fn check(
        &self,
        token: &str,
        wanted: &[String],
        now: jiff::Timestamp,
    ) -> Option<Result<Proven, String>> {
        let claims: Claims = serde_json::from_slice(&unverified(token)?).ok()?;
        if claims.iss != self.issuer {
            return None;
        }
        let key = secret_hash(format!("{token} {}", wanted.join(" ")));
        let second = now.as_second();
        if let Some(found) = self.remembered.lock().get(&key)
            && second < found.until
        {
            return Some(Ok(found.proven.clone()));
        }
        let judged = self.judge(token, &claims, wanted, now);
        if let Ok(proven) = &judged {
            self.remember(key, proven, second);
        }
        Some(judged)
    }

    fn remember(&self, key: [u8; 32], proven: &Proven, second: i64) {
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, one| second < one.until);
        }
        if remembered.len() >= REMEMBERED_MAX
            && let Some(oldest) = remembered.iter().min_by_key(|(_, one)| one.until)
        {
            tracing::debug!(tokens = remembered.len(), "remembering fewer tokens than are used");
            let oldest = *oldest.0;
            remembered.remove(&oldest);
        }
        let until = second + REMEMBERED_SECONDS;
        remembered.insert(key, Remembered { proven: proven.clone(), until });
    }

    fn judge(
        &self,
        token: &str,
        claims: &Claims,
        wanted: &[String],
        now: jiff::Timestamp,
    ) -> Result<Proven, String> {
        self.key.verify(token)?;
        let audiences: Vec<String> =
            claims.aud.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
        if audiences.is_empty() {
            return Err(format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted(&claims.aud),
                quoted(wanted)
            ));
        }
        let second = now.as_second();
        if second - LEEWAY_SECONDS > claims.exp {
            return Err("service account token has expired".to_owned());
        }
        if second + LEEWAY_SECONDS < claims.nbf {
            return Err("service account token is not valid yet".to_owned());
        }
        self.still_there(&claims.kubernetes, second)?;
        Ok(Proven { identity: holder(claims), audiences })
    }

    /// Looks up all that the token speaks of.
    fn still_there(&self, subject: &Subject, second: i64) -> Result<(), String> {
        let namespace = subject.namespace.as_str();
        let account = &subject.serviceaccount;
        let found = self
            .find("/serviceaccounts", namespace, &account.name)
            .ok_or_else(|| format!("serviceaccounts {:?} not found", account.name))?;
        if is_gone(&found, second) {
            return Err(format!("service account {namespace}/{} has been deleted", account.name));
        }
        if found.uid != account.uid {
            return Err(format!(
                "service account UID ({}) does not match claim ({})",
                found.uid, account.uid
            ));
        }
        let secret = subject.secret.as_ref().map(|at| (at, "/secrets", namespace, "secret"));
        let pod = subject.pod.as_ref().map(|at| (at, "/pods", namespace, "pod"));
        // the node of a pod is told, not bound
        let node = subject.node.as_ref().filter(|_| pod.is_none());
        let node = node.map(|at| (at, "/nodes", "", "node"));
        for (at, collection, namespace, kind) in [secret, pod, node].into_iter().flatten() {
            let invalidated = || "service account token has been invalidated".to_owned();
            let found = self.find(collection, namespace, &at.name).ok_or_else(invalidated)?;
            if is_gone(&found, second) {
                return Err(invalidated());
            }
            if found.uid != at.uid {
                return Err(format!(
                    "{kind} UID ({}) does not match service account {kind} ref claim ({})",
                    found.uid, at.uid
                ));
            }
        }
        Ok(())
    }

    fn find(&self, collection: &str, namespace: &str, name: &str) -> Option<RawMeta> {
        let bytes = self.lookup.object(collection, namespace, name)?;
        serde_json::from_slice::<Raw>(&bytes).ok().map(|raw| raw.metadata)
    }
}

fn is_gone(object: &RawMeta, second: i64) -> bool {
    object.deletion_timestamp.is_some_and(|at| at.as_second() < second - LEEWAY_SECONDS)
}

/// `["a" "b"]`, as Go prints a list of texts.
fn quoted(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

fn holder(claims: &Claims) -> Identity {
    let subject = &claims.kubernetes;
    let mut identity =
        Identity::of_service_account(&subject.namespace, &subject.serviceaccount.name);
    identity.uid.clone_from(&subject.serviceaccount.uid);
    let mut say = |key: &str, value: &str| {
        if !value.is_empty() {
            let key = format!("authentication.kubernetes.io/{key}");
            identity.extra.insert(key, vec![value.to_owned()]);
        }
    };
    if !claims.jti.is_empty() {
        say("credential-id", &format!("JTI={}", claims.jti));
    }
    if let Some(pod) = &subject.pod {
        say("pod-name", &pod.name);
        say("pod-uid", &pod.uid);
    }
    if let Some(node) = &subject.node {
        say("node-name", &node.name);
        say("node-uid", &node.uid);
    }
    identity.groups.push(identity::AUTHENTICATED.to_owned());
    identity
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use serde_json::{Value, json};

    type Kept = Vec<(&'static str, Value)>;

    #[derive(Debug)]
    struct Objects(Mutex<Kept>);

    impl Lookup for Objects {
        fn object(&self, collection: &str, _: &str, name: &str) -> Option<Bytes> {
            let objects = self.0.lock();
            let found = objects
                .iter()
                .find(|(kept, object)| *kept == collection && object["metadata"]["name"] == *name);
            found.map(|(_, object)| Bytes::from(object.to_string()))
        }

        fn node_of_pod(&self, _: &str, _: &str) -> Option<String> {
            None
        }

        fn pods_of_node(&self, _: &str) -> Vec<(Arc<str>, Bytes)> {
            Vec::new()
        }
    }

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    fn named(name: &str, uid: &str) -> Reference {
        Reference { name: name.to_owned(), uid: uid.to_owned() }
    }

    fn claims() -> Claims {
        Claims {
            aud: vec!["api".to_owned()],
            exp: 4600,
            iat: 1000,
            iss: "me".to_owned(),
            jti: "j".to_owned(),
            kubernetes: Subject {
                namespace: "n".to_owned(),
                pod: Some(named("p", "p1")),
                node: Some(named("k", "")),
                serviceaccount: named("robot", "s1"),
                ..Subject::default()
            },
            nbf: 1000,
            sub: "system:serviceaccount:n:robot".to_owned(),
        }
    }

    fn world() -> (Arc<Objects>, Arc<SigningKey>, ServiceAccountTokens) {
        let objects = Arc::new(Objects(Mutex::new(vec![
            ("/serviceaccounts", json!({"metadata": {"name": "robot", "uid": "s1"}})),
            ("/pods", json!({"metadata": {"name": "p", "uid": "p1"}})),
        ])));
        let key = Arc::new(SigningKey::generate().unwrap());
        let lookup = Arc::<Objects>::clone(&objects) as Arc<dyn Lookup>;
        let tokens = ServiceAccountTokens::new(Arc::clone(&key), "me", lookup);
        (objects, key, tokens)
    }

    #[test]
    fn a_token_says_who_holds_it_and_for_whom_it_is() {
        let (_, key, tokens) = world();
        let token = key.sign(&claims()).unwrap();
        let proven = tokens.check(&token, &["api".to_owned()], at(1000)).unwrap().unwrap();
        assert_eq!(proven.identity.user, "system:serviceaccount:n:robot");
        assert_eq!(proven.identity.uid, "s1");
        let extra: Vec<(&str, &str)> =
            proven.identity.extra.iter().map(|(k, v)| (k.as_str(), v[0].as_str())).collect();
        assert_eq!(
            extra,
            [
                ("authentication.kubernetes.io/credential-id", "JTI=j"),
                ("authentication.kubernetes.io/node-name", "k"),
                ("authentication.kubernetes.io/pod-name", "p"),
                ("authentication.kubernetes.io/pod-uid", "p1"),
            ]
        );
        assert_eq!(
            tokens.check(&token, &["a".to_owned(), "b".to_owned()], at(1000)).unwrap(),
            Err("token audiences [\"api\"] is invalid for the target audiences [\"a\" \"b\"]"
                .to_owned())
        );
        let foreign = key.sign(&Claims { iss: "you".to_owned(), ..claims() }).unwrap();
        assert!(tokens.check(&foreign, &["api".to_owned()], at(1000)).is_none());
    }

    #[test]
    fn a_token_ends_with_its_time_and_with_what_it_is_bound_to() {
        let api = ["api".to_owned()];
        let judge = |change: &dyn Fn(&mut Kept), second: i64| {
            let (objects, key, tokens) = world();
            change(&mut objects.0.lock());
            let token = key.sign(&claims()).unwrap();
            tokens.check(&token, &api, at(second)).unwrap().map(|_| ())
        };
        let same: &dyn Fn(&mut Kept) = &|_| {};
        assert_eq!(judge(same, 4660), Ok(()));
        assert_eq!(judge(same, 4661), Err("service account token has expired".to_owned()));
        assert_eq!(judge(same, 939), Err("service account token is not valid yet".to_owned()));
        assert_eq!(
            judge(&|objects| drop(objects.remove(0)), 1000),
            Err("serviceaccounts \"robot\" not found".to_owned())
        );
        let invalidated = Err("service account token has been invalidated".to_owned());
        assert_eq!(judge(&|objects| drop(objects.remove(1)), 1000), invalidated);
        assert_eq!(
            judge(&|objects| objects[1].1["metadata"]["uid"] = json!("p2"), 1000),
            Err("pod UID (p2) does not match service account pod ref claim (p1)".to_owned())
        );
        let leaving = json!("1970-01-01T00:16:40Z");
        let leave = |objects: &mut Kept| {
            objects[1].1["metadata"]["deletionTimestamp"] = leaving.clone();
        };
        assert_eq!(judge(&leave, 1060), Ok(()), "a pod that ends may still speak for a minute");
        assert_eq!(judge(&leave, 1061), invalidated);
    }

    #[test]
    fn what_held_is_remembered_for_ten_seconds() {
        let (objects, key, tokens) = world();
        let token = key.sign(&claims()).unwrap();
        let api = ["api".to_owned()];
        let holds = |second| tokens.check(&token, &api, at(second)).unwrap().is_ok();
        assert!(holds(1000));
        objects.0.lock().clear();
        assert!(holds(1009));
        assert!(!holds(1010));
    }
}
