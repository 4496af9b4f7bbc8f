//! Checks whether a server's program can be run: a misspelled one is told at start, not to the first client.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::args::Environment;
use crate::backend::command::Command;

/// Where the system looks when there is no PATH at all (execvp(3)).
const PATH_WHEN_UNSET: &str = "/bin:/usr/bin";

/// Checks that the command's program is there and executable, as the child will look for it.
///
/// # Errors
/// What is missing and where it was looked for, in words for the user.
pub(super) fn check(command: &Command, environment: &Environment) -> Result<(), String> {
    let program = command.program.as_str();
    if program.contains('/') {
        let path = in_directory(command.cwd.as_deref(), Path::new(program));
        return check_path(&path);
    }
    let own = command.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str());
    let search = own.or(environment.get("PATH").map(String::as_str)).unwrap_or(PATH_WHEN_UNSET);
    let found = search.split(':').any(|directory| {
        let directory = in_directory(command.cwd.as_deref(), Path::new(directory));
        is_executable(&directory.join(program))
    });
    if found { Ok(()) } else { Err(format!("there is no program {program} in PATH ({search})")) }
}

/// `path` as seen from a child's working directory.
fn in_directory(directory: Option<&Path>, path: &Path) -> PathBuf {
    match directory {
        Some(directory) => directory.join(path),
        None if path.as_os_str().is_empty() => PathBuf::from("."),
        None => path.to_owned(),
    }
}

fn check_path(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(error) => Err(format!("the program {shown} {}", crate::small_file::why(&error))),
        Ok(metadata) if metadata.is_dir() => Err(format!("the program {shown} is a directory")),
        Ok(_) if !is_executable(path) => {
            Err(format!("the program {shown} is not executable; chmod +x {shown} makes it so"))
        }
        Ok(_) => Ok(()),
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(program: &str, env: &[(&str, &str)], cwd: Option<&str>) -> Command {
        Command {
            program: program.to_owned(),
            args: Vec::new(),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            cwd: cwd.map(PathBuf::from),
            term_grace: std::time::Duration::ZERO,
        }
    }

    #[test]
    fn looks_where_the_child_will_look() {
        let path = Environment::from([("PATH".to_owned(), "/nonexistent:/bin".to_owned())]);
        let nowhere = Environment::from([("PATH".to_owned(), "/nonexistent".to_owned())]);
        for (command, environment, expected) in [
            (command("sh", &[], None), &path, None),
            (command("sh", &[], None), &nowhere, Some("there is no program sh in PATH (/nonexistent)")),
            (command("sh", &[("PATH", "/bin")], None), &nowhere, None),
            (command("sh", &[("PATH", "/x")], None), &path, Some("there is no program sh in PATH (/x)")),
            (command("sh", &[], None), &Environment::new(), None),
            (command("/bin/sh", &[], None), &nowhere, None),
            (command("bin/sh", &[], Some("/")), &nowhere, None),
            (command("/nonexistent", &[], None), &path, Some("the program /nonexistent does not exist")),
            (
                command("/etc/passwd", &[], None),
                &path,
                Some("the program /etc/passwd is not executable; chmod +x /etc/passwd makes it so"),
            ),
            (command("/bin", &[], None), &path, Some("the program /bin is a directory")),
        ] {
            assert_eq!(check(&command, environment).err().as_deref(), expected, "{}", command.program);
        }
    }
}
