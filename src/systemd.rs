//! What burdock and a service manager say to each other: a socket passed at start (sd_listen_fds), and how it goes
//! (sd_notify). Without one all of it does nothing.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use async_io::{Async, Timer};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use smol::future::or;

use crate::limits::{DRAIN_EXTENSION, NOTIFY_DEADLINE};

/// The variable that says where the service manager listens.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Why what was passed cannot be served on.
#[derive(Debug)]
pub enum Unusable {
    /// More sockets than the one there is a use for.
    Several(usize),
    /// No TCP socket, or nothing at all.
    NotTcp(io::Error),
    /// A TCP socket that does not listen: a connection, for example.
    NotListening,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Several(count) => write!(
                f,
                "{count} sockets were passed (LISTEN_FDS), and burdock serves on one: \
                 leave one ListenStream= in the socket unit"
            ),
            Unusable::NotTcp(error) => write!(
                f,
                "what was passed (LISTEN_FDS) is no TCP socket ({error}): \
                 ListenStream= in the socket unit must be an address with a port"
            ),
            Unusable::NotListening => f.write_str(
                "the socket that was passed (LISTEN_FDS) does not listen: \
                 the socket unit must have Accept=no, as is the default",
            ),
        }
    }
}

impl std::error::Error for Unusable {}

/// The TCP socket that was passed, if any. To be called before any thread is started: it takes the variables that tell
/// of the socket out of the environment.
///
/// # Errors
/// [`Unusable`].
pub fn passed_listener() -> Result<Option<TcpListener>, Unusable> {
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        return Err(Unusable::Several(passed.len()));
    }
    let Some(listener) = passed.take_tcp_listener(0).map_err(Unusable::NotTcp)? else { return Ok(None) };
    match rustix::net::sockopt::socket_acceptconn(&listener) {
        Ok(true) => Ok(Some(listener)),
        Ok(false) => Err(Unusable::NotListening),
        Err(error) => Err(Unusable::NotTcp(error.into())),
    }
}

/// What the service manager is told besides a line for `systemctl status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It listens.
    Ready,
    /// It begins to stop.
    Stopping,
    /// It is still stopping, and needs more time.
    StillStopping,
}

/// Tells the news, and `status` as it stands.
pub async fn tell(news: News, status: String) {
    let status = NotifyState::Status(&status);
    let extension = u32::try_from(DRAIN_EXTENSION.as_micros()).unwrap_or(u32::MAX);
    // Only from the time that the unit allows on: until then it changes nothing.
    let extend = NotifyState::ExtendTimeoutUsec(extension);
    match news {
        News::Ready => say(&[NotifyState::Ready, status]).await,
        News::Stopping => say(&[NotifyState::Stopping, status, extend]).await,
        News::StillStopping => say(&[status, extend]).await,
    }
}

/// Tells the service manager that burdock lives, for ever, twice as often as it wants to hear (WATCHDOG_USEC). To be
/// run by the executor that serves: when that one stands still so does this, and the service is started anew.
pub async fn be_watched() {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else { return };
    loop {
        say(&[NotifyState::Watchdog]).await;
        Timer::after(period / 2).await;
    }
}

/// Sends one datagram, when there is somebody to take it.
async fn say(states: &[NotifyState<'_>]) {
    let Some(place) = std::env::var_os(NOTIFY_SOCKET) else { return };
    let text: String = states.iter().map(|state| format!("{state}\n")).collect();
    let late = async {
        Timer::after(NOTIFY_DEADLINE).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    if let Err(error) = or(send(&place, text.as_bytes()), late).await {
        log::warn!("the service manager was not told how it goes: {error}");
    }
}

/// Not with `sd_notify::notify`, which blocks as long as nobody reads, and knows no abstract addresses (`@...`).
async fn send(place: &OsStr, text: &[u8]) -> io::Result<()> {
    let address = match place.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Async::new(socket)?.send(text).await.map(drop)
}
