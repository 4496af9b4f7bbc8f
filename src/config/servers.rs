//! What is served: the command after `--`, the servers of a file, or the demo.

use std::path::Path;
use std::sync::Arc;

use super::args::{Environment, Typed};
use super::error::Error;
use super::flags::Flag;
use super::json::Document;
use super::settings::{Launch, ServerConfig};
use super::{file, program, server_name};
use crate::backend::command::Command;
use crate::limits::{CHILD_START_DEADLINE, CHILD_TERM_GRACE};
use crate::{demo, handler, small_file};

/// The servers that were typed or are in the file; the demo when there is neither.
///
/// # Errors
/// Both are there, the file is wrong, or a program cannot be run.
pub(super) fn of(
    typed: &Typed,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Vec<ServerConfig>, Error> {
    match (&typed.command, typed.one(Flag::Config)) {
        (Some(words), None) => Ok(vec![typed_server(words, environment)?]),
        (None, Some(given)) => {
            let path = Path::new(&given.text);
            let (text, _) = small_file::read(path)
                .map_err(|problem| given.error(format_args!("{} {problem}", path.display())))?;
            file::servers(&Document::new(given.text.as_str(), &text), environment, warnings)
        }
        (Some(_), Some(given)) => {
            Err(given.error("goes without a command after --; leave out one of the two"))
        }
        (None, None) => Ok(vec![ServerConfig::in_process(demo::server())]),
    }
}

impl ServerConfig {
    /// A server written in Rust. It keeps its name if that can be a part of a path.
    pub(super) fn in_process(server: handler::Server) -> ServerConfig {
        let name = Some(server.name()).filter(|name| server_name::is_server_name(name));
        ServerConfig {
            name: name.unwrap_or(server_name::UNNAMED).to_owned(),
            launch: Launch::Handler(Arc::new(server)),
            start_deadline: CHILD_START_DEADLINE,
            max_sessions: None,
            idle_timeout: None,
            restore: false,
        }
    }
}

/// The server made of the words after `--`, named after what they run.
fn typed_server(words: &[String], environment: &Environment) -> Result<ServerConfig, Error> {
    let (program, args) =
        words.split_first().ok_or_else(|| Error::Usage("there is no command after --".to_owned()))?;
    let command = Command {
        program: program.clone(),
        args: args.to_vec(),
        env: Vec::new(),
        cwd: None,
        term_grace: CHILD_TERM_GRACE,
    };
    program::check(&command, environment)
        .map_err(|problem| Error::Typed { by: format!("-- {program}"), problem })?;
    Ok(ServerConfig {
        name: server_name::of_command(words),
        launch: Launch::Child(Arc::new(command)),
        start_deadline: CHILD_START_DEADLINE,
        max_sessions: None,
        idle_timeout: None,
        restore: false,
    })
}

/// The index of the server that is at `/mcp` as well.
///
/// # Errors
/// There is no server of the name that `--default` says.
pub(super) fn default_server(typed: &Typed, servers: &[ServerConfig]) -> Result<Option<usize>, Error> {
    let Some(given) = typed.one(Flag::Default) else {
        return Ok((servers.len() == 1).then_some(0));
    };
    let found = servers.iter().position(|server| server.name == given.text);
    let names = || servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>().join(", ");
    found
        .map(Some)
        .ok_or_else(|| given.error(format_args!("there is no server {}; there is: {}", given.text, names())))
}
