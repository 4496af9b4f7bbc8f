//! The handshake era, 2025-03-26 to 2025-11-25: initialize, the session header, the GET stream, DELETE.
//!
//! Every 404 that means "no such session" is decided in `not_here` (L32). Inside a living session no limit is
//! an HTTP error: it is 200 with a JSON-RPC error (invariant 7).

use std::sync::Arc;
use std::time::Instant;

use super::Admitted;
use crate::budget::Payload;
use crate::http::RequestBody;
use crate::http::{EventId, EventReader, Reply};
use crate::limits::{RETRY_AFTER_SECS, RETRY_MS};
use crate::message::{self, ErrorData, Id, Invalid, Kind, Message, Parsed};
use crate::metrics::METRICS;
use crate::session::{CreateError, Ended, Form, Lookup, NotTaken, SessionHandle, Sessions};
use crate::version;

/// The session header, in the spelling that every revision's clients know.
const SESSION_HEADER: &str = "Mcp-Session-Id";

// --- POST --------------------------------------------------------------------------------------------------

pub(super) async fn post(sessions: &Arc<Sessions>, request: &Admitted<'_>, body: RequestBody) -> Reply {
    let messages = match message::parse(body.bytes, body.share) {
        Ok(Parsed::One(message)) if asks_for(&message, "initialize") => {
            return Box::pin(initialize(sessions, request, message)).await;
        }
        Ok(messages) => messages,
        Err(invalid) => return not_a_message(&invalid),
    };
    let Some(session) = request.session else { return no_session(messages.all()) };
    match sessions.lookup_or_restore(session, request.server, request.principal.as_ref()).await {
        Lookup::Here(handle) => match check(&handle, request, &messages) {
            Ok(()) => deliver(&handle, reply_form(request, &messages), messages).await,
            Err(reply) => reply,
        },
        elsewhere => not_here(&elsewhere, only_id(messages.all())),
    }
}

fn asks_for(message: &Message, wanted: &str) -> bool {
    matches!(&message.kind, Kind::Request { method, .. } if &**method == wanted)
}

/// The id of a single request: an error can carry one id only.
fn only_id(messages: &[Message]) -> Option<&Id> {
    match messages {
        [Message { kind: Kind::Request { id, .. }, .. }] => Some(id),
        _ => None,
    }
}

/// A refusal as JSON with the request's id, or as plain text: a JSON error with `id: null` hangs the client
/// rmcp (invariant 8).
fn refuse(status: u16, id: Option<&Id>, code: i32, text: &str) -> Reply {
    match id {
        Some(id) => Reply::json(status, message::error(id, code, text, None)),
        None => Reply::text(status, text),
    }
}

fn not_a_message(invalid: &Invalid) -> Reply {
    refuse(400, invalid.id.as_ref(), invalid.code, &invalid.text)
}

/// A request without a session is refused with 400 (L31). `server/discover` is how clients of both eras ask
/// whether the stateless era is spoken here. This answer makes each of them fall back to `initialize` at
/// once, and no child is started for it.
fn no_session(messages: &[Message]) -> Reply {
    if messages.iter().any(|message| asks_for(message, "server/discover")) {
        return refuse(
            400,
            only_id(messages),
            message::METHOD_NOT_FOUND,
            "server/discover is not served here: begin with initialize",
        );
    }
    refuse(
        400,
        only_id(messages),
        message::INVALID_REQUEST,
        "no session: begin with initialize, then send its Mcp-Session-Id with every request",
    )
}

/// What a living session refuses with 400: a version it does not speak (L37), a batch where there are none
/// (L6).
fn check(handle: &SessionHandle, request: &Admitted<'_>, messages: &Parsed) -> Result<(), Reply> {
    check_version(handle, request, only_id(messages.all()))?;
    let Parsed::Batch(messages) = messages else { return Ok(()) };
    if !handle.activity.version().batches() {
        return Err(Reply::text(
            400,
            "a batch: this session's protocol version has none, send one message per POST",
        ));
    }
    if messages.iter().any(|message| asks_for(message, "initialize")) {
        return Err(Reply::text(400, "initialize must not be in a batch"));
    }
    let asks = messages.iter().any(|message| matches!(message.kind, Kind::Request { .. }));
    if asks && !request.accept.events {
        return Err(Reply::text(406, "a batch is answered as an event stream: accept text/event-stream"));
    }
    Ok(())
}

fn check_version(handle: &SessionHandle, request: &Admitted<'_>, id: Option<&Id>) -> Result<(), Reply> {
    match request.version {
        Some(named) if !handle.activity.version().accepts_header(named) => {
            let text = format!(
                "MCP-Protocol-Version is not supported here; supported: {}",
                version::SUPPORTED.join(", ")
            );
            Err(refuse(400, id, message::INVALID_REQUEST, &text))
        }
        _ => Ok(()),
    }
}

/// Gives messages to the session's worker: 202 when none wants a response (L8), else the events of the
/// responses.
async fn deliver(handle: &SessionHandle, form: Form, messages: Parsed) -> Reply {
    let mut ids = messages.all().iter().filter_map(|message| match &message.kind {
        Kind::Request { id, .. } => Some(id.clone()),
        Kind::Notification { .. } | Kind::Response { .. } => None,
    });
    // The first id stands alone: outside a batch there are no others, and then nothing is allocated.
    let (first, others) = (ids.next(), ids.collect::<Vec<Id>>());
    let Some(first) = first else {
        return match handle.notify(messages).await {
            Ok(()) => Reply::empty(202),
            Err(NotTaken::Busy) => {
                log::warn!(
                    "[{}] dropped a notification or answer: the session is too far behind",
                    handle.id.short()
                );
                Reply::empty(202)
            }
            Err(NotTaken::Ended) => over(handle, None),
        };
    };
    match handle.request(messages, form).await {
        Ok(reader) => Reply::events(reader),
        Err(NotTaken::Busy) => {
            METRICS.calls_refused_total.add_one();
            busy(form, &first, &others)
        }
        Err(NotTaken::Ended) => over(handle, Some(&first)),
    }
}

/// A batch is answered as an event stream (L10 allows it): one JSON object cannot hold several responses, and
/// an array would have to wait for the slowest.
fn reply_form(request: &Admitted<'_>, messages: &Parsed) -> Form {
    match messages {
        Parsed::Batch(_) => Form::Stream,
        Parsed::One(_) => request.accept.form(),
    }
}

fn busy(form: Form, first: &Id, others: &[Id]) -> Reply {
    let text = "the session is too far behind with earlier messages: try again in a moment";
    let error = |id| message::error(id, message::INTERNAL_ERROR, text, None);
    answered(form, [first].into_iter().chain(others).map(error).collect())
}

/// Responses that are all here already.
fn answered(form: Form, responses: Vec<Payload>) -> Reply {
    match &responses[..] {
        [response] if form != Form::Stream => return Reply::json(200, response.clone()),
        _ => {}
    }
    Reply::events(EventReader::whole(responses))
}

// --- initialize --------------------------------------------------------------------------------------------

/// Begins a session (L29, L38). With the id of a living session it is refused; a dead one is ignored (L34).
async fn initialize(sessions: &Arc<Sessions>, request: &Admitted<'_>, message: Message) -> Reply {
    let begun = Instant::now();
    let Kind::Request { id, .. } = &message.kind else { return Reply::empty(202) };
    let id = id.clone();
    if let Some(session) = request.session
        && sessions.has_session(session, request.server, request.principal.as_ref())
    {
        return refuse(
            400,
            Some(&id),
            message::INVALID_REQUEST,
            "this session is already initialized: leave out Mcp-Session-Id to begin another",
        );
    }
    let asked = message::initialize(&message);
    let message = match asked.version {
        Some(asked) if !version::may_be_asked(&asked) => {
            message::with_version(&message, version::LATEST).unwrap_or(message)
        }
        _ => message,
    };
    let created = sessions
        .create(request.server, request.principal.clone(), asked.client, message, request.address)
        .await;
    METRICS.initialize_seconds.observe(begun.elapsed());
    match created {
        Ok((handle, answer)) => {
            answered(request.accept.form(), vec![answer]).header(SESSION_HEADER, handle.id.to_string())
        }
        Err(CreateError::Refused(answer)) => answered(request.accept.form(), vec![answer]),
        Err(CreateError::Failed(status, text)) => refuse(status, Some(&id), message::INTERNAL_ERROR, &text),
        Err(CreateError::AtCap(cap)) => {
            refuse(503, Some(&id), message::INTERNAL_ERROR, &format!("{cap}: try again later"))
                .header("Retry-After", RETRY_AFTER_SECS.to_string())
        }
    }
}

// --- GET and DELETE ----------------------------------------------------------------------------------------

/// The standalone stream, or the rest of a stream after `Last-Event-ID` (L21, L27).
pub(super) async fn get(sessions: &Arc<Sessions>, request: &Admitted<'_>) -> Reply {
    let Some(session) = request.session else {
        // mcp-remote asks this way before it begins a session, and needs a quick answer.
        return Reply::text(405, "a stream needs the Mcp-Session-Id that initialize gave: begin with POST")
            .header("Allow", "POST");
    };
    let handle = match sessions.lookup_or_restore(session, request.server, request.principal.as_ref()).await {
        Lookup::Here(handle) => handle,
        elsewhere => return not_here(&elsewhere, None),
    };
    if let Err(reply) = check_version(&handle, request, None) {
        return reply;
    }
    // An id that is not of ours, as of a server that was here before, begins a fresh stream (L27 leaves it
    // open): on a 400 some clients never ask again, and others give the session up.
    let after = request.last_event_id.and_then(|id| id.parse::<EventId>().ok());
    match handle.attach(after).await {
        Ok(reader) => Reply::events(reader),
        Err(NotTaken::Ended) => over(&handle, None),
        // Inside a living session overload is no HTTP error (invariant 7).
        Err(NotTaken::Busy) => Reply::events(EventReader::come_back(RETRY_MS)),
    }
}

/// Ends a session (L33), also one of another node or of a process that is gone.
pub(super) async fn delete(sessions: &Sessions, request: &Admitted<'_>) -> Reply {
    let Some(session) = request.session else {
        return Reply::text(400, "which session? Send its Mcp-Session-Id");
    };
    match sessions.delete(session, request.server, request.principal.as_ref()).await {
        Ok(()) => Reply::empty(204),
        Err(elsewhere) => not_here(&elsewhere, None),
    }
}

// --- 404 ---------------------------------------------------------------------------------------------------

/// The session ended a moment ago, so it is 404; but 503 when the next process of this node begins it again:
/// a client that hears 404 would give it up.
fn over(handle: &SessionHandle, id: Option<&Id>) -> Reply {
    match handle.activity.ended() {
        ended @ Ended::Suspended => refuse(503, id, message::INTERNAL_ERROR, &ended.describe())
            .header("Retry-After", RETRY_AFTER_SECS.to_string()),
        _ => not_here(&Lookup::Closed, id),
    }
}

/// The 404 for a session (L32). It says why the session is not here, for the client and for the operator.
fn not_here(found: &Lookup, id: Option<&Id>) -> Reply {
    let (reason, node, counter) = match found {
        Lookup::Here(_) | Lookup::Unknown => ("unknown", None, &METRICS.lookups_unknown_total),
        Lookup::Closed => ("closed", None, &METRICS.lookups_closed_total),
        Lookup::Elsewhere { node, alive: true } => {
            ("elsewhere", Some(node.as_str()), &METRICS.lookups_elsewhere_total)
        }
        // Its process is gone, and so is what it held.
        Lookup::Elsewhere { node, alive: false } | Lookup::Lost { node, .. } => {
            ("lost", Some(node.as_str()), &METRICS.lookups_lost_total)
        }
        Lookup::RegistryDown => ("registry-unreachable", None, &METRICS.lookups_registry_down_total),
    };
    counter.add_one();
    let text = format!("no such session ({reason}): begin again with initialize");
    log::debug!("404: {text}");
    match id {
        Some(id) => Reply::json(
            404,
            message::error(id, message::INVALID_REQUEST, &text, Some(ErrorData { reason, node })),
        ),
        None => Reply::text(404, text),
    }
}
