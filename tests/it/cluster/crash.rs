//! `kill -9` of a node under load: its clients hear 404 at once and begin anew elsewhere; nobody else notices.

use std::time::{Duration, Instant};

use serde_json::json;

use super::load::{Caller, Load, Outcome};
use super::nodes::Nodes;
use super::{Cluster, Form, alone};
use crate::support::{Client, SOON, Session, call, wait_for};

/// Sessions in all; a third of them on each node.
const SESSIONS: usize = 300;
/// How long a client may wait to be told that its session is gone.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// How long it may take to begin anew: Traefik asks the dead node for a second, then the check has found it out.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_killed_node_costs_its_own_clients_one_404_and_others_nothing() {
    let _alone = alone();
    let Some(mut cluster) = Cluster::start("crash", Form::Improved, &[]) else { return };
    let front = cluster.traefik.plain();
    let mut callers: Vec<Caller> = (0..SESSIONS).map(|_| Caller::begin(front)).collect();
    let mut streams: Vec<(Client, Session)> = callers.iter().map(|caller| caller.listen(front)).collect();
    let mut victims: Vec<Caller> = callers.extract_if(.., |caller| caller.node() == "n1").collect();
    assert!(victims.len().abs_diff(SESSIONS / 3) <= 2, "{} sessions on n1", victims.len());

    let load = Load::new(Duration::from_millis(200), Duration::from_secs(60));
    let seen = load.run(&mut callers, || {
        each_calls(&load);
        cluster.nodes.0[0].kill();
        all_move(&mut victims);
        each_calls(&load);
    });
    assert!(seen.failures.is_empty() && seen.moves.is_empty(), "{seen:?}");
    let lost = streams.extract_if(.., |(_, session)| Nodes::of(&session.id) == "n1").collect::<Vec<_>>();
    streams.iter_mut().for_each(|(stream, session)| assert_told(stream, session));

    cluster.nodes.0[0].start();
    cluster.traefik.wait_until_all_is_up();
    lost.iter().for_each(|(_, session)| assert_lost(session));
}

/// Waits until the other clients have called twice each.
fn each_calls(load: &Load) {
    let enough = load.calls() + 2 * SESSIONS * 2 / 3;
    wait_for("calls on the other nodes", SOON, || (load.calls() >= enough).then_some(()));
}

/// All clients of the dead node call at the same time, as they would: 404, and a session on another node.
fn all_move(victims: &mut [Caller]) {
    let killed = Instant::now();
    let slowest = std::thread::scope(|scope| {
        let moving: Vec<_> =
            victims.iter_mut().map(|caller| scope.spawn(move || moves(caller, killed))).collect();
        moving.into_iter().map(|one| one.join().unwrap()).max().unwrap()
    });
    assert!(slowest < BACK_WITHIN, "the last client was back after {slowest:?}");
}

/// How long after `killed` the client has a session that answers.
fn moves(caller: &mut Caller, killed: Instant) -> Duration {
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

/// The node that is back has no such session any more, and says why.
fn assert_lost(session: &Session) {
    let response = session.post(&call(901, "echo", json!({"text": "still there?"})));
    assert_eq!(response.status, 404, "{}", response.text());
    assert_eq!(response.json()["error"]["data"]["reason"], "lost", "{}", response.text());
}
