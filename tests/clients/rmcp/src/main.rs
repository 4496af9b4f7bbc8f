//! The rmcp row of the client matrix: `client-rmcp URL` goes through the steps and prints a JSON line for each.
//! With MODE=sessions there are no steps but SESSIONS sessions, AT_ONCE of them at the same time, and one line in the
//! end: `{sessions, calls, failures, first}`.

// rmcp marks sampling and logging as deprecated because the 2026-07-28 revision does; the matrix still asks for them.
#![allow(deprecated)]

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rmcp::handler::client::ClientHandler;
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability, Implementation,
    LoggingMessageNotificationParam, ProgressNotificationParam, Role, SamplingCapability, SamplingMessage,
    SamplingMessageContentBlock,
};
use rmcp::service::{NotificationContext, RequestContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ErrorData, RoleClient, ServiceExt};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

/// How long one step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// server-everything's simulated log comes every five seconds; the first of them is sent during the call that
/// switches it on, so only what comes later than this after the call's answer counts as unrelated.
const OUTSIDE_A_CALL: Duration = Duration::from_secs(1);
/// How long to wait for a progress that came with the result but is handled after it.
const LATE_PROGRESS: Duration = Duration::from_millis(100);
const CALLS_PER_SESSION: usize = 3;
const ELICITED: &str = "Nora Matrix";
const SAMPLED: &str = "sampled by the matrix";

type Failure = Box<dyn std::error::Error>;
/// What a step says when it went well.
type Note = Result<String, Failure>;

/// What the server has asked and told the client so far.
struct Inbox {
    elicitations: AtomicUsize,
    samplings: AtomicUsize,
    log: Notify,
    progress: mpsc::Sender<f64>,
}

/// rmcp's side of the inbox: the handler that the service calls.
#[derive(Clone)]
struct Handler(Arc<Inbox>);

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        capabilities.sampling = Some(SamplingCapability::default());
        capabilities.elicitation = Some(ElicitationCapability::default());
        ClientConfig::new(capabilities, Implementation::new("matrix-rmcp", "1.0.0"))
    }

    async fn create_elicitation(
        &self,
        _request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        self.0.elicitations.fetch_add(1, Ordering::Relaxed);
        Ok(ElicitResult::new(ElicitationAction::Accept)
            .with_content(json!({"name": ELICITED, "check": true, "answer": ELICITED})))
    }

    async fn create_message(
        &self,
        _request: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        self.0.samplings.fetch_add(1, Ordering::Relaxed);
        let message = SamplingMessage::new(Role::Assistant, SamplingMessageContentBlock::text(SAMPLED));
        Ok(CreateMessageResult::new(message, "matrix-model".into()).with_stop_reason("endTurn"))
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let _ = self.0.progress.try_send(params.progress);
    }

    async fn on_logging_message(
        &self,
        _params: LoggingMessageNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.0.log.notify_one();
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.0.log.notify_one();
    }
}

/// The connected client with what its handler has seen.
struct Client {
    service: RunningService<RoleClient, Handler>,
    inbox: Arc<Inbox>,
    progress: mpsc::Receiver<f64>,
    /// What the server under test calls its tools.
    server: Value,
}

/// MATRIX_SERVER names an entry of servers.json.
fn server() -> Result<Value, Failure> {
    let servers: Value = serde_json::from_str(include_str!("../../servers.json"))?;
    let name = std::env::var("MATRIX_SERVER").unwrap_or_else(|_| "everything".into());
    Ok(servers[name].clone())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Client {
    async fn connect(url: &str) -> Result<Self, Failure> {
        let (sender, progress) = mpsc::channel(64);
        let inbox = Arc::new(Inbox {
            elicitations: AtomicUsize::new(0),
            samplings: AtomicUsize::new(0),
            log: Notify::new(),
            progress: sender,
        });
        let transport = StreamableHttpClientTransport::from_uri(url);
        let service = Handler(inbox.clone()).serve(transport).await?;
        Ok(Self { service, inbox, progress, server: server()? })
    }

    fn protocol(&self) -> String {
        let version = self.service.peer_info().map(|info| info.protocol_version.to_string());
        version.unwrap_or_default()
    }

    async fn call(&self, name: String, args: Value) -> Note {
        let params = CallToolRequestParams::new(name);
        let params = match args {
            Value::Object(map) => params.with_arguments(map),
            _ => params,
        };
        let result = self.service.call_tool(params).await?;
        let text: Vec<&str> =
            result.content.iter().filter_map(|c| c.as_text()).map(|t| t.text.as_str()).collect();
        let text = text.join("\n");
        check(result.is_error != Some(true), || format!("tool error: {text}"))?;
        Ok(text)
    }

    /// Calls the long operation and hands each progress to `on_progress` as it comes.
    async fn long_call(&mut self, args: Value, mut on_progress: impl FnMut(f64)) -> Result<(), Failure> {
        // Progress of earlier calls that nobody asked about.
        while self.progress.try_recv().is_ok() {}
        let params = CallToolRequestParams::new(text(&self.server["long"]["tool"]));
        let params = params.with_arguments(args.as_object().cloned().unwrap_or_default());
        let mut call = pin!(self.service.call_tool(params));
        let result = loop {
            tokio::select! {
                biased;
                Some(value) = self.progress.recv() => on_progress(value),
                result = &mut call => break result?,
            }
        };
        // A progress may be handled just after the result was.
        while let Ok(Some(value)) = tokio::time::timeout(LATE_PROGRESS, self.progress.recv()).await {
            on_progress(value);
        }
        let said = format!("{:?}", result.content);
        check(said.contains(&text(&self.server["long"]["says"])), || format!("got {said}"))
    }
}

fn check(condition: bool, message: impl FnOnce() -> String) -> Result<(), Failure> {
    if condition { Ok(()) } else { Err(message().into()) }
}

fn report(line: &Value) {
    println!("{line}");
}

/// Runs one step and says how it went; a failed step does not stop the later ones.
async fn step(name: &str, run: impl Future<Output = Note>) {
    match tokio::time::timeout(STEP_TIMEOUT, run).await {
        Ok(Ok(note)) => report(&json!({"step": name, "ok": true, "note": note})),
        Ok(Err(error)) => report(&json!({"step": name, "ok": false, "note": error.to_string()})),
        Err(_) => {
            report(&json!({"step": name, "ok": false, "note": format!("no result after {STEP_TIMEOUT:?}")}))
        }
    }
}

async fn list(client: &Client) -> Note {
    let tools = client.service.list_all_tools().await?;
    check(tools.iter().any(|tool| tool.name == "echo"), || format!("no echo among {} tools", tools.len()))?;
    Ok(format!("{} tools", tools.len()))
}

async fn call(client: &Client) -> Note {
    let echo = &client.server["echo"];
    let said = client.call("echo".into(), json!({ text(&echo["argument"]): "grüße ✓" })).await?;
    check(said == text(&echo["prefix"]) + "grüße ✓", || format!("got {said}"))?;
    Ok(String::new())
}

async fn progress(client: &mut Client) -> Note {
    let mut seen = Vec::new();
    let quick = client.server["long"]["quick"].clone();
    client.long_call(quick, |value| seen.push(value)).await?;
    check(seen == [1.0, 2.0, 3.0, 4.0], || format!("progress seen: {seen:?}"))?;
    Ok("4 of 4 in order".into())
}

async fn notification(client: &Client) -> Note {
    let plan = &client.server["notification"];
    let toggles = plan["toggles"] == true;
    client.call(text(&plan["tool"]), Value::Null).await?;
    if toggles {
        tokio::time::sleep(OUTSIDE_A_CALL).await;
        // What came until now may belong to the call.
        let _ = tokio::time::timeout(Duration::ZERO, client.inbox.log.notified()).await;
    }
    client.inbox.log.notified().await;
    if toggles {
        client.call(text(&plan["tool"]), Value::Null).await?;
    }
    Ok(String::new())
}

async fn elicitation(client: &Client) -> Note {
    let text = client.call(text(&client.server["elicitation"]), Value::Null).await?;
    let asked = client.inbox.elicitations.load(Ordering::Relaxed);
    check(asked == 1, || format!("asked {asked} times"))?;
    check(text.contains(ELICITED), || format!("the answer is not in {text}"))?;
    Ok(String::new())
}

async fn sampling(client: &Client) -> Note {
    let text =
        client.call(text(&client.server["sampling"]), json!({"prompt": "hello", "maxTokens": 20})).await?;
    let asked = client.inbox.samplings.load(Ordering::Relaxed);
    check(asked == 1, || format!("asked {asked} times"))?;
    check(text.contains(SAMPLED), || format!("the answer is not in {text}"))?;
    Ok(String::new())
}

/// Asks the harness to cut every connection after the first progress of a long call, and waits for the call.
async fn cut(client: &mut Client, how: &str) -> Note {
    let mut seen = 0;
    let on_progress = |_| {
        seen += 1;
        if seen == 1 {
            report(&json!({"step": "cut-now", "how": how}));
        }
    };
    let slow = client.server["long"]["slow"].clone();
    client.long_call(slow, on_progress).await?;
    call(client).await?;
    Ok(format!("result arrived, {seen} of 4 progress"))
}

async fn close(mut client: Client) -> Note {
    let reason = client.service.close().await?;
    Ok(format!("{reason:?}"))
}

/// How sessions went; the first call that fails is a session's last.
#[derive(Default)]
struct Tally {
    sessions: Cell<u32>,
    calls: Cell<u32>,
    failures: Cell<u32>,
    first: RefCell<Option<String>>,
}

impl Tally {
    async fn session(&self, url: &str) {
        self.sessions.set(self.sessions.get() + 1);
        let number = self.sessions.get();
        let failure = match tokio::time::timeout(STEP_TIMEOUT, self.steps(url)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no result after {STEP_TIMEOUT:?}"),
        };
        self.failures.set(self.failures.get() + 1);
        self.first.borrow_mut().get_or_insert(format!("session {number}: {failure}"));
    }

    async fn steps(&self, url: &str) -> Result<(), Failure> {
        self.count();
        let client = Client::connect(url).await?;
        self.count();
        list(&client).await?;
        for _ in 0..CALLS_PER_SESSION {
            self.count();
            call(&client).await?;
        }
        self.count();
        close(client).await?;
        Ok(())
    }

    fn count(&self) {
        self.calls.set(self.calls.get() + 1);
    }
}

fn number(variable: &str) -> Result<usize, Failure> {
    Ok(std::env::var(variable)?.parse()?)
}

async fn run_sessions(url: &str) -> Result<(), Failure> {
    let (tally, left) = (Tally::default(), Cell::new(number("SESSIONS")?));
    let some = async || {
        while left.get() > 0 {
            left.set(left.get() - 1);
            tally.session(url).await;
        }
    };
    futures::future::join_all((0..number("AT_ONCE")?).map(|_| some())).await;
    report(
        &json!({"sessions": tally.sessions, "calls": tally.calls, "failures": tally.failures, "first": tally.first}),
    );
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    // Nothing can have installed another one yet.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = std::env::args().nth(1).ok_or("usage: client-rmcp URL")?;
    if std::env::var("MODE").is_ok_and(|mode| mode == "sessions") {
        run_sessions(&url).await
    } else {
        run_steps(&url).await
    }
}

async fn run_steps(url: &str) -> Result<(), Failure> {
    let mut client = match tokio::time::timeout(STEP_TIMEOUT, Client::connect(url)).await? {
        Ok(client) => client,
        Err(error) => {
            report(&json!({"step": "connect", "ok": false, "note": error.to_string()}));
            return Ok(());
        }
    };
    report(&json!({"step": "connect", "ok": true, "note": client.protocol()}));
    step("list", list(&client)).await;
    step("call", call(&client)).await;
    step("progress", progress(&mut client)).await;
    step("notification", notification(&client)).await;
    step("elicitation", elicitation(&client)).await;
    if client.server["sampling"].is_null() {
        report(&json!({"step": "sampling", "cannot": "the server asks for none"}));
    } else {
        step("sampling", sampling(&client)).await;
    }
    step("dropped", cut(&mut client, "fin")).await;
    step("reset", cut(&mut client, "rst")).await;
    step("close", close(client)).await;
    Ok(())
}
