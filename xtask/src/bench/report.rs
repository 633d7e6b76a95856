//! What was measured, as rows and as docs/benchmarks.md.

use anyhow::Result;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// One line of the table of real nodes.
#[derive(Debug)]
pub(super) struct Row {
    what: &'static str,
    aim: &'static str,
    middle: String,
    worst: String,
    how: &'static str,
}

impl Row {
    /// A figure that was taken once.
    pub(super) fn one(
        what: &'static str,
        aim: &'static str,
        figure: Result<String>,
        how: &'static str,
    ) -> Self {
        let middle = figure.unwrap_or_else(|error| failed(&error));
        crate::say(&format!("  {what}: {middle} (aim {aim})"));
        Self { what, aim, middle, worst: "-".to_owned(), how }
    }
}

fn failed(error: &anyhow::Error) -> String {
    let text = format!("failed: {error:#}").replace(['\n', '|'], " ");
    text.chars().take(200).collect()
}

/// The row of a time that was taken often.
pub(super) fn times(
    what: &'static str,
    aim: &'static str,
    samples: Result<Vec<Duration>>,
    how: &'static str,
) -> Row {
    let mut sorted = match samples {
        Ok(samples) => samples,
        Err(error) => return Row::one(what, aim, Err(error), how),
    };
    sorted.sort();
    let at = |share: usize| {
        let index = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).map_or_else(|| "-".to_owned(), |d| format!("{} ms", d.as_millis()))
    };
    let (middle, worst) = (at(50), at(99));
    crate::say(&format!("  {what}: p50 {middle}, p99 {worst} (aim {aim})"));
    Row { what, aim, middle, worst, how }
}

/// The rows below their headings.
pub(super) fn cells(rows: &[Row]) -> Vec<Vec<String>> {
    let head = ["what", "aim", "p50", "p99", "how"].map(str::to_owned).to_vec();
    let cells = |row: &Row| {
        vec![
            row.what.to_owned(),
            row.aim.to_owned(),
            row.middle.clone(),
            row.worst.clone(),
            row.how.to_owned(),
        ]
    };
    std::iter::once(head).chain(rows.iter().map(cells)).collect()
}

/// How busy the machine is, in its own words.
pub(super) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The lines of `pernode bench` as a table; what is no such line is kept as a remark.
pub(super) fn scale(printed: String) -> String {
    let mut text = String::from(
        "| nodes | all bound | pods a second | processor time a pod | 25 % rollout | one node joins | one label flips | memory |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut remarks = String::new();
    for line in printed.lines().filter(|line| !line.trim_start().starts_with("nodes ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [nodes, bound, rate, each, rollout, join, flip, memory, "MB"] = words.as_slice() {
            let row =
                [nodes, bound, rate, each, rollout, join, flip].map(|word| (*word).to_owned());
            let _ = writeln!(text, "| {} | {memory} MB |", row.join(" | "));
        } else if !words.is_empty() {
            let _ = writeln!(remarks, "\n{}", words.join(" "));
        }
    }
    text + &remarks
}

/// The lines of `pernode bench --requests`, which are rows of a table, below their headings.
pub(super) fn requests(printed: String) -> String {
    format!("| what | aim | figure | how |\n| --- | --- | --- | --- |\n{}\n", printed.trim_end())
}

fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if i == 0 {
            let _ = writeln!(text, "|{}", " --- |".repeat(row.len()));
        }
    }
    text
}

/// Writes the whole page.
pub(super) fn write(
    file: &Path,
    (scale, requests): (&str, &str),
    rows: &[Row],
    load: &str,
) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (times, rows) = (super::TIMES, table(&cells(rows)));
    let text = format!(
        "# Benchmarks\n\n\
         Written by `make bench`: the release build (`cargo build --release`) on {cores} cores, load average {load} before it began. \
         Figures stand beside the aims and are never asserted.\n\n\
         ## Scale\n\n\
         `pernode bench` runs a server with all its parts and pretend nodes in one process, over a store on disk. All pods are \
         those of one DaemonSet; \"bound\" counts what the store has acknowledged; processor time and memory are those of the \
         whole process, pretend nodes included. Aims: 3,000 pods a second created and bound; the same for each pod within 20 % \
         from 1,000 to 10,000 nodes; 100 MB at 5,000 nodes; one node that joins and one label that flips cost the same \
         however many nodes there are. For comparison, Kubernetes 1.36.2 with raised client limits on 2 cores: 91 pods a \
         second, 18 ms of processor time for each, 1.5 GB at 5,000 nodes.\n\n\
         {scale}\n\
         ## Requests\n\n\
         `pernode bench --requests`: the API server alone, over a store on disk, asked in its own process without sockets. A \
         write counts when it is durable.\n\n\
         {requests}\n\
         ## Real nodes\n\n\
         Three nodes that are namespaces of this machine, each with its own containerd; {times} repetitions unless said \
         otherwise. For comparison on 2 cores: Kubernetes 1.36 needs 1.7 s to ready and 590 MiB for its control plane with 300 \
         nodes; its kubelet takes 80–88 MiB and shows a bound pod (image present) Running after 240 ms p50. Of the time \
         from bound to Running, containerd's own three calls (sandbox, create, start) took about nine tenths where they were \
         told apart by its log.\n\n\
         {rows}"
    );
    Ok(std::fs::write(file, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_bench_become_a_table_and_other_lines_remarks() {
        let printed = "nodes  all bound    pods/s\n 1000     1.20s       833    1.10ms       2.10s       1.10s      54.27ms   139 MB\nfailed: why\n";
        let text = scale(printed.to_owned());
        assert!(
            text.contains(
                "| 1000 | 1.20s | 833 | 1.10ms | 2.10s | 1.10s | 54.27ms | 139 MB |\n\nfailed: why"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_measurement_that_fails_is_a_row() {
        let row = times("x", "-", Err(anyhow::anyhow!("a | b\nc")), "how");
        assert_eq!(row.middle, "failed: a   b c");
        let row = times("x", "-", Ok((1..=50).map(Duration::from_millis).collect()), "how");
        assert_eq!((row.middle.as_str(), row.worst.as_str()), ("26 ms", "50 ms"));
    }
}
