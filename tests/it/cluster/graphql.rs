//! What else is behind the same address: a server that answers `/graphql` with its own name, and is always ready.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A connection on which nothing comes for so long is closed.
const IDLE: Duration = Duration::from_secs(90);

/// Stops listening on drop; connections end with their clients.
pub(crate) struct GraphQl {
    pub(crate) address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl GraphQl {
    pub(crate) fn start(name: &'static str) -> GraphQl {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                // An error is the end of the connection.
                std::thread::spawn(move || serve(socket, name));
            }
        });
        GraphQl { address, stopped }
    }
}

impl Drop for GraphQl {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the accept loop, which then sees that it is over.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn serve(socket: TcpStream, name: &str) -> std::io::Result<()> {
    socket.set_read_timeout(Some(IDLE))?;
    socket.set_nodelay(true)?;
    let mut socket = BufReader::new(socket);
    while let Some((path, length)) = head(&mut socket)? {
        std::io::copy(&mut (&mut socket).take(length), &mut std::io::sink())?;
        let (status, body) = match path.as_str() {
            "/graphql" => ("200 OK", format!(r#"{{"data":{{"server":"{name}"}}}}"#)),
            "/health/ready" => ("200 OK", "ready".to_owned()),
            _ => ("404 Not Found", String::new()),
        };
        let length = body.len();
        let reply = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        socket.get_mut().write_all(reply.as_bytes())?;
    }
    Ok(())
}

/// The path of the next request and the length of its body; `None` at the end of the connection.
fn head(socket: &mut BufReader<TcpStream>) -> std::io::Result<Option<(String, u64)>> {
    let mut request = String::new();
    socket.read_line(&mut request)?;
    let Some(path) = request.split(' ').nth(1) else { return Ok(None) };
    let mut length = 0;
    loop {
        let mut line = String::new();
        socket.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some(_) => {}
            None => return Ok(Some((path.to_owned(), length))),
        }
    }
}
