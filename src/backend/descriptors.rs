//! Descriptor limits and inheritance.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit};

/// The limit burdock was started with, once [`raise_limit`] has changed it.
static ORIGINAL: OnceLock<Rlimit> = OnceLock::new();

/// The first descriptor after stdin, stdout and stderr.
const FIRST_OWN: libc::c_uint = 3;

/// Sets close-on-exec on every descriptor from 3 on, so that no child inherits what burdock's parent left
/// open. To be called first thing in `main`, before burdock opens anything: what burdock opens later has the
/// flag from the start. Without effect on Linux older than 5.11.
#[allow(unsafe_code)]
pub fn shut_inheritance() {
    // SAFETY: `close_range` takes three integers and touches no memory of this process. With
    // CLOSE_RANGE_CLOEXEC it closes nothing, so no owner of a descriptor is deprived of it.
    unsafe { libc::close_range(FIRST_OWN, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
}

/// Raises the soft descriptor limit to the hard one and returns it. Children get the original one back.
pub fn raise_limit() -> u64 {
    let original = *ORIGINAL.get_or_init(|| rustix::process::getrlimit(Resource::Nofile));
    let raised = Rlimit { current: original.maximum, maximum: original.maximum };
    let now = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(error) => {
            log::warn!("the descriptor limit could not be raised: {error}");
            original
        }
    };
    now.current.unwrap_or(u64::MAX)
}

/// Gives a process just started the descriptor limit that burdock was started with: programs that use
/// `select`, or that close "all" descriptors, rely on a small one. It is set from outside, because `pre_exec`
/// would force the slow fork path and run code in a copy of a process with threads. So the process lives its
/// first moments with the higher limit.
pub(super) fn restore_limit(pid: Pid) {
    if let Some(original) = ORIGINAL.get() {
        let _ = rustix::process::prlimit(Some(pid), Resource::Nofile, *original);
    }
}
