//! Accepts sockets, one task each; [`serve_connection`] is a request's whole life.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use async_io::Timer;
use smol::future::yield_now;
use smol::io::{AsyncRead, AsyncWrite};
use smol::lock::Semaphore;

use crate::config::{Config, Launch};
use crate::connections::{Connections, Requests};
use crate::http::{Connection, Disconnected, Reply, RequestHead, Socket};
use crate::limits::{ACCEPT_BACKOFF, BODY_BYTES_MAX};
use crate::listener::{self, CannotListen, Crowds, connections_max, next_socket};
use crate::mcp::access::Peer;
use crate::mcp::{Admission, Endpoint};
use crate::metrics::METRICS;
use crate::principal::Presented;
use crate::reactor::Source;
use crate::registry::Registry;
use crate::runtime;
use crate::session::Sessions;
use crate::systemd::{self, News};
use crate::{admin, backend, drain, memory, sweep};

/// Why burdock cannot serve: a message for the user.
#[derive(Debug)]
pub enum RunError {
    /// A listener could not be opened.
    Listen(CannotListen),
    /// The system refuses something burdock cannot do without.
    System(&'static str, io::Error),
    /// Redis is required and cannot be used, in words.
    Redis(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Listen(error) => error.fmt(f),
            RunError::System(what, error) => write!(f, "cannot {what}: {error}"),
            RunError::Redis(problem) => write!(f, "cannot use Redis at {problem}"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<CannotListen> for RunError {
    fn from(error: CannotListen) -> RunError {
        RunError::Listen(error)
    }
}

/// Serves `config` until a signal ends it. `announce` is called once, with the address that was bound.
///
/// # Errors
/// [`RunError`] when it cannot begin. Once it serves, nothing but a signal ends it.
pub fn run(config: Config, announce: impl FnOnce(&Config, SocketAddr)) -> Result<(), RunError> {
    run_on(config, None, announce)
}

/// The same, on a socket that somebody else has bound. Who may call must have been decided for its address.
///
/// # Errors
/// As [`run`].
pub fn run_on(
    config: Config,
    passed: Option<TcpListener>,
    announce: impl FnOnce(&Config, SocketAddr),
) -> Result<(), RunError> {
    let descriptors = backend::descriptors::raise_limit();
    let config = Arc::new(config);
    let (listener, bound) = open(passed, config.listen)?;
    let admin = config.admin.as_ref().map(admin::bind).transpose()?;
    runtime::start(config.threads).map_err(refused("start threads"))?;
    let listener = Source::new(listener).map_err(refused("watch the listening socket"))?;
    // futures-lite's `block_on`, not async-io's: that one would make this thread take part in waiting for
    // timers.
    smol::future::block_on(async {
        let children = begin_watchdog(&config).await?;
        let signals = drain::signals().map_err(refused("listen for signals"))?;
        let sessions = begin_sessions(&config).await?;
        let endpoint = Arc::new(Endpoint::new(Arc::clone(&config), Arc::clone(&sessions)));
        runtime::spawn(sweep::run()).detach();
        runtime::spawn(memory::run()).detach();
        let connections = Arc::new(Connections::default());
        // Both tasks end when these handles are dropped, with this server.
        let _reaping = runtime::spawn(Arc::clone(&sessions).reap());
        let _told = admin.map(|admin| runtime::spawn(admin::serve(admin, Arc::clone(&config))));
        let accepting = runtime::spawn(accept(
            listener,
            connections_max(descriptors, children),
            Arc::clone(&endpoint),
            Arc::clone(&config),
            Arc::clone(&connections),
        ));
        announce(&config, bound);
        systemd::tell(News::Ready, format!("node {}: listening on {bound}", config.node)).await;
        runtime::spawn(systemd::be_watched()).detach();
        drain::until_stopped(signals, &config, &endpoint, &sessions, &connections, accepting).await;
        Ok(())
    })
}

fn refused(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::System(what, error)
}

/// Starts the watchdog if there will be children; returns whether there will. Without children it could watch
/// nothing, and this program, which the watchdog would be a second process of, may not be burdock.
async fn begin_watchdog(config: &Config) -> Result<bool, RunError> {
    let children = config.servers.iter().any(|server| matches!(server.launch, Launch::Child(_)));
    if children {
        backend::watchdog::start().await.map_err(refused("start the watchdog"))?;
    }
    Ok(children)
}

/// The empty table of sessions, and behind it the registry.
async fn begin_sessions(config: &Config) -> Result<Arc<Sessions>, RunError> {
    let (registry, service) = Registry::new(config).map_err(RunError::Redis)?;
    let sessions = Arc::new(Sessions::new(config, registry));
    if let Some(service) = service {
        service.begin(Arc::clone(&sessions)).await.map_err(RunError::Redis)?;
    }
    Ok(sessions)
}

/// The listening socket and its address: the one that was passed, in which clients may wait already, or a new
/// one.
fn open(passed: Option<TcpListener>, address: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let unusable = |error| RunError::System("use the listening socket", error);
    let listener = match passed {
        Some(passed) => {
            log::info!("serving on a socket that was passed");
            passed
        }
        None => listener::bind("--listen", address)?,
    };
    let bound = listener.local_addr().map_err(unusable)?;
    Ok((listener, bound))
}

/// Accepts for ever. At the cap it waits: the backlog holds clients better than a 503 would (invariant 7).
async fn accept(
    listener: Source<TcpListener>,
    connections_max: usize,
    endpoint: Arc<Endpoint>,
    config: Arc<Config>,
    connections: Arc<Connections>,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    let crowds = Arc::new(Crowds::default());
    loop {
        let place = places.acquire_arc().await;
        let (socket, peer) = match next_socket(&listener, TcpListener::accept).await {
            Ok(accepted) => accepted,
            Err(error) => {
                METRICS.accept_errors_total.add_one();
                log::warn!("cannot accept a connection: {error}");
                Timer::after(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        METRICS.connections_total.add_one();
        let peer = Peer::new(peer.ip(), &config.access);
        let Some(member) = crowds.join(peer) else {
            METRICS.connections_refused_total.add_one();
            continue;
        };
        let endpoint = Arc::clone(&endpoint);
        connections.serve(|requests| async move {
            let _held = (place, member, METRICS.connections.enter());
            let ended = serve_socket(socket, peer, &endpoint, &requests).await;
            memory::ended();
            log::trace!("connection of {} over: {ended:?}", peer.address);
        });
        // A crowd of new clients must not keep this thread from those that are being served.
        yield_now().await;
    }
}

async fn serve_socket(
    socket: TcpStream,
    peer: Peer,
    endpoint: &Endpoint,
    requests: &Requests,
) -> Result<(), Disconnected> {
    // A reply is one write: waiting for more to fill the segment would only delay it.
    let _ = socket.set_nodelay(true);
    let mut connection = Connection::new(Socket::new(socket)?);
    serve_connection(&mut connection, peer, endpoint, requests).await
}

/// A connection's whole story: read a request, serve it, write the reply, and again. It may begin in the
/// middle, for the connection itself knows how far it is with its request (`http::AtRest`).
///
/// # Errors
/// [`Disconnected`] when the connection ended otherwise than between two requests.
pub async fn serve_connection<S>(
    connection: &mut Connection<S>,
    peer: Peer,
    endpoint: &Endpoint,
    requests: &Requests,
) -> Result<(), Disconnected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut known = Presented::default();
    while serve_request(connection, peer, &mut known, endpoint, requests).await? {}
    Ok(())
}

/// Serves one request; false after the last. Idle connections and open streams wait in this future, so
/// everything short-lived is awaited in a callee and dropped.
async fn serve_request<S>(
    connection: &mut Connection<S>,
    peer: Peer,
    known: &mut Presented,
    endpoint: &Endpoint,
    requests: &Requests,
) -> Result<bool, Disconnected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if connection.is_replying() {
        // The reply to a request that an earlier caller began to serve on this connection.
        let _served = requests.enter();
        connection.write_on().await?;
    }
    let head = match connection.read_head().await {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(false),
        Err(ended) => return Err(ended),
    };
    let _served = requests.enter();
    let reply = answer(connection, &head, peer, known, endpoint).await?;
    if endpoint.draining() {
        connection.close_after_reply();
    }
    let asked = head.asked();
    // A stream may last for days, and the head is not needed for it.
    drop(head);
    connection.write_reply(asked, reply).await?;
    Ok(true)
}

async fn answer<S>(
    connection: &mut Connection<S>,
    head: &RequestHead,
    peer: Peer,
    known: &mut Presented,
    endpoint: &Endpoint,
) -> Result<Reply, Disconnected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let admitted = match endpoint.admit(head, peer, known) {
        Admission::Answer(reply) => return Ok(reply),
        Admission::Mcp(admitted) => admitted,
    };
    let body = connection.read_body(head, BODY_BYTES_MAX).await?;
    let begins = admitted.begins_session();
    // Boxed: otherwise the future of every idle connection would be large enough for it.
    let served = Box::pin(endpoint.serve(admitted, body));
    if begins { connection.unless_closed(served).await } else { Ok(served.await) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand idle connections are ten thousand of these futures. A ratchet: lower it, do not raise it.
    const IDLE_CONNECTION_BYTES_MAX: usize = 1_152;

    #[test]
    fn an_idle_connection_is_small() {
        fn size<F>(_: impl FnOnce(TcpStream, Peer, &'static Endpoint, &'static Requests) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(serve_socket);
        assert!(bytes <= IDLE_CONNECTION_BYTES_MAX, "{bytes} bytes");
    }
}
