//! Many connections at once on one thread: non-blocking sockets, one epoll, buffers that are used again.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::Failure;
use crate::reply::{Reply, Scan};

/// A mode may take so long before it counts as hung.
const DEADLINE: Duration = Duration::from_secs(120);
/// Events of one `epoll_wait`.
const EVENTS_MAX: usize = 512;
/// Of one `read`.
const READ_BYTES: usize = 16 * 1024;

/// What a connection waits for after its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole reply.
    Reply,
    /// The head of a reply that stays open.
    Stream,
    /// Nothing: it has no more to do.
    Nothing,
}

/// What the connections do.
pub trait Script {
    /// Writes the first request of a connection.
    fn begin(&mut self, connection: usize, out: &mut Vec<u8>) -> Next;

    /// Takes a reply and writes the next request.
    ///
    /// # Errors
    /// A reply that should have been another one ends the run.
    fn replied(&mut self, connection: usize, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Next, Failure>;

    /// Takes what came from an open stream. True when it is understood and can be forgotten.
    fn streamed(&mut self, _connection: usize, _bytes: &[u8]) -> bool {
        true
    }

    /// How many connections there may be now; for a script that lets them come by and by.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// Whether all that was to be done is done.
    fn is_over(&self) -> bool;
}

/// See the module.
pub struct Engine {
    epoll: OwnedFd,
    port: u16,
    /// Connections that there will be.
    planned: usize,
    connections: Vec<Connection>,
    events: Vec<Event>,
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    scan: Scan,
    waits: Waits,
    /// Whether epoll is asked for room to write.
    watched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Whole,
    Head,
    Events,
    Nothing,
}

impl Engine {
    /// Will have so many connections.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(port: u16, planned: usize) -> Result<Engine, Failure> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let (connections, events) = (Vec::with_capacity(planned), Vec::with_capacity(EVENTS_MAX));
        Ok(Engine { epoll, port, planned, connections, events })
    }

    /// Lets every connection that waits for nothing begin, and goes on until the script is over.
    ///
    /// # Errors
    /// When the script does not like a reply, a connection is lost, or it takes too long.
    pub fn run(&mut self, script: &mut impl Script) -> Result<(), Failure> {
        for index in 0..self.connections.len() {
            if self.connections[index].waits == Waits::Nothing {
                self.begin(index, script)?;
            }
        }
        let begun = Instant::now();
        while !script.is_over() {
            if begun.elapsed() > DEADLINE {
                return Err(format!("no end after {} s", DEADLINE.as_secs()).into());
            }
            while self.connections.len() < self.planned.min(script.room()) {
                self.connect()?;
                self.begin(self.connections.len() - 1, script)?;
            }
            self.wait()?;
            for index in 0..self.events.len() {
                let event = self.events[index];
                self.serve(event, script)?;
            }
        }
        Ok(())
    }

    /// Begins a connection; it need not be up yet.
    fn connect(&mut self) -> Result<(), Failure> {
        let connection = Connection::begin(self.port)?;
        let index = EventData::new_u64(self.connections.len() as u64);
        epoll::add(&self.epoll, &connection.socket, index, EventFlags::IN)?;
        self.connections.push(connection);
        Ok(())
    }

    fn begin(&mut self, index: usize, script: &mut impl Script) -> Result<(), Failure> {
        let next = script.begin(index, self.connections[index].cleared());
        self.send(index, next)
    }

    fn wait(&mut self) -> Result<(), Failure> {
        self.events.clear();
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&second)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn serve(&mut self, event: Event, script: &mut impl Script) -> Result<(), Failure> {
        let (index, flags) = (event.data.u64() as usize, event.flags);
        if flags.contains(EventFlags::OUT) {
            self.flush(index)?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.read(index, script)?;
        }
        Ok(())
    }

    fn read(&mut self, index: usize, script: &mut impl Script) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        let mut bytes = [0; READ_BYTES];
        let count = match connection.socket.read(&mut bytes) {
            Ok(0) => return Err(format!("the server closed connection {index}").into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("connection {index}: {error}").into()),
        };
        connection.input.extend_from_slice(&bytes[..count]);
        match connection.waits {
            Waits::Events => {
                connection.hand_over(index, script);
                Ok(())
            }
            Waits::Whole | Waits::Head => self.advance(index, script),
            Waits::Nothing => Err(format!("connection {index} has an answer to nothing").into()),
        }
    }

    /// Looks whether the reply is there, and lets the script go on.
    fn advance(&mut self, index: usize, script: &mut impl Script) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        let end = match connection.waits {
            Waits::Head => connection.scan.head(&connection.input)?,
            _ => connection.scan.whole(&connection.input)?,
        };
        let Some(end) = end else { return Ok(()) };
        connection.output.clear();
        connection.written = 0;
        let reply = connection.scan.reply(&connection.input, end).ok_or("a reply without a head")?;
        let next = script.replied(index, &reply, &mut connection.output)?;
        connection.input.drain(..end);
        connection.scan = Scan::default();
        if connection.waits == Waits::Head {
            connection.waits = Waits::Events;
            connection.hand_over(index, script);
            return Ok(());
        }
        self.send(index, next)
    }

    fn send(&mut self, index: usize, next: Next) -> Result<(), Failure> {
        self.connections[index].waits = match next {
            Next::Reply => Waits::Whole,
            Next::Stream => Waits::Head,
            Next::Nothing => Waits::Nothing,
        };
        self.flush(index)
    }

    /// Writes what there is to write; epoll says when there is room for the rest.
    fn flush(&mut self, index: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        let done = connection.write()?;
        if done == connection.watched {
            connection.watched = !done;
            let flags = if done { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
            epoll::modify(&self.epoll, &connection.socket, EventData::new_u64(index as u64), flags)?;
        }
        Ok(())
    }
}

impl Connection {
    fn begin(port: u16) -> Result<Connection, Failure> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        match connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        Ok(Connection {
            socket,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            scan: Scan::default(),
            waits: Waits::Nothing,
            watched: false,
        })
    }

    fn cleared(&mut self) -> &mut Vec<u8> {
        self.output.clear();
        self.written = 0;
        &mut self.output
    }

    /// True when all is written.
    fn write(&mut self) -> Result<bool, Failure> {
        while self.written < self.output.len() {
            match self.socket.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn hand_over(&mut self, index: usize, script: &mut impl Script) {
        if !self.input.is_empty() && script.streamed(index, &self.input) {
            self.input.clear();
        }
    }
}
