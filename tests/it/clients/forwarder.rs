//! A TCP forwarder between a client and the server that cuts its connections on command, and notes what the
//! client asked for on the way.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Room for one read; an HTTP head of these clients always fits in one.
const CHUNK_BYTES: usize = 64 * 1024;

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// FIN to both sides in the middle of the body.
    Fin,
    /// RST to both sides.
    Rst,
}

/// What has passed, counted over all connections.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Requests that end a session.
    pub(crate) deletes: AtomicUsize,
    /// Requests that resume a stream.
    pub(crate) resumptions: AtomicUsize,
    /// Log notifications that came down a GET stream.
    pub(crate) logs_on_get: AtomicUsize,
}

/// One client connection and its twin to the server; both close when the last pump lets go.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Its latest request was a GET.
    listening: AtomicBool,
    cut: AtomicBool,
}

/// Listens until dropped; connections that are open then go on until one of the sides ends them.
pub(crate) struct Forwarder {
    address: SocketAddr,
    seen: Arc<Seen>,
    open: Arc<Mutex<Vec<Weak<Connection>>>>,
    stopped: Arc<AtomicBool>,
}

impl Forwarder {
    /// Forwards a new loopback port to `target`.
    pub(crate) fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let forwarder = Self {
            address: listener.local_addr()?,
            seen: Arc::default(),
            open: Arc::default(),
            stopped: Arc::default(),
        };
        let (seen, open) = (forwarder.seen.clone(), forwarder.open.clone());
        let stopped = forwarder.stopped.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // A server that cannot be reached shows to the client as a connection closed at once.
                if let Ok(connection) = Connection::open(client, target, &seen) {
                    lock(&open).push(Arc::downgrade(&connection));
                }
            }
        });
        Ok(forwarder)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Ends all connections that are open now; says how many.
    pub(crate) fn cut(&self, how: Cut) -> usize {
        let open: Vec<_> = lock(&self.open).drain(..).filter_map(|weak| weak.upgrade()).collect();
        for connection in &open {
            connection.cut(how);
        }
        open.len()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the accept loop, which then sees that it is over.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Connection {
    /// Connects to the server and starts one pump for each direction.
    fn open(client: TcpStream, target: SocketAddr, seen: &Arc<Seen>) -> io::Result<Arc<Self>> {
        let server = TcpStream::connect(target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let connection =
            Arc::new(Self { client, server, listening: AtomicBool::new(false), cut: AtomicBool::new(false) });
        let (up, up_seen) = (connection.clone(), seen.clone());
        std::thread::spawn(move || up.pump(&up.client, &up.server, |chunk| up.note_request(chunk, &up_seen)));
        let (down, down_seen) = (connection.clone(), seen.clone());
        std::thread::spawn(move || {
            down.pump(&down.server, &down.client, |chunk| down.note_reply(chunk, &down_seen));
        });
        Ok(connection)
    }

    fn cut(&self, how: Cut) {
        self.cut.store(true, Ordering::Relaxed);
        for side in [&self.client, &self.server] {
            // Shutting down only the reading half wakes the pump without a FIN, so that with a zero linger
            // the close that follows is a reset.
            let half = match how {
                Cut::Fin => Shutdown::Both,
                Cut::Rst => {
                    let _ = rustix::net::sockopt::set_socket_linger(side, Some(Duration::ZERO));
                    Shutdown::Read
                }
            };
            let _ = side.shutdown(half);
        }
    }

    /// Copies one direction until it ends; an end of stream is passed on, an error ends both directions.
    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream, note: impl Fn(&[u8])) {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let passed = from.read(&mut chunk).and_then(|length| {
                note(&chunk[..length]);
                to.write_all(&chunk[..length]).map(|()| length)
            });
            if self.cut.load(Ordering::Relaxed) {
                return;
            }
            match passed {
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(_) => {}
                Err(_) => {
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = to.shutdown(Shutdown::Both);
                    return;
                }
            }
        }
    }

    fn note_request(&self, chunk: &[u8], seen: &Seen) {
        if chunk.starts_with(b"DELETE /") {
            seen.deletes.fetch_add(1, Ordering::Relaxed);
        }
        if chunk.starts_with(b"GET /") {
            self.listening.store(true, Ordering::Relaxed);
            if contains(&chunk.to_ascii_lowercase(), b"\r\nlast-event-id:") {
                seen.resumptions.fetch_add(1, Ordering::Relaxed);
            }
        } else if chunk.starts_with(b"POST /") || chunk.starts_with(b"DELETE /") {
            self.listening.store(false, Ordering::Relaxed);
        }
    }

    fn note_reply(&self, chunk: &[u8], seen: &Seen) {
        if self.listening.load(Ordering::Relaxed)
            && (contains(chunk, b"notifications/message")
                || contains(chunk, b"notifications/tools/list_changed"))
        {
            seen.logs_on_get.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
