//! The eight real clients through Traefik: with pins none of them loses a call; with the cookie alone most do.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use super::{Cluster, Form, alone};
use crate::clients::sessions::{Plan, Tally, run};
use crate::clients::{all, say, some_at_once};

/// Sessions of each client through each entry point.
const SESSIONS: usize = 50;
/// The same where only the cookie keeps them together, and most clients fail; all at once, for some fail by waiting.
const COOKIE_SESSIONS: usize = 6;

#[test]
fn real_clients_lose_no_call_behind_traefik_and_most_do_with_the_cookie_alone() {
    let _alone = alone();
    with_pins();
    with_the_cookie_alone();
}

/// All clients through both entry points, and not one call fails.
fn with_pins() {
    let Some(cluster) = Cluster::start("clients", Form::Improved, &[]) else { return };
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

/// As the mission's file has it: who fails is written in `deploy/README.md`.
fn with_the_cookie_alone() {
    let Some(cluster) = Cluster::start("cookie", Form::CookieOnly, &[]) else { return };
    let plans: Vec<Plan> =
        all().iter().map(|client| over_tls(&cluster, client, COOKIE_SESSIONS, COOKIE_SESSIONS)).collect();
    let tallies = some_at_once(&plans, run);
    say(&format!("\n{}", table(&plans, &tallies)));
    for (plan, tally) in plans.iter().zip(&tallies) {
        assert_eq!(tally.sessions, COOKIE_SESSIONS, "{plan:?}: {tally:?}");
        let outcome = if tally.failures == 0 { "works" } else { "fails" };
        assert_eq!(outcome, written(plan.client), "deploy/README.md on {}: {tally:?}", plan.client);
    }
}

/// What the table in `deploy/README.md` says of a client.
fn written(client: &str) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let row = readme.lines().find_map(|line| line.strip_prefix(&format!("| {client} | ")));
    let row = row.unwrap_or_else(|| panic!("deploy/README.md has no row for {client}"));
    row.split(' ').next().unwrap().to_owned()
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
