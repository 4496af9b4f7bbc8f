//! The least a server can do: one thread, one epoll, one `read` and one `write` per request, and answers that are
//! always the same. What a real server needs beyond this is what it costs.
//!
//! It looks for the end of the head, for `Content-Length`, and for the method's name; nothing is checked.
//!
//! `floor children PROGRAM COUNT` is the least that a stdio session can do beside that: it starts the program with three
//! pipes, writes two lines and reads the answers, closes its stdin and waits for it; one after the other.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use memchr::memmem::find;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

/// The listener's number among the events; connections count from 0.
const LISTENER: u64 = u64::MAX;
/// Of one `read`; no request of the load generator is larger.
const READ_BYTES: usize = 16 * 1024;
/// Events of one `epoll_wait`.
const EVENTS_MAX: usize = 256;

const INITIALIZED: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: floor-0000000000000000000000000000\r\nContent-Length: 156\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{\"listChanged\":true}},\"serverInfo\":{\"name\":\"floor\",\"version\":\"1\"}}}";
const CALLED: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 85\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"hello, peers\"}]}}";
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
const DELETED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What a child is asked.
const ASKED: [&str; 2] = [
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"peers\",\"version\":\"1\"}}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"text\":\"hello, peers\"}}}\n",
];

struct Connection {
    socket: TcpStream,
    /// What was read and not answered; empty between two requests.
    input: Vec<u8>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const USAGE: &str = "usage: floor PORT | floor children PROGRAM COUNT";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [port] => listen(port.parse()?)?,
        [word, program, count] if word == "children" => {
            for _ in 0..count.parse::<u32>()? {
                child(program)?;
            }
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

/// A child's whole life.
fn child(program: &str) -> io::Result<()> {
    let mut command = Command::new(program);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(ErrorKind::BrokenPipe.into());
    };
    let mut answers = BufReader::new(output).lines();
    for asked in ASKED {
        input.write_all(asked.as_bytes())?;
        answers.next().ok_or(ErrorKind::UnexpectedEof)??;
    }
    drop(input);
    if child.wait()?.success() { Ok(()) } else { Err(io::Error::other("the child failed")) }
}

fn listen(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    serve(&listener, &epoll)
}

fn serve(listener: &TcpListener, epoll: &OwnedFd) -> io::Result<()> {
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
    loop {
        events.clear();
        epoll::wait(epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                LISTENER => accept(listener, epoll, &mut connections)?,
                index => {
                    let place = &mut connections[index as usize];
                    if place.as_mut().is_some_and(|connection| take(connection).is_err()) {
                        *place = None;
                    }
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &OwnedFd,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    loop {
        let socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let free = connections.iter().position(Option::is_none).unwrap_or(connections.len());
        if free == connections.len() {
            connections.push(None);
        }
        epoll::add(epoll, &socket, EventData::new_u64(free as u64), EventFlags::IN)?;
        connections[free] = Some(Connection { socket, input: Vec::new() });
    }
}

/// Reads once and answers what is complete. An error ends the connection.
fn take(connection: &mut Connection) -> io::Result<()> {
    let mut bytes = [0; READ_BYTES];
    let count = match connection.socket.read(&mut bytes) {
        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    if connection.input.is_empty() {
        let used = answer(&connection.socket, &bytes[..count])?;
        connection.input.extend_from_slice(&bytes[used..count]);
    } else {
        connection.input.extend_from_slice(&bytes[..count]);
        let used = answer(&connection.socket, &connection.input)?;
        connection.input.drain(..used);
    }
    Ok(())
}

/// Answers the requests at the beginning of `input`; how many bytes they took.
fn answer(mut socket: &TcpStream, input: &[u8]) -> io::Result<usize> {
    let mut used = 0;
    while let Some((request, body)) = split(&input[used..]) {
        // An answer this small finds room in the socket, or the client has stopped reading.
        socket.write_all(reply(request, body).as_bytes())?;
        used += request.len() + body.len();
    }
    Ok(used)
}

/// Head and body of the first request; `None` when it is not complete.
fn split(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = find(input, b"\r\n\r\n")? + 4;
    let length = content_length(&input[..head]);
    let rest = &input[head..];
    (rest.len() >= length).then(|| (&input[..head], &rest[..length]))
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"\r\nContent-Length: ";
    let Some(at) = find(head, NAME) else { return 0 };
    head[at + NAME.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
}

fn reply(head: &[u8], body: &[u8]) -> &'static str {
    match head.first() {
        Some(b'G') => STREAM,
        Some(b'D') => DELETED,
        _ if find(body, b"\"initialize\"").is_some() => INITIALIZED,
        _ if find(body, b"\"tools/call\"").is_some() => CALLED,
        _ => ACCEPTED,
    }
}
