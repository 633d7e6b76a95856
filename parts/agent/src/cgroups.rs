//! The control groups of pods: found as they are on this machine, made, limited and removed.

use crate::resources::{CPU_PERIOD, PodLimits};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How the kernel's control groups are mounted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Version 1 hierarchies: controllers (or `name=systemd`) and where they are.
    pub(crate) v1: Vec<(Vec<String>, PathBuf)>,
    /// The version 2 hierarchy.
    pub(crate) v2: Option<PathBuf>,
}

/// Controllers without which limits cannot be kept.
pub(crate) const NEEDED: &[&str] = &["cpu", "memory", "pids", "cpuset"];

impl Layout {
    /// Reads a table of mounts, as in `/proc/self/mounts`.
    pub(crate) fn parse(mounts: &str) -> Self {
        let mut layout = Self { v1: Vec::new(), v2: None };
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, place, kind, options, ..] = fields[..] else { continue };
            match kind {
                "cgroup2" if layout.v2.is_none() => layout.v2 = Some(PathBuf::from(place)),
                "cgroup" => {
                    let flags = ["rw", "ro", "relatime", "nosuid", "nodev", "noexec", "xattr"];
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|option| !flags.contains(option))
                        .map(str::to_owned)
                        .collect();
                    if !layout.v1.iter().any(|(known, _)| *known == controllers) {
                        layout.v1.push((controllers, PathBuf::from(place)));
                    }
                }
                _ => {}
            }
        }
        layout
    }

    /// This machine's.
    pub(crate) fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mounts")?))
    }

    /// `v1`, `v2`, `hybrid` or `none`.
    pub(crate) fn name(&self) -> &'static str {
        let has_v1 =
            self.v1.iter().any(|(list, _)| list.iter().any(|c| NEEDED.contains(&c.as_str())));
        match (has_v1, &self.v2) {
            (true, Some(_)) => "hybrid",
            (true, None) => "v1",
            (false, Some(_)) => "v2",
            (false, None) => "none",
        }
    }

    /// Controllers that can be used.
    pub(crate) fn controllers(&self) -> Vec<String> {
        let mut list: Vec<String> = self.v1.iter().flat_map(|(list, _)| list.clone()).collect();
        if let Some(root) = &self.v2 {
            let text = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
            list.extend(text.split_whitespace().map(str::to_owned));
        }
        list
    }

    fn v1_of(&self, controller: &str) -> Option<&Path> {
        let has = |(list, _): &&(Vec<String>, PathBuf)| list.iter().any(|one| one == controller);
        self.v1.iter().find(has).map(|(_, place)| place.as_path())
    }

    fn roots(&self) -> impl Iterator<Item = &Path> {
        self.v1.iter().map(|(_, place)| place.as_path()).chain(self.v2.as_deref())
    }

    fn is_v2_in_use(&self) -> bool {
        self.name() == "v2"
    }
}

/// A group's path without its leading slash.
fn relative(path: &str) -> &str {
    path.trim_matches('/')
}

/// Makes a pod's group with its limits. Repeating it is harmless.
pub(crate) fn make(layout: &Layout, path: &str, limits: &PodLimits) -> io::Result<()> {
    let relative = relative(path);
    if layout.is_v2_in_use() {
        let Some(root) = &layout.v2 else { return Ok(()) };
        make_v2(root, relative)?;
        return limit_v2(&root.join(relative), limits);
    }
    for (controllers, root) in &layout.v1 {
        let dir = root.join(relative);
        fs::create_dir_all(&dir)?;
        if controllers.iter().any(|one| one == "cpuset") {
            fill_cpuset(root, relative)?;
        }
    }
    if let Some(root) = layout.v1_of("cpu") {
        let dir = root.join(relative);
        fs::write(dir.join("cpu.shares"), limits.shares.to_string())?;
        if let Some(quota) = limits.quota {
            fs::write(dir.join("cpu.cfs_period_us"), CPU_PERIOD.to_string())?;
            fs::write(dir.join("cpu.cfs_quota_us"), quota.to_string())?;
        }
    }
    if let (Some(root), Some(pids)) = (layout.v1_of("pids"), limits.pids) {
        fs::write(root.join(relative).join("pids.max"), pids.to_string())?;
    }
    if let (Some(root), Some(memory)) = (layout.v1_of("memory"), limits.memory) {
        fs::write(root.join(relative).join("memory.limit_in_bytes"), memory.to_string())?;
    }
    Ok(())
}

/// A new cpuset group of version 1 is empty, and nothing can be started in it: every level takes its parent's values.
fn fill_cpuset(root: &Path, relative: &str) -> io::Result<()> {
    let mut above = root.to_path_buf();
    for part in relative.split('/') {
        let dir = above.join(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(dir.join(file))?.trim().is_empty() {
                let value = fs::read_to_string(above.join(file))?;
                fs::write(dir.join(file), value.trim())?;
            }
        }
        above = dir;
    }
    Ok(())
}

/// Hands every controller down, level by level.
fn make_v2(root: &Path, relative: &str) -> io::Result<()> {
    let mut dir = root.to_path_buf();
    for part in relative.split('/') {
        let known = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
        for controller in known.split_whitespace() {
            // some cannot be handed down on some machines; `--check` tells which are missing
            let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        dir = dir.join(part);
        fs::create_dir_all(&dir)?;
    }
    let known = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for controller in known.split_whitespace() {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    Ok(())
}

/// Weight of version 2 for shares of version 1; the mapping that every runtime uses.
fn weight(shares: i64) -> i64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn limit_v2(dir: &Path, limits: &PodLimits) -> io::Result<()> {
    let write = |file: &str, value: String| {
        let path = dir.join(file);
        if path.exists() { fs::write(path, value) } else { Ok(()) }
    };
    write("cpu.weight", weight(limits.shares).to_string())?;
    if let Some(quota) = limits.quota {
        write("cpu.max", format!("{quota} {CPU_PERIOD}"))?;
    }
    if let Some(pids) = limits.pids {
        write("pids.max", pids.to_string())?;
    }
    if let Some(memory) = limits.memory {
        write("memory.max", memory.to_string())?;
    }
    Ok(())
}

/// Removes a group with all below it, in every hierarchy. No error if there is none.
pub(crate) fn remove(layout: &Layout, path: &str) -> io::Result<()> {
    let relative = relative(path);
    if relative.is_empty() {
        return Ok(());
    }
    for root in layout.roots() {
        remove_tree(&root.join(relative))?;
    }
    Ok(())
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Ends every process in a group and below it, at once; how many there were. No error if there is none.
pub(crate) fn end(layout: &Layout, path: &str) -> usize {
    let relative = relative(path);
    if relative.is_empty() {
        return 0;
    }
    // the same processes are in every hierarchy
    let groups = layout.roots().map(|root| root.join(relative));
    let all = groups.map(|group| processes(&group)).find(|all| !all.is_empty()).unwrap_or_default();
    for process in &all {
        // one that has ended meanwhile is fine
        let _ = rustix::process::kill_process(*process, rustix::process::Signal::KILL);
    }
    all.len()
}

fn processes(group: &Path) -> Vec<rustix::process::Pid> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    // a process of another process namespace is shown as zero
    let numbers = text.lines().filter_map(|line| line.trim().parse().ok());
    let mut all: Vec<_> = numbers.filter_map(rustix::process::Pid::from_raw).collect();
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(processes(&entry.path()));
        }
    }
    all
}

/// Processes and threads in a group and below it; zero where the kernel does not count them.
pub(crate) fn pids(layout: &Layout, path: &str) -> u64 {
    let root = layout.v1_of("pids").or(layout.v2.as_deref());
    let file = root.map(|root| root.join(relative(path)).join("pids.current"));
    let text = file.and_then(|file| fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Bytes of memory in use in a group and below it; zero where the kernel does not count them.
pub(crate) fn memory(layout: &Layout, path: &str) -> u64 {
    let v1 = layout.v1_of("memory").map(|root| (root, "memory.usage_in_bytes"));
    let place = v1.or_else(|| layout.v2.as_deref().map(|root| (root, "memory.current")));
    let file = place.map(|(root, file)| root.join(relative(path)).join(file));
    let text = file.and_then(|file| fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The groups of pods below `root`: uid and path.
pub(crate) fn pods(layout: &Layout, root: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for hierarchy in layout.roots() {
        for entry in fs::read_dir(hierarchy.join(relative(root))).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(uid) = name.strip_prefix("pod") {
                found.insert(uid.to_owned(), pod_path(root, uid));
            }
        }
    }
    found
}

/// The group of one pod.
pub(crate) fn pod_path(root: &str, uid: &str) -> String {
    format!("/{}/pod{uid}", relative(root)).replace("//", "/")
}

/// The group of one pod where systemd owns the groups: it makes and removes it itself.
pub(crate) fn systemd_slice(uid: &str) -> String {
    format!("pernode-pod{}.slice", uid.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0";

    #[test]
    fn layouts_are_told_apart() {
        assert_eq!(Layout::parse(HYBRID).name(), "hybrid");
        assert_eq!(Layout::parse("c /sys/fs/cgroup cgroup2 rw 0 0").name(), "v2");
        assert_eq!(Layout::parse("c /c cgroup rw,nosuid,cpu,cpuacct 0 0").name(), "v1");
        assert_eq!(Layout::parse("tmpfs / tmpfs rw 0 0").name(), "none");
    }

    #[test]
    fn joined_controllers_share_a_place() {
        let layout = Layout::parse("c /c cgroup rw,nosuid,cpu,cpuacct 0 0");
        assert_eq!(layout.v1_of("cpuacct"), Some(Path::new("/c")));
    }

    #[test]
    fn a_group_with_its_children_is_removed_and_found_before() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { v1: Vec::new(), v2: Some(dir.path().to_path_buf()) };
        make(&layout, "/a/podu-1", &PodLimits::default()).unwrap();
        fs::create_dir_all(dir.path().join("a/podu-1/child")).unwrap();
        assert_eq!(pods(&layout, "/a").keys().collect::<Vec<_>>(), ["u-1"]);
        // a real hierarchy has no ordinary files; here the files that make() could write are absent
        let _ = fs::remove_file(dir.path().join("cgroup.subtree_control"));
        for file in ["a", "a/podu-1"] {
            let _ = fs::remove_file(dir.path().join(file).join("cgroup.subtree_control"));
        }
        remove(&layout, "/a/podu-1").unwrap();
        assert!(!dir.path().join("a/podu-1").exists());
        remove(&layout, "/a/podu-1").unwrap();
    }

    #[test]
    fn the_processes_of_a_group_are_found_at_every_depth_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { v1: Vec::new(), v2: Some(dir.path().to_path_buf()) };
        let group = dir.path().join("a/podu-1/container");
        fs::create_dir_all(&group).unwrap();
        let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(group.join("cgroup.procs"), format!("0\n{}\n", sleeper.id())).unwrap();
        assert_eq!((end(&layout, "/"), end(&layout, "/a/podu-2")), (0, 0));
        assert_eq!(end(&layout, "/a/podu-1"), 1);
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(sleeper.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn a_pod_may_have_so_many_processes_in_either_version() {
        let dir = tempfile::tempdir().unwrap();
        let limits = PodLimits { pids: Some(64), ..PodLimits::default() };
        let of = |name: &str| fs::read_to_string(dir.path().join(name).join("pids.max")).unwrap();
        let v1 = Layout { v1: vec![(vec!["pids".to_owned()], dir.path().to_path_buf())], v2: None };
        make(&v1, "/one", &limits).unwrap();
        assert_eq!(of("one"), "64");
        let v2 = Layout { v1: Vec::new(), v2: Some(dir.path().to_path_buf()) };
        fs::create_dir(dir.path().join("two")).unwrap();
        fs::write(dir.path().join("two/pids.max"), "max").unwrap();
        make(&v2, "/two", &limits).unwrap();
        assert_eq!(of("two"), "64");
    }

    #[test]
    fn weights_cover_the_whole_range() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }

    #[test]
    fn the_path_of_a_pod_has_single_slashes() {
        assert_eq!(pod_path("/", "u"), "/podu");
        assert_eq!(pod_path("/a/b/", "u"), "/a/b/podu");
    }
}
