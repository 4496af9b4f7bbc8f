//! What a user gets wrong: each mistake has a message that says what to do, and exit status 2.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// What a run said: exit status, stdout, stderr.
type Said = (Option<i32>, String, String);

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("burdock-bad-input-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn burdock(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burdock"));
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

fn said(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Runs burdock and expects a refusal: nothing on stdout, one line on stderr with `part` in it.
fn refused(command: &mut Command, part: &str) {
    let (status, stdout, stderr) = said(command);
    assert_eq!(status, Some(2), "{command:?}: {stderr}");
    assert_eq!(stdout, "", "{command:?}");
    assert!(stderr.starts_with("burdock: ") && stderr.ends_with('\n'), "{command:?}: {stderr:?}");
    assert_eq!(stderr.lines().count(), 1, "{command:?}: {stderr}");
    assert!(stderr.contains(part), "{command:?}: wanted {part:?}, was told {stderr:?}");
}

#[test]
fn help_and_version_are_no_mistakes() {
    for (arguments, part) in [
        (&["--help"][..], "Usage: burdock COMMAND"),
        (&["-h"], "Usage: burdock COMMAND"),
        (&["help"], "Usage: burdock COMMAND"),
        (&["serve", "--help"], "Usage: burdock serve"),
        (&["serve", "--listen", "nonsense", "-h"], "Usage: burdock serve"),
        (&["help", "serve"], "--keep-alive-comment TIME"),
        (&["help", "token"], "Usage: burdock token NAME"),
        (&["token", "--help"], "Usage: burdock token NAME"),
        (&["--version"], concat!("burdock ", env!("CARGO_PKG_VERSION"))),
        (&["-V"], concat!("burdock ", env!("CARGO_PKG_VERSION"))),
    ] {
        let (status, stdout, stderr) = said(&mut burdock(arguments));
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(stdout.contains(part), "{arguments:?}: {stdout}");
    }
}

#[test]
fn nothing_typed_is_answered_with_the_help() {
    let (status, stdout, stderr) = said(&mut burdock(&[]));
    assert_eq!((status, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("Usage: burdock COMMAND"), "{stderr}");
}

#[test]
fn a_reader_that_went_away_is_no_mistake() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["--version"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = burdock(arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(output.stderr, b"", "{arguments:?}");
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = burdock(&["--help"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn malformed_command_lines() {
    for (arguments, part) in [
        (&["srve"][..], "no command srve; did you mean serve?"),
        (&["--listen", "x"], "a command comes first"),
        (&["help", "x"], "no command x"),
        (&["serve", "--lisen", "x", "--", "sh"], "no flag --lisen; did you mean --listen?"),
        (&["serve", "--listen"], "needs a value: --listen ADDR:PORT"),
        (&["serve", "--listen=a", "--listen=b", "--", "sh"], "--listen: given twice"),
        (&["serve", "npx"], "after --: burdock serve -- npx"),
        (&["serve", "--"], "no command after --"),
        (&["serve", "--config", "x", "--", "sh"], "leave out one of the two"),
        (&["serve", "--insecure-public=x", "--", "sh"], "--insecure-public"),
        (
            &["serve", "--port", "9000", "--", "sh"],
            "no flag --port; the port goes with its address: --listen 127.0.0.1:9000",
        ),
        (
            &["serve", "--listen", "8080", "--", "sh"],
            "--listen: \"8080\" has no address: with one it is 127.0.0.1:8080",
        ),
        (
            &["serve", "--listen", "127.0.0.1", "--", "sh"],
            "\"127.0.0.1\" has no port; must be an address and a port",
        ),
        (
            &["serve", "--listen", "localhost:70000", "--", "sh"],
            "has the port 70000, and the largest is 65535",
        ),
        (
            &["serve", "--public-url", "https://mcp.example.com", "--", "sh"],
            "--public-url: https://mcp.example.com brings in others",
        ),
        (&["serve", "--listen", "0.0.0.0:0", "--", "sh"], "--token-file"),
        (
            &["serve", "--admin", "0.0.0.0:0", "--", "sh"],
            "--admin: 0.0.0.0:0 can be reached by others, and whoever reaches it sees the metrics",
        ),
        (&["serve", "--node", "N1", "--", "sh"], "--node: must be lower case"),
        (&["serve", "--default", "x", "--", "sh"], "--default: there is no server x; there is: sh"),
        (&["serve", "--idle-timeout", "1x", "--", "sh"], "500ms, 90s, 15m, 2h"),
        (&["serve", "--log", "inof", "--", "sh"], "--log: must be error"),
        (&["serve", "--log-format", "xml", "--", "sh"], "--log-format: must be text or json"),
        (&["serve", "--threads", "0", "--", "sh"], "--threads: must be a whole number"),
        (&["serve", "--", "no-such-program"], "no program no-such-program in PATH (/usr/bin:/bin)"),
        (&["serve", "--", "./no-such-program"], "the program ./no-such-program does not exist"),
        (&["serve", "--", "/etc/passwd"], "not executable; chmod +x"),
        (&["serve", "--", "/etc"], "is a directory"),
        (&["token"], "whose token?"),
        (&["token", "a b"], "cannot be a name; allowed"),
        (&["token", "a", "b"], "unexpected argument \"b\""),
        (&["token", "a", "--apend", "x"], "--apend"),
    ] {
        refused(&mut burdock(arguments), part);
    }
}

#[test]
fn the_environment_is_told_by_name() {
    refused(burdock(&["serve", "--", "sh"]).env("BURDOCK_NODE", "N1"), "BURDOCK_NODE: must be lower case");
    refused(
        burdock(&["serve", "--", "sh"]).env("BURDOCK_CONFIG", "x"),
        "BURDOCK_CONFIG: goes without a command",
    );
    refused(
        burdock(&["serve", "--", "sh"]).env("BURDOCK_INSECURE_PUBLIC", "yes"),
        "must be 1 or true, 0 or false",
    );
    refused(
        burdock(&["serve", "--node", "n1", "--threads", "x", "--", "sh"]).env("BURDOCK_NODE", "N1"),
        "--threads: must be",
    );
}

#[test]
fn text_that_is_not_text() {
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes(b"\xff");
    refused(burdock(&[]).arg(bytes), "not UTF-8");
    refused(burdock(&["serve", "--node"]).arg(bytes), "--node: is not UTF-8 text");
    refused(burdock(&["serve", "--"]).arg(bytes), "is not UTF-8 text");
    refused(burdock(&["serve", "--", "sh"]).env("BURDOCK_TOKEN_FILE", bytes), "does not exist");
}

fn serve(scratch: &Scratch, config: &str) -> Command {
    let path = scratch.file("mcp.json", config, 0o644);
    let mut command = burdock(&["serve", "--config"]);
    command.arg(path.file_name().unwrap()).current_dir(&scratch.0);
    command
}

#[test]
fn config_files_with_mistakes() {
    let scratch = Scratch::new();
    for (config, part) in [
        ("", "mcp.json:1: not JSON"),
        ("{\n  \"mcpServers\": {\n    \"a\" {}\n}}", "mcp.json:3: not JSON: expected `:`"),
        ("// only a comment", "mcp.json:1: not JSON: EOF"),
        ("[]", "mcp.json:1: must be an object"),
        ("{}", "mcp.json:1: has no servers; they go under the key mcpServers"),
        (
            "{\"mcpServers\":{},\n\"servers\":{}}",
            "mcp.json:2: servers: the servers are under mcpServers already",
        ),
        ("{\"mcpServers\":{}}", "mcpServers: there is no server to run here"),
        (
            "{\"mcpServers\":{\n\"git\":{\"command\":\"sh\",\n\"burdock\":{\n\"idleTimout\":5}}}}",
            "mcp.json:4: mcpServers.git.burdock.idleTimout: unknown key; allowed: idleTimeout, maxSessions, restore, startTimeout, \
             stopTimeout; did you mean idleTimeout?",
        ),
        (
            "{\"mcpServers\":{\n\"a b\":{\"command\":\"sh\"}}}",
            "mcp.json:2: mcpServers.a b: cannot be a part of a URL",
        ),
        ("{\"mcpServers\":{\"a\":{},\n\"a\":{}}}", "mcp.json:2: mcpServers.a: given twice"),
        ("{\"mcpServers\":{\"a\":{\"args\":[]}}}", "mcpServers.a: has no command"),
        (
            "{\"mcpServers\":{\"a\":{\n\"command\":\"nosuch\"}}}",
            "mcp.json:2: mcpServers.a.command: there is no program nosuch in PATH (/usr/bin:/bin)",
        ),
        (
            "{\"mcpServers\":{\"a\":{\"command\":\"sh\",\n\"env\":{\"P\":80}}}}",
            "mcp.json:2: mcpServers.a.env.P: must be a string: put it in quotes, \"80\"",
        ),
        (
            "{\"mcpServers\":{\"a\":{\"command\":\"sh\",\n\"args\":[\n\"${NO_SUCH}\"]}}}",
            "mcp.json:3: mcpServers.a.args[0]: uses ${NO_SUCH}, which is not set",
        ),
        (
            "{\"mcpServers\":{\"a\":{\"command\":\"sh\",\"cwd\":\"/nonexistent\"}}}",
            "mcpServers.a.cwd: there is no directory /nonexistent",
        ),
        (
            "{\"mcpServers\":{\"a\":{\"url\":\"http://x\",\"command\":\"sh\"}}}",
            "there is no server to run here",
        ),
        ("{\"servers\":{\"\\u001b[2J\":{\"command\":\"sh\"}}}", "servers.\\u{1b}[2J: cannot be a part"),
    ] {
        refused(&mut serve(&scratch, config), part);
    }
}

#[test]
fn config_files_that_cannot_be_read() {
    let scratch = Scratch::new();
    let large = scratch.file("large", &" ".repeat(1024 * 1024 + 1), 0o644);
    let binary = scratch.0.join("binary");
    fs::write(&binary, b"{}\xff").unwrap();
    for (path, part) in [
        (Path::new("/nonexistent/mcp.json"), "--config: /nonexistent/mcp.json does not exist"),
        (&scratch.0, "is a directory, not a file"),
        (Path::new("/dev/null"), "is not a regular file"),
        (&large, "is too large: at most 1024 KiB are read"),
        (&binary, "is not UTF-8 text (byte 2)"),
    ] {
        refused(burdock(&["serve", "--config"]).arg(path), part);
    }
}

#[test]
fn token_files_with_mistakes() {
    let scratch = Scratch::new();
    let hash = "0".repeat(64);
    let good = format!("alice sha256:{hash}\n");
    for (text, mode, part) in [
        (good.as_str(), 0o640, "is open to others (mode 0640); run: chmod 600 "),
        (&good, 0o604, "is open to others (mode 0604); run: chmod 600 "),
        ("", 0o600, "no token in it"),
        ("# nobody\n", 0o600, "no token in it"),
        ("\nalice", 0o600, "tokens:2: a line is NAME sha256:HEX"),
        (&good.repeat(2), 0o600, "tokens:2: the same token is there twice"),
        ("bd_00", 0o600, "tokens:1: this is a token itself and not its hash"),
    ] {
        let path = scratch.file("tokens", text, mode);
        refused(burdock(&["serve", "--token-file"]).arg(&path).args(["--", "sh"]), part);
    }
    refused(
        &mut burdock(&["serve", "--token-file", "/nonexistent", "--", "sh"]),
        "/nonexistent does not exist",
    );
}

#[test]
fn a_token_is_made_for_its_owner_only() {
    let scratch = Scratch::new();
    let path = scratch.0.join("tokens");
    let make = |name: &str| said(burdock(&["token", name, "--append"]).arg(&path));
    let (status, stdout, stderr) = make("alice");
    assert_eq!(status, Some(0), "{stderr}");
    let token = stdout.trim_end();
    assert!(token.starts_with("bd_") && token.len() == 67, "{stdout}");
    assert!(!stderr.contains(token), "the token is on stdout only");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);

    // A last line without its line feed stays a line of its own.
    fs::File::options().append(true).open(&path).unwrap().write_all(b"# by hand").unwrap();
    assert_eq!(make("bob").0, Some(0));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.lines().last().unwrap().starts_with("bob sha256:"), "{text}");
    assert!(!text.contains("bd_"), "{text}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let (status, stdout, stderr) = make("carol");
    assert_eq!((status, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("chmod 600"), "{stderr}");
    assert!(!fs::read_to_string(&path).unwrap().contains("carol"));
}

#[test]
fn no_line_is_kept_of_a_token_that_nobody_saw() {
    let scratch = Scratch::new();
    let path = scratch.file("tokens", "# users\n", 0o600);
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    for stdout in [Stdio::from(gone), Stdio::from(full)] {
        let output = burdock(&["token", "alice", "--append"]).arg(&path).stdout(stdout).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("nobody could be shown the token"), "{stderr}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "# users\n");
    }
}

#[test]
fn a_missing_directory_is_named() {
    let scratch = Scratch::new();
    let path = scratch.0.join("missing/tokens");
    let (status, stdout, stderr) = said(burdock(&["token", "alice", "--append"]).arg(&path));
    assert_eq!((status, stdout.as_str()), (Some(1), ""), "{stderr}");
    let expected = format!("there is no directory {}\n", scratch.0.join("missing").display());
    assert!(stderr.ends_with(&expected), "{stderr}");
}
