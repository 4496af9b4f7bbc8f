//! A property: however a server's good answer is mangled, its call ends when the line names it, and no other call is
//! touched.
//!
//! The server mangles by a seed that stands in the call (`tests/child/mangle.rs`), so a seed that fails can be tried
//! again: `BURDOCK_SEED=N cargo test --test it -- mangled::`.

#[path = "../child/mangle.rs"]
mod mangle;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scripted::*;
use crate::support::*;
use mangle::{Must, WAYS, mangled};

/// The bound of a call whose answer names it.
const BOUND: Duration = Duration::from_millis(100);

/// A machine that does other things may be late once; one that is late each time is not late by accident.
const TRIES: u32 = 3;

/// Seeds of each lane; `BURDOCK_LONG=1` for more.
fn seeds() -> u64 {
    if std::env::var_os("BURDOCK_LONG").is_some() { 10_000 } else { 40 * WAYS }
}

/// With two other calls in flight: what is mangled is never theirs, and both are answered in the end.
#[test]
fn beside_other_calls() {
    let lane = Lane::begin();
    let mut others = [lane.scripted.hold("1", "other"), lane.scripted.hold("\"o\"", "another")];
    for other in &mut others {
        // Streams by then: an answer would be the next thing.
        other.head();
        other.event();
    }
    lane.run(0, false, || others.iter().all(is_silent));
    for (name, client) in ["other", "another"].into_iter().zip(&mut others) {
        lane.scripted.answer(name);
        assert_eq!(next_message(client).json()["result"]["from"], name);
    }
    lane.memory_is_flat();
}

/// As the only call in flight: a response whose id is lost ends it, too.
#[test]
fn alone() {
    let lane = Lane::begin();
    lane.run(1_000_000, true, || true);
    lane.memory_is_flat();
}

/// One session whose server mangles.
struct Lane {
    scripted: Scripted,
    memory: u64,
    held: u64,
}

impl Lane {
    /// Its calls have numbers of three digits by then, those of the other calls one: to change a byte of a number
    /// cannot make it another's.
    fn begin() -> Lane {
        let scripted = Scripted::new();
        let (memory, held) = (scripted.burdock.memory(), held_bytes(&scripted));
        Lane { scripted, memory, held }
    }

    fn run(&self, first: u64, alone: bool, untouched: impl Fn() -> bool) {
        let only = std::env::var("BURDOCK_SEED").ok().and_then(|seed| seed.parse().ok());
        for _ in 0..120 {
            self.scripted.session.post(&request("0", "ping", "{}"));
        }
        for seed in only.map_or(first..first + seeds(), |seed| seed..seed + 1) {
            let late = (0..TRIES).all(|_| self.one(seed, alone) > BOUND);
            let bytes = mangled(seed, "100").bytes;
            let line = String::from_utf8_lossy(&bytes);
            assert!(untouched(), "seed {seed}: another call ended after {line:?}");
            assert!(!late, "seed {seed}, {}: later than {BOUND:?} each time", mangled(seed, "100").way);
        }
    }

    /// The call of one seed; how long it took.
    fn one(&self, seed: u64, alone: bool) -> Duration {
        let expected = mangled(seed, "100");
        let must = match expected.must {
            Must::EndIfAlone if alone => Must::End,
            Must::EndIfAlone => Must::Anything,
            must => must,
        };
        let mut call = self.scripted.session.start(&mangling(seed));
        let begun = Instant::now();
        if must == Must::Anything {
            return self.whatever(seed, &mut call);
        }
        let reply = answer_within(&mut call, SOON / 4).unwrap_or_else(|| {
            panic!(
                "seed {seed}: left open after {}: {:?}",
                expected.way,
                String::from_utf8_lossy(&expected.bytes)
            )
        });
        let took = begun.elapsed();
        let message: Value = serde_json::from_str(&last_message(&reply)).unwrap();
        let what = format!(
            "seed {seed}, {}: {message} of {:?}",
            expected.way,
            String::from_utf8_lossy(&expected.bytes)
        );
        assert_eq!(message["id"], "mangled", "{what}");
        let whole = message.to_string().contains("{[ done");
        assert!(
            whole || (must == Must::End && (message["error"].is_object() || message["result"].is_object())),
            "{what}"
        );
        took
    }

    /// The call may be open or not; it is over after `cancelled`.
    fn whatever(&self, seed: u64, call: &mut Client) -> Duration {
        self.scripted.session.call(0, "held", json!({"as": seed.to_string()}));
        // The line has been read: what the server says next came after it.
        self.scripted.say("");
        let cancel =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"mangled"}}"#;
        assert_eq!(self.scripted.session.post(cancel).status, 202);
        assert!(answer_within(call, SOON).is_some(), "open after cancelled");
        Duration::ZERO
    }

    fn memory_is_flat(&self) {
        self.scripted.lives();
        wait_for("what was held is given back", SOON, || {
            (held_bytes(&self.scripted) < self.held + (512 << 10)).then_some(())
        });
        let grown = self.scripted.burdock.memory().saturating_sub(self.memory);
        assert!(grown < 16 << 20, "{grown} bytes");
    }
}

/// Nothing came on this stream since it was read last.
fn is_silent(client: &Client) -> bool {
    let socket = client.socket.get_ref();
    socket.set_nonblocking(true).unwrap();
    let peeked = socket.peek(&mut [0]);
    socket.set_nonblocking(false).unwrap();
    client.socket.buffer().is_empty()
        && peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

fn mangling(seed: u64) -> String {
    let params = json!({"name": "mangle", "arguments": {"seed": seed}});
    request("\"mangled\"", "tools/call", &params.to_string())
}

/// `burdock_held_bytes` of the metrics.
fn held_bytes(scripted: &Scripted) -> u64 {
    let metrics = scripted.metrics();
    let line = metrics.lines().find(|line| line.starts_with("burdock_held_bytes "));
    line.and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .unwrap_or_else(|| panic!("no held_bytes: {metrics}"))
}
