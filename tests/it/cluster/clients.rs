//! The seven real clients through Traefik: with pins none of them loses a call; with the cookie alone most do.

use std::fmt::Write as _;
use std::time::Instant;

use super::{Cluster, Form, alone, can_start};
use crate::clients::sessions::{Plan, Tally, run};
use crate::clients::{all, say, some_at_once};

/// Sessions of each client through each entry point.
const SESSIONS: usize = 50;
/// The same where only the cookie keeps them together, and most clients fail; all at once, for some fail by waiting.
const COOKIE_SESSIONS: usize = 6;

/// What becomes of each client when nothing but the cookie leads it back to its node, over TLS.
const COOKIE_ONLY: &str = "
ts1         fails
ts2         fails
py1         works
py2         works
rmcp        fails
mcp_remote  works
inspector   fails
";

#[test]
fn no_client_loses_a_call_behind_traefik() {
    if !can_start("clients behind Traefik") {
        return;
    }
    let _alone = alone();
    let cluster = Cluster::start("clients", Form::Improved, &[]);
    // Those that take longest begin.
    let clients = || all().into_iter().rev();
    let tls = clients().map(|client| over_tls(&cluster, client, SESSIONS, 4));
    let plain = clients().map(|client| in_plain(&cluster, client));
    let plans: Vec<Plan> = tls.chain(plain).collect();
    let begun = Instant::now();
    let tallies = some_at_once(&plans, run);
    say(&format!("\n{}in {:.0?}\n", table(&plans, &tallies), begun.elapsed()));
    for (plan, tally) in plans.iter().zip(&tallies) {
        assert_eq!((tally.sessions, tally.failures), (SESSIONS, 0), "{plan:?}: {tally:?}");
        assert!(tally.calls >= SESSIONS, "{plan:?}: {tally:?}");
    }
}

#[test]
fn with_the_cookie_alone_clients_without_a_jar_fail() {
    if !can_start("clients with the cookie alone") {
        return;
    }
    let _alone = alone();
    let cluster = Cluster::start("cookie", Form::CookieOnly, &[]);
    let plans: Vec<Plan> =
        all().iter().map(|client| over_tls(&cluster, client, COOKIE_SESSIONS, COOKIE_SESSIONS)).collect();
    let tallies = some_at_once(&plans, run);
    say(&format!("\n{}", table(&plans, &tallies)));
    let mut found = String::from("\n");
    for (plan, tally) in plans.iter().zip(&tallies) {
        assert_eq!(tally.sessions, COOKIE_SESSIONS, "{plan:?}: {tally:?}");
        let _ = writeln!(found, "{:<12}{}", plan.client, if tally.failures == 0 { "works" } else { "fails" });
    }
    assert_eq!(found, COOKIE_ONLY, "{tallies:#?}");
}

fn over_tls(cluster: &Cluster, client: &'static str, sessions: usize, at_once: usize) -> Plan {
    let url = format!("https://{}/mcp", cluster.traefik.tls());
    Plan { client, url, authority: cluster.traefik.authority(), sessions, at_once, name: "tls" }
}

fn in_plain(cluster: &Cluster, client: &'static str) -> Plan {
    let url = format!("http://{}/mcp", cluster.traefik.plain());
    Plan { url, name: "plain", ..over_tls(cluster, client, SESSIONS, 4) }
}

fn table(plans: &[Plan], tallies: &[Tally]) -> String {
    let mut text = String::new();
    for (plan, tally) in plans.iter().zip(tallies) {
        let Tally { sessions, calls, failures, first } = tally;
        let first = first.as_deref().unwrap_or_default();
        let counts = format!("{sessions} sessions, {calls} calls, {failures} failed");
        let _ = writeln!(text, "{:<12}{:<6} {counts}  {first}", plan.client, plan.name);
    }
    text
}
