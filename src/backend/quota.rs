//! Quotas that Linux sets a process beside the machine's memory: control groups of version 1 or 2, as containers and
//! batch systems use them, and the address space (`ulimit -v`). Other systems have no such files, so there is no quota.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Bytes that this process may still take within its quotas; `None` without a quota.
pub(super) fn quota() -> Option<u64> {
    left(Path::new("/"))
}

/// Bytes left by the quotas in the file systems below `root`.
fn left(root: &Path) -> Option<u64> {
    let groups = read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = groups.lines().filter_map(|line| Group::of(root, line)).filter_map(|group| group.left());
    groups.chain(address_space(&root.join("proc/self"))).min()
}

/// A control group of this process that may bound its memory.
struct Group {
    /// The folder of the hierarchy's first group.
    top: PathBuf,
    /// Path from there to the process's own; each group on the way has a limit of its own.
    own: PathBuf,
    /// Files of the limit and of what is used, and the keys of caches that are given up when memory is short.
    names: [&'static str; 4],
}

impl Group {
    /// The group of a line of `/proc/self/cgroup`, `number:controllers:path`, if its hierarchy counts memory.
    fn of(root: &Path, line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let mounts = root.join("sys/fs/cgroup");
        let (top, names) = if controllers.split(',').any(|controller| controller == "memory") {
            let names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file"];
            (mounts.join("memory"), names)
        } else if controllers.is_empty() {
            let both = mounts.join("unified"); // where versions 1 and 2 are mounted side by side
            let top = if both.is_dir() { both } else { mounts };
            (top, ["memory.max", "memory.current", "inactive_file", "active_file"])
        } else {
            return None;
        };
        Some(Self { top, own: path.trim_start_matches('/').into(), names })
    }

    /// Bytes that the tightest group on the way leaves. In a container the path is often the host's, of which only the
    /// top is there to be read.
    fn left(&self) -> Option<u64> {
        self.own.ancestors().filter_map(|group| self.left_in(&self.top.join(group))).min()
    }

    fn left_in(&self, folder: &Path) -> Option<u64> {
        let [limit, used, caches @ ..] = self.names;
        let number = |file: &str| read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
        let limit = number(limit)?; // `max` is none
        let statistics = read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let cache: u64 = caches.iter().filter_map(|key| field(&statistics, key)).sum();
        Some(limit.saturating_sub(number(used)?.saturating_sub(cache)))
    }
}

/// Bytes of address space left to the process of the folder `process`.
fn address_space(process: &Path) -> Option<u64> {
    let limits = read_to_string(process.join("limits")).ok()?;
    let limit = field(&limits, "Max address space")?; // `unlimited` is none
    let taken = field(&read_to_string(process.join("status")).ok()?, "VmSize:")?;
    Some(limit.saturating_sub(taken << 10))
}

/// The number behind `key` in a text with a line for each key.
fn field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key).filter(|rest| rest.starts_with([' ', '\t'])))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left with these files below a root.
    fn left_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        left(root.path())
    }

    #[test]
    fn the_tightest_group_of_version_2_counts_without_its_caches() {
        let files = [
            ("proc/self/cgroup", "0::/user.slice/job.scope\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "9000\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "5000\n"),
            ("sys/fs/cgroup/user.slice/job.scope/memory.max", "6000\n"),
            ("sys/fs/cgroup/user.slice/job.scope/memory.current", "4000\n"),
            ("sys/fs/cgroup/user.slice/job.scope/memory.stat", "anon 3000\ninactive_file 700\nactive_file 300\n"),
        ];
        assert_eq!(left_with(&files), Some(3000));
        assert_eq!(left_with(&files[..3]), Some(4000));
        assert_eq!(left_with(&[files[0], ("sys/fs/cgroup/user.slice/memory.max", "max\n"), files[2]]), None);
        assert_eq!(left_with(&[]), None);
    }

    #[test]
    fn groups_of_version_1_count_where_a_container_sees_only_the_top() {
        let files = [
            ("proc/self/cgroup", "5:devices:/docker/1\n4:cpu,memory:/docker/1\n0::/docker/1\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "6000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "4000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 9\ntotal_inactive_file 500\ntotal_active_file 100\n"),
            ("sys/fs/cgroup/unified/cgroup.procs", "1\n"),
        ];
        assert_eq!(left_with(&files), Some(2600));
    }

    #[test]
    fn the_address_space_is_a_quota() {
        let limits = |limit| format!("Limit Soft Hard Units\nMax address space         {limit}  unlimited  bytes\n");
        let left =
            |limit| left_with(&[("proc/self/limits", &limits(limit)), ("proc/self/status", "VmSize:\t    3 kB\n")]);
        assert_eq!(left("4096"), Some(1024));
        assert_eq!(left("unlimited"), None);
    }
}
