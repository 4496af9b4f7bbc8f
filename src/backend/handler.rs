//! A server in this process: calls of its handlers run as tasks on our executor, all other requests are
//! answered at once.
//!
//! A session has no task of its own here. Its worker's messages are dispatched by the worker itself, which
//! takes a moment. The task of a call answers through the bounded outputs, where it may wait for room. So
//! neither waits for the other, and a call crosses one queue.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use smol::future::FutureExt as _;

use super::output::{Exit, Output, Priority, SendError};
use crate::budget::Payload;
use crate::conversation::{Naming, Outbound};
use crate::handler::{self, Dispatch, HandlerCall, HandlerSession, Server, Unsaid};
use crate::limits::{CALLS_MAX, HANDLER_OUTPUTS_MAX};
use crate::message::{Id, Kind, Message};
use crate::queue::{self, Receiver};
use crate::runtime;

/// The worker's hold on the handlers of its session. Dropping it ends them.
#[derive(Debug)]
pub struct HandlerHandle {
    server: Arc<Server>,
    session: Arc<HandlerSession>,
    outputs: Receiver<Output>,
    /// The session's short id, for the log.
    label: Arc<str>,
}

/// Begins a session of `server`; the log names it `label`.
pub fn start(server: Arc<Server>, label: Arc<str>) -> HandlerHandle {
    let (sender, outputs) = queue::bounded(HANDLER_OUTPUTS_MAX);
    let session = Arc::new(server.session(sender));
    HandlerHandle { server, session, outputs, label }
}

impl HandlerHandle {
    /// See [`super::Backend::send`].
    ///
    /// # Errors
    /// [`SendError`] when too many calls run, or the session is over.
    pub fn send(&self, outgoing: Outbound, priority: Priority) -> Result<(), SendError> {
        if self.outputs.is_closed() {
            return Err(SendError::Closed);
        }
        let Outbound { message, names } = outgoing;
        match (names, &message.kind) {
            (Naming::Call(_), _) if priority == Priority::Request && self.session.running() >= CALLS_MAX => {
                return Err(SendError::Full);
            }
            (Naming::Call(number), Kind::Request { id, method }) => {
                self.request(number, id, method, &message)
            }
            (Naming::Cancelled(number), _) => self.session.cancel(number),
            (Naming::Answer(id), _) => self.session.answered(&id, message.payload),
            _ => {}
        }
        Ok(())
    }

    fn request(&self, number: u64, id: &Id, method: &str, message: &Message) {
        match handler::request(&self.server, &self.session, number, id, method, message) {
            Dispatch::Welcome(version, payload) => {
                self.session.post(Output::Welcome { to: number, version, payload });
            }
            Dispatch::Now(payload) => self.session.post(Output::Response { to: number, payload }),
            Dispatch::Later(call) => {
                let label = Arc::clone(&self.label);
                if !self.session.run(number, |unsaid| serve(call, label, unsaid)) {
                    log::debug!("[{}] dropped a call: the session is over", self.label);
                }
            }
        }
    }

    /// See [`super::Backend::outputs`].
    pub fn outputs(&self) -> &Receiver<Output> {
        &self.outputs
    }

    /// Puts a message that no handler made among the outputs. False when the session is over.
    pub fn say(&self, message: Payload) -> bool {
        self.session.post(Output::Message(message));
        !self.outputs.is_closed()
    }

    /// Whether no handler runs, and all that was said is among the outputs.
    pub fn is_quiet(&self) -> bool {
        self.session.is_quiet()
    }

    /// See [`super::Backend::stop`]. No process has to be waited for, so the outputs are closed at once.
    pub fn stop(&self) {
        self.session.end();
    }
}

impl Drop for HandlerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a call to its response. A panic of its handler ends here (invariant 12: no panic crosses a session's
/// edge).
async fn serve(call: Box<HandlerCall>, label: Arc<str>, unsaid: Unsaid) {
    let outcome = AssertUnwindSafe(runtime::watched(call.answer())).catch_unwind().await;
    call.session().done(call.number());
    let output = match outcome {
        Ok(payload) => Output::Response { to: call.number(), payload },
        Err(_) => {
            log::error!("[{label}] a handler panicked");
            Output::Exited(Exit::Panicked)
        }
    };
    call.session().say(output).await;
    drop(unsaid);
}
