//! Packs files of this machine into OCI images and pushes them to a registry, so that tests need no internet.
//!
//! An image here is one gzip layer, one config and one manifest, pushed by the registry's own HTTP API.

use anyhow::{Context, Result, bail};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What becomes an image.
#[derive(Debug, Default)]
pub(crate) struct Recipe {
    /// Files: where on this machine, where in the image (absolute), executable or not.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// Small files given by their content: path in the image, content, mode.
    pub(crate) texts: Vec<(String, String, u32)>,
    /// Symbolic links: path in the image, target.
    pub(crate) links: Vec<(String, String)>,
    /// Empty folders, with mode.
    pub(crate) folders: Vec<(String, u32)>,
    /// Entrypoint.
    pub(crate) entrypoint: Vec<String>,
    /// Command.
    pub(crate) command: Vec<String>,
    /// User, empty for root.
    pub(crate) user: String,
}

/// A packed image: blobs by digest, and the manifest.
#[derive(Debug)]
pub(crate) struct Image {
    blobs: Vec<(String, Vec<u8>)>,
    manifest: Vec<u8>,
}

const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

impl Recipe {
    /// Adds a program and the shared libraries that `ldd` names for it.
    pub(crate) fn add_program(&mut self, path: &str, inside: &str) -> Result<()> {
        self.files.push((PathBuf::from(path), inside.to_owned()));
        if Path::new(path).extension().is_some_and(|ext| ext == "py") {
            return Ok(());
        }
        let listing = crate::sh::raw("ldd", &[path])?;
        for line in String::from_utf8_lossy(&listing.stdout).lines() {
            let library = match line.split_once("=>") {
                Some((_, right)) => right.split_whitespace().next(),
                None => line.split_whitespace().next(),
            };
            if let Some(library) = library.filter(|l| l.starts_with('/')) {
                self.files.push((PathBuf::from(library), library.to_owned()));
            }
        }
        Ok(())
    }

    /// Packs it. The same input gives the same digests.
    pub(crate) fn pack(&self) -> Result<Image> {
        let tar = self.tar()?;
        let diff_id = digest(&tar);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar)?;
        let layer = gzip.finish()?;
        let config = serde_json::to_vec(&serde_json::json!({
            "architecture": architecture()?, "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": self.entrypoint, "Cmd": self.command, "WorkingDir": "/",
                "User": self.user,
            },
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        }))?;
        let (config_digest, layer_digest) = (digest(&config), digest(&layer));
        let manifest = serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": { "mediaType": CONFIG_TYPE, "size": config.len(), "digest": config_digest },
            "layers": [{ "mediaType": LAYER_TYPE, "size": layer.len(), "digest": layer_digest }],
        }))?;
        Ok(Image { blobs: vec![(config_digest, config), (layer_digest, layer)], manifest })
    }

    fn tar(&self) -> Result<Vec<u8>> {
        let mut builder = tar::Builder::new(Vec::new());
        builder.follow_symlinks(true);
        let mut folders = BTreeSet::new();
        let parents = |path: &str| -> Vec<String> {
            Path::new(path)
                .ancestors()
                .skip(1)
                .filter_map(|p| p.to_str())
                .map(|p| p.trim_matches('/').to_owned())
                .filter(|p| !p.is_empty())
                .collect()
        };
        for path in self
            .files
            .iter()
            .map(|(_, inside)| inside)
            .chain(self.texts.iter().map(|(path, ..)| path))
            .chain(self.links.iter().map(|(path, _)| path))
        {
            folders.extend(parents(path).into_iter().map(|p| (p, 0o755)));
        }
        for (path, mode) in &self.folders {
            folders.extend(parents(path).into_iter().map(|p| (p, 0o755)));
            folders.insert((path.trim_matches('/').to_owned(), *mode));
        }
        for (folder, mode) in &folders {
            let mut header = head(tar::EntryType::Directory, *mode, 0);
            builder.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
        }
        for (outside, inside) in &self.files {
            let bytes = std::fs::read(outside).with_context(|| outside.display().to_string())?;
            let mut header = head(tar::EntryType::Regular, 0o755, bytes.len() as u64);
            builder.append_data(&mut header, inside.trim_start_matches('/'), bytes.as_slice())?;
        }
        for (path, text, mode) in &self.texts {
            let mut header = head(tar::EntryType::Regular, *mode, text.len() as u64);
            builder.append_data(&mut header, path.trim_start_matches('/'), text.as_bytes())?;
        }
        for (path, target) in &self.links {
            let mut header = head(tar::EntryType::Symlink, 0o777, 0);
            builder.append_link(&mut header, path.trim_start_matches('/'), target)?;
        }
        Ok(builder.into_inner()?)
    }
}

impl Image {
    /// Pushes the image as `host:port/repository:tag`.
    pub(crate) fn push(&self, registry: &str, repository: &str, tag: &str) -> Result<()> {
        let base = format!("http://{registry}/v2/{repository}");
        for (digest, blob) in &self.blobs {
            let start = ureq::post(format!("{base}/blobs/uploads/"))
                .send_empty()
                .with_context(|| format!("starting an upload to {base}"))?;
            let Some(place) = start.headers().get("location").and_then(|l| l.to_str().ok()) else {
                bail!("the registry at {registry} named no upload location");
            };
            let place = if place.starts_with('/') {
                format!("http://{registry}{place}")
            } else {
                place.to_owned()
            };
            let join = if place.contains('?') { '&' } else { '?' };
            ureq::put(format!("{place}{join}digest={digest}"))
                .header("content-type", "application/octet-stream")
                .send(blob.as_slice())
                .with_context(|| format!("uploading {digest} to {base}"))?;
        }
        ureq::put(format!("{base}/manifests/{tag}"))
            .header("content-type", MANIFEST_TYPE)
            .send(self.manifest.as_slice())
            .with_context(|| format!("uploading the manifest of {base}:{tag}"))?;
        Ok(())
    }
}

fn head(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header
}

fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    let hex: Vec<String> = sum.iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no image architecture known for {other}"),
    }
}
