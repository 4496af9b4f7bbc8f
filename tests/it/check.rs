//! `burdock check` against a good endpoint, and against what is none.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::*;

fn check(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_burdock")).arg("check").args(arguments).output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The finding of a step: verdict and what was seen.
fn finding(report: &Value, step: &str) -> (String, String) {
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["step"] == step);
    let found = found.unwrap_or_else(|| panic!("no {step} in {report:#}"));
    (found["verdict"].as_str().unwrap().to_owned(), found["seen"].as_str().unwrap().to_owned())
}

#[test]
fn our_own_endpoint_is_good_and_the_session_is_ended() {
    let burdock = Burdock::with_child(&[], &[]);
    let url = format!("http://{}/mcp", burdock.address);
    let output = check(&[&url, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let seen = report(&output);
    assert_eq!((seen["ok"].as_bool(), seen["url"].as_str()), (Some(true), Some(url.as_str())));
    for step in [
        "stateless era",
        "connect",
        "initialize",
        "session",
        "notification",
        "ping",
        "tools/list",
        "call",
        "GET stream",
        "resumption",
        "foreign Origin",
        "unknown version",
        "no session id",
        "unknown session id",
        "ping, kept connection",
        "ping, new connection",
        "DELETE",
        "after DELETE",
    ] {
        assert_eq!(finding(&seen, step).0, "good", "{step}: {seen:#}");
    }
    wait_for("the end of its session", SOON, || {
        burdock.log().contains("deleted by its client").then_some(())
    });
}

/// Editors on Windows begin a file with a byte order mark (cases 18): every file that burdock reads may have one.
#[test]
fn files_may_begin_with_a_byte_order_mark() {
    let folder = std::env::temp_dir().join(format!("burdock-bom-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // The SHA-256 of `secret`.
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let config =
        file("mcp.json", &format!("{{\"mcpServers\": {{\"t\": {{\"command\": {:?}}}}}}}", test_child()));
    let tokens = file("tokens", &format!("alice sha256:{hash}\n"));
    // Nobody is there: redis-server is not needed to know that the URL was read.
    let redis = file("redis", "redis://127.0.0.1:9/\n");
    let flags = ["--config", &config, "--token-file", &tokens, "--redis-file", &redis];
    let burdock = Burdock::serve(&flags);
    let url = format!("http://{}/mcp", burdock.address);
    let output = check(&[&url, "--token-file", &file("token", "secret\n")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_tool_is_called_by_name() {
    let burdock = Burdock::with_child(&[], &[]);
    let url = format!("http://{}/mcp", burdock.address);
    let slow = check(&[&url, "--json", "--tool", "slow", "--arguments", r#"{"seconds": 2}"#]);
    assert_eq!(finding(&report(&slow), "call"), ("good".into(), "slow: a result, as an event stream".into()));
    let crash = check(&[&url, "--json", "--tool", "crash"]);
    assert_eq!(crash.status.code(), Some(1));
    let (verdict, seen) = finding(&report(&crash), "call");
    assert!(verdict == "bad" && seen.contains("exited with status 3"), "{seen}");
}

#[test]
fn what_is_no_endpoint_is_said_to_be_none() {
    let burdock = Burdock::with_child(&[], &["--html"]);
    let child_is_none = check(&[&format!("http://{}/mcp", burdock.address)]);
    let path_is_none = check(&[&format!("http://{}/health/live", burdock.address)]);
    let nobody = check(&["http://127.0.0.1:9/mcp"]);
    for (output, part) in [(child_is_none, "html"), (path_is_none, "405"), (nobody, "refused")] {
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("BAD") && text.to_lowercase().contains(part), "{text}");
    }
}

#[test]
fn usage_mistakes() {
    for (arguments, part) in [
        (&[][..], "Give the endpoint's URL"),
        (&["https://example.com/mcp"], "https"),
        (&["127.0.0.1:8080"], "http://"),
        (&["http://h/mcp", "--arguments", "[1]"], "JSON object"),
        (&["http://h/mcp", "--token-file", "/nowhere"], "/nowhere"),
        (&["http://h/mcp", "--nonsense"], "--nonsense"),
    ] {
        let output = check(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
    assert_eq!(check(&["--help"]).status.code(), Some(0));
}
