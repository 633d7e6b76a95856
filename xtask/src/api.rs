//! Reads the cluster's API with curl and the administrator's certificate, where kubectl may be missing.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The API of one cluster.
#[derive(Debug)]
pub(crate) struct Api {
    url: String,
    files: PathBuf,
}

const APPLY: &str = "application/apply-patch+yaml";
const RBAC: &str = "apis/rbac.authorization.k8s.io/v1";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

impl Api {
    /// Reads a kubeconfig and puts its certificates, as files curl can read, into `files` (mode 0700).
    pub(crate) fn open(kubeconfig: &Path, files: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let text = std::fs::read_to_string(kubeconfig)
            .with_context(|| kubeconfig.display().to_string())?;
        let config: Value = serde_saphyr::from_str(&text)?;
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        std::fs::create_dir_all(files)?;
        std::fs::set_permissions(files, std::fs::Permissions::from_mode(0o700))?;
        for (name, value) in [
            ("ca", &cluster["certificate-authority-data"]),
            ("cert", &user["client-certificate-data"]),
            ("key", &user["client-key-data"]),
        ] {
            let data =
                value.as_str().with_context(|| format!("the kubeconfig has no embedded {name}"))?;
            std::fs::write(
                files.join(name),
                base64::engine::general_purpose::STANDARD.decode(data)?,
            )?;
        }
        let url = cluster["server"].as_str().context("the kubeconfig names no server")?;
        Ok(Self { url: url.to_owned(), files: files.to_owned() })
    }

    /// GET; the answer as JSON.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", path, "application/json", None)
    }

    /// POST of an object.
    pub(crate) fn post(&self, path: &str, object: &Value) -> Result<Value> {
        self.ask("POST", path, "application/json", Some(("application/json", &object.to_string())))
    }

    /// Server-side apply of an object; the path carries the field manager.
    pub(crate) fn patch(&self, path: &str, object: &Value) -> Result<Value> {
        self.ask("PATCH", path, "application/json", Some((APPLY, &object.to_string())))
    }

    /// DELETE.
    pub(crate) fn delete(&self, path: &str) -> Result<Value> {
        self.ask("DELETE", path, "application/json", None)
    }

    /// A curl command for a GET that the caller runs.
    pub(crate) fn command(&self, path: &str) -> std::process::Command {
        let mut command = std::process::Command::new("curl");
        command.args(["-sSN"]).args(self.credentials()).arg(format!("{}{path}", self.url));
        command
    }

    /// Server-side apply of a manifest of one or more documents, as the field manager `demo`.
    pub(crate) fn apply(&self, file: &Path) -> Result<()> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        for document in text.split("\n---") {
            let object: Value = serde_saphyr::from_str(document)?;
            let kind = object["kind"].as_str().unwrap_or_default();
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
            let (group, place) = match kind {
                "DaemonSet" => ("apis/apps/v1", format!("namespaces/{namespace}/daemonsets")),
                "ReplicaSet" => ("apis/apps/v1", format!("namespaces/{namespace}/replicasets")),
                "ConfigMap" => ("api/v1", format!("namespaces/{namespace}/configmaps")),
                "ServiceAccount" => ("api/v1", format!("namespaces/{namespace}/serviceaccounts")),
                "Namespace" => ("api/v1", "namespaces".to_owned()),
                "ClusterRole" => (RBAC, "clusterroles".to_owned()),
                "ClusterRoleBinding" => (RBAC, "clusterrolebindings".to_owned()),
                _ => bail!("{}: no path known for kind {kind:?}", file.display()),
            };
            let path = format!("/{group}/{place}/{name}?fieldManager=demo&force=true");
            self.patch(&path, &object)?;
        }
        Ok(())
    }

    /// The server's own table for a list, laid out as kubectl does.
    pub(crate) fn table(&self, path: &str, wide: bool, namespaces: bool) -> Result<String> {
        let table = self.ask("GET", path, TABLE, None)?;
        let empty = Vec::new();
        let columns = table["columnDefinitions"].as_array().unwrap_or(&empty);
        let keep: Vec<usize> = (0..columns.len())
            .filter(|i| wide || columns[*i]["priority"].as_i64() == Some(0))
            .collect();
        let mut rows: Vec<Vec<String>> = Vec::new();
        let title = |i: &usize| columns[*i]["name"].as_str().unwrap_or_default().to_uppercase();
        rows.push(
            namespaces
                .then(|| "NAMESPACE".to_owned())
                .into_iter()
                .chain(keep.iter().map(title))
                .collect(),
        );
        for row in table["rows"].as_array().unwrap_or(&empty) {
            let namespace = row["object"]["metadata"]["namespace"].as_str().unwrap_or_default();
            let cell = |i: &usize| match &row["cells"][*i] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            rows.push(
                namespaces
                    .then(|| namespace.to_owned())
                    .into_iter()
                    .chain(keep.iter().map(cell))
                    .collect(),
            );
        }
        Ok(lay_out(&rows))
    }

    fn credentials(&self) -> [String; 6] {
        let at = |name: &str| self.files.join(name).to_string_lossy().into_owned();
        ["--cacert".into(), at("ca"), "--cert".into(), at("cert"), "--key".into(), at("key")]
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        body: Option<(&str, &str)>,
    ) -> Result<Value> {
        let mut args =
            vec!["-sS".to_owned(), "--max-time".into(), "30".into(), "-X".into(), method.into()];
        args.extend(self.credentials());
        args.extend(["-H".into(), format!("Accept: {accept}")]);
        if let Some((kind, body)) = body {
            args.extend(["-H".into(), format!("Content-Type: {kind}")]);
            args.extend(["--data-binary".into(), body.to_owned()]);
        }
        args.push(format!("{}{path}", self.url));
        let text = crate::sh::run("curl", &args)?;
        let value: Value =
            serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))?;
        if value["kind"] == "Status" && value["status"] == "Failure" {
            bail!("{method} {path}: {}", value["message"].as_str().unwrap_or_default());
        }
        Ok(value)
    }
}

/// Columns padded to their widest cell and three blanks, as kubectl prints.
pub(crate) fn lay_out(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width: Vec<usize> = (0..columns)
        .map(|i| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(&width).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("   ").trim_end());
        text.push('\n');
    }
    text
}
