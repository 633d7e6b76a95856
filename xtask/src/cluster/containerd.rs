//! Configuration of a node's containerd and of its pod network.

use super::made::State;
use anyhow::Result;
use std::fmt::Write as _;
use std::path::Path;

/// Writes containerd's configuration below the node's folder; the path of the main file.
///
/// `restrict_oom_score_adj`: machines without CAP_SYS_RESOURCE refuse negative values, and sandboxes then fail.
pub(crate) fn write_config(state: &State, dir: &Path) -> Result<std::path::PathBuf> {
    let hosts = dir.join("certs.d");
    for host in crate::images::HOSTS {
        let folder = hosts.join(host);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(
            folder.join("hosts.toml"),
            format!(
                "server = \"https://{host}\"\n\n[host.\"http://{}/v2/{host}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n",
                state.registry()
            ),
        )?;
    }
    let mut text = String::new();
    writeln!(text, "version = 2")?;
    writeln!(text, "root = \"{}\"", dir.join("containerd").display())?;
    writeln!(text, "state = \"/run/containerd\"")?;
    writeln!(
        text,
        "disabled_plugins = [\"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.zfs\", \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.tracing.processor.v1.otlp\", \"io.containerd.internal.v1.tracing\"]"
    )?;
    writeln!(text, "[grpc]\n  address = \"/run/containerd/containerd.sock\"")?;
    writeln!(text, "[plugins.\"io.containerd.grpc.v1.cri\"]")?;
    writeln!(text, "  sandbox_image = \"{}\"", crate::images::PAUSE)?;
    writeln!(text, "  restrict_oom_score_adj = true")?;
    writeln!(
        text,
        "  [plugins.\"io.containerd.grpc.v1.cri\".cni]\n    bin_dir = \"/opt/cni/bin\"\n    conf_dir = \"/etc/cni/net.d\""
    )?;
    writeln!(
        text,
        "  [plugins.\"io.containerd.grpc.v1.cri\".registry]\n    config_path = \"{}\"",
        hosts.display()
    )?;
    writeln!(
        text,
        "  [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n    snapshotter = \"overlayfs\""
    )?;
    let file = dir.join("containerd.toml");
    std::fs::write(&file, text)?;
    Ok(file)
}

/// Writes the node's pod network, a bridge with the node's own subnet; its path.
pub(crate) fn write_cni(dir: &Path, subnet: &str) -> Result<std::path::PathBuf> {
    let list = serde_json::json!({
        "cniVersion": "0.4.0", "name": "pernode",
        "plugins": [
            { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
              "ipam": { "type": "host-local", "ranges": [[{ "subnet": subnet }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    std::fs::create_dir_all(dir)?;
    let path = dir.join("50-demo.conflist");
    std::fs::write(&path, serde_json::to_vec_pretty(&list)?)?;
    Ok(path)
}

/// Puts Debian's network plugins where CNI daemons put theirs: a node has one folder of them.
pub(crate) fn link_plugins(dir: &Path) -> Result<()> {
    for plugin in std::fs::read_dir("/usr/lib/cni")? {
        let plugin = plugin?;
        let link = dir.join(plugin.file_name());
        // a node that comes again finds its folder as it left it
        if !link.exists() {
            std::os::unix::fs::symlink(plugin.path(), link)?;
        }
    }
    Ok(())
}
