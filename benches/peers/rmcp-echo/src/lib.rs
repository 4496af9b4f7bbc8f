//! The same tools as `burdock-echo`, with rmcp's `StreamableHttpService` behind axum.
//!
//! Its fairest form for CPU time on one core: one thread, `TCP_NODELAY`, rmcp's defaults otherwise. Its defaults check
//! `Host`, as burdock does; it knows no tokens.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::serve::ListenerExt;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ServerCapabilities, ServerConfig};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{Peer, RoleServer, ServerHandler, tool, tool_handler, tool_router};

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Text {
    /// What to say.
    text: String,
}

/// Who is told by `broadcast`.
type Joined = Arc<Mutex<Vec<Peer<RoleServer>>>>;

#[derive(Clone)]
struct Echo {
    tool_router: ToolRouter<Self>,
    joined: Joined,
}

#[tool_router]
impl Echo {
    #[tool(description = "Says what it is told.")]
    async fn echo(&self, Parameters(Text { text }): Parameters<Text>) -> String {
        text
    }

    #[tool(description = "This session is told by broadcast from now on.")]
    async fn join(&self, context: RequestContext<RoleServer>) -> String {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner).push(context.peer);
        "joined".to_owned()
    }

    #[tool(description = "Tells every joined session that the list of tools has changed.")]
    async fn broadcast(&self) -> String {
        let joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let told = futures::future::join_all(joined.iter().map(|peer| peer.notify_tool_list_changed())).await;
        told.iter().filter(|told| told.is_ok()).count().to_string()
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build())
    }
}

/// Serves at `http://127.0.0.1:PORT/mcp`, where PORT is the first argument, until it is killed.
///
/// # Errors
/// When the argument is not a port, or the system refuses it.
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("usage: rmcp-echo PORT")?.parse()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(port))
}

async fn serve(port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let joined = Joined::default();
    // One router for all sessions: making the tools anew for each would be a cost of this program and not of rmcp.
    let echo = Echo { tool_router: Echo::tool_router(), joined };
    let service: StreamableHttpService<Echo, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(echo.clone()),
        Arc::default(),
        StreamableHttpServerConfig::default(),
    );
    let router = axum::Router::new().nest_service("/mcp", service);
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    let listener = listener.tap_io(|socket| {
        // Without it every second answer waits 40 ms for the client's acknowledgement.
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}
