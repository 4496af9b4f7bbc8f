//! From a command to a running process: its turn, program lookup, environment, pipes, and errors in words.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::Access;
use rustix::process::{Pid, PidfdFlags, Signal};
use smol::future::or;
use smol::lock::Semaphore;

use super::command::Command;
use super::{descriptors, mark};
use crate::foreign::Foreign;
use crate::limits::SPAWNS_MAX;
use crate::reactor::Source;

/// What a child inherits of burdock's environment.
const INHERITED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "TMPDIR"];
/// Where programs are looked up when nobody says.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// A running child and the ends of its pipes, all non-blocking.
#[derive(Debug)]
pub(super) struct Process {
    /// Which child of this run it is.
    pub(super) number: u64,
    /// Its process id, and that of its group. Stays its own until the child is reaped.
    pub(super) pid: Pid,
    /// Becomes readable when the process exits.
    pub(super) pidfd: Source<OwnedFd>,
    pub(super) stdin: Source<OwnedFd>,
    pub(super) stdout: Source<OwnedFd>,
    pub(super) stderr: Source<OwnedFd>,
}

/// Room for `SPAWNS_MAX` spawns. A crowd of sessions queues here, and does not fill the blocking pool.
static SPAWNS: Semaphore = Semaphore::new(SPAWNS_MAX);

/// The number of the next child of this run.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// Starts `command` when its turn comes; `None` when `given_up` completes before that.
///
/// # Errors
/// Why it could not be started, in words for the user.
pub(super) async fn in_turn(
    command: &Arc<Command>,
    given_up: impl Future<Output = ()>,
) -> Option<Result<Process, String>> {
    // `or` polls in this order: a child that is given up in the moment of its turn is not started.
    let permit = or(
        async {
            given_up.await;
            None
        },
        async { Some(SPAWNS.acquire().await) },
    )
    .await?;
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    let command = Arc::clone(command);
    let spawned = smol::unblock(move || spawn(&command, number)).await;
    drop(permit);
    Some(spawned)
}

/// Lets no process be started any more, and returns when the last spawn under way is done.
pub(super) async fn stop_spawning() {
    for _ in 0..SPAWNS_MAX {
        SPAWNS.acquire().await.forget();
    }
}

/// Starts `command` as child `number` of this run. Blocks: for the blocking pool.
///
/// # Errors
/// Why it could not be started, in words for the user.
fn spawn(command: &Command, number: u64) -> Result<Process, String> {
    let environment = environment(command, number).map_err(|error| format!("no random bits: {error}"))?;
    if let Some(cwd) = command.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
        return Err(format!("cwd does not exist or is not a directory: {}", shown(cwd)));
    }
    let path = environment.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let program = find_program(&command.program, command.cwd.as_deref(), path)?;
    // With an absolute path and without `pre_exec` the standard library takes `posix_spawn`, which neither
    // copies burdock's page tables nor runs code between fork and exec.
    let mut builder = std::process::Command::new(&program);
    builder.arg0(&command.program).args(&command.args).env_clear().envs(environment).process_group(0);
    builder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(cwd) = &command.cwd {
        builder.current_dir(cwd);
    }
    let child = builder.spawn().map_err(|error| refusal(&program, &error))?;
    adopt(child, number).map_err(|error| format!("cannot watch {}: {error}", shown(&program)))
}

/// The environment in order; later entries win.
fn environment(command: &Command, number: u64) -> io::Result<Vec<(OsString, OsString)>> {
    let inherited = INHERITED.iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let configured = command.env.iter().map(|(name, value)| (name.into(), value.into()));
    let mark = (OsString::from(mark::MARK_NAME), OsString::from(mark::mark(number)?));
    Ok(inherited.chain(configured).chain([mark]).collect())
}

/// Takes over a process that was just started. One that cannot be watched is killed and reaped here. The
/// standard library's `Child` is dropped here, which neither kills nor waits: from now on the pidfd stands
/// for the process.
fn adopt(mut child: Child, number: u64) -> io::Result<Process> {
    let pid = Pid::from_child(&child);
    descriptors::restore_limit(pid);
    match open(&mut child, pid) {
        Ok((pidfd, [stdin, stdout, stderr])) => Ok(Process { number, pid, pidfd, stdin, stdout, stderr }),
        Err(error) => {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
            Err(error)
        }
    }
}

fn open(child: &mut Child, pid: Pid) -> io::Result<(Source<OwnedFd>, [Source<OwnedFd>; 3])> {
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let missing = || io::Error::other("a pipe is missing");
    let pipes = [
        Source::new(child.stdin.take().ok_or_else(missing)?.into())?,
        Source::new(child.stdout.take().ok_or_else(missing)?.into())?,
        Source::new(child.stderr.take().ok_or_else(missing)?.into())?,
    ];
    Ok((Source::new(pidfd)?, pipes))
}

/// The absolute path of `program`: as a shell in `cwd` with this PATH would find it.
fn find_program(program: &str, cwd: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf, String> {
    let here = match cwd {
        Some(cwd) => std::path::absolute(cwd),
        None => std::env::current_dir(),
    };
    let here = here.map_err(|error| format!("the current directory cannot be read: {error}"))?;
    if program.contains('/') {
        let found = here.join(program);
        return match usable(&found) {
            Usable::Yes => Ok(found),
            Usable::Missing => Err(format!("command not found: {} does not exist", shown(&found))),
            Usable::NotExecutable => Err(format!("permission denied: {} is not executable", shown(&found))),
        };
    }
    let path = path.unwrap_or(OsStr::new(PATH_DEFAULT));
    let mut not_executable = None;
    for found in std::env::split_paths(path).map(|directory| here.join(directory).join(program)) {
        match usable(&found) {
            Usable::Yes => return Ok(found),
            Usable::Missing => {}
            Usable::NotExecutable => not_executable = Some(found),
        }
    }
    Err(match not_executable {
        Some(found) => format!("permission denied: {} is not executable", shown(&found)),
        None => format!("command not found: {} (looked in {})", shown(program), shown(path)),
    })
}

/// Whether a path can be run as a program.
enum Usable {
    Yes,
    Missing,
    NotExecutable,
}

fn usable(path: &Path) -> Usable {
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Usable::NotExecutable,
        Err(_) => Usable::Missing,
        Ok(metadata) if metadata.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok() => {
            Usable::Yes
        }
        Ok(_) => Usable::NotExecutable,
    }
}

/// Why a program that is there could not be started.
fn refusal(program: &Path, error: &io::Error) -> String {
    let program = shown(program);
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOENT) => {
            format!("cannot start {program}: the interpreter in its first line was not found")
        }
        Some(rustix::io::Errno::NOEXEC) => {
            format!("cannot start {program}: neither a program of this machine nor a script with a #! line")
        }
        Some(rustix::io::Errno::AGAIN) => format!("cannot start {program}: too many processes ({error})"),
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
            format!("cannot start {program}: too many open files ({error})")
        }
        _ => format!("cannot start {program}: {error}"),
    }
}

/// A path or name as it may appear in a message.
fn shown(text: impl AsRef<OsStr>) -> String {
    Foreign(text.as_ref().as_encoded_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(program: &str, path: &str) -> Result<PathBuf, String> {
        find_program(program, None, Some(OsStr::new(path)))
    }

    #[test]
    fn programs_are_found_on_the_given_path() {
        assert_eq!(find("sh", "/nowhere:/bin"), Ok(PathBuf::from("/bin/sh")));
        assert_eq!(find("/bin/sh", ""), Ok(PathBuf::from("/bin/sh")));
        assert_eq!(
            find_program("./sh", Some(Path::new("/bin")), None),
            Ok(PathBuf::from("/bin/./sh")),
            "relative to the child's directory"
        );
        assert!(find_program("sh", None, None).is_ok(), "there is a default");
    }

    #[test]
    fn what_is_missing_is_said_in_words() {
        let missing = find("no-such-program", "/bin:/usr/bin").unwrap_err();
        assert_eq!(missing, "command not found: no-such-program (looked in /bin:/usr/bin)");
        assert_eq!(find("/no/such", "").unwrap_err(), "command not found: /no/such does not exist");
        let plain = find("/etc/passwd", "").unwrap_err();
        assert_eq!(plain, "permission denied: /etc/passwd is not executable");
        assert_eq!(find("passwd", "/etc").unwrap_err(), plain);
        assert_eq!(find("/bin", "").unwrap_err(), "permission denied: /bin is not executable");
    }
}
