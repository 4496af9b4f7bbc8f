//! Children: what they say arrives, whatever they do has an answer, and nothing of them is left behind.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use burdock::backend::child::{self, ChildHandle};
use burdock::backend::children::Children;
use burdock::backend::command::Command;
use burdock::backend::{Exit, Output, Priority, SendError};
use burdock::budget::Payload;
use burdock::limits::CHILD_EOF_GRACE;
use burdock::{runtime, sweep};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn runtime_started() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        runtime::start(2).unwrap();
        runtime::spawn(sweep::run()).detach();
    });
}

fn command(program: &str, args: &[&str]) -> Command {
    Command {
        program: program.into(),
        args: args.iter().map(|arg| (*arg).into()).collect(),
        env: Vec::new(),
        cwd: None,
        term_grace: Duration::from_millis(300),
    }
}

fn start(program: &str, args: &[&str]) -> ChildHandle {
    start_command(command(program, args))
}

fn start_command(command: Command) -> ChildHandle {
    runtime_started();
    child::start(Arc::new(command), "test".into(), Arc::default())
}

fn sh(script: &str) -> ChildHandle {
    start("sh", &["-c", script])
}

fn send(child: &ChildHandle, message: &str) -> Result<(), SendError> {
    child.send(Payload::made_here(message.into()), Priority::Request)
}

/// The next output, which must come.
fn next(child: &ChildHandle) -> Output {
    let output = async { Some(child.outputs().recv().await.expect("the outputs are closed")) };
    let late = async {
        async_io::Timer::after(PATIENCE).await;
        None
    };
    async_io::block_on(smol::future::or(output, late)).expect("no output in time")
}

fn message(child: &ChildHandle) -> String {
    match next(child) {
        Output::Message(payload) => String::from_utf8(payload.to_vec()).unwrap(),
        other => panic!("not a message: {other:?}"),
    }
}

/// All outputs before the end, and the end.
fn rest(child: &ChildHandle) -> (Vec<Output>, Exit) {
    let mut outputs = Vec::new();
    loop {
        match next(child) {
            Output::Exited(exit) => {
                let after = async_io::block_on(child.outputs().recv());
                assert!(after.is_none(), "something came after the end: {after:?}");
                return (outputs, exit);
            }
            output => outputs.push(output),
        }
    }
}

#[test]
fn messages_go_in_and_come_out() {
    let child = start("cat", &[]);
    send(&child, r#"{"a":1}"#).unwrap();
    assert_eq!(message(&child), r#"{"a":1}"#);
    let long = format!(r#"["{}"]"#, "x".repeat(1024 * 1024));
    send(&child, &long).unwrap();
    assert_eq!(message(&child), long);
    let asked = Instant::now();
    child.stop();
    let (outputs, exit) = rest(&child);
    assert!(outputs.is_empty(), "{outputs:?}");
    assert_eq!(exit, Exit::Stopped);
    assert!(asked.elapsed() < Duration::from_secs(1), "end of input was enough: {:?}", asked.elapsed());
    assert_eq!(send(&child, "{}"), Err(SendError::Closed));
}

#[test]
fn the_last_words_of_a_process_that_exits_arrive_before_its_end() {
    let child = sh(
        r#"i=0; while [ $i -lt 100 ]; do echo "{\"i\":$i}"; i=$((i+1)); done; printf '{"last":1}'; exit 3"#,
    );
    let (outputs, exit) = rest(&child);
    assert_eq!(outputs.len(), 101);
    assert!(matches!(&outputs[100], Output::Message(last) if last.bytes() == br#"{"last":1}"#));
    assert_eq!(exit, Exit::Status(3));
    assert_eq!(rest_of_signalled(), Exit::Signal(9));
}

fn rest_of_signalled() -> Exit {
    rest(&sh("kill -9 $$")).1
}

// --- Misbehaviour ---------------------------------------------------------------------------------------------

/// A program of `examples/`, built by a plain `cargo test`.
fn example(name: &str) -> String {
    let burdock = Path::new(env!("CARGO_BIN_EXE_burdock"));
    let path = burdock.with_file_name("examples").join(name);
    assert!(path.exists(), "{} is missing: run cargo build --examples", path.display());
    path.to_str().unwrap().to_owned()
}

fn test_child(args: &[&str]) -> ChildHandle {
    start(&example("test-child"), args)
}

fn call(child: &ChildHandle, id: u32, tool: &str) -> Result<(), SendError> {
    let params = format!(r#"{{"name":"{tool}","arguments":{{"line":"no json"}}}}"#);
    send(child, &format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#))
}

#[test]
fn a_crash_is_told_with_its_status() {
    let child = test_child(&[]);
    call(&child, 1, "echo").unwrap();
    message(&child);
    call(&child, 2, "crash").unwrap();
    assert_eq!(rest(&child).1, Exit::Status(3));
    assert_eq!(rest(&test_child(&["--exit", "7"])).1, Exit::Status(7));
}

#[test]
fn what_is_not_json_is_told_as_such_and_does_not_flood() {
    let child = test_child(&[]);
    call(&child, 1, "raw").unwrap();
    assert!(matches!(next(&child), Output::Garbage(line) if line.bytes() == b"no json"));
    message(&child);
    let (outputs, exit) = rest(&sh("printf ' \\r\\n\\n'; seq 100000; printf '  [1]\\r\\n'"));
    let garbage = outputs.iter().filter(|output| matches!(output, Output::Garbage(_))).count();
    assert!((1..1000).contains(&garbage), "{garbage} lines of garbage were passed on");
    assert!(matches!(outputs.last(), Some(Output::Message(last)) if last.bytes() == b"[1]"));
    assert_eq!(outputs.len(), garbage + 1, "blank lines are nothing");
    assert_eq!(exit, Exit::Status(0));
}

#[test]
fn a_line_without_end_is_the_end_of_the_child() {
    let (outputs, exit) = rest(&test_child(&["--endless"]));
    assert!(matches!(outputs[..], [Output::TooLong { .. }]), "{outputs:?}");
    assert_eq!(exit, Exit::EndlessLine);
}

#[test]
fn a_message_that_is_too_long_is_dropped_and_the_next_one_is_not() {
    let child = sh("head -c 5000000 /dev/zero | tr '\\0' x; echo; echo '{}'; cat");
    let Output::TooLong { head, tail, bytes } = next(&child) else { panic!("no word of it") };
    assert_eq!((head, tail, bytes), (vec![b'x'; 4096], vec![b'x'; 1024], 5_000_000));
    assert_eq!(message(&child), "{}");
}

/// Kind 4 of the cases: what programs for people write around their JSON.
#[test]
fn what_stands_around_the_json_of_a_line_is_skipped() {
    let around = [
        (r"\357\273\277", ""),
        (r"\000", r"\000"),
        (r"\036", ""),
        (r"\033[32m", r"\033[0m"),
        (r"\033]0;title\007", r" \r"),
        (r"\357\273\277\033[1m", r"\033[0m"),
    ];
    for (before, after) in around {
        let child = sh(&format!(r#"printf '{before}{{"id":1}}{after}\n{before}[2]{after}\n'; cat"#));
        assert_eq!((message(&child), message(&child)), (r#"{"id":1}"#.into(), "[2]".into()), "{before}");
    }
}

#[test]
fn a_lone_cr_may_end_a_line() {
    let child = sh(r#"printf '{"id":1}\r'; read x; printf '{"id":2}\r[{}]\r'; cat"#);
    assert_eq!(message(&child), r#"{"id":1}"#);
    send(&child, "go").unwrap();
    assert_eq!((message(&child), message(&child)), (r#"{"id":2}"#.into(), "[{}]".into()));
}

#[test]
fn a_message_behind_text_is_told_with_its_whole_line() {
    let child = sh(r#"echo 'INFO: {"jsonrpc":"2.0","id":1}'; cat"#);
    let Output::Wrapped { line, at } = next(&child) else { panic!("no word of it") };
    assert_eq!(&line.bytes()[at..], br#"{"jsonrpc":"2.0","id":1}"#);
}

#[test]
fn children_are_counted_from_their_start_until_they_are_reaped() {
    runtime_started();
    let children: Arc<Children> = Arc::default();
    let started: Vec<ChildHandle> = (0..2)
        .map(|_| {
            let script = "echo '{}'; cat; sleep 0.3";
            let command = Arc::new(command("sh", &["-c", script]));
            child::start(command, "counted".into(), Arc::clone(&children))
        })
        .collect();
    started.iter().for_each(|child| assert_eq!(message(child), "{}"));
    assert_eq!(children.count(), 2);
    assert!(children.list().iter().all(|child| child.label == "counted"));
    started[0].stop();
    assert_eq!(children.count(), 2, "it is still stopping");
    assert_eq!(rest(&started[0]).1, Exit::Stopped);
    assert_eq!(children.count(), 1);
}

#[test]
fn a_child_that_never_reads_has_a_full_queue_and_is_killed() {
    let child = test_child(&["--deaf"]);
    let big = format!(r#"["{}"]"#, "x".repeat(100_000));
    // It takes a moment until the first ones stick in the pipe; then no more is taken.
    let full = (0..200).map(|_| send(&child, &big)).find(Result::is_err);
    assert_eq!(full, Some(Err(SendError::Full)));
    let answer = child.send(Payload::made_here(b"{}".to_vec()), Priority::Other);
    assert_eq!(answer, Ok(()), "answers have slots of their own");
    let asked = Instant::now();
    child.stop();
    assert_eq!(rest(&child).1, Exit::Stopped);
    let took = asked.elapsed();
    // Twice the grace for the end of input (for the queue, and after it), then the one for SIGTERM.
    let expected = CHILD_EOF_GRACE * 2 + Duration::from_millis(300);
    assert!(took >= expected && took < expected + Duration::from_secs(2), "took {took:?}");
}

#[test]
fn a_child_that_ignores_the_end_of_input_gets_sigterm() {
    let child = sh("trap 'echo \"[\\\"bye\\\"]\"; exit 0' TERM; echo '{}'; while :; do sleep 0.05; done");
    message(&child);
    let asked = Instant::now();
    child.stop();
    let (outputs, exit) = rest(&child);
    assert!(asked.elapsed() >= CHILD_EOF_GRACE && asked.elapsed() < CHILD_EOF_GRACE + Duration::from_secs(2));
    assert!(matches!(outputs[..], [Output::Message(_)]), "what it says while it stops arrives: {outputs:?}");
    assert_eq!(exit, Exit::Stopped);
}

#[test]
fn a_child_that_closes_stdout_is_stopped() {
    let child = sh("exec >&-; cat >/dev/null; exit 5");
    assert_eq!(rest(&child).1, Exit::Status(5), "the end of input was enough");
    assert_eq!(send(&child, "{}"), Err(SendError::Closed));
}

#[test]
fn a_grandchild_that_holds_stdout_does_not_keep_the_child_alive() {
    let tag = Tag::new();
    let begun = Instant::now();
    let child = start_command(Command {
        env: vec![tag.variable()],
        ..command("sh", &["-c", "sleep 1000 & echo '{}'; exit 4"])
    });
    message(&child);
    assert_eq!(rest(&child).1, Exit::Status(4));
    assert!(begun.elapsed() < Duration::from_secs(3));
    tag.assert_gone(Duration::from_secs(2));
}

#[test]
fn a_handle_that_is_dropped_stops_the_child() {
    let tag = Tag::new();
    let child = start_command(Command {
        env: vec![tag.variable()],
        ..command(&example("test-child"), &["--ignore-eof"])
    });
    call(&child, 1, "pid").unwrap();
    message(&child);
    assert!(!tag.processes().is_empty());
    drop(child);
    tag.assert_gone(CHILD_EOF_GRACE + Duration::from_secs(4));
}

#[test]
fn why_it_could_not_be_started_is_said_in_words() {
    let why = |command| match rest(&start_command(command)).1 {
        Exit::NotStarted(why) => why,
        other => panic!("{other:?}"),
    };
    let env = vec![("PATH".to_owned(), "/nowhere".to_owned())];
    let missing = why(Command { env, ..command("no-such-program", &[]) });
    assert_eq!(missing, "command not found: no-such-program (looked in /nowhere)");
    let cwd = why(Command { cwd: Some("/no/such/place".into()), ..command("cat", &[]) });
    assert_eq!(cwd, "cwd does not exist or is not a directory: /no/such/place");
}

// --- What a child is given ------------------------------------------------------------------------------------

#[test]
fn a_child_gets_its_own_environment_and_no_descriptors() {
    let mut driver = std::process::Command::new("sh");
    // Descriptor 7 has no close-on-exec mark, as with any careless parent.
    driver.args(["-c", "ulimit -S -n 200; exec 7</dev/null; exec \"$0\" env \"$1\""]);
    driver.args([example("watchdog-driver"), example("test-child")]);
    driver.env("SECRET_OF_THE_PARENT", "1").env("LANG", "C.UTF-8").env("TEST_TAG", "given");
    let output = driver.output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    let seen: serde_json::Value = serde_json::from_str(text).unwrap();

    let inherited = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "TMPDIR"];
    let names: BTreeSet<&str> = seen["env"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = inherited.into_iter().filter(|name| *name == "LANG" || std::env::var_os(name).is_some());
    assert_eq!(names, expected.chain(["TEST_TAG", "BURDOCK_RUN"]).collect());
    assert_eq!((&seen["env"]["TEST_TAG"], &seen["env"]["LANG"]), (&"given".into(), &"C.UTF-8".into()));

    let descriptors: BTreeSet<&str> = seen["fds"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(descriptors, ["0", "1", "2"].into(), "{}", seen["fds"]);
    assert_eq!(seen["nofile"], 200, "the limit burdock was started with");
}

// --- No orphan, ever ------------------------------------------------------------------------------------------

/// A value in the environment of a test's processes, to find them by.
struct Tag(String);

impl Tag {
    fn new() -> Tag {
        Tag(format!("{}-{:016x}", std::process::id(), fastrand::u64(..)))
    }

    fn variable(&self) -> (String, String) {
        ("TEST_TAG".into(), self.0.clone())
    }

    /// Names of living processes that carry the tag, besides `watchdog-driver` itself.
    fn processes(&self) -> Vec<String> {
        let variable = format!("TEST_TAG={}", self.0).into_bytes();
        let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        entries
            .filter(|path| {
                let environ = std::fs::read(path.join("environ")).unwrap_or_default();
                environ.split(|byte| *byte == 0).any(|entry| entry == variable)
            })
            .map(|path| std::fs::read(path.join("cmdline")).unwrap_or_default())
            .map(|cmdline| String::from_utf8_lossy(&cmdline).replace('\0', " "))
            .filter(|cmdline| !cmdline.contains("watchdog-driver"))
            .collect()
    }

    fn assert_gone(&self, within: Duration) {
        let until = Instant::now() + within;
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "still there after {within:?}: {left:#?}");
            step();
        }
    }
}

/// Between two looks at a condition.
fn step() {
    async_io::block_on(async_io::Timer::after(Duration::from_millis(10)));
}

/// A running `watchdog-driver`, killed when dropped.
struct Driver {
    process: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    tag: Tag,
}

impl Driver {
    fn start(mode: &str, count: usize) -> Driver {
        let tag = Tag::new();
        let mut process = std::process::Command::new(example("watchdog-driver"))
            .args([mode, &count.to_string()])
            .envs([tag.variable()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(process.stdout.take().unwrap()).lines();
        Driver { process, lines, tag }
    }

    fn wait_for(&mut self, line: &str) {
        assert_eq!(self.lines.next().map(Result::unwrap).as_deref(), Some(line));
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The limit the issue names: after `kill -9` of burdock.
const ALL_GONE_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn nothing_survives_a_kill_of_burdock() {
    let mut driver = Driver::start("hold", 50);
    driver.wait_for("STARTING");
    driver.wait_for("READY");
    assert!(driver.tag.processes().len() >= 100, "children and grandchildren: {:?}", driver.tag.processes());
    driver.kill();
    driver.tag.assert_gone(ALL_GONE_WITHIN);
}

#[test]
fn nothing_survives_a_kill_of_burdock_in_the_middle_of_spawning() {
    // All rounds at once: each waits for its watchdog to finish, which takes its time.
    let rounds = (0..8).map(|_| std::thread::spawn(kill_in_the_middle));
    rounds.collect::<Vec<_>>().into_iter().for_each(|round| round.join().unwrap());
}

fn kill_in_the_middle() {
    let mut driver = Driver::start("hold", 50);
    driver.wait_for("STARTING");
    let watchdog = watchdog_of(&driver).expect("a watchdog");
    async_io::block_on(async_io::Timer::after(Duration::from_micros(fastrand::u64(0..400_000))));
    driver.kill();
    let until = Instant::now() + ALL_GONE_WITHIN;
    driver.tag.assert_gone(ALL_GONE_WITHIN);
    // None may be seen at one moment and one appear later: look again at the very end.
    while Path::new(&format!("/proc/{watchdog}")).exists() || Instant::now() < until {
        assert!(Instant::now() < until + PATIENCE, "the watchdog does not end");
        step();
    }
    assert_eq!(driver.tag.processes(), Vec::<String>::new());
}

#[test]
fn abandoned_sessions_leave_nothing() {
    // The full thousand takes minutes on a small machine: BURDOCK_LONG=1.
    let count = if std::env::var_os("BURDOCK_LONG").is_some() { 1000 } else { 60 };
    let mut driver = Driver::start("abandon", count);
    driver.wait_for("ENDED");
    // Grandchildren that left their group are found while burdock goes on.
    driver.tag.assert_gone(ALL_GONE_WITHIN);
    drop(driver.process.stdin.take());
    assert!(driver.process.wait().unwrap().success());
}

#[test]
fn a_watchdog_that_dies_is_replaced() {
    let mut driver = Driver::start("hold", 6);
    driver.wait_for("STARTING");
    driver.wait_for("READY");
    let first = watchdog_of(&driver).expect("a watchdog");
    let first = rustix::process::Pid::from_raw(first as i32).unwrap();
    rustix::process::kill_process(first, rustix::process::Signal::KILL).unwrap();
    let until = Instant::now() + PATIENCE;
    while watchdog_of(&driver).is_none_or(|pid| pid == first.as_raw_nonzero().get() as u32) {
        assert!(Instant::now() < until, "no new watchdog");
        step();
    }
    driver.kill();
    driver.tag.assert_gone(ALL_GONE_WITHIN + Duration::from_secs(1));
}

/// The process id of a driver's watchdog.
fn watchdog_of(driver: &Driver) -> Option<u32> {
    let children = format!("/proc/{0}/task", driver.process.id());
    let tasks = std::fs::read_dir(children).ok()?.flatten();
    let pids = tasks.flat_map(|task| {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    });
    pids.into_iter().find(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().starts_with(b"burdock-watchdog")
    })
}
