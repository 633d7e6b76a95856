//! Join tokens, `<id>.<secret>`, kept as Secrets `kube-system/bootstrap-token-<id>` so that deleting the Secret
//! takes the token back at once.

use super::{Tokens, same_secret};
use crate::authorize::Lookup;
use crate::identity::{self, Identity};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Characters before the dot.
const ID_LEN: usize = 6;
/// Characters after the dot.
const SECRET_LEN: usize = 16;
/// Type of the Secrets.
pub(crate) const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// Names of the Secrets are this and the token's id.
pub(crate) const SECRET_PREFIX: &str = "bootstrap-token-";
/// Where the Secrets live.
pub(crate) const NAMESPACE: &str = "kube-system";
/// Collection of Secrets in the records.
const COLLECTION: &str = "/secrets";
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Not secret: it names the Secret and the user `system:bootstrap:<id>`.
    pub id: String,
    /// The secret half.
    pub secret: String,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinToken({}.…)", self.id)
    }
}

impl std::fmt::Display for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

/// A text that is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a join token has the form [a-z0-9]{{6}}.[a-z0-9]{{16}}")]
pub struct NotAToken;

impl std::str::FromStr for JoinToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let (id, secret) = text.split_once('.').ok_or(NotAToken)?;
        let fits = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|b| ALPHABET.contains(&b))
        };
        if fits(id, ID_LEN) && fits(secret, SECRET_LEN) {
            Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
        } else {
            Err(NotAToken)
        }
    }
}

impl JoinToken {
    /// A new token out of `random`, a source of unpredictable bytes.
    pub fn generate(mut random: impl FnMut() -> u8) -> Self {
        let mut take = |len| -> String {
            let mut text = String::with_capacity(len);
            while text.len() < len {
                // 252 = 7 * 36: larger bytes would favour the first letters
                let byte = random();
                if byte < 252 {
                    text.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
                }
            }
            text
        };
        Self { id: take(ID_LEN), secret: take(SECRET_LEN) }
    }

    /// The Secret that makes the token hold.
    pub fn secret_object(&self) -> serde_json::Value {
        let data = |text: &str| STANDARD.encode(text);
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": format!("{SECRET_PREFIX}{}", self.id), "namespace": NAMESPACE},
            "type": SECRET_TYPE,
            "data": {
                "token-id": data(&self.id),
                "token-secret": data(&self.secret),
                "usage-bootstrap-authentication": data("true"),
                "description": data("lets agents join; made at the first start of pernode server"),
            }
        })
    }
}

/// Checks join tokens against the Secrets.
#[derive(Debug)]
pub(super) struct BootstrapTokens {
    lookup: Arc<dyn Lookup>,
}

#[derive(Debug, Deserialize)]
struct RawSecret {
    #[serde(default)]
    metadata: RawMeta,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMeta {
    deletion_timestamp: Option<String>,
}

impl BootstrapTokens {
    pub(super) fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup }
    }
}

impl Tokens for BootstrapTokens {
    fn check(&self, token: &str, now: jiff::Timestamp) -> Option<Identity> {
        let token: JoinToken = token.parse().ok()?;
        let name = format!("{SECRET_PREFIX}{}", token.id);
        holder(&self.lookup.object(COLLECTION, NAMESPACE, &name)?, &token, now)
    }
}

/// Who the holder of `token` is by its Secret; `None` when the Secret does not let them in.
pub(super) fn holder(secret: &[u8], token: &JoinToken, now: jiff::Timestamp) -> Option<Identity> {
    let secret: RawSecret = serde_json::from_slice(secret).ok()?;
    if secret.kind != SECRET_TYPE || secret.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let data = secret.data.unwrap_or_default();
    let value = |key: &str| -> Option<String> {
        String::from_utf8(STANDARD.decode(data.get(key)?).ok()?).ok()
    };
    let held = value("token-secret")?;
    if value("token-id")? != token.id || !same_secret(held.as_bytes(), token.secret.as_bytes()) {
        return None;
    }
    if value("usage-bootstrap-authentication").as_deref() != Some("true") {
        return None;
    }
    if data.contains_key("expiration") {
        // an expiration that cannot be read has passed, as upstream has it
        let until: jiff::Timestamp = value("expiration")?.parse().ok()?;
        if now >= until {
            return None;
        }
    }
    let extra = value("auth-extra-groups").unwrap_or_default();
    let mut groups = vec![identity::BOOTSTRAPPERS];
    for group in extra.split(',').map(str::trim).filter(|group| !group.is_empty()) {
        if !group.starts_with("system:bootstrappers:") {
            return None;
        }
        groups.push(group);
    }
    Some(Identity::new(&format!("system:bootstrap:{}", token.id), &groups))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[derive(Debug)]
    struct One(serde_json::Value);

    impl Lookup for One {
        fn object(&self, collection: &str, namespace: &str, name: &str) -> Option<Bytes> {
            let found = collection == COLLECTION
                && namespace == NAMESPACE
                && self.0["metadata"]["name"] == *name;
            found.then(|| Bytes::from(self.0.to_string()))
        }

        fn node_of_pod(&self, _: &str, _: &str) -> Option<String> {
            None
        }

        fn pods_of_node(&self, _: &str) -> Vec<(Arc<str>, Bytes)> {
            Vec::new()
        }
    }

    fn token() -> JoinToken {
        "abcdef.0123456789abcdef".parse().unwrap()
    }

    fn check(secret: serde_json::Value, text: &str) -> Option<Identity> {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        BootstrapTokens::new(Arc::new(One(secret))).check(text, now)
    }

    #[test]
    fn a_token_holds_while_its_secret_says_so() {
        let text = token().to_string();
        let found = check(token().secret_object(), &text).unwrap();
        assert_eq!(found.user, "system:bootstrap:abcdef");
        assert_eq!(found.groups, ["system:bootstrappers", "system:authenticated"]);

        let with = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut secret = token().secret_object();
            change(&mut secret);
            check(secret, &text)
        };
        let data = |key: &'static str, value: &'static str| {
            move |secret: &mut serde_json::Value| {
                secret["data"][key] = STANDARD.encode(value).into();
            }
        };
        assert!(with(&data("expiration", "2026-01-02T03:04:06Z")).is_some());
        assert!(with(&data("expiration", "2026-01-02T03:04:05Z")).is_none(), "just expired");
        assert!(with(&data("expiration", "soon")).is_none(), "unreadable");
        assert!(with(&data("usage-bootstrap-authentication", "false")).is_none());
        assert!(with(&data("token-secret", "0123456789abcdeX")).is_none());
        assert!(with(&data("token-id", "abcdeg")).is_none());
        assert!(with(&data("auth-extra-groups", "system:masters")).is_none(), "no way up");
        assert_eq!(
            with(&data("auth-extra-groups", "system:bootstrappers:edge")).unwrap().groups,
            ["system:bootstrappers", "system:bootstrappers:edge", "system:authenticated"]
        );
        assert!(with(&|secret| secret["type"] = "Opaque".into()).is_none());
        assert!(
            with(&|secret| secret["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into())
                .is_none()
        );
        assert!(check(token().secret_object(), "abcdef.0123456789abcdee").is_none());
        assert!(check(token().secret_object(), "abcdeg.0123456789abcdef").is_none());
    }

    #[test]
    fn made_tokens_have_the_form_and_use_every_byte_fairly() {
        let mut bytes = (0..=255_u8).cycle();
        for _ in 0..100 {
            let made = JoinToken::generate(|| bytes.next().unwrap());
            assert_eq!(made.to_string().parse::<JoinToken>().unwrap(), made);
        }
        for wrong in [
            "",
            "abcdef",
            "abcdef.",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123456789abcdef0",
            "abc-ef.0123456789abcdef",
        ] {
            assert_eq!(wrong.parse::<JoinToken>(), Err(NotAToken), "{wrong}");
        }
        assert!(!format!("{:?}", token()).contains("0123"), "logs never show the secret");
    }
}
