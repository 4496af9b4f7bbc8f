//! `kill -9` of a node under load: its clients hear 404 at once and begin anew elsewhere; nobody else notices.

use std::time::{Duration, Instant};

use serde_json::json;

use super::load::{Caller, Load, Outcome};
use super::nodes::Nodes;
use super::{Cluster, Form, alone, can_start};
use crate::support::{Client, SOON, Session, wait_for};

/// Sessions in all; a third of them on each node.
const SESSIONS: usize = 300;
/// How long a client may wait to be told that its session is gone.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// How long it may take to begin anew: Traefik asks the dead node for a second, then the check has found it out.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_killed_node_costs_its_own_clients_one_404_and_others_nothing() {
    if !can_start("a killed node") {
        return;
    }
    let _alone = alone();
    let mut cluster = Cluster::start("crash", Form::Improved, &[]);
    let front = cluster.traefik.plain();
    let mut callers: Vec<Caller> = (0..SESSIONS).map(|_| Caller::begin(front)).collect();
    let mut streams: Vec<(Client, Session)> = callers.iter().map(|caller| caller.listen(front)).collect();
    let victims: Vec<Caller> = callers.extract_if(.., |caller| caller.node() == "n1").collect();
    assert!(victims.len().abs_diff(SESSIONS / 3) <= 2, "{} sessions on n1", victims.len());

    let load = Load::new(Duration::from_millis(200), Duration::from_secs(60));
    let seen = load.run(callers, || {
        each_calls(&load);
        cluster.nodes.0[0].kill();
        all_move(victims);
        each_calls(&load);
    });
    assert!(seen.failures.is_empty() && seen.moves.is_empty(), "{seen:?}");
    streams.retain(|(_, session)| Nodes::of(&session.id) != "n1");
    streams.iter_mut().for_each(|(stream, session)| assert_told(stream, session));
}

/// Waits until the other clients have called twice each.
fn each_calls(load: &Load) {
    let enough = load.calls() + 2 * SESSIONS * 2 / 3;
    wait_for("calls on the other nodes", SOON, || (load.calls() >= enough).then_some(()));
}

/// All clients of the dead node call at the same time, as they would: 404, and a session on another node.
fn all_move(victims: Vec<Caller>) {
    let killed = Instant::now();
    let slowest = std::thread::scope(|scope| {
        let moving: Vec<_> =
            victims.into_iter().map(|caller| scope.spawn(move || moves(caller, killed))).collect();
        moving.into_iter().map(|one| one.join().unwrap()).max().unwrap()
    });
    assert!(slowest < BACK_WITHIN, "the last client was back after {slowest:?}");
}

/// How long after `killed` the client has a session that answers.
fn moves(mut caller: Caller, killed: Instant) -> Duration {
    let outcome = caller.call();
    let told = killed.elapsed();
    assert!(matches!(outcome, Outcome::Gone), "the first call said {outcome:?}");
    assert!(told < TOLD_WITHIN, "404 after {told:?}");
    caller.begin_anew().unwrap();
    assert_ne!(caller.node(), "n1");
    let outcome = caller.call();
    assert!(matches!(outcome, Outcome::Answered), "{outcome:?}");
    killed.elapsed()
}

/// The session's stream is still open: what the server has to say comes down it.
fn assert_told(stream: &mut Client, session: &Session) {
    session.call(900, "notify", json!({}));
    let told = loop {
        let event = stream.event().expect("the stream is open");
        if !event.data.is_empty() {
            break event.json();
        }
    };
    assert_eq!(told["method"], "notifications/tools/list_changed");
}
