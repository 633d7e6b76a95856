//! The node's own figures, from the kernel's tables.

use super::{Cpu, Memories};
use jiff::Timestamp;
use std::fs;
use std::path::Path;

/// Nanoseconds of one tick in `/proc/stat`: the kernel shows hundredths of a second on every architecture we run on.
const TICK_NANOS: u64 = 10_000_000;

/// What the node uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct NodeUse {
    pub(super) name: String,
    pub(super) booted: Option<Timestamp>,
    pub(super) cpu: Cpu,
    pub(super) cpus: u64,
    pub(super) memory: Memories,
    pub(super) memory_total: u64,
    pub(super) memory_available: u64,
    /// Bytes of the disk below the agent's folder: all, free; then files: all, free.
    pub(super) disk: [u64; 4],
}

impl NodeUse {
    pub(super) fn read(name: String, root: &Path, now: Timestamp) -> Self {
        let table = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut found = Self::of(&table("/proc/stat"), &table("/proc/meminfo"), now);
        found.name = name;
        if let Ok(disk) = rustix::fs::statvfs(root) {
            found.disk = [
                disk.f_blocks * disk.f_frsize,
                disk.f_bavail * disk.f_frsize,
                disk.f_files,
                disk.f_ffree,
            ];
        }
        found
    }

    pub(super) fn of(stat: &str, meminfo: &str, now: Timestamp) -> Self {
        let at = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        let first = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
        let ticks: Vec<u64> =
            first.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already
        let busy: u64 = ticks
            .iter()
            .take(8)
            .enumerate()
            .filter(|(place, _)| ![3, 4].contains(place))
            .map(|(_, ticks)| ticks)
            .sum();
        let booted = stat.lines().find_map(|line| line.strip_prefix("btime "));
        let kib = |key: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0) * 1024
        };
        let total = kib("MemTotal");
        let usage = total.saturating_sub(kib("MemFree"));
        let is_cpu = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
        Self {
            booted: booted.and_then(|text| Timestamp::from_second(text.trim().parse().ok()?).ok()),
            cpu: Cpu { at, used: busy * TICK_NANOS, rate: None },
            cpus: stat.lines().filter(is_cpu).count() as u64,
            memory: Memories {
                at,
                usage,
                // as upstream counts: all but what the kernel can drop at once
                working_set: usage.saturating_sub(kib("Inactive(file)")),
                rss: kib("AnonPages"),
                ..Memories::default()
            },
            memory_total: total,
            memory_available: kib("MemAvailable"),
            ..Self::default()
        }
    }
}
