//! Tokens of service accounts, for the volumes that project them: fetched once, and again at 80 % of their life.

use crate::env::TokenKey;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

/// Part of a token's life, in hundredths, after which the next one is fetched (spec E54).
const REFRESH_AT: i128 = 80;
/// A token is never older than this, however long it is good (upstream's number).
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug)]
struct Held {
    token: String,
    refresh_at: Timestamp,
    expires_at: Timestamp,
}

/// Tokens in use: at most one for each projection of each pod on the node.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<BTreeMap<(String, TokenKey), Held>>);

/// What a pod's volumes want.
fn wanted(pod: &Pod) -> Vec<TokenKey> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let sources = volumes
        .filter_map(|volume| volume.projected.as_ref())
        .flat_map(|projected| projected.sources.iter().flatten())
        .filter_map(|source| source.service_account_token.as_ref());
    let mut keys: Vec<TokenKey> = sources.map(TokenKey::of).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// When a token of this life is to be replaced.
fn refresh_at(now: Timestamp, expires_at: Timestamp) -> Timestamp {
    let life = expires_at.duration_since(now).as_nanos().max(0);
    let age = (life * REFRESH_AT / 100).min(i128::try_from(AGE_MAX.as_nanos()).unwrap_or(life));
    let age = u64::try_from(age).unwrap_or(0);
    now.checked_add(Duration::from_nanos(age)).unwrap_or(expires_at)
}

impl Tokens {
    /// Every token that the pod's volumes want. One that cannot be renewed is used until it ends.
    pub(crate) async fn of(
        &self,
        client: &kube::Client,
        pod: &Pod,
        now: Timestamp,
    ) -> BTreeMap<TokenKey, Result<String, String>> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut tokens = BTreeMap::new();
        for key in wanted(pod) {
            let place = (uid.clone(), key.clone());
            let held = self.0.lock().get(&place).cloned();
            if let Some(held) = held.as_ref().filter(|held| now < held.refresh_at) {
                tokens.insert(key, Ok(held.token.clone()));
                continue;
            }
            let fetched = fetch(client, pod, &key).await;
            let token = match (fetched, held) {
                (Ok((token, expires_at)), _) => {
                    let refresh_at = refresh_at(now, expires_at);
                    let held = Held { token: token.clone(), refresh_at, expires_at };
                    self.0.lock().insert(place, held);
                    Ok(token)
                }
                (Err(_), Some(held)) if now < held.expires_at => Ok(held.token),
                (Err(problem), _) => Err(problem),
            };
            tokens.insert(key, token);
        }
        tokens
    }

    /// Forgets the tokens of a pod that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().retain(|(own, _), _| own != uid);
    }
}

async fn fetch(
    client: &kube::Client,
    pod: &Pod,
    key: &TokenKey,
) -> Result<(String, Timestamp), String> {
    let meta = &pod.metadata;
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let account = account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
    let namespace = meta.namespace.as_deref().unwrap_or("default");
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(key.audience.clone())
                .filter(|name| !name.is_empty())
                .map(|name| vec![name]),
            expiration_seconds: Some(key.seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: meta.name.clone(),
                uid: meta.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    };
    let answer = api.create_token_request(&account, &PostParams::default(), &request).await;
    let status = answer.map_err(|error| match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    })?;
    let status = status.status.unwrap_or_default();
    match (status.token, status.expiration_timestamp) {
        (Some(token), Some(end)) if !token.is_empty() => Ok((token, end.0)),
        _ => Err("the server answered without a token".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_replaced_at_four_fifths_of_its_life_and_at_least_daily() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let after = |seconds: u64| now.checked_add(Duration::from_secs(seconds)).unwrap();
        assert_eq!(refresh_at(now, after(3600)), after(2880));
        assert_eq!(refresh_at(now, after(86_400 * 30)), after(86_400));
        assert_eq!(refresh_at(now, now), now);
    }
}
