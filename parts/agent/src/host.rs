//! What this machine is and has.

use std::fs;
use std::path::Path;

/// Facts that do not change while the agent runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) cpus: u64,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) machine_id: String,
    pub(crate) system_uuid: String,
    pub(crate) boot_id: String,
    pub(crate) kernel: String,
    pub(crate) os_image: String,
    /// As Go names it.
    pub(crate) architecture: &'static str,
}

/// Facts that do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes of the disk below `--root-dir`.
    pub(crate) disk: u64,
    /// Bytes free there.
    pub(crate) disk_free: u64,
    /// Files that could still be made there, in hundredths of all.
    pub(crate) files_free_percent: u64,
    /// Bytes.
    pub(crate) memory_free: u64,
    /// Process ids, in hundredths of all.
    pub(crate) pids_free_percent: u64,
}

/// Eviction thresholds of upstream (spec E62): bytes of memory, hundredths of disk, of files, of process ids.
pub(crate) const MEMORY_LOW: u64 = 100 << 20;
/// Hundredths of the disk.
pub(crate) const DISK_LOW_PERCENT: u64 = 10;
/// Hundredths of the files.
pub(crate) const FILES_LOW_PERCENT: u64 = 5;
/// Hundredths of the process ids.
pub(crate) const PIDS_LOW_PERCENT: u64 = 5;

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The number after a key of `/proc/meminfo`, in bytes.
fn meminfo(text: &str, key: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let number = found.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// CPUs in a list such as `0-3,8`.
fn count_cpus(list: &str) -> u64 {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        Some(to.parse::<u64>().ok()?.checked_sub(from.parse().ok()?)? + 1)
    });
    ranges.sum()
}

fn os_image(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

impl Machine {
    /// Reads them.
    pub(crate) fn read() -> Self {
        let memory = meminfo(&line("/proc/meminfo"), "MemTotal");
        let uname = rustix::system::uname();
        Self {
            cpus: count_cpus(&line("/sys/devices/system/cpu/online")).max(1),
            memory,
            machine_id: line("/etc/machine-id"),
            system_uuid: line("/sys/class/dmi/id/product_uuid"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel: uname.release().to_string_lossy().into_owned(),
            os_image: os_image(&line("/etc/os-release")),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        }
    }
}

impl Room {
    /// Measures it.
    pub(crate) fn read(root: &Path) -> Self {
        let percent = |part: u64, whole: u64| (part * 100).checked_div(whole).unwrap_or(100);
        let mut room = Self {
            memory_free: meminfo(&line("/proc/meminfo"), "MemAvailable"),
            files_free_percent: 100,
            ..Self::default()
        };
        if let Ok(disk) = rustix::fs::statvfs(root) {
            room.disk = disk.f_blocks * disk.f_frsize;
            room.disk_free = disk.f_bavail * disk.f_frsize;
            room.files_free_percent = percent(disk.f_ffree, disk.f_files);
        }
        let most = line("/proc/sys/kernel/pid_max").parse().unwrap_or(0);
        // the fourth word of loadavg is "running/all"
        let load = line("/proc/loadavg");
        let used = load.split(' ').nth(3).and_then(|word| word.split('/').nth(1)?.parse().ok());
        room.pids_free_percent = percent(u64::saturating_sub(most, used.unwrap_or(0)), most);
        room
    }

    /// Part of the disk that is free, in hundredths.
    pub(crate) fn disk_free_percent(&self) -> u64 {
        self.disk_free.saturating_mul(100).checked_div(self.disk).unwrap_or(100)
    }
}

/// Whether the kernel enforces AppArmor profiles.
pub(crate) fn has_apparmor() -> bool {
    line("/sys/module/apparmor/parameters/enabled").starts_with('Y')
}

/// This host's name in lower case.
pub(crate) fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read() {
        assert_eq!(count_cpus("0-3,8\n"), 5);
        assert_eq!(count_cpus("0"), 1);
        assert_eq!(count_cpus(""), 0);
        assert_eq!(meminfo("MemTotal:       16 kB\nMemAvailable: 4 kB\n", "MemAvailable"), 4096);
        assert_eq!(os_image("ID=debian\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
    }

    #[test]
    fn this_machine_has_cpus_and_memory() {
        let machine = Machine::read();
        assert!(machine.cpus > 0 && machine.memory > 0 && !machine.kernel.is_empty());
    }
}
