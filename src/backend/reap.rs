//! The end of a process that this one started: its status, by its pidfd.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::ladder::Death;

/// Reaps the process of `pidfd`, which has exited; from here on its ids are free for others. Never blocks:
/// the pidfd is non-blocking. `None` when the process has not exited after all, or was reaped by somebody
/// else.
pub(super) fn reap(pidfd: impl AsFd) -> Option<Death> {
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(status) => {
                let status = status?;
                let signal = status.terminating_signal().map(Death::Signal);
                return status.exit_status().map(Death::Status).or(signal);
            }
            Err(Errno::INTR) => {}
            Err(error) => {
                log::error!("a process cannot be reaped: {error}");
                return None;
            }
        }
    }
}
