//! The endpoint: checks who may ask what of which server, then lets the file of the protocol's era answer.
//!
//! [`Endpoint::admit`] decides on the head alone: the body of a request that is refused is never read.
//! [`Endpoint::serve`] answers. [`legacy`] decides on 404 for a session, this file on 404 for a path. The
//! stateless era (2026-07-28) gets a file beside `legacy`, chosen in [`Endpoint::serve`].

pub mod access;
pub mod legacy;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use self::access::Peer;
use crate::config::Config;
use crate::foreign::Foreign;
use crate::http::RequestBody;
use crate::http::accept::{accepts, media_type};
use crate::http::{Field, Method, Refusal, Reply, RequestHead};
use crate::limits::READY_ASKED_AGE;
use crate::principal::{Presented, Principal};
use crate::session::{Form, Sessions};
use crate::sweep;

/// The methods that an MCP endpoint takes.
const METHODS: &str = "GET, POST, DELETE";

/// Everything a request is served with.
#[derive(Debug)]
pub struct Endpoint {
    config: Arc<Config>,
    sessions: Arc<Sessions>,
    /// When `/health/ready` was last asked for: seconds of [`sweep::now_secs`], plus one. 0 means never.
    ready_asked: AtomicU32,
}

/// What becomes of a request after its head was read.
#[derive(Debug)]
pub enum Admission<'a> {
    /// It is answered at once.
    Answer(Reply),
    /// Its body is read, then [`Endpoint::serve`] answers.
    Mcp(Admitted<'a>),
}

/// A request to an MCP server whose head passed every check.
#[derive(Debug)]
pub struct Admitted<'a> {
    verb: Verb,
    server: usize,
    principal: Option<Principal>,
    /// Where the client is, for the log.
    address: IpAddr,
    origin: Option<&'a str>,
    accept: Accept,
    session: Option<&'a str>,
    version: Option<&'a str>,
    last_event_id: Option<&'a str>,
}

impl Admitted<'_> {
    /// Whether this may be an `initialize`. When its client goes away meanwhile, the child that is being
    /// started is of no use and is ended. No other request may be cancelled by a lost connection (L20).
    pub fn begins_session(&self) -> bool {
        matches!(self.verb, Verb::Post) && self.session.is_none()
    }
}

/// The methods of the endpoint.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Post,
    Get,
    Delete,
}

/// Which of the two media types the client reads. Clients list them in any order and case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accept {
    json: bool,
    events: bool,
}

impl Accept {
    /// How the reply to a POST may look.
    fn form(self) -> Form {
        match self {
            Accept { events: false, .. } => Form::Json,
            Accept { json: false, .. } => Form::Stream,
            Accept { .. } => Form::Either,
        }
    }
}

impl Endpoint {
    /// Serves `config` from `sessions`.
    pub fn new(config: Arc<Config>, sessions: Arc<Sessions>) -> Endpoint {
        Endpoint { config, sessions, ready_asked: AtomicU32::new(0) }
    }

    /// Whether this node is stopping: connections end after their reply.
    pub fn draining(&self) -> bool {
        !self.sessions.phase().is_ready()
    }

    /// Whether a load balancer asks for `/health/ready`: it will send clients elsewhere when this node stops.
    pub fn is_balanced(&self) -> bool {
        let asked = self.ready_asked.load(Ordering::Relaxed);
        asked != 0 && u64::from(sweep::now_secs().saturating_sub(asked - 1)) < READY_ASKED_AGE.as_secs()
    }

    /// Decides on the head: who calls, from where, what. `known` belongs to the connection.
    pub fn admit<'a>(&self, head: &'a RequestHead, peer: Peer, known: &mut Presented) -> Admission<'a> {
        if let Some(health) = self.health(head) {
            return Admission::Answer(health);
        }
        let origin = match self.check_names(head) {
            Ok(origin) => origin,
            Err(refusal) => return Admission::Answer(refusal.into()),
        };
        match self.admit_from(head, peer, known, origin) {
            Ok(admitted) => Admission::Mcp(admitted),
            Err(reply) => Admission::Answer(access::expose_to(reply, origin)),
        }
    }

    fn check_names<'a>(&self, head: &'a RequestHead) -> Result<Option<&'a str>, Refusal> {
        access::check_host(&self.config.access.names, head)?;
        access::check_origin(&self.config.access, head)
    }

    /// Answers `/health/*`, without a check of `Host`: load balancers ask by address.
    fn health(&self, head: &RequestHead) -> Option<Reply> {
        let reply = match head.path() {
            "/health/live" => Reply::text(200, "live"),
            "/health/ready" => self.ready(),
            _ => return None,
        };
        Some(match head.method() {
            Method::Get | Method::Head => reply,
            _ => Reply::text(405, "use GET").header("Allow", "GET, HEAD"),
        })
    }

    fn ready(&self) -> Reply {
        self.ready_asked.store(sweep::now_secs().saturating_add(1), Ordering::Relaxed);
        match self.sessions.refuses() {
            _ if self.draining() => Reply::text(503, "stopping: no new sessions here"),
            Some(why) => Reply::text(503, why),
            None => Reply::text(200, "ready"),
        }
    }

    fn admit_from<'a>(
        &self,
        head: &'a RequestHead,
        peer: Peer,
        known: &mut Presented,
        origin: Option<&'a str>,
    ) -> Result<Admitted<'a>, Reply> {
        // A preflight carries no token, so it is answered before the principal is asked for.
        if head.method() == Method::Options {
            return Err(access::preflight(METHODS));
        }
        let principal = access::check_principal(&self.config.access, peer, known, head)?;
        let server = self.server(head.path())?;
        let verb = match head.method() {
            Method::Post => Verb::Post,
            Method::Get => Verb::Get,
            Method::Delete => Verb::Delete,
            Method::Head | Method::Options | Method::Other => {
                return Err(
                    Reply::text(405, format!("an MCP endpoint takes {METHODS}")).header("Allow", METHODS)
                );
            }
        };
        let admitted = Admitted {
            verb,
            server,
            principal,
            address: peer.client(&self.config.access, head),
            origin,
            accept: accept(head),
            session: head.only(Field::SessionId)?,
            version: head.only(Field::ProtocolVersion)?,
            last_event_id: head.only(Field::LastEventId)?,
        };
        check_media(head, &admitted)?;
        Ok(admitted)
    }

    /// The server at a path: `/mcp/<name>`, and `/mcp` for the default one.
    fn server(&self, path: &str) -> Result<usize, Reply> {
        let servers = &self.config.servers;
        match path.strip_suffix('/').unwrap_or(path).strip_prefix("/mcp") {
            Some("") => self.config.default_server.ok_or_else(|| {
                let names: Vec<String> =
                    servers.iter().map(|server| format!("/mcp/{}", server.name)).collect();
                Reply::text(
                    404,
                    format!("several servers are here, and none is the default: {}", names.join(", ")),
                )
            }),
            Some(rest) => rest
                .strip_prefix('/')
                .and_then(|name| servers.iter().position(|server| server.name == name))
                .ok_or_else(|| Reply::text(404, format!("no MCP server at {}", Foreign(path.as_bytes())))),
            None => Err(Reply::text(404, "not found: the MCP endpoint is at /mcp")),
        }
    }

    /// Answers an admitted request whose body was read.
    pub async fn serve(&self, admitted: Admitted<'_>, body: RequestBody) -> Reply {
        let reply = match admitted.verb {
            Verb::Post => legacy::post(&self.sessions, &admitted, body).await,
            Verb::Get => legacy::get(&self.sessions, &admitted).await,
            Verb::Delete => legacy::delete(&self.sessions, &admitted).await,
        };
        access::expose_to(reply, admitted.origin)
    }
}

fn accept(head: &RequestHead) -> Accept {
    let mut values = head.values(Field::Accept);
    match (values.next(), values.next()) {
        // What nearly every client sends, as the spec writes it. A client that sends no `Accept` takes
        // anything.
        (Some("application/json, text/event-stream") | None, None) => Accept { json: true, events: true },
        _ => Accept {
            json: accepts(head.values(Field::Accept), "application", "json"),
            events: accepts(head.values(Field::Accept), "text", "event-stream"),
        },
    }
}

/// 406 and 415 (L5): the spec names no status, but a wrong type must not be acted upon.
fn check_media(head: &RequestHead, admitted: &Admitted<'_>) -> Result<(), Refusal> {
    let Accept { json, events } = admitted.accept;
    match admitted.verb {
        Verb::Post if !json && !events => {
            Err(Refusal::new(406, "the answer is application/json or text/event-stream: accept both"))
        }
        Verb::Post => match head.only(Field::ContentType)? {
            // A page can send a body without a type and be asked for no preflight, so a missing type is
            // refused, too.
            Some(media) if media_type(media).eq_ignore_ascii_case("application/json") => Ok(()),
            _ => Err(Refusal::new(415, "the body must be JSON: send Content-Type: application/json")),
        },
        Verb::Get if !events => Err(Refusal::new(406, "the answer is text/event-stream: accept it")),
        Verb::Get | Verb::Delete => Ok(()),
    }
}
