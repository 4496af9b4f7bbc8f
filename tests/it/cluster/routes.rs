//! Cookie, pin and the default pool, as a raw client sees them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::json;

use super::nodes::Nodes;
use super::{Cluster, Form};
use crate::support::{BOTH, Client, JSON, Response, Session, initialize};

const LATEST: &str = "2025-11-25";
/// Requests of one kind; a third of them for each of three servers.
const REQUESTS: usize = 300;
/// How far a server's share may be off.
const OFF_MAX: usize = 2;

#[test]
fn requests_find_their_server() {
    let Some(cluster) = Cluster::start("routes", Form::Improved, &[]) else { return };
    let front = cluster.traefik.plain();
    the_cookie_is_the_missions(front);
    the_default_pool_is_spread_evenly(front);
    a_session_is_pinned_without_a_cookie(front);
}

/// Exactly one cookie, on the answer to `initialize`, and none on what is pinned by its id.
fn the_cookie_is_the_missions(front: SocketAddr) {
    let mut client = Client::connect(front);
    client.request("POST", "/mcp", &[BOTH, JSON], &initialize(LATEST));
    let response = client.response();
    assert_eq!(response.status, 200, "{}", response.text());
    let cookies = cookies(&response);
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    let value = cookies[0].strip_prefix("_mcp_backend=").expect("the cookie's name");
    let (value, attributes) = value.split_once(';').unwrap();
    assert!(!value.is_empty() && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value}");
    assert_eq!(attributes, " Path=/mcp; HttpOnly; Secure; SameSite=Strict");
    let id = response.header("mcp-session-id").expect("a session id").to_owned();
    let headers = [BOTH, JSON, ("Mcp-Session-Id", &*id), ("MCP-Protocol-Version", LATEST)];
    client.request("POST", "/mcp", &headers, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let response = client.response();
    assert_eq!((response.status, self::cookies(&response)), (202, Vec::new()));
}

fn cookies(response: &Response) -> Vec<&str> {
    let cookies = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    cookies.map(|(_, value)| value.as_str()).collect()
}

/// Ten connections in turn, some of them with a cookie of `/mcp` that does not count here.
fn the_default_pool_is_spread_evenly(front: SocketAddr) {
    let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(front)).collect();
    let mut shares = BTreeMap::new();
    for number in 0..REQUESTS {
        let client = &mut clients[number % 10];
        let cookie = [JSON, ("Cookie", "_mcp_backend=ef076ff931b86a9e")];
        let headers = if number % 2 == 0 { &cookie[..1] } else { &cookie[..] };
        client.request("POST", "/graphql", headers, r#"{"query":"{ server }"}"#);
        let response = client.response();
        assert_eq!((response.status, cookies(&response)), (200, Vec::new()));
        *shares.entry(response.json()["data"]["server"].to_string()).or_insert(0) += 1;
    }
    assert_even(&shares);
}

/// Every request of a session on a connection of its own, as rmcp does it, and no cookie: a wrong node says 404.
fn a_session_is_pinned_without_a_cookie(front: SocketAddr) {
    let calls = 10;
    let mut shares = BTreeMap::new();
    for _ in 0..REQUESTS / calls {
        let session = Session::begin(front, "/mcp", LATEST, &[]);
        *shares.entry(Nodes::of(&session.id).to_owned()).or_insert(0) += calls;
        for id in 1..=calls {
            let answer = session.call(i64::try_from(id).unwrap(), "counter", json!({}));
            assert_eq!(answer["result"]["content"][0]["text"], json!(id.to_string()), "{answer}");
        }
        assert_eq!(session.delete().status, 204);
    }
    assert!(shares.len() == 3, "sessions on {shares:?} only");
}

fn assert_even(shares: &BTreeMap<String, usize>) {
    let third = REQUESTS / 3;
    let even = shares.values().all(|share| share.abs_diff(third) <= OFF_MAX);
    assert!(shares.len() == 3 && even, "not a third each: {shares:?}");
}
