//! The requests that are sent, as real clients write them.

/// Where every server has its endpoint.
const PATH: &str = "/mcp";
/// The revision that is spoken. A later one makes rmcp send more events; this favours it.
const VERSION: &str = "2025-06-18";
/// What `echo` is told, and what its answer has to contain.
pub const TEXT: &str = "hello, peers";

/// The requests to one server.
#[derive(Clone, Debug)]
pub struct Requests {
    /// The headers that all of them have, from `Host` on.
    common: String,
    initialize: String,
    initialized: String,
    call: String,
}

impl Requests {
    /// To a server on this port of 127.0.0.1, with a bearer token or without.
    pub fn new(port: u16, token: Option<&str>) -> Requests {
        let authorization = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        Requests {
            common: format!("Host: 127.0.0.1:{port}\r\nUser-Agent: peers\r\n{authorization}"),
            initialize: format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{VERSION}","capabilities":{{}},"clientInfo":{{"name":"peers","version":"1"}}}}}}"#
            ),
            initialized: r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned(),
            call: tool("echo", &format!(r#"{{"text":"{TEXT}"}}"#)),
        }
    }

    /// Begins a session.
    pub fn initialize(&self, out: &mut Vec<u8>) {
        self.post(None, &self.initialize, out);
    }

    /// The client's word that it has begun.
    pub fn initialized(&self, session: &[u8], out: &mut Vec<u8>) {
        self.post(Some(session), &self.initialized, out);
    }

    /// A call of `echo`.
    pub fn call(&self, session: &[u8], out: &mut Vec<u8>) {
        self.post(Some(session), &self.call, out);
    }

    /// A call of a tool without arguments.
    pub fn call_tool(&self, session: &[u8], name: &str, out: &mut Vec<u8>) {
        self.post(Some(session), &tool(name, "{}"), out);
    }

    /// Ends a session.
    pub fn delete(&self, session: &[u8], out: &mut Vec<u8>) {
        self.bare("DELETE", session, out);
    }

    /// Opens a session's stream.
    pub fn stream(&self, session: &[u8], out: &mut Vec<u8>) {
        self.bare("GET", session, out);
    }

    fn post(&self, session: Option<&[u8]>, body: &str, out: &mut Vec<u8>) {
        self.line("POST", out);
        out.extend_from_slice(
            b"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n",
        );
        if let Some(session) = session {
            in_session(session, out);
        }
        out.extend_from_slice(b"Content-Length: ");
        out.extend_from_slice(body.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(body.as_bytes());
    }

    fn bare(&self, method: &str, session: &[u8], out: &mut Vec<u8>) {
        self.line(method, out);
        out.extend_from_slice(b"Accept: text/event-stream\r\n");
        in_session(session, out);
        out.extend_from_slice(b"\r\n");
    }

    fn line(&self, method: &str, out: &mut Vec<u8>) {
        for part in [method, " ", PATH, " HTTP/1.1\r\n", &self.common] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

fn tool(name: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#
    )
}

fn in_session(session: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"Mcp-Session-Id: ");
    out.extend_from_slice(session);
    out.extend_from_slice(b"\r\nMCP-Protocol-Version: ");
    out.extend_from_slice(VERSION.as_bytes());
    out.extend_from_slice(b"\r\n");
}
