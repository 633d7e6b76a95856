//! The images that tests and the demo use: made from programs of this machine, under the names of the seeds.

use crate::image::Recipe;
use anyhow::{Context, Result};

/// One image of the test registry.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Registry host that manifests name (`docker.io`, `quay.io`, `registry.k8s.io`).
    pub(crate) host: &'static str,
    /// Repository at that host.
    pub(crate) repository: &'static str,
    /// Tag.
    pub(crate) tag: &'static str,
    make: fn() -> Result<Recipe>,
}

/// The sandbox image as containerd is told to use it.
pub(crate) const PAUSE: &str = "registry.k8s.io/pause:3.9";

/// Hosts that the nodes' containerd finds in the test registry.
pub(crate) const HOSTS: &[&str] = &["docker.io", "quay.io", "registry.k8s.io"];

/// Every image. `monitoring-agent` is a placeholder in the seeds: no such image is published anywhere. The
/// fluentd names stand for a small follower of the node's log folder.
pub(crate) const ALL: &[Entry] = &[
    Entry { host: "registry.k8s.io", repository: "pause", tag: "3.9", make: || Ok(pause()) },
    Entry {
        host: "docker.io",
        repository: "library/busybox",
        tag: "latest",
        make: || Ok(busybox()),
    },
    Entry { host: "docker.io", repository: "library/busybox", tag: "1.35", make: || Ok(busybox()) },
    Entry { host: "docker.io", repository: "library/busybox", tag: "1.36", make: || Ok(busybox()) },
    Entry {
        host: "docker.io",
        repository: "library/monitoring-agent",
        tag: "latest",
        make: || Ok(monitor()),
    },
    Entry {
        host: "docker.io",
        repository: "library/monitoring-agent",
        tag: "2",
        make: || Ok(monitor()),
    },
    Entry {
        host: "docker.io",
        repository: "fluent/fluentd",
        tag: "latest",
        make: || Ok(follower()),
    },
    Entry {
        host: "docker.io",
        repository: "library/fluentd",
        tag: "latest",
        make: || Ok(follower()),
    },
    Entry {
        host: "quay.io",
        repository: "fluentd_elasticsearch/fluentd",
        tag: "v5.0.1",
        make: || Ok(follower()),
    },
    Entry { host: "docker.io", repository: "curlimages/curl", tag: "8.0.0", make: curl },
    Entry {
        host: "docker.io",
        repository: "library/nobody",
        tag: "1.0",
        make: || Ok(Recipe { user: "65534:65534".into(), ..busybox() }),
    },
    Entry {
        host: "docker.io",
        repository: "library/nobody-by-name",
        tag: "1.0",
        make: || Ok(Recipe { user: "nobody".into(), ..busybox() }),
    },
    Entry { host: "docker.io", repository: "prom/node-exporter", tag: "latest", make: exporter },
    Entry { host: "docker.io", repository: "prom/node-exporter", tag: "v1.5.0", make: exporter },
];

/// What the daemons of `examples/full` need besides; pushed only where they run.
const FULL: &[Entry] = &[
    Entry { host: "docker.io", repository: "library/python", tag: "3.11-slim", make: python },
    Entry { host: "docker.io", repository: "pernode/network-installer", tag: "1", make: installer },
];

/// Packs and pushes everything. Repository paths carry the host they stand for (`docker.io/library/busybox`).
pub(crate) fn push_all(registry: &str) -> Result<()> {
    push(registry, ALL)
}

/// Packs and pushes what the daemons of `examples/full` need besides.
pub(crate) fn push_full(registry: &str) -> Result<()> {
    push(registry, FULL)
}

fn push(registry: &str, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        let repository = format!("{}/{}", entry.host, entry.repository);
        let mut recipe = (entry.make)()?;
        // every name has a digest of its own, so that the runtime can tell two tags apart
        let name = format!("{repository}:{}\n", entry.tag);
        recipe.texts.push(("/etc/image".into(), name, 0o644));
        recipe
            .pack()?
            .push(registry, &repository, entry.tag)
            .with_context(|| format!("pushing {repository}:{}", entry.tag))?;
    }
    Ok(())
}

/// Pushes busybox under one more name of docker.io.
pub(crate) fn push_busybox(registry: &str, repository: &str, tag: &str) -> Result<()> {
    busybox().pack()?.push(registry, &format!("docker.io/{repository}"), tag)
}

/// What busybox is called by in the images.
const APPLETS: &str = "sh sleep cat echo ls tail touch mkdir rm hostname ip id env ps wget nc httpd date true false test \
    stat mount umount head wc grep sed seq kill trap find sync cut printf dd df free uname sort chmod \
    chown ln readlink awk tr od cp mv timeout expr xargs tee sysctl netstat dirname basename pwd \
    mountpoint nslookup mkfifo du nproc tar stty sha256sum";

fn shell() -> Recipe {
    Recipe {
        files: vec![("/bin/busybox".into(), "/bin/busybox".to_owned())],
        links: APPLETS
            .split_whitespace()
            .map(|a| (format!("/bin/{a}"), "busybox".to_owned()))
            .collect(),
        texts: vec![
            (
                "/etc/passwd".into(),
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n".into(),
                0o644,
            ),
            ("/etc/group".into(), "root:x:0:\nnogroup:x:65534:\n".into(), 0o644),
        ],
        folders: vec![("/tmp".into(), 0o1777), ("/proc".into(), 0o555), ("/root".into(), 0o700)],
        ..Recipe::default()
    }
}

/// Waits for a signal and reaps what is reparented to it, as a sandbox's first process must when containers share
/// its process namespace.
fn pause() -> Recipe {
    let mut recipe = shell();
    recipe.texts.push((
        "/pause".into(),
        "#!/bin/sh\ntrap 'exit 0' TERM INT\nwhile :; do sleep 86400 & wait $!; done\n".into(),
        0o755,
    ));
    recipe.entrypoint = vec!["/pause".into()];
    recipe
}

fn busybox() -> Recipe {
    Recipe { command: vec!["sh".into()], ..shell() }
}

fn monitor() -> Recipe {
    let mut recipe = shell();
    recipe.texts.push((
        "/monitoring-agent".into(),
        "#!/bin/sh\ntrap 'exit 0' TERM INT\necho \"monitoring $(hostname)\"\nwhile :; do sleep 30 & wait $!; free | head -2 | tail -1; done\n".into(),
        0o755,
    ));
    recipe.entrypoint = vec!["/monitoring-agent".into()];
    recipe
}

/// Follows the plain files of /var/log as a log collector does, new ones included.
fn follower() -> Recipe {
    let mut recipe = shell();
    recipe.texts.push((
        "/follow".into(),
        concat!(
            "#!/bin/sh\n",
            "# Follows every plain file of the folder, and takes up files that appear later.\n",
            "folder=${1:-/var/log}\ntrap 'kill $(jobs -p) 2>/dev/null; exit 0' TERM INT\n",
            "echo \"following $folder on $(hostname)\"\nseen=' '\n",
            "while :; do\n  for file in \"$folder\"/*; do\n    [ -f \"$file\" ] || continue\n",
            "    case \"$seen\" in *\" $file \"*) continue ;; esac\n    seen=\"$seen$file \"\n",
            "    (tail -n +1 -f \"$file\" | while read -r line; do echo \"$file: $line\"; done) &\n  done\n  sleep 1 & wait $!\ndone\n"
        )
        .into(),
        0o755,
    ));
    recipe.entrypoint = vec!["/follow".into()];
    recipe
}

fn exporter() -> Result<Recipe> {
    let mut recipe = shell();
    recipe.add_program("/usr/bin/prometheus-node-exporter", "/bin/node_exporter")?;
    recipe.entrypoint = vec!["/bin/node_exporter".into()];
    Ok(recipe)
}

fn curl() -> Result<Recipe> {
    let mut recipe = shell();
    recipe.add_program("/usr/bin/curl", "/usr/bin/curl")?;
    Ok(recipe)
}

/// Debian's Python with the modules that the daemons of `examples/full` import, and what those import.
fn python() -> Result<Recipe> {
    const MODULES: &str = "import collections, email, encodings.idna, encodings.latin_1, glob, http.server, json, os, re, \
        signal, socketserver, ssl, subprocess, sys, threading, time, urllib.error, urllib.parse, urllib.request\n\
        for one in list(sys.modules.values()): print(getattr(one, '__file__', None) or '')";
    let mut recipe = shell();
    let real = std::fs::canonicalize("/usr/bin/python3").context("/usr/bin/python3")?;
    let real = real.to_string_lossy();
    recipe.add_program(&real, &real)?;
    let name = real.rsplit('/').next().unwrap_or_default().to_owned();
    recipe.links.push(("/usr/bin/python3".to_owned(), name));
    let listed = crate::sh::run("/usr/bin/python3", &["-I", "-c", MODULES])?;
    for path in listed.lines().filter(|path| path.starts_with('/')) {
        recipe.add_program(path, path)?;
    }
    let mut seen = std::collections::BTreeSet::new();
    recipe.files.retain(|(_, inside)| seen.insert(inside.clone()));
    Ok(recipe)
}

/// Installs a network plugin: `tuning` of the CNI project, under a name of its own.
fn installer() -> Result<Recipe> {
    let mut recipe = python()?;
    recipe.files.push(("/usr/lib/cni/tuning".into(), "/plugins/tuned".to_owned()));
    Ok(recipe)
}
