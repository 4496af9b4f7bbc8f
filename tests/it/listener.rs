//! The listener when there is too much of everything: it waits, and serves again.

use std::io::Read as _;
use std::time::Duration;

use crate::support::*;

/// A burdock that may open 64 descriptors: 16 connections, and few children.
fn with_few_descriptors() -> Burdock {
    let program = format!("ulimit -n 64; exec {} \"$@\"", env!("CARGO_BIN_EXE_burdock"));
    Burdock::run(
        "sh",
        &["-c", &program, "burdock", "serve", "--listen", "127.0.0.1:0", "--", &test_child()],
        |_| {},
    )
}

fn is_live(client: &mut Client) -> bool {
    client.request("GET", "/health/live", &[], "");
    client.response().status == 200
}

/// Invariant 7: at the connection cap nobody is answered 503; the next one is served when another leaves.
#[test]
fn at_the_connection_cap_clients_wait() {
    let burdock = with_few_descriptors();
    let mut held: Vec<Client> = (0..16).map(|_| burdock.client()).collect();
    assert!(held.iter_mut().all(is_live));
    let mut waiting = burdock.client();
    waiting.request("GET", "/health/live", &[], "");
    let socket = waiting.socket.get_ref();
    socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    assert!(waiting.socket.get_mut().read(&mut [0]).is_err(), "served above the cap");
    waiting.socket.get_ref().set_read_timeout(Some(SOON)).unwrap();
    held.pop();
    assert_eq!(waiting.response().status, 200);
}

/// Out of descriptors, `initialize` says so with a status, and nothing else suffers.
#[test]
fn out_of_descriptors_is_an_answer() {
    let burdock = with_few_descriptors();
    let mut sessions = Vec::new();
    let refused = (0..40).find_map(|_| {
        let mut client = burdock.client();
        client.request("POST", "/mcp", &[BOTH, JSON], &initialize("2025-11-25"));
        let reply = client.response();
        let id = reply.header("mcp-session-id").map(str::to_owned);
        sessions.extend(id);
        (reply.status != 200).then_some(reply)
    });
    let refused = refused.expect("40 children within 64 descriptors");
    assert_eq!((refused.status, refused.json()["id"].clone()), (502, 0.into()), "{}", refused.text());
    assert!(refused.text().contains("open files"), "{}", refused.text());
    assert!(is_live(&mut burdock.client()));
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for id in &sessions {
        let mut client = burdock.client();
        client.request("POST", "/mcp", &[BOTH, JSON, ("Mcp-Session-Id", id)], ping);
        assert_eq!(client.response().status, 200);
    }
}
