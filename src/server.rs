//! Accepts sockets, one task each; [`serve_connection`] is a request's whole life.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use async_io::Timer;
use smol::future::yield_now;
use smol::io::{AsyncRead, AsyncWrite};
use smol::lock::Semaphore;

use crate::config::{Config, Launch};
use crate::drain;
use crate::http::connection::Ended;
use crate::http::{Connection, Reply, RequestHead, Socket};
use crate::limits::{
    ACCEPT_BACKOFF, BODY_BYTES_MAX, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, DESCRIPTORS_SPARE,
    LISTEN_BACKLOG,
};
use crate::lock::lock;
use crate::mcp::access::Peer;
use crate::mcp::{Admission, Endpoint};
use crate::metrics::METRICS;
use crate::principal::Presented;
use crate::reactor::Source;
use crate::registry::Registry;
use crate::runtime;
use crate::session::Sessions;
use crate::systemd::{self, News};
use crate::{admin, backend, memory, sweep};

/// Why burdock cannot serve: a message for the user.
#[derive(Debug)]
pub enum RunError {
    /// A listener could not be opened; the flag that names it.
    Listen(&'static str, String, io::Error),
    /// The system refuses something burdock cannot do without.
    System(&'static str, io::Error),
    /// Redis is required and cannot be used, in words.
    Redis(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Listen(flag, address, error) => {
                let advice = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "the port is in use; stop what listens there (`ss -ltnp` shows it), or choose another address"
                    }
                    io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
                    io::ErrorKind::PermissionDenied => {
                        "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, or choose another address"
                    }
                    _ => return write!(f, "cannot listen on {address} ({flag}): {error}"),
                };
                write!(f, "cannot listen on {address} ({flag}): {advice}")
            }
            RunError::System(what, error) => write!(f, "cannot {what}: {error}"),
            RunError::Redis(problem) => write!(f, "cannot use Redis at {problem}"),
        }
    }
}

impl std::error::Error for RunError {}

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
    let refused = |what| move |error| RunError::System(what, error);
    runtime::start(config.threads).map_err(refused("start threads"))?;
    let listener = Source::new(listener).map_err(refused("watch the listening socket"))?;
    // A plain one: async-io's would take part in waiting for timers.
    smol::future::block_on(async {
        let children = config.servers.iter().any(|server| matches!(server.launch, Launch::Child(_)));
        // Without children there is nothing it could watch, and this program may not be burdock.
        if children {
            backend::watchdog::start().await.map_err(refused("start the watchdog"))?;
        }
        let signals = drain::signals().map_err(refused("listen for signals"))?;
        let sessions = begin_sessions(&config).await?;
        let endpoint = Arc::new(Endpoint::new(Arc::clone(&config), Arc::clone(&sessions)));
        runtime::spawn(sweep::run()).detach();
        runtime::spawn(Arc::clone(&sessions).reap()).detach();
        if let Some(admin) = admin {
            runtime::spawn(admin::serve(admin, Arc::clone(&config))).detach();
        }
        let accepting = runtime::spawn(accept(
            listener,
            connections_max(descriptors, children),
            Arc::clone(&endpoint),
            Arc::clone(&config),
        ));
        announce(&config, bound);
        systemd::tell(News::Ready, format!("node {}: listening on {bound}", config.node)).await;
        runtime::spawn(systemd::be_watched()).detach();
        drain::until_stopped(signals, &config, &endpoint, &sessions, accepting).await;
        Ok(())
    })
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

/// The socket that was passed, whose clients may have waited in it for this process to start, or a new one; and its
/// address.
fn open(passed: Option<TcpListener>, address: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let unusable = |error| RunError::System("use the listening socket", error);
    let listener = match passed {
        Some(passed) => {
            log::info!("serving on a socket that was passed");
            passed
        }
        None => bind(address)?,
    };
    let bound = listener.local_addr().map_err(unusable)?;
    Ok((listener, bound))
}

fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        // Again, for more than the standard library asks for.
        rustix::net::listen(&listener, LISTEN_BACKLOG)?;
        Ok(listener)
    });
    bound.map_err(|error| RunError::Listen("--listen", address.to_string(), error))
}

/// Descriptors decide when they are few: half of what can be spared where each session's child takes some too.
fn connections_max(descriptors: u64, children: bool) -> usize {
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let spare = DESCRIPTORS_SPARE.min(descriptors / 2);
    let left = descriptors - spare;
    CONNECTIONS_MAX.min(if children { left / 2 } else { left }).max(1)
}

/// Accepts for ever. At the cap it waits: the backlog holds clients better than a 503 would (invariant 7).
async fn accept(
    listener: Source<TcpListener>,
    connections_max: usize,
    endpoint: Arc<Endpoint>,
    config: Arc<Config>,
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
        runtime::spawn(async move {
            let _held = (place, member, METRICS.connections.enter());
            let ended = serve_socket(socket, peer, &endpoint).await;
            memory::ended();
            log::trace!("connection of {} over: {ended:?}", peer.address);
        })
        .detach();
        // A crowd that connects must not keep the thread from those who are served.
        yield_now().await;
    }
}

/// What `accept` takes from a listener, as soon as there is something.
pub(crate) async fn next_socket<L: AsFd, T>(
    listener: &Source<L>,
    accept: impl Fn(&L) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match accept(listener.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => listener.readable().await,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            accepted => return accepted,
        }
    }
}

async fn serve_socket(socket: TcpStream, peer: Peer, endpoint: &Endpoint) -> Result<(), Ended> {
    // A reply is one write: waiting for more to fill the segment would only delay it.
    let _ = socket.set_nodelay(true);
    let mut connection = Connection::new(Socket::new(socket)?);
    serve_connection(&mut connection, peer, endpoint).await
}

/// A connection's whole story: read a request, serve it, write the reply, again.
///
/// # Errors
/// [`Ended`] when the connection ended otherwise than between two requests.
pub async fn serve_connection<S>(
    connection: &mut Connection<S>,
    peer: Peer,
    endpoint: &Endpoint,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut known = Presented::default();
    while serve_request(connection, peer, &mut known, endpoint).await? {}
    Ok(())
}

/// False when there is no more. Idle connections and open streams wait in here: what is not needed any more while
/// they do is in a future of its own.
async fn serve_request<S>(
    connection: &mut Connection<S>,
    peer: Peer,
    known: &mut Presented,
    endpoint: &Endpoint,
) -> Result<bool, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = match connection.read_head().await {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(false),
        Err(ended) => return Err(ended),
    };
    let _served = METRICS.requests.enter();
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
) -> Result<Reply, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let admitted = match endpoint.admit(head, peer, known) {
        Admission::Answer(reply) => return Ok(reply),
        Admission::Mcp(admitted) => admitted,
    };
    let body = connection.read_body(head, BODY_BYTES_MAX).await?;
    let begins = admitted.begins_session();
    // In a box: an idle connection would have to have room for it.
    let served = Box::pin(endpoint.serve(admitted, body));
    if begins { connection.unless_closed(served).await } else { Ok(served.await) }
}

/// How many sockets each address has open.
#[derive(Debug, Default)]
struct Crowds(Mutex<HashMap<IpAddr, usize>>);

/// One socket of an address, until dropped.
#[derive(Debug)]
struct Member(Option<(Arc<Crowds>, IpAddr)>);

impl Crowds {
    /// `None` when the address has too many. Loopback and trusted proxies stand for many clients and have no cap.
    fn join(self: &Arc<Self>, peer: Peer) -> Option<Member> {
        let address = crowd_of(peer.address);
        if peer.address.is_loopback() || peer.trusted {
            return Some(Member(None));
        }
        let mut crowds = lock(&self.0);
        let crowd = crowds.entry(address).or_default();
        if *crowd >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *crowd += 1;
        Some(Member(Some((Arc::clone(self), address))))
    }
}

/// Whose sockets are counted together: an IPv6 host has a whole /64 to itself.
fn crowd_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some((crowds, address)) = &self.0 else { return };
        let mut crowds = lock(&crowds.0);
        if let Some(crowd) = crowds.get_mut(address) {
            *crowd -= 1;
            if *crowd == 0 {
                crowds.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_cap_and_gives_places_back() {
        let crowds = Arc::new(Crowds::default());
        let peer = |last, trusted| Peer { address: [192, 0, 2, last].into(), trusted };
        let held: Vec<_> =
            (0..CONNECTIONS_PER_ADDRESS_MAX).map(|_| crowds.join(peer(1, false)).unwrap()).collect();
        assert!(crowds.join(peer(1, false)).is_none());
        assert!(crowds.join(peer(2, false)).is_some(), "another address");
        assert!(crowds.join(peer(1, true)).is_some(), "a trusted proxy");
        assert!(crowds.join(Peer { address: [127, 0, 0, 1].into(), trusted: false }).is_some());
        let six = |text: &str| crowd_of(text.parse().unwrap());
        assert_eq!(six("2001:db8:1:2::1"), six("2001:db8:1:2:ffff::"));
        assert_ne!(six("2001:db8:1:2::1"), six("2001:db8:1:3::1"));
        drop(held);
        assert!(crowds.join(peer(1, false)).is_some());
        assert!(crowds.0.lock().unwrap().is_empty(), "an address that left is remembered");
    }

    #[test]
    fn descriptors_bound_the_connections() {
        assert_eq!(connections_max(1_000_000, true), CONNECTIONS_MAX);
        assert_eq!(connections_max(64, true), 16);
        assert_eq!(connections_max(0, true), 1);
        assert_eq!(connections_max(64, false), 32);
    }
}
