//! kubectl as people use it: the script beside this file, and a watch that outlives its server.

use crate::harness::{Place, kubectl};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Commands that the script has at least; the reader of a shorter one would be broken.
const COMMANDS_MIN: usize = 60;

/// Kinds that are served at least.
const KINDS_MIN: usize = 35;

/// How long a line of a watch may take.
const LINE_DEADLINE: Duration = Duration::from_secs(30);

/// What `kubectl edit` opens.
const EDITOR: &str = "#!/bin/sh\nsed -i 's/minReadySeconds: 7/minReadySeconds: 9/' \"$1\"\n";

/// One command and what it has to print.
struct Step<'a> {
    line: usize,
    arguments: &'a str,
    succeeds: bool,
    expected: Vec<&'a str>,
}

/// The steps of a script; its files are written into `folder`.
fn steps<'a>(script: &'a str, folder: &Path) -> Vec<Step<'a>> {
    let mut steps: Vec<Step<'a>> = Vec::new();
    let mut file: Option<(&str, String)> = None;
    let mut open = false;
    for (index, line) in script.lines().enumerate() {
        if let Some((name, mut text)) = file.take() {
            if line == "end" {
                std::fs::write(folder.join(name), text).unwrap();
            } else {
                text.push_str(line);
                text.push('\n');
                file = Some((name, text));
            }
        } else if let Some(name) = line.strip_prefix("file ") {
            file = Some((name, String::new()));
        } else if let Some(rest) = line.strip_prefix('$') {
            let (succeeds, arguments) = rest
                .strip_prefix("! ")
                .map_or_else(|| (true, rest.trim_start()), |rest| (false, rest));
            steps.push(Step { line: index + 1, arguments, succeeds, expected: Vec::new() });
            open = true;
        } else if line.is_empty() {
            open = false;
        } else if open && let Some(step) = steps.last_mut() {
            step.expected.push(line);
        }
    }
    steps
}

/// Whether a line is as the pattern says; `…` is anything.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether all lines are as the patterns say; a lone `…` is any number of lines.
fn all_fit(patterns: &[&str], lines: &[&str]) -> bool {
    match (patterns, lines) {
        ([], []) => true,
        (["…", later @ ..], _) => (0..=lines.len()).any(|skip| all_fit(later, &lines[skip..])),
        ([pattern, later @ ..], [line, rest @ ..]) => fits(pattern, line) && all_fit(later, rest),
        _ => false,
    }
}

#[test]
fn kubectl_does_what_people_expect_of_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let _server = place.start();
    let folder = tempfile::tempdir().unwrap();
    let editor = folder.path().join("editor.sh");
    std::fs::write(&editor, EDITOR).unwrap();
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o700)).unwrap();
    let steps = steps(include_str!("kubectl.script"), folder.path());
    assert!(steps.len() >= COMMANDS_MIN, "only {} commands", steps.len());
    let mut wrong = Vec::new();
    for step in &steps {
        let output = Command::new("sh")
            .args(["-c", &format!("exec kubectl {} 2>&1", step.arguments)])
            .current_dir(folder.path())
            .env("KUBECONFIG", place.file("admin.kubeconfig"))
            .env("HOME", folder.path())
            .env("KUBE_EDITOR", &editor)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let about_skew = "WARNING: version difference between client";
        let lines: Vec<&str> =
            said.lines().map(str::trim_end).filter(|line| !line.starts_with(about_skew)).collect();
        let as_expected = step.expected.is_empty() || all_fit(&step.expected, &lines);
        if output.status.success() != step.succeeds || !as_expected {
            wrong.push(format!("kubectl.script:{}: kubectl {}\n{said}", step.line, step.arguments));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), steps.len(), wrong.join("\n"));
}

#[test]
fn patterns_of_the_script_match_what_they_should() {
    assert!(fits("a…c", "abc") && fits("…", "") && fits("a…", "a") && fits("a", "a"));
    assert!(!fits("a", "ab") && !fits("a…c", "abd") && !fits("a…b…c", "acb"));
    assert!(all_fit(&["…", "x", "…"], &["a", "x"]) && !all_fit(&["x", "…"], &["a", "x"]));
}

/// What kubectl prints; it has to succeed.
fn said(place: &Place, arguments: &[&str]) -> String {
    let output = Command::new("kubectl")
        .args(arguments)
        .env("KUBECONFIG", place.file("admin.kubeconfig"))
        .env("HOME", place.data())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_kind_is_explained_with_all_its_fields() {
    let place = Place::new();
    let _server = place.start();
    let all = said(&place, &["api-resources", "--no-headers"]);
    let mut explained = 0;
    for line in all.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [plural, .., version, _, kind] = words.as_slice() else { panic!("{line}") };
        let text =
            said(&place, &["explain", plural, "--recursive", &format!("--api-version={version}")]);
        let (head, fields) = text.split_once("FIELDS:\n").unwrap_or((&text, ""));
        assert!(head.contains(&format!("KIND:       {kind}\n")), "{text}");
        let (_, description) = head.split_once("DESCRIPTION:\n").unwrap_or_default();
        let description = description.trim();
        assert!(!description.is_empty() && description != "<empty>", "{kind} says nothing: {text}");
        assert!(fields.contains("metadata\t<"), "{kind} has fields: {text}");
        explained += 1;
    }
    assert!(explained >= KINDS_MIN, "only {explained} kinds");
    // and one field in full, by the old document too
    for output in ["plaintext", "plaintext-openapiv2"] {
        let text = said(&place, &["explain", "pod.spec.containers.image", "--output", output]);
        assert!(text.contains("Container image name"), "{output}: {text}");
    }
}

/// A watch under way; ended with the value.
struct Watch {
    child: std::process::Child,
    lines: mpsc::Receiver<String>,
}

impl Watch {
    fn start(kubeconfig: &Path) -> Self {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["get", "configmaps", "-l", "watched", "-o", "name", "-w"])
            .env("HOME", kubeconfig.parent().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (say, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.take_while(|line| say.send(line.clone()).is_ok()).for_each(drop);
        });
        Self { child, lines }
    }

    /// The next line; `None` when the watch has ended.
    fn next(&self) -> Option<String> {
        let heard = self.lines.recv_timeout(LINE_DEADLINE);
        let silent = Err(mpsc::RecvTimeoutError::Timeout);
        assert_ne!(heard, silent, "the watch says nothing and does not end");
        heard.ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A watch ends with its server rather than hanging, and one begun anew shows what was and what comes.
#[test]
fn a_watch_ends_with_its_server_and_one_begun_anew_misses_nothing() {
    let place = Place::new();
    let server = place.start();
    let (port, kubeconfig) = (server.port(), place.file("admin.kubeconfig"));
    let make = |name: &str| {
        kubectl(&kubeconfig, &["create", "configmap", name]);
        kubectl(&kubeconfig, &["label", "configmap", name, "watched=yes"]);
    };
    make("before");
    let watch = Watch::start(&kubeconfig);
    assert_eq!(watch.next().as_deref(), Some("configmap/before"));
    make("during");
    assert_eq!(watch.next().as_deref(), Some("configmap/during"));
    server.end("-TERM");
    assert_eq!(watch.next(), None, "it ended");

    let _server = place.start_on(port);
    let watch = Watch::start(&kubeconfig);
    let mut there = [watch.next(), watch.next()];
    there.sort();
    let names = ["configmap/before", "configmap/during"].map(|name| Some(name.to_owned()));
    assert_eq!(there, names);
    make("after");
    assert_eq!(watch.next().as_deref(), Some("configmap/after"));
}
