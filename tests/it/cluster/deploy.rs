//! A rolling deploy under load: every node is asked to stop, one after the other, and comes back; clients notice
//! nothing but that their session has moved, and those of one node do not all move at once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::load::{Caller, Load, Move};
use super::nodes::Node;
use super::traefik::Traefik;
use super::{Cluster, Form};
use crate::clients::say;
use crate::support::{Client, test_child, wait_for};

/// Sessions in all, each with a child of its own.
const SESSIONS: usize = 300;
/// Between two calls of one session.
const PAUSE: Duration = Duration::from_millis(500);
/// `--retire-window`.
const WINDOW: Duration = Duration::from_secs(30);
/// From SIGTERM to the exit: grace, the drain timeout, the window, and the end of the children.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn a_rolling_deploy_is_quiet() {
    let window = format!("{}s", WINDOW.as_secs());
    let child = test_child();
    let flags = ["--drain-timeout", "2s", "--retire-window", &window, "--", &child];
    let Some(mut cluster) = Cluster::start("deploy", Form::Improved, &flags) else { return };
    let front = cluster.traefik.plain();
    let mut callers: Vec<Caller> = (0..SESSIONS).map(|_| Caller::begin(front)).collect();
    let streams: Vec<_> = callers.iter().map(|caller| caller.listen(front)).collect();
    let load = Load::new(PAUSE, 4 * STOP_TIMEOUT);
    let mut stops = Vec::new();
    let seen = load.run(&mut callers, || {
        for node in &mut cluster.nodes.0 {
            stops.push((node.name, roll(node, &mut cluster.traefik)));
        }
    });
    assert!(seen.failures.is_empty(), "{} failures: {:?}", seen.failures.len(), &seen.failures[..1]);
    // Whose session was the very last to be retired may not have called since.
    let late = load.turn_of_each(&mut callers);
    assert!(late.failures.is_empty(), "{:?}", late.failures);
    for (name, stop) in stops {
        let moves: Vec<&Move> = seen.moves.iter().filter(|one| one.from == name).collect();
        assert_spread(name, &stop, &moves);
    }
    assert_ended_well(streams.into_iter().map(|(stream, _)| stream));
    cluster.wait_for_records(callers.iter().map(|caller| &*caller.id).collect());
    say(&format!("rolling deploy: {} calls, {} moves\n", seen.calls, seen.moves.len()));
}

/// When a node was asked to stop, and when it was started again.
struct Stop {
    begun: Instant,
    over: Instant,
}

/// Stops the node as systemd does, starts it again, and waits until Traefik sends it sessions.
fn roll(node: &mut Node, traefik: &mut Traefik) -> Stop {
    let begun = Instant::now();
    node.drain();
    let status = wait_for("the node's exit", STOP_TIMEOUT, || node.ended());
    assert!(status.success(), "{} ended with {status}", node.name);
    let over = Instant::now();
    node.start();
    traefik.wait_until_all_is_up();
    Stop { begun, over }
}

/// No second has more than a tenth of the node's reconnections, and they fill the window.
fn assert_spread(name: &str, stop: &Stop, moves: &[&Move]) {
    let mut times: Vec<Duration> = moves.iter().map(|one| one.at - stop.begun).collect();
    times.sort();
    assert!(times.len() > SESSIONS / 6, "{} sessions moved from {name}", times.len());
    // The client of the very last session may call only after the restart, and then any node is right.
    let back: Vec<_> = moves.iter().filter(|one| one.to == name && one.at < stop.over).collect();
    assert!(back.is_empty(), "to {name} while it stopped: {back:?}");
    let within = |start: Duration| {
        times.iter().filter(|at| (start..start + Duration::from_secs(1)).contains(at)).count()
    };
    let busiest = times.iter().map(|start| within(*start)).max().unwrap();
    let (first, last) = (times[0], times[times.len() - 1]);
    say(&format!(
        "{name}: {} moved from {first:.1?} to {last:.1?}, at most {busiest} in a second\n",
        times.len()
    ));
    assert!(busiest * 10 <= times.len(), "{busiest} of {} in one second: {times:?}", times.len());
    let took = last - first;
    assert!(took > WINDOW * 2 / 3 && took < WINDOW * 4 / 3, "spread over {took:?}: {times:?}");
}

/// Every stream ended with its final chunk, after a word about when to come back that is not the same for all.
fn assert_ended_well(streams: impl Iterator<Item = Client>) {
    let mut delays = HashSet::new();
    for mut stream in streams {
        let mut delay = None;
        while let Some(event) = stream.event() {
            delay = event.retry.or(delay);
        }
        delays.insert(delay.expect("a delay before the end"));
    }
    assert!(delays.len() > SESSIONS / 4, "{} delays for {SESSIONS} streams: {delays:?}", delays.len());
}
