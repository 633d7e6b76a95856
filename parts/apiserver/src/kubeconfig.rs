//! The text of a kubeconfig with everything inside it: CA, client certificate, client key.

use crate::pki::Pair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A kubeconfig for `user` at `server` (a URL). One cluster, one user, one context, all named after pernode.
pub fn render(server: &str, ca: &str, user: &str, pair: &Pair) -> String {
    let data = |text: &str| STANDARD.encode(text);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: pernode
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: pernode
  context:
    cluster: pernode
    user: {user}
current-context: pernode
",
        ca = data(ca),
        certificate = data(&pair.certificate),
        key = data(&pair.key),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_reads_as_yaml_and_holds_the_certificates() {
        let pair = Pair { certificate: "CERT\n".into(), key: "KEY\n".into() };
        let text = render("https://[::1]:6443", "CA\n", "kubernetes-admin", &pair);
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read["clusters"][0]["cluster"]["server"], "https://[::1]:6443");
        let key = read["users"][0]["user"]["client-key-data"].as_str().unwrap();
        assert_eq!(STANDARD.decode(key).unwrap(), b"KEY\n");
        assert_eq!(read["current-context"], read["contexts"][0]["name"]);
        assert_eq!(read["contexts"][0]["context"]["user"], read["users"][0]["name"]);
    }
}
