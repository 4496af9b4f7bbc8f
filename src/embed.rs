//! burdock as a library: serves one server written in Rust, over HTTP or over stdin and stdout.

use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::backend::handler::{self, HandlerHandle};
use crate::backend::mark::MARK_NAME;
use crate::backend::{Exit, Output, Priority, SendError};
use crate::budget::{Payload, Share};
use crate::config::{Config, Error};
use crate::conversation::{Conversation, Effect, Naming, Outbound, ReplyTo};
use crate::handler::Server;
use crate::limits::{DRAIN_POLL, MESSAGE_BYTES_MAX, STDIO_END_WAIT, THREADS_MAX};
use crate::lock::lock;
use crate::message::{self, Kind, Message, Parsed};
use crate::moment::Moment;
use crate::{runtime, server};

/// Serves `server` at `http://ADDRESS/mcp` until SIGTERM or SIGINT; each client has a session of its own.
/// Port 0 lets the system choose one. `ready` is called once, with the URL, as soon as clients can connect.
///
/// Blocks the calling thread. At the signal no new sessions begin, and those that are left are ended within
/// the times that `burdock serve` has by default.
///
/// ```no_run
/// use burdock::handler::{Context, Server};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Echo {
///     /// What to say.
///     text: String,
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let server = Server::new("demo", "1.0")
///         .tool("echo", "Says what it is told", |_context: Context, echo: Echo| async move { Ok(echo.text) });
///     burdock::serve(server, ([127, 0, 0, 1], 8080).into(), |url| println!("{url}"))
/// }
/// ```
///
/// # Errors
/// - Other machines could reach the address: this function lets everybody call, so it serves on loopback
///   addresses only. The program `burdock` knows who may call.
/// - The system refuses the address, a thread or the handling of signals.
pub fn serve(
    server: Server,
    address: SocketAddr,
    ready: impl FnOnce(&str),
) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::of_handler(server, address).map_err(|error: Error| error.to_string())?;
    server::run(config, |_, bound| ready(&format!("http://{bound}/mcp")))?;
    Ok(())
}

/// Serves `server` over stdin and stdout, as one session, until stdin ends. Calls in flight then have one
/// second to be answered. Nothing else may read from stdin or write to stdout.
///
/// Blocks the calling thread. After an error the thread that reads stdin is left behind: end the process
/// then.
///
/// ```no_run
/// use burdock::handler::Server;
///
/// fn main() -> std::io::Result<()> {
///     burdock::serve_stdio(Server::new("demo", "1.0"))
/// }
/// ```
///
/// # Errors
/// stdin cannot be read, stdout cannot be written, a handler panicked, or the system refuses a thread.
pub fn serve_stdio(server: Server) -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    runtime::start(threads)?;
    let handle = handler::start(Arc::new(server), "stdio".into());
    let stdio = Arc::new(Stdio { handle, conversation: Mutex::default() });
    let reading = Arc::clone(&stdio);
    // Reading blocks, so it has its own thread. When the session ends before the input, that thread stays in
    // its read.
    let reader = std::thread::Builder::new().name("burdock-stdin".into()).spawn(move || {
        let read = read_messages(&reading);
        let begun = Instant::now();
        while !reading.handle.is_quiet() && begun.elapsed() < STDIO_END_WAIT {
            std::thread::park_timeout(DRAIN_POLL);
        }
        // `write_outputs` ends when it has written what is among the outputs by now.
        reading.handle.stop();
        read
    })?;
    write_outputs(&stdio)?;
    reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader of stdin panicked")))
}

/// A session over stdin and stdout: its handlers, and which of the client's requests they are called for.
struct Stdio {
    handle: HandlerHandle,
    conversation: Mutex<Conversation>,
}

impl Stdio {
    /// Gives the handlers a message; answers a call that they have no room for. False when the session is
    /// over.
    fn send(&self, outgoing: Outbound) -> bool {
        let call = outgoing.call();
        match (self.handle.send(outgoing, Priority::Request), call) {
            (Ok(()), _) | (Err(SendError::Full), None) => true,
            (Err(SendError::Closed), _) => false,
            (Err(SendError::Full), Some(number)) => {
                let refused = lock(&self.conversation).not_taken(number);
                let text = "too many requests are in flight: wait for some of them";
                let error = refused.map(|(_, id)| message::error(&id, message::INTERNAL_ERROR, text, None));
                error.is_none_or(|error| self.handle.say(error))
            }
        }
    }
}

/// Gives the session what stdin brings, until stdin ends or the session is over.
fn read_messages(stdio: &Stdio) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        let room = MESSAGE_BYTES_MAX as u64 + 1;
        if (&mut input).take(room).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() > MESSAGE_BYTES_MAX && line.last() != Some(&b'\n') {
            log::warn!("dropped a message that is too large");
            input.skip_until(b'\n')?;
            continue;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if !take_line(stdio, &line) {
            return Ok(());
        }
    }
}

/// Takes a line of stdin. False when the session is over.
fn take_line(stdio: &Stdio, line: &[u8]) -> bool {
    match message::parse(line.to_vec(), Share::overdraw(line.len())) {
        Ok(Parsed::One(message)) => take_message(stdio, message),
        Ok(Parsed::Batch(messages)) => messages.into_iter().all(|message| take_message(stdio, message)),
        Err(invalid) => {
            log::warn!("not a message: {}", invalid.text);
            let error = invalid.id.map(|id| message::error(&id, invalid.code, &invalid.text, None));
            error.is_none_or(|error| stdio.handle.say(error))
        }
    }
}

fn take_message(stdio: &Stdio, message: Message) -> bool {
    // A session of handlers itself knows which answers it waits for.
    if let Kind::Response { id, .. } = &message.kind {
        let Some(id) = id.clone() else { return true };
        return stdio.send(Outbound { message, names: Naming::Answer(id) });
    }
    let to = ReplyTo { client: 0, reply: 0 };
    let effects = lock(&stdio.conversation).hear_client(to, message, Moment::now());
    effects.into_iter().all(|effect| match effect {
        Effect::ToBackend(outgoing) => stdio.send(outgoing),
        Effect::Tell(remark) => {
            log::debug!("{remark}");
            true
        }
        // The other effects need nothing here: a cancelled call is not answered, and the rest is about
        // messages of a backend.
        _ => true,
    })
}

/// Writes what the session says to stdout, until the session is over.
fn write_outputs(stdio: &Stdio) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let behind_burdock = std::env::var_os(MARK_NAME).is_some();
    while let Some(output) = smol::future::block_on(stdio.handle.outputs().recv()) {
        match output {
            Output::Message(payload) | Output::Related { payload, .. } | Output::Unrelated(payload) => {
                write_line(&mut out, &payload)?;
            }
            Output::Welcome { to, payload, .. } | Output::Response { to, payload } => {
                // Of a call that was cancelled there is no response among the effects. The lock is not held
                // while this writes, for stdout may block.
                let effects = lock(&stdio.conversation).respond(to, payload);
                for effect in effects {
                    if let Effect::Respond { response, .. } = effect {
                        write_line(&mut out, &response)?;
                    }
                }
            }
            Output::Exited(Exit::Panicked) => return Err(io::Error::other("a handler panicked")),
            // Where burdock started this process it understands this message. Other clients have no stream
            // to resume.
            Output::Detach(number) if behind_burdock => {
                let id = lock(&stdio.conversation).id_of(number).cloned();
                if let Some(id) = id {
                    write_line(&mut out, &message::detach(&id))?;
                }
            }
            Output::Detach(_)
            | Output::Exited(_)
            | Output::Garbage(_)
            | Output::Wrapped { .. }
            | Output::TooLong { .. } => {}
        }
    }
    Ok(())
}

fn write_line(out: &mut impl Write, payload: &Payload) -> io::Result<()> {
    payload.pieces().try_for_each(|piece| out.write_all(piece))?;
    out.write_all(b"\n")?;
    out.flush()
}
