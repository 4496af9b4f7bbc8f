//! What the machine, or the part of it that burdock is given, has: memory and cores.

use std::path::{Component, Path};

use crate::limits::THREADS_MAX;

/// The memory burdock may use: the machine's, or the limit of its control group or of a parent of that,
/// whichever is least; 0 when nothing can be read. `root` is `/` outside tests.
///
/// Inside a container the limit stands in the topmost group. Under systemd's `MemoryMax=` it stands in the
/// unit's own group, and the topmost has none. So every group on the way is asked.
pub(super) fn memory_bytes(root: &Path) -> u64 {
    let machine = text(&root.join("proc/meminfo")).and_then(|meminfo| total_bytes(&meminfo)).unwrap_or(0);
    let groups = text(&root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| Hierarchy::of(line)?.limit(root));
    limits.fold(machine, u64::min)
}

/// Threads that the system lets run at once, by affinity and by control group.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

/// A tree of control groups that can limit memory, and where in it burdock is.
struct Hierarchy<'a> {
    mounted: &'static str,
    /// The file that has a group's limit.
    file: &'static str,
    group: &'a str,
}

impl<'a> Hierarchy<'a> {
    /// Reads a line `NUMBER:CONTROLLERS:GROUP` of `/proc/self/cgroup` (cgroups(7)); `None` when that
    /// hierarchy has nothing to do with memory. Version 2 names no controllers.
    fn of(line: &'a str) -> Option<Hierarchy<'a>> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        if controllers.is_empty() {
            return Some(Hierarchy { mounted: "sys/fs/cgroup", file: "memory.max", group });
        }
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        is_memory.then_some(Hierarchy {
            mounted: "sys/fs/cgroup/memory",
            file: "memory.limit_in_bytes",
            group,
        })
    }

    /// The least limit of the group and its parents. A group that is not mounted here (a container is shown
    /// the names of its host) has no file and counts as unlimited; the topmost is always there.
    fn limit(&self, root: &Path) -> Option<u64> {
        let top = root.join(self.mounted);
        let names = Path::new(self.group).components().filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        let mut group = top.clone();
        let groups = names.map(|name| {
            group.push(name);
            group.clone()
        });
        // `max` is no number, and no limit.
        let limit = |group: &Path| text(&group.join(self.file))?.trim().parse().ok();
        let limits: Vec<u64> = std::iter::once(top).chain(groups).filter_map(|group| limit(&group)).collect();
        limits.into_iter().min()
    }
}

fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// `MemTotal:       16384 kB` of `/proc/meminfo` (proc(5)).
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A root directory with these files, removed on drop.
    struct Root(PathBuf);

    impl Root {
        fn with(files: &[(&str, &str)]) -> Root {
            let number = fastrand::u64(..);
            let root = Root(std::env::temp_dir().join(format!("burdock-machine-{number:x}")));
            for (path, text) in files {
                let path = root.0.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            root
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       16384 kB\n");
    const WHOLE: u64 = 16384 * 1024;

    #[test]
    fn the_least_limit_on_the_way_to_the_top_counts() {
        const V2: (&str, &str) = ("proc/self/cgroup", "0::/system.slice/burdock.service\n");
        const V1: (&str, &str) = ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:hugetlb,memory:/a/b:c\n0::/\n");
        const AT_TOP: &str = "sys/fs/cgroup/memory.max";
        const OF_SLICE: &str = "sys/fs/cgroup/system.slice/memory.max";
        const OF_UNIT: &str = "sys/fs/cgroup/system.slice/burdock.service/memory.max";
        for (files, expected) in [
            (&[][..], WHOLE),
            (&[V2], WHOLE),
            // MemoryMax= of a unit; the root group has no such file.
            (&[V2, (OF_UNIT, "4096\n")], 4096),
            (&[V2, (OF_UNIT, "max\n"), (OF_SLICE, "8192\n")], 8192),
            (&[V2, (OF_UNIT, "4096\n"), (OF_SLICE, "8192\n")], 4096),
            // A container without a namespace of its own is shown its host's names, and one group is mounted.
            (&[V2, (AT_TOP, "2048\n")], 2048),
            (&[("proc/self/cgroup", "0::/\n"), (AT_TOP, "2048\n")], 2048),
            (&[("proc/self/cgroup", "0::/../../x\n"), (AT_TOP, "2048\n")], 2048),
            (&[V2, (OF_UNIT, "99999999999\n")], WHOLE),
            (&[V2, (OF_UNIT, "x"), (OF_SLICE, "")], WHOLE),
            // Version 1 writes a number near 2^63 where there is no limit.
            (&[V1, ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n")], WHOLE),
            (&[V1, ("sys/fs/cgroup/memory/a/b:c/memory.limit_in_bytes", "4096\n")], 4096),
            (&[V1, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n")], 4096),
            (&[V1, ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "4096\n")], WHOLE),
        ] {
            let root = Root::with(&[files, &[MEMINFO]].concat());
            assert_eq!(memory_bytes(&root.0), expected, "{files:?}");
        }
        assert_eq!(memory_bytes(Path::new("/nonexistent")), 0);
    }

    #[test]
    fn the_machine_has_memory_and_cores() {
        assert_eq!(total_bytes("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(WHOLE));
        assert_eq!(total_bytes("MemTotal: x kB"), None);
        assert_eq!(total_bytes(""), None);
        assert!(memory_bytes(Path::new("/")) > 0);
        assert!((1..=THREADS_MAX).contains(&cores()));
    }
}
