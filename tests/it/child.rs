//! Children: what they say arrives, whatever they do has an answer, and nothing of them is left behind.

use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use burdock::backend::child::{self, ChildHandle, Command};
use burdock::backend::{Exit, Output, Priority, SendError};
use burdock::budget::Payload;
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
    child::start(Arc::new(command), "test".into())
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
                assert!(after.is_err(), "something came after the end: {after:?}");
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
    assert!(matches!(&outputs[100], Output::Message(last) if **last == *br#"{"last":1}"#));
    assert_eq!(exit, Exit::Status(3));
    assert_eq!(rest_of_signalled(), Exit::Signal(9));
}

fn rest_of_signalled() -> Exit {
    rest(&sh("kill -9 $$")).1
}
