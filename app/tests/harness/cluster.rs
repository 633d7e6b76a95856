//! A cluster of namespaces for one test, undone when it is dropped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The xtask binary that was built beside pernode.
pub(crate) fn xtask() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_pernode")).with_file_name("xtask");
    assert!(path.exists(), "{} is missing: cargo build --package xtask", path.display());
    path
}

/// A cluster; dropping it undoes it.
pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
}

impl Cluster {
    /// With more flags for `xtask cluster up`.
    pub(crate) fn up(nodes: usize, flags: &[&str]) -> Self {
        let dir =
            tempfile::Builder::new().prefix("pernode-e2e-").tempdir().expect("a temporary folder");
        let cluster = Self { dir };
        let nodes = nodes.to_string();
        let pernode = env!("CARGO_BIN_EXE_pernode");
        let first = ["cluster", "up", "--nodes", &nodes, "--pernode", pernode];
        cluster.xtask(&[&first[..], flags].concat());
        cluster
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("c")
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new(xtask()).args(args).arg("--dir").arg(self.path()).output().expect("xtask runs")
    }

    pub(crate) fn xtask(&self, args: &[&str]) {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "xtask {} failed:\n{}{}\n{}",
            args.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.logs()
        );
    }

    /// The ends of every log, for a failure's message.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        let mut files = vec![self.path().join("server.log")];
        let nodes = std::fs::read_dir(self.path().join("nodes"));
        for entry in nodes.into_iter().flatten().flatten() {
            files.extend(["init.log", "agent.log"].map(|name| entry.path().join(name)));
        }
        for file in files {
            let log = std::fs::read_to_string(&file).unwrap_or_default();
            let mut tail: Vec<&str> = log.lines().rev().take(25).collect();
            tail.reverse();
            text = format!("{text}--- {}\n{}\n", file.display(), tail.join("\n"));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.path().exists() {
            let output = self.run(&["cluster", "down"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() || std::thread::panicking(), "cluster down: {said}");
        }
    }
}
