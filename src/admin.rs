//! The second listener: metrics, for the operator only. On loopback or a unix socket, and Host is checked.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use async_io::Timer;
use smol::io::{AsyncRead, AsyncWrite};
use smol::lock::Semaphore;

use crate::config::{AdminListen, Config, Names};
use crate::connections::Connections;
use crate::http::{Body, Connection, Disconnected, Method, Reply, RequestHead, Socket, Status};
use crate::limits::{ACCEPT_BACKOFF, ADMIN_CONNECTIONS_MAX};
use crate::listener::{self, CannotListen, next_socket};
use crate::mcp::access;
use crate::reactor::Source;
use crate::{budget, metrics};

/// The admin listener, bound.
#[derive(Debug)]
pub enum Listener {
    /// On a port.
    Tcp(TcpListener),
    /// On a unix socket.
    Unix(UnixListener),
}

/// Binds the admin listener.
///
/// # Errors
/// [`CannotListen`]. A socket file that nobody listens on any more is replaced.
pub fn bind(listen: &AdminListen) -> Result<Listener, CannotListen> {
    match listen {
        AdminListen::Tcp(address) => listener::bind("--admin", *address).map(Listener::Tcp),
        AdminListen::Unix(path) => bind_unix(path).map(Listener::Unix).map_err(|error| CannotListen {
            flag: "--admin",
            address: path.display().to_string(),
            error,
        }),
    }
}

fn bind_unix(path: &std::path::Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Serves the operator, for ever.
pub async fn serve(listener: Listener, config: Arc<Config>) {
    let names = config.admin_names().map(Arc::new);
    let refused = match listener {
        Listener::Tcp(listener) => accept(listener, |listener| Ok(listener.accept()?.0), names).await,
        Listener::Unix(listener) => accept(listener, |listener| Ok(listener.accept()?.0), names).await,
    };
    log::error!("the admin listener cannot be watched: {refused}");
}

/// Accepts for ever; returns only what keeps it from beginning.
async fn accept<L, S>(
    listener: L,
    accept: impl Fn(&L) -> io::Result<S>,
    names: Option<Arc<Names>>,
) -> io::Error
where
    L: AsFd,
    S: AsFd + Send + Sync + Unpin + 'static,
{
    let listener = match Source::new(listener) {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    let connections = Connections::default();
    let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    loop {
        let place = places.acquire_arc().await;
        let names = names.clone();
        match next_socket(&listener, &accept).await {
            Ok(socket) => connections.serve(|_| async move {
                let _place = place;
                let ended = serve_socket(socket, names.as_deref()).await;
                log::trace!("admin connection over: {ended:?}");
            }),
            Err(error) => {
                log::warn!("cannot accept an admin connection: {error}");
                Timer::after(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn serve_socket<S>(socket: S, names: Option<&Names>) -> Result<(), Disconnected>
where
    S: AsFd + Send + Sync + Unpin,
{
    serve_connection(Connection::new(Socket::new(socket)?), names).await
}

async fn serve_connection<S>(mut connection: Connection<S>, names: Option<&Names>) -> Result<(), Disconnected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(head) = connection.read_head().await? {
        connection.write_reply(head.asked(), answer(&head, names)).await?;
    }
    Ok(())
}

fn answer(head: &RequestHead, names: Option<&Names>) -> Reply {
    if let Some(Err(refusal)) = names.map(|names| access::check_host(names, head)) {
        return refusal.into();
    }
    match (head.method(), head.path()) {
        (Method::Get | Method::Head, "/metrics") => Reply {
            status: Status(200),
            headers: Vec::new(),
            body: Body::Full(
                "text/plain; version=0.0.4; charset=utf-8",
                budget::Payload::made_here(metrics::text().into_bytes()),
            ),
            close: false,
        },
        (_, "/metrics") => Reply::text(405, "use GET").header("Allow", "GET, HEAD"),
        _ => Reply::text(404, "not found: metrics are at /metrics"),
    }
}
