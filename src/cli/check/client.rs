//! A small blocking HTTP/1.1 client: one request after the other on one connection, with deadlines, and event
//! streams read as they come. It shares nothing with burdock's server but the chunk decoder.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::authority::{Authority, AuthorityError, Origin};
use crate::http::body::ChunkedDecoder;
use crate::limits::{CHECK_BODY_BYTES_MAX, CHECK_DEADLINE, CHECK_HEAD_BYTES_MAX, CHECK_HEADERS_MAX};

/// An `http://` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// `host:port`, to connect to.
    pub(super) address: String,
    /// What goes into `Host`.
    pub(super) authority: String,
    /// The path, with its query.
    pub(super) path: String,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// In words for the user.
    pub(super) fn parse(text: &str) -> Result<Url, String> {
        if text.starts_with("https://") {
            return Err(
                "https is not spoken here: check the plain port behind the proxy, or a tunnel to it".into()
            );
        }
        let (origin, path) = match Origin::split(text) {
            Ok((origin, path)) if origin.scheme == "http" => (origin, path),
            Ok(_) | Err(AuthorityError::NoScheme) => {
                return Err("a URL begins with http://, as in http://127.0.0.1:8080/mcp".to_owned());
            }
            Err(AuthorityError::NoHost) => return Err("there is no host in it".to_owned()),
            Err(error) => return Err(format!("what follows http:// {error}")),
        };
        if path.contains('#') {
            return Err("goes without a fragment (#...): servers are not sent it".to_owned());
        }
        if path.contains(|byte: char| byte.is_ascii_control() || byte == ' ' || !byte.is_ascii()) {
            return Err("the path has characters that must be percent-encoded".into());
        }
        let Authority { host, port } = origin.authority;
        let address = format!("{host}:{}", port.unwrap_or(80));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { address, authority: origin.authority.to_string(), path })
    }
}

/// What the endpoint answered.
#[derive(Clone, Debug, Default)]
pub(super) struct HttpResponse {
    /// The status.
    pub(super) status: u16,
    /// The headers, names in lower case.
    pub(super) headers: Vec<(String, String)>,
    /// The body, its chunks joined. Of an event stream only what was read before the connection was given up.
    pub(super) body: Vec<u8>,
    /// From the first byte sent to the last read.
    pub(super) took: Duration,
}

impl HttpResponse {
    /// The first header of this name (in lower case).
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The media type without its parameters.
    pub(super) fn media(&self) -> &str {
        self.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim()
    }

    /// The body as text, invalid bytes replaced.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The events of an event stream, in order.
    pub(super) fn events(&self) -> Vec<SseEvent> {
        let text = self.text().replace("\r\n", "\n").replace('\r', "\n");
        text.split("\n\n").filter_map(SseEvent::parse).collect()
    }

    /// The JSON-RPC messages: the body, or the data of the events.
    pub(super) fn messages(&self) -> Vec<serde_json::Value> {
        match self.media() {
            "text/event-stream" => {
                self.events().iter().filter_map(|event| serde_json::from_str(&event.data).ok()).collect()
            }
            _ => serde_json::from_slice(&self.body).into_iter().collect(),
        }
    }
}

/// A server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SseEvent {
    /// Its id.
    pub(super) id: Option<String>,
    /// Its data, lines joined.
    pub(super) data: String,
}

impl SseEvent {
    /// `None` when the block has neither an id nor data: a comment.
    fn parse(block: &str) -> Option<SseEvent> {
        let mut event = SseEvent::default();
        let mut data: Vec<&str> = Vec::new();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => event.id = Some(value.to_owned()),
                "data" => data.push(value),
                _ => {}
            }
        }
        event.data = data.join("\n");
        (event.id.is_some() || !data.is_empty()).then_some(event)
    }
}

/// How far an answer is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// To its end.
    End,
    /// An event stream to its first event, or for this long. After that the connection is given up.
    FirstEvent(Duration),
}

/// A client of one endpoint.
#[derive(Debug)]
pub(super) struct HttpClient {
    url: Url,
    token: Option<String>,
    connection: Option<TcpStream>,
}

impl HttpClient {
    /// A client that is not connected yet.
    pub(super) fn new(url: Url, token: Option<String>) -> HttpClient {
        HttpClient { url, token, connection: None }
    }

    /// The next request goes over a new connection.
    pub(super) fn reconnect(&mut self) {
        self.connection = None;
    }

    /// Connects, when there is no connection.
    ///
    /// # Errors
    /// When no address of the host takes it.
    pub(super) fn connect(&mut self) -> io::Result<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in self.url.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CHECK_DEADLINE) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    socket.set_write_timeout(Some(CHECK_DEADLINE))?;
                    self.connection = Some(socket);
                    return Ok(());
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// When the connection fails, the answer is not HTTP, or takes longer than `CHECK_DEADLINE`.
    pub(super) fn send(
        &mut self,
        method: &str,
        headers: &[(&str, &str)],
        body: &str,
        until: Until,
    ) -> io::Result<HttpResponse> {
        self.connect()?;
        let request = self.request(method, headers, body);
        let begun = Instant::now();
        let socket = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let result =
            socket.write_all(request.as_bytes()).and_then(|()| read_answer(socket, method, until, begun));
        match result {
            Ok((mut answer, keep)) => {
                answer.took = begun.elapsed();
                if !keep {
                    self.connection = None;
                }
                Ok(answer)
            }
            Err(error) => {
                self.connection = None;
                Err(error)
            }
        }
    }

    fn request(&self, method: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut request = format!("{method} {} HTTP/1.1\r\n", self.url.path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request += &format!("Host: {}\r\n", self.url.authority);
        }
        if let Some(token) = &self.token {
            request += &format!("Authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if method == "POST" {
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        request + "\r\n" + body
    }
}

/// Reads more bytes, not later than the deadline; none at the end of the stream.
fn read_more(
    socket: &mut TcpStream,
    bytes: &mut Vec<u8>,
    begun: Instant,
    at_most: Duration,
) -> io::Result<usize> {
    let left = at_most.checked_sub(begun.elapsed()).filter(|left| !left.is_zero());
    socket.set_read_timeout(Some(left.ok_or(io::ErrorKind::TimedOut)?))?;
    let mut piece = [0; 8192];
    let count = socket.read(&mut piece).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    })?;
    bytes.extend_from_slice(&piece[..count]);
    Ok(count)
}

/// The answer, and whether the connection can take another request.
fn read_answer(
    socket: &mut TcpStream,
    method: &str,
    until: Until,
    begun: Instant,
) -> io::Result<(HttpResponse, bool)> {
    let mut bytes = Vec::new();
    let (mut answer, used) = loop {
        if let Some(parsed) = parse_head(&bytes)? {
            break parsed;
        }
        if bytes.len() > CHECK_HEAD_BYTES_MAX {
            return Err(io::Error::other("the answer's head has no end"));
        }
        if read_more(socket, &mut bytes, begun, CHECK_DEADLINE)? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection was closed without an answer",
            ));
        }
    };
    bytes.drain(..used);
    let keep = answer.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"));
    if method == "HEAD" || matches!(answer.status, 204 | 304) {
        return Ok((answer, keep));
    }
    let whole = read_body(socket, &mut answer, bytes, until, begun)?;
    Ok((answer, keep && whole))
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(HttpResponse, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; CHECK_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let used = match response
        .parse(bytes)
        .map_err(|error| io::Error::other(format!("the answer is not HTTP: {error}")))?
    {
        httparse::Status::Complete(used) => used,
        httparse::Status::Partial => return Ok(None),
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = response
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
        .collect();
    Ok(Some((
        HttpResponse { status: response.code.unwrap_or_default(), headers, ..HttpResponse::default() },
        used,
    )))
}

/// Reads the body into the answer. True when it was read to its end.
fn read_body(
    socket: &mut TcpStream,
    answer: &mut HttpResponse,
    ahead: Vec<u8>,
    until: Until,
    begun: Instant,
) -> io::Result<bool> {
    let chunked =
        answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let length: Option<usize> = answer.header("content-length").and_then(|value| value.parse().ok());
    let mut decoder = ChunkedDecoder::new();
    let mut bytes = ahead;
    loop {
        if chunked {
            decoder
                .decode(&bytes, CHECK_BODY_BYTES_MAX, |piece| answer.body.extend_from_slice(piece))
                .map_err(|refusal| io::Error::other(refusal.text))?;
        } else {
            answer.body.extend_from_slice(&bytes);
        }
        bytes.clear();
        if decoder.is_done() || length.is_some_and(|length| answer.body.len() >= length) {
            return Ok(true);
        }
        if answer.body.len() > CHECK_BODY_BYTES_MAX {
            return Err(io::Error::other("the answer is too large"));
        }
        if !read_on(socket, answer, &mut bytes, until, begun)? {
            return Ok(false);
        }
    }
}

/// Reads more of a body. False at its end, or when `until` says that this is enough.
fn read_on(
    socket: &mut TcpStream,
    answer: &HttpResponse,
    bytes: &mut Vec<u8>,
    until: Until,
    begun: Instant,
) -> io::Result<bool> {
    let at_most = match until {
        Until::End => CHECK_DEADLINE,
        Until::FirstEvent(_) if !answer.events().is_empty() => return Ok(false),
        Until::FirstEvent(at_most) => at_most,
    };
    match read_more(socket, bytes, begun, at_most) {
        Ok(count) => Ok(count > 0),
        Err(error) if error.kind() == io::ErrorKind::TimedOut && matches!(until, Until::FirstEvent(_)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url = Url::parse("http://h:81/mcp?x=1").unwrap();
        assert_eq!(
            (url.address.as_str(), url.authority.as_str(), url.path.as_str()),
            ("h:81", "h:81", "/mcp?x=1")
        );
        assert_eq!(Url::parse("http://[::1]/mcp").unwrap().address, "[::1]:80");
        assert_eq!(Url::parse("http://h").unwrap().path, "/");
        assert_eq!(Url::parse("http://h?x=1").unwrap().path, "/?x=1");
        assert_eq!(Url::parse("http://h:/x").unwrap().address, "h:80");
        for (text, part) in [
            ("https://h/mcp", "https"),
            ("h/mcp", "http://"),
            ("http:///x", "no host"),
            ("http://h:x/", "has \"x\" where its port should be"),
            ("http://u:p@h/", "a user in front"),
            ("http://h/#x", "without a fragment"),
            ("http://h/a b", "percent"),
        ] {
            assert!(Url::parse(text).unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn events() {
        let answer = HttpResponse {
            body: b": hi\n\nid: 1\ndata:\n\ndata: a\r\ndata: b\r\n\r\n".to_vec(),
            ..HttpResponse::default()
        };
        let events = answer.events();
        assert_eq!(
            events,
            [
                SseEvent { id: Some("1".into()), data: String::new() },
                SseEvent { id: None, data: "a\nb".into() }
            ]
        );
    }
}
