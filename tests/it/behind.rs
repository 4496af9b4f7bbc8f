//! Readers that are behind when their session ends: every open call is answered with an error and its id, also when its
//! client is slow to read.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::sessions::admin_get;
use crate::support::*;

/// Answers `initialize` and never anything else. Each notification `more` makes it send forty of 10 kB, numbered;
/// `leave` makes it exit.
const CHILD: &str = r#"
read -r line
id=$(printf %s "$line" | sed 's/.*"id":\([^,}]*\).*/\1/')
echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"serverInfo\":{\"name\":\"s\",\"version\":\"1\"}}}"
n=0
filler=$(printf '%010000d' 0)
while read -r line; do
    case $line in
    *more*)
        end=$((n + 40))
        while [ $n -lt $end ]; do
            n=$((n + 1))
            echo "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":[$n,\"$filler\"]}}"
        done;;
    *leave*) exit 3;;
    esac
done
"#;
/// Bytes of one portion, about.
const PORTION: u64 = 400_000;

struct Behind {
    burdock: Burdock,
    session: Session,
    /// Has a reply to call 7 to read, and has read nothing.
    slow: Client,
    sent: u64,
    directory: PathBuf,
}

impl Behind {
    /// A session whose only call has a reader that is so far behind that its stream's log is its queue.
    fn new(name: &str) -> Behind {
        let directory = std::env::temp_dir().join(format!("burdock-behind-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let socket = directory.join("admin.sock");
        let admin = format!("unix:{}", socket.to_str().unwrap());
        let burdock =
            Burdock::serve(&["--admin", &admin, "--drain-timeout", "100ms", "--", "sh", "-c", CHILD]);
        let session = burdock.session("2025-11-25");
        let slow = session.start(&call(7, "any", json!({})));
        let mut behind = Behind { burdock, session, slow, sent: 0, directory };
        // The kernel takes what it likes first. A portion that it does not take whole is the last but one: the rest of
        // both is less than a log holds.
        while behind.portion() > PORTION * 3 / 4 {
            assert!(behind.sent < 100, "the kernel takes everything");
        }
        behind.portion();
        behind
    }

    /// A metric, and how many bytes its answer took: the admin listener's count as sent, too.
    fn metric(&self, name: &str) -> (u64, u64) {
        let answer = admin_get(&self.directory.join("admin.sock"), "/metrics");
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        (line.unwrap().parse().unwrap(), answer.len() as u64)
    }

    /// Makes the child say one portion more; returns how many bytes of it are written, about.
    fn portion(&mut self) -> u64 {
        let (before, mut of_admin) = self.metric("burdock_sent_bytes_total");
        let mut heard = || {
            let (heard, bytes) = self.metric("burdock_messages_from_backend_total");
            of_admin += bytes;
            heard
        };
        let heard_before = heard();
        self.notify("more");
        wait_for("forty notifications", SOON, || (heard() >= heard_before + 40).then_some(()));
        std::thread::park_timeout(Duration::from_millis(100));
        self.sent += 1;
        let (after, _) = self.metric("burdock_sent_bytes_total");
        after - before - of_admin
    }

    fn notify(&self, what: &str) {
        let message = json!({"jsonrpc": "2.0", "method": format!("notifications/{what}")});
        assert_eq!(self.session.post(&message.to_string()).status, 202);
    }

    /// Reads it all, at last: every notification, then the error of the call.
    fn reads_everything(&mut self, expected: &str) {
        assert_eq!(self.slow.head().status, 200);
        assert_eq!(self.slow.event().unwrap().data, "", "the priming event");
        let mut next: u64 = 1;
        while let Some(event) = self.slow.event() {
            let message = event.json();
            if message["id"] == 7 {
                let text = message["error"]["message"].as_str().unwrap();
                assert!(text.contains(expected), "{text}");
                assert_eq!(next, self.sent * 40 + 1, "notifications are missing before the error");
                assert_eq!(self.slow.event(), None);
                return;
            }
            assert_eq!(message["params"]["data"][0], next);
            next += 1;
        }
        panic!("no answer to call 7 after {} of {} notifications", next - 1, self.sent * 40);
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The review's B3: 87 of 120 notifications came, the final chunk, and no answer.
#[test]
fn a_reader_that_is_behind_hears_that_the_child_exited() {
    let mut behind = Behind::new("exit");
    behind.notify("leave");
    wait_for("the session's end", SOON, || behind.burdock.log().contains("session over").then_some(()));
    behind.reads_everything("status 3");
}

#[test]
fn a_reader_that_is_behind_hears_that_its_session_was_deleted() {
    let mut behind = Behind::new("delete");
    assert_eq!(behind.session.delete().status, 204);
    behind.reads_everything("deleted");
}

#[test]
fn a_reader_that_is_behind_hears_that_the_node_stops() {
    let mut behind = Behind::new("drain");
    behind.burdock.signal("-INT");
    wait_for("the session's end", SOON, || behind.burdock.log().contains("session over").then_some(()));
    behind.reads_everything("stopping");
    assert!(behind.burdock.wait().success());
}
