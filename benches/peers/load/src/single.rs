//! One connection that sends a request and waits for its answer: what latencies are measured with.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use memchr::memmem::find;

use crate::Failure;
use crate::reply::{Reply, Scan};
use crate::requests::{Requests, TEXT};

/// For any answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Of one `read`.
const READ_BYTES: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Single {
    socket: TcpStream,
    requests: Requests,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Single {
    /// Connects.
    ///
    /// # Errors
    /// When the server is not there.
    pub fn connect(port: u16, requests: &Requests) -> Result<Single, Failure> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        Ok(Single { socket, requests: requests.clone(), input: Vec::new(), output: Vec::new() })
    }

    /// Begins a session and gives its id, before `initialized`.
    ///
    /// # Errors
    /// When the answer is not what it should be.
    pub fn initialize(&mut self) -> Result<Vec<u8>, Failure> {
        self.exchange(Requests::initialize, |reply| session_of(&reply))
    }

    /// Tells that the session has begun.
    ///
    /// # Errors
    /// As above.
    pub fn initialized(&mut self, session: &[u8]) -> Result<(), Failure> {
        self.exchange(|requests, out| requests.initialized(session, out), |reply| expect_accepted(&reply))
    }

    /// Calls `echo`.
    ///
    /// # Errors
    /// As above.
    pub fn call(&mut self, session: &[u8]) -> Result<(), Failure> {
        self.exchange(|requests, out| requests.call(session, out), |reply| expect_echo(&reply))
    }

    /// Ends the session.
    ///
    /// # Errors
    /// As above.
    pub fn delete(&mut self, session: &[u8]) -> Result<(), Failure> {
        self.exchange(|requests, out| requests.delete(session, out), |reply| expect_accepted(&reply))
    }

    /// Opens the session's stream and gives the socket that it comes from.
    ///
    /// # Errors
    /// As above.
    pub fn into_stream(mut self, session: &[u8]) -> Result<TcpStream, Failure> {
        self.output.clear();
        self.requests.stream(session, &mut self.output);
        self.socket.write_all(&self.output)?;
        self.receive(Scan::head, |reply| expect_accepted(&reply))?;
        Ok(self.socket)
    }

    fn exchange<T>(
        &mut self,
        request: impl FnOnce(&Requests, &mut Vec<u8>),
        take: impl FnOnce(Reply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.output.clear();
        request(&self.requests, &mut self.output);
        self.socket.write_all(&self.output)?;
        self.receive(Scan::whole, take)
    }

    fn receive<T>(
        &mut self,
        scanned: fn(&mut Scan, &[u8]) -> Result<Option<usize>, String>,
        take: impl FnOnce(Reply<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.input.clear();
        let mut scan = Scan::default();
        let mut bytes = [0; READ_BYTES];
        loop {
            let count = self.socket.read(&mut bytes)?;
            if count == 0 {
                return Err("the server closed the connection".into());
            }
            self.input.extend_from_slice(&bytes[..count]);
            if let Some(end) = scanned(&mut scan, &self.input)? {
                let reply = scan.reply(&self.input, end).ok_or("a reply without a head")?;
                return take(reply);
            }
        }
    }
}

/// The id of a session that has begun.
///
/// # Errors
/// When it has not.
pub fn session_of(reply: &Reply<'_>) -> Result<Vec<u8>, Failure> {
    match reply.session {
        Some(session) if reply.status == 200 => Ok(session.to_vec()),
        _ => Err(unexpected("initialize", reply)),
    }
}

/// An answer without anything in it.
///
/// # Errors
/// When the status says that the request failed.
pub fn expect_accepted(reply: &Reply<'_>) -> Result<(), Failure> {
    if matches!(reply.status, 200 | 202 | 204) { Ok(()) } else { Err(unexpected("a request", reply)) }
}

/// The answer of `echo`.
///
/// # Errors
/// When it is another.
pub fn expect_echo(reply: &Reply<'_>) -> Result<(), Failure> {
    let said = reply.status == 200 && find(reply.body, TEXT.as_bytes()).is_some();
    if said { Ok(()) } else { Err(unexpected("echo", reply)) }
}

fn unexpected(what: &str, reply: &Reply<'_>) -> Failure {
    let body = String::from_utf8_lossy(&reply.body[..reply.body.len().min(300)]);
    format!("the answer to {what} was {}: {body}", reply.status).into()
}
