//! What burdock and a service manager such as systemd say to each other. The manager may pass a listening
//! socket at start (sd_listen_fds); burdock tells it when it is ready, stops, or still lives (sd_notify).
//! Without a service manager all of this does nothing.

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

/// The environment variable with the address at which the service manager takes messages.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Why burdock cannot serve on the socket that it was passed.
#[derive(Debug)]
pub enum Unusable {
    /// So many sockets were passed; burdock serves on one.
    Several(usize),
    /// What was passed is no TCP socket, or no open descriptor at all.
    NotTcp(io::Error),
    /// The TCP socket does not listen: it is a connection, for example.
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

/// The TCP socket that was passed, if any. Call this before any thread is started: it removes the variables
/// that tell of the socket from the environment.
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

/// What the service manager is told, besides a line for `systemctl status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// burdock listens.
    Ready,
    /// burdock begins to stop.
    Stopping,
    /// burdock is still stopping, and needs more time.
    StillStopping,
}

/// Tells the service manager the news, with `status` as the line for `systemctl status`.
pub async fn tell(news: News, status: String) {
    let status = NotifyState::Status(&status);
    let extension = u32::try_from(DRAIN_EXTENSION.as_micros()).unwrap_or(u32::MAX);
    // systemd ignores this until the time that the unit allows for a stop is over; only then it extends that
    // time.
    let extend = NotifyState::ExtendTimeoutUsec(extension);
    match news {
        News::Ready => say(&[NotifyState::Ready, status]).await,
        News::Stopping => say(&[NotifyState::Stopping, status, extend]).await,
        News::StillStopping => say(&[status, extend]).await,
    }
}

/// Tells the service manager for ever that burdock lives, twice as often as the manager wants to hear it
/// (`WATCHDOG_USEC`). This must run on the executor that serves clients: when the executor stalls, so does
/// this, and the service manager starts burdock anew.
pub async fn be_watched() {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else { return };
    loop {
        say(&[NotifyState::Watchdog]).await;
        Timer::after(period / 2).await;
    }
}

/// Sends the service manager one datagram, if there is a service manager.
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

/// `sd_notify::notify` is not used: it blocks while the manager does not read, and knows no abstract
/// addresses (`@...`).
async fn send(place: &OsStr, text: &[u8]) -> io::Result<()> {
    let address = match place.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Async::new(socket)?.send(text).await.map(drop)
}
