//! `cargo xtask walk`: does what the guide says against a running cluster, asserts each output, asks a second witness that
//! is not our API, and writes down what was seen.

mod daemons;
mod kills;
mod lives;
mod nodes;
mod rollouts;
mod room;
mod seeds;
mod shutdown;
mod streams;
mod tool;
mod trouble;
mod updates;
mod why;

use crate::cluster::State;
use crate::{say, sh, witness};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One chapter of the walk.
pub(crate) struct Chapter {
    /// Name on the command line.
    pub(crate) name: &'static str,
    title: &'static str,
    walk: fn(&mut Walk) -> Result<()>,
}

impl Chapter {
    const fn new(
        name: &'static str,
        title: &'static str,
        walk: fn(&mut Walk) -> Result<()>,
    ) -> Self {
        Self { name, title, walk }
    }
}

/// The chapters of the written walk, in order.
pub(crate) const CHAPTERS: &[Chapter] = &[
    Chapter::new("seeds", "The seeds' manifests, each in its turn", seeds::walk),
    Chapter::new("tool", "kubectl, unmodified", tool::walk),
    Chapter::new("nodes", "Nodes that change, join and leave", nodes::walk),
    Chapter::new("streams", "Logs, exec, copies, port-forward", streams::walk),
    Chapter::new("daemons", "What real clusters run on every node", daemons::walk),
    Chapter::new("room", "No room, and more important pods", room::walk),
    Chapter::new("updates", "Updates, history and undo", updates::walk),
    Chapter::new("why", "Why, and what would change", why::walk),
    Chapter::new("rollouts", "Rollouts that are disturbed", rollouts::walk),
    Chapter::new("trouble", "Trouble on a node", trouble::walk),
    Chapter::new("kills", "kill -9 of the server, of one agent, of all agents", kills::walk),
    Chapter::new("lives", "An agent killed at any moment", lives::walk),
    Chapter::new("shutdown", "A node that is shut down", shutdown::walk),
];

/// How long kubectl may wait. The longest wait by rule is that of a deleted node's pods: 40 s of quarantine and up to
/// 20 s to the next look (spec D20); three times that is for slow machines.
const TIMEOUT: &str = "--timeout=180s";

/// A walk under way.
pub(crate) struct Walk {
    pub(crate) state: State,
    text: String,
    /// Outputs that docs/explain.md shows, by the name of their place there.
    kept: Vec<(&'static str, String)>,
}

/// Walks the chapters named (all when none is), and writes the result to `out` where given.
pub(crate) fn run(dir: &Path, names: &[String], out: Option<&Path>) -> Result<()> {
    let mut walk = Walk { state: State::load(dir)?, text: String::new(), kept: Vec::new() };
    for name in names {
        if !CHAPTERS.iter().any(|c| c.name == name) {
            let known: Vec<_> = CHAPTERS.iter().map(|c| c.name).collect();
            bail!("no chapter {name:?}: {}", known.join(", "));
        }
    }
    let chosen: Vec<&Chapter> = if names.is_empty() {
        CHAPTERS.iter().collect()
    } else {
        CHAPTERS.iter().filter(|c| names.iter().any(|n| n == c.name)).collect()
    };
    walk.tell("The demo's own daemons go first, and come back at the end.");
    walk.kubectl(&["delete", "ds", "log-agent", "node-exporter", "--ignore-not-found"])?;
    walk.runs_on("default/", &[])?;
    for chapter in chosen {
        say(&format!("chapter: {}", chapter.title));
        writeln!(walk.text, "## {}\n", chapter.title)?;
        let begin = Instant::now();
        (chapter.walk)(&mut walk).with_context(|| format!("chapter {}", chapter.name))?;
        writeln!(walk.text, "*{} s for the chapter.*\n", begin.elapsed().as_secs())?;
        say(&format!("chapter {}: passed, {} s", chapter.name, begin.elapsed().as_secs()));
    }
    for file in ["log-agent.yaml", "node-exporter.yaml"] {
        let path = example(file)?.display().to_string();
        walk.kubectl(&["apply", "-f", &path])?;
    }
    if let Some(out) = out {
        std::fs::write(out, format!("{HEAD}{}", walk.text))?;
        let guide = crate::demo::repository()?.join("docs/explain.md");
        let mut text = std::fs::read_to_string(&guide)?;
        for (place, output) in &walk.kept {
            text = shown(&text, place, output)?;
        }
        std::fs::write(guide, text)?;
    }
    Ok(())
}

const HEAD: &str = "# A walk through a running cluster\n\nWritten by `cargo xtask walk` against the cluster of `make demo`: every command was \
run, every output was checked, and every action has a second witness that is not our API (the runtime's own list of containers, \
`/proc`, the node's files). Times are wall times on the machine that ran it; they are shown, not asserted.\n\n";

/// A document with the block of text after `<!-- walk: PLACE -->` replaced.
fn shown(document: &str, place: &str, output: &str) -> Result<String> {
    let mark = format!("<!-- walk: {place} -->\n```text\n");
    let (before, rest) = document
        .split_once(&mark)
        .with_context(|| format!("no place {place:?} in the document"))?;
    let (_, after) = rest.split_once("\n```\n").context("a block of text ends")?;
    Ok(format!("{before}{mark}{}\n```\n{after}", output.trim_end()))
}

impl Walk {
    /// Keeps a command and its output for docs/explain.md.
    fn keep(&mut self, place: &'static str, words: &[&str], output: &str) {
        self.kept.push((place, format!("$ pernode {}\n{output}", words.join(" "))));
    }

    /// Says what comes next.
    pub(crate) fn tell(&mut self, text: &str) {
        say(&format!("  {text}"));
        let _ = writeln!(self.text, "{text}\n");
    }

    /// Runs kubectl, which must succeed; its standard output.
    pub(crate) fn kubectl(&mut self, args: &[&str]) -> Result<String> {
        let (ok, text, took) = self.kubectl_raw(args)?;
        self.write_down(args, &text, took);
        if !ok {
            bail!("kubectl {} failed: {text}", args.join(" "));
        }
        Ok(text)
    }

    /// Runs kubectl, which must fail and say each of `words`.
    pub(crate) fn kubectl_fails(&mut self, args: &[&str], words: &[&str]) -> Result<()> {
        let (ok, text, took) = self.kubectl_raw(args)?;
        self.write_down(args, &text, took);
        if ok {
            bail!("kubectl {} succeeded: {text}", args.join(" "));
        }
        for word in words {
            check(text.contains(word), &format!("the error says {word:?}: {text}"))?;
        }
        Ok(())
    }

    /// Runs kubectl without writing it down; for probes.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<String> {
        let (ok, text, _) = self.kubectl_raw(args)?;
        if !ok {
            bail!("kubectl {} failed: {text}", args.join(" "));
        }
        Ok(text)
    }

    /// Waits for something, and writes down how long it took.
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut probe: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<Duration> {
        let took = sh::wait_until(what, sh::PATIENCE, || probe(self))?;
        let _ = writeln!(self.text, "- {what}: after {} ms\n", took.as_millis());
        Ok(took)
    }

    /// Waits until the runtimes of exactly the nodes named run one container of pods whose name begins so, and the others
    /// none: the witness for placement.
    pub(crate) fn runs_on(&mut self, pods: &str, nodes: &[&str]) -> Result<()> {
        let nodes: Vec<String> = nodes.iter().map(|n| (*n).to_owned()).collect();
        let what = format!(
            "the runtimes run `{pods}` on {}",
            if nodes.is_empty() { "no node".into() } else { nodes.join(", ") }
        );
        self.until(&what, |walk| {
            let counts = witness::count(&walk.state, pods)?;
            Ok(counts.iter().all(|(node, count)| *count == usize::from(nodes.contains(node))))
        })
        .map(drop)
    }

    /// Names of all nodes of the cluster.
    pub(crate) fn node_names(&self) -> Vec<String> {
        self.state.nodes.iter().map(|n| n.name.clone()).collect()
    }

    /// Waits until a DaemonSet's numbers are `desired current ready updated available`.
    pub(crate) fn numbers(&mut self, name: &str, wanted: [i64; 5]) -> Result<()> {
        let path = "{.status.desiredNumberScheduled} {.status.currentNumberScheduled} {.status.numberReady} {.status.updatedNumberScheduled} {.status.numberAvailable}";
        let what = format!("`{name}` DESIRED CURRENT READY UP-TO-DATE AVAILABLE = {wanted:?}");
        let (namespace, short) = name.split_once('/').unwrap_or(("default", name));
        let (namespace, short) = (namespace.to_owned(), short.to_owned());
        self.until(&what, |walk| {
            let text = walk.ask(&[
                "-n",
                &namespace,
                "get",
                "ds",
                &short,
                "-o",
                &format!("jsonpath={path}"),
            ])?;
            let seen: Vec<i64> = text.split(' ').map(|n| n.parse().unwrap_or(0)).collect();
            Ok(seen == wanted)
        })
        .map(drop)
    }

    fn kubectl_raw(&self, args: &[&str]) -> Result<(bool, String, Duration)> {
        let begin = Instant::now();
        let config = format!("--kubeconfig={}", self.state.kubeconfig().display());
        let output = sh::raw("kubectl", &[&[config.as_str()], args].concat())?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || text.is_empty() {
            text.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        Ok((output.status.success(), text, begin.elapsed()))
    }

    fn write_down(&mut self, args: &[&str], output: &str, took: Duration) {
        let root =
            crate::demo::repository().map(|r| format!("{}/", r.display())).unwrap_or_default();
        let quoted: Vec<String> = args
            .iter()
            .map(|a| a.replace(&root, ""))
            .map(|a| if a.contains([' ', '{', '"']) { format!("'{a}'") } else { a })
            .collect();
        self.write_down_shell(&format!("kubectl {}", quoted.join(" ")), output, took);
    }

    /// The same for a line of shell.
    fn write_down_shell(&mut self, line: &str, output: &str, took: Duration) {
        const LINES_SHOWN_MAX: usize = 30;
        let lines: Vec<&str> = output.lines().take(LINES_SHOWN_MAX).collect();
        let more = output.lines().count().saturating_sub(LINES_SHOWN_MAX);
        let own = self.state.dir.display().to_string();
        let line = line.replace(&own, "$DIR");
        let _ = writeln!(self.text, "```console\n$ {line}\n{}", lines.join("\n"));
        if more > 0 {
            let _ = writeln!(self.text, "... {more} more lines");
        }
        let _ = writeln!(self.text, "```\n({} ms)\n", took.as_millis());
    }
}

/// The repository's path of an example.
fn example(name: &str) -> Result<PathBuf> {
    Ok(crate::demo::repository()?.join("examples").join(name))
}

/// Asserts something; the text is the claim.
fn check(holds: bool, claim: &str) -> Result<()> {
    if !holds {
        bail!("not so: {claim}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_takes_the_place_of_the_one_before_and_nothing_else_changes() {
        let before = "a\n\n<!-- walk: x -->\n```text\nold\nold\n```\nb\n```text\nother\n```\n";
        let after = shown(before, "x", "new\n\n").expect("the place is there");
        assert_eq!(after, before.replace("old\nold", "new"));
        assert!(shown(before, "y", "new").is_err());
    }
}
