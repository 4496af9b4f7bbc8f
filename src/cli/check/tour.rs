//! The steps of the tour, in the order a client takes them.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{HttpClient, HttpResponse, Until};
use super::{Finding, Verdict};
use crate::foreign::Foreign;
use crate::limits::{CHECK_PAGES_MAX, CHECK_PINGS, CHECK_STREAM_WAIT};
use crate::version;

const BOTH: (&str, &str) = ("Accept", "application/json, text/event-stream");
const EVENTS: (&str, &str) = ("Accept", "text/event-stream");

/// Walks through an endpoint and says what was found, in order.
pub(super) fn tour(client: HttpClient, tool: Option<&str>, arguments: &Value) -> Vec<Finding> {
    let mut tour = Tour {
        client,
        findings: Vec::new(),
        session: None,
        version: None,
        capabilities: Value::Null,
        tools: Vec::new(),
        ids: 0,
    };
    tour.stateless_era();
    if tour.connect() && tour.initialize() {
        tour.initialized();
        tour.ping();
        tour.lists();
        tour.call(tool, arguments);
        tour.stream();
        tour.refusals();
        tour.timings();
        tour.delete();
    }
    tour.findings
}

struct Tour {
    client: HttpClient,
    findings: Vec<Finding>,
    session: Option<String>,
    version: Option<String>,
    capabilities: Value,
    tools: Vec<Value>,
    ids: u64,
}

impl Tour {
    fn find(
        &mut self,
        step: &'static str,
        verdict: Verdict,
        seen: impl Into<String>,
        took: Option<Duration>,
    ) {
        let millis = took.map(|took| (took.as_secs_f64() * 10_000.0).round() / 10.0);
        self.findings.push(Finding { step, verdict, seen: seen.into(), millis });
    }

    /// A request of the session.
    fn send(
        &mut self,
        method: &str,
        extra: &[(&str, &str)],
        body: &str,
        until: Until,
    ) -> io::Result<HttpResponse> {
        let (session, version) = (self.session.clone(), self.version.clone());
        let mut headers = extra.to_vec();
        headers.extend(session.as_deref().map(|id| ("Mcp-Session-Id", id)));
        headers.extend(version.as_deref().map(|version| ("MCP-Protocol-Version", version)));
        self.client.send(method, &headers, body, until)
    }

    /// A JSON-RPC request; its answer and the response with its id, if there is one.
    fn ask(&mut self, method: &str, params: Value) -> io::Result<(HttpResponse, Option<Value>)> {
        self.ids += 1;
        let id = self.ids;
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let answer = self.send("POST", &[BOTH], &body, Until::End)?;
        let response = answer.messages().into_iter().find(|message| message["id"] == id);
        Ok((answer, response))
    }

    /// Notes a failed exchange; the answer otherwise.
    fn noted<T>(&mut self, step: &'static str, result: io::Result<T>) -> Option<T> {
        result.map_err(|error| self.find(step, Verdict::Bad, format!("no answer: {error}"), None)).ok()
    }

    /// What a client of both eras finds: it sends `server/discover` before anything else, and the answer must
    /// tell it at once whether the stateless era is spoken here.
    fn stateless_era(&mut self) {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
        let body =
            json!({"jsonrpc": "2.0", "id": "probe", "method": "server/discover", "params": {"_meta": meta}})
                .to_string();
        let headers = [BOTH, ("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "server/discover")];
        // If no server is there, `connect` reports that later.
        let Ok(answer) = self.client.send("POST", &headers, &body, Until::End) else { return };
        let message = answer.messages().into_iter().next().unwrap_or_default();
        let versions = &message["result"]["supportedVersions"];
        let (verdict, seen) = match (answer.status, versions.is_array()) {
            (200, true) => (Verdict::Good, format!("spoken: {versions}")),
            (400..=499, _) | (200, false) if message["error"]["code"] == -32022 => {
                (Verdict::Note, "refused with -32022: some clients do not fall back on that".into())
            }
            (401 | 403 | 429, _) => (Verdict::Note, format!("{}: some clients give up here", answer.status)),
            (400..=499, _) => {
                (Verdict::Good, format!("not spoken: {}, clients fall back to initialize", answer.status))
            }
            (200, false) if message["error"].is_object() => {
                (Verdict::Good, "not spoken: a JSON-RPC error".into())
            }
            (status, _) => (Verdict::Bad, format!("{status}: clients that probe with server/discover fail")),
        };
        self.find("stateless era", verdict, seen, Some(answer.took));
    }

    fn connect(&mut self) -> bool {
        self.client.reconnect();
        let begun = Instant::now();
        let connected = self.client.connect();
        let there = self.noted("connect", connected).is_some();
        if there {
            self.find("connect", Verdict::Good, "TCP", Some(begun.elapsed()));
        }
        there
    }

    /// `initialize`: version, session id, capabilities (L29, L30, L38, L39).
    fn initialize(&mut self) -> bool {
        let params = json!({"protocolVersion": version::LATEST, "capabilities": {},
            "clientInfo": {"name": "burdock-check", "version": env!("CARGO_PKG_VERSION")}});
        let asked = self.ask("initialize", params);
        let Some((answer, response)) = self.noted("initialize", asked) else { return false };
        let result = response.as_ref().map(|response| response["result"].clone()).unwrap_or_default();
        let Some(version) = result["protocolVersion"].as_str() else {
            let text = answer.text();
            let seen = format!("{}, no result: {}", answer.status, Foreign(text.trim().as_bytes()));
            self.find("initialize", Verdict::Bad, seen, Some(answer.took));
            return false;
        };
        let info = |key: &str| result["serverInfo"][key].as_str().unwrap_or("(unnamed)");
        let name = format!("{} {}", info("name"), info("version"));
        let seen = format!("{} by {}", Foreign(version.as_bytes()), Foreign(name.as_bytes()));
        self.find("initialize", Verdict::Good, seen, Some(answer.took));
        if !version::SUPPORTED.contains(&version) {
            self.find("protocol version", Verdict::Note, "not one of this era on HTTP", None);
        }
        self.version = Some(version.to_owned());
        self.capabilities = result["capabilities"].clone();
        self.session_id(&answer);
        self.cookies(&answer);
        true
    }

    fn session_id(&mut self, answer: &HttpResponse) {
        let Some(id) = answer.header("mcp-session-id").map(str::to_owned) else {
            self.find(
                "session",
                Verdict::Note,
                "none: the server is stateless, or asks its client for nothing",
                None,
            );
            return;
        };
        let visible = id.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        let verdict = if visible && !id.is_empty() { Verdict::Good } else { Verdict::Bad };
        self.find("session", verdict, format!("an id of {} characters", id.len()), None);
        self.session = Some(id);
    }

    /// Cookies and proxies on the way: a load balancer that pins clients by cookie loses those that keep
    /// none.
    fn cookies(&mut self, answer: &HttpResponse) {
        let cookies: Vec<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| name == "set-cookie")
            .map(|(_, value)| value.clone())
            .collect();
        for cookie in cookies {
            let secure = cookie.to_ascii_lowercase().contains("secure");
            let note = if secure { "; Secure on plain HTTP: Python clients do not send it back" } else { "" };
            let name = cookie.split('=').next().unwrap_or_default();
            self.find("cookie", Verdict::Note, format!("{}{note}", Foreign(name.as_bytes())), None);
        }
        if let Some(via) = answer.header("via").or(answer.header("server")).map(str::to_owned) {
            self.find("through", Verdict::Note, format!("{}", Foreign(via.as_bytes())), None);
        }
    }

    /// `notifications/initialized` is answered with 202 and no body (L8).
    fn initialized(&mut self) {
        let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let sent = self.send("POST", &[BOTH], body, Until::End);
        let Some(answer) = self.noted("notification", sent) else { return };
        let verdict = match (answer.status, answer.body.is_empty()) {
            (202, true) => Verdict::Good,
            (200..=299, _) => Verdict::Note,
            _ => Verdict::Bad,
        };
        self.find(
            "notification",
            verdict,
            format!("{}, body of {} bytes", answer.status, answer.body.len()),
            Some(answer.took),
        );
    }

    /// `ping` is answered with an empty result (L43).
    fn ping(&mut self) {
        let asked = self.ask("ping", json!({}));
        let Some((answer, response)) = self.noted("ping", asked) else { return };
        let good = response.is_some_and(|response| response["result"] == json!({}));
        let seen = if good {
            "an empty result".to_owned()
        } else {
            format!("{} without an empty result", answer.status)
        };
        self.find("ping", if good { Verdict::Good } else { Verdict::Bad }, seen, Some(answer.took));
    }

    fn lists(&mut self) {
        for (capability, method, member) in [
            ("tools", "tools/list", "tools"),
            ("resources", "resources/list", "resources"),
            ("prompts", "prompts/list", "prompts"),
        ] {
            if self.capabilities[capability].is_object() {
                let found = self.list(method, member);
                if capability == "tools" {
                    self.tools = found;
                }
            }
        }
    }

    /// All pages of a list.
    fn list(&mut self, method: &'static str, member: &str) -> Vec<Value> {
        let (mut all, mut params, mut took) = (Vec::new(), json!({}), Duration::ZERO);
        for page in 1..=CHECK_PAGES_MAX {
            let asked = self.ask(method, params);
            let Some((answer, response)) = self.noted(method, asked) else { return all };
            took += answer.took;
            let result = response.map(|response| response["result"].clone()).unwrap_or_default();
            let Some(items) = result[member].as_array() else {
                self.find(method, Verdict::Bad, format!("{}, no `{member}`", answer.status), Some(took));
                return all;
            };
            all.extend(items.iter().cloned());
            match result["nextCursor"].as_str() {
                Some(cursor) => params = json!({"cursor": cursor}),
                None => {
                    self.find(method, Verdict::Good, format!("{} on {page} page(s)", all.len()), Some(took));
                    return all;
                }
            }
        }
        self.find(method, Verdict::Note, format!("more than {CHECK_PAGES_MAX} pages"), Some(took));
        all
    }

    /// Calls the tool named by `--tool`, otherwise `echo` if there is one.
    fn call(&mut self, tool: Option<&str>, arguments: &Value) {
        let name = match tool {
            Some(tool) => tool.to_owned(),
            None if !self.capabilities["tools"].is_object() => return,
            None => {
                if !self.tools.iter().any(|tool| tool["name"] == "echo") {
                    self.find(
                        "call",
                        Verdict::Note,
                        "left out: no tool `echo`, and none was named with --tool",
                        None,
                    );
                    return;
                }
                "echo".to_owned()
            }
        };
        let asked = self.ask("tools/call", json!({"name": name, "arguments": arguments}));
        let Some((answer, response)) = self.noted("call", asked) else { return };
        let form = if answer.media() == "text/event-stream" { "an event stream" } else { "JSON" };
        let (verdict, seen) = match response {
            Some(response) if response["result"]["isError"] == true => {
                (Verdict::Note, format!("{name}: an error of the tool, as {form}"))
            }
            Some(response) if response["result"].is_object() => {
                (Verdict::Good, format!("{name}: a result, as {form}"))
            }
            Some(response) => {
                (Verdict::Bad, format!("{name}: {}", Foreign(response["error"].to_string().as_bytes())))
            }
            None => (Verdict::Bad, format!("{name}: {} without a response of its id", answer.status)),
        };
        self.find("call", verdict, seen, Some(answer.took));
    }

    /// The GET stream (L21), its priming event (L13), and its resumption (L27).
    fn stream(&mut self) {
        let opened = self.send("GET", &[EVENTS], "", Until::FirstEvent(CHECK_STREAM_WAIT));
        let Some(answer) = self.noted("GET stream", opened) else { return };
        match (answer.status, answer.media()) {
            (200, "text/event-stream") => {}
            (405, _) => {
                return self.find("GET stream", Verdict::Note, "405: none is offered", Some(answer.took));
            }
            (status, media) => {
                let seen = format!("{status} {}: neither a stream nor 405", Foreign(media.as_bytes()));
                return self.find("GET stream", Verdict::Bad, seen, Some(answer.took));
            }
        }
        let buffered = answer.header("x-accel-buffering") != Some("no");
        let note = if buffered { "; no X-Accel-Buffering: no, some proxies hold it back" } else { "" };
        let first = answer.events().into_iter().next();
        let Some(id) = first.and_then(|event| event.id) else {
            return self.find(
                "GET stream",
                Verdict::Good,
                format!("open; no event id, so not resumable before the first event{note}"),
                None,
            );
        };
        self.find(
            "GET stream",
            Verdict::Good,
            format!("open, with a priming event{note}"),
            Some(answer.took),
        );
        self.resume(&id);
    }

    fn resume(&mut self, id: &str) {
        let after = [EVENTS, ("Last-Event-ID", id)];
        let resumed = self.send("GET", &after, "", Until::FirstEvent(CHECK_STREAM_WAIT));
        let Some(answer) = self.noted("resumption", resumed) else { return };
        let good = (answer.status, answer.media()) == (200, "text/event-stream");
        let verdict = if good { Verdict::Good } else { Verdict::Bad };
        self.find("resumption", verdict, format!("{} after Last-Event-ID", answer.status), Some(answer.took));
    }

    /// What must be refused, and how: a foreign `Origin` (L2), no session id (L31), an unknown one (L32), an
    /// unsupported version (L37).
    fn refusals(&mut self) {
        let ping = r#"{"jsonrpc":"2.0","id":"refused","method":"ping"}"#;
        let origin = self.send("POST", &[BOTH, ("Origin", "http://burdock-check.invalid")], ping, Until::End);
        self.refusal("foreign Origin", origin, &[403], "a web page could use this server");
        let Some(session) = self.session.clone() else { return };
        let version = self.client.send(
            "POST",
            &[BOTH, ("Mcp-Session-Id", &session), ("MCP-Protocol-Version", "1900-01-01")],
            ping,
            Until::End,
        );
        self.refusal("unknown version", version, &[400], "the spec wants 400");
        let none = self.client.send("POST", &[BOTH], ping, Until::End);
        self.refusal("no session id", none, &[400], "the spec wants 400");
        let unknown =
            self.client.send("POST", &[BOTH, ("Mcp-Session-Id", "burdock-check-unknown")], ping, Until::End);
        self.refusal("unknown session id", unknown, &[404], "clients begin anew on 404 only");
    }

    fn refusal(
        &mut self,
        step: &'static str,
        result: io::Result<HttpResponse>,
        wanted: &[u16],
        or_else: &str,
    ) {
        let Some(answer) = self.noted(step, result) else { return };
        let null_id = answer.messages().iter().any(|message| message.get("id").is_some_and(Value::is_null));
        let (verdict, mut seen) = match (wanted.contains(&answer.status), answer.status) {
            (true, status) => (Verdict::Good, format!("{status}")),
            (false, status @ 400..=499) => (Verdict::Note, format!("{status}: {or_else}")),
            (false, status) => (Verdict::Bad, format!("{status}: {or_else}")),
        };
        if null_id {
            seen += ", with \"id\": null: rmcp waits for ever on that";
        }
        self.find(step, if null_id { Verdict::Bad } else { verdict }, seen, Some(answer.took));
    }

    fn timings(&mut self) {
        for (step, fresh) in [("ping, kept connection", false), ("ping, new connection", true)] {
            let mut took = Vec::new();
            for _ in 0..CHECK_PINGS {
                if fresh {
                    self.client.reconnect();
                }
                let begun = Instant::now();
                match self.ask("ping", json!({})) {
                    Ok(_) => took.push(begun.elapsed()),
                    Err(error) => return self.find(step, Verdict::Bad, format!("no answer: {error}"), None),
                }
            }
            took.sort();
            let slowest = took.last().copied().unwrap_or_default();
            let seen =
                format!("median of {CHECK_PINGS}, the slowest {:.1} ms", slowest.as_secs_f64() * 1000.0);
            self.find(step, Verdict::Good, seen, took.get(took.len() / 2).copied());
        }
    }

    /// DELETE ends the session, and its id is unknown afterwards (L32, L33).
    fn delete(&mut self) {
        if self.session.is_none() {
            return;
        }
        let deleted = self.send("DELETE", &[], "", Until::End);
        let Some(answer) = self.noted("DELETE", deleted) else { return };
        match answer.status {
            200..=299 => self.find("DELETE", Verdict::Good, answer.status.to_string(), Some(answer.took)),
            405 => {
                return self.find(
                    "DELETE",
                    Verdict::Note,
                    "405: sessions end by themselves only",
                    Some(answer.took),
                );
            }
            status => {
                return self.find(
                    "DELETE",
                    Verdict::Bad,
                    format!("{status}: neither 2xx nor 405"),
                    Some(answer.took),
                );
            }
        }
        let after =
            self.send("POST", &[BOTH], r#"{"jsonrpc":"2.0","id":"after","method":"ping"}"#, Until::End);
        self.refusal("after DELETE", after, &[404], "clients begin anew on 404 only");
    }
}
