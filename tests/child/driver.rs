//! Starts children through the library, as burdock does, with the watchdog: for tests that kill it.
//!
//! `watchdog` is the subcommand the library asks for. `hold N` starts N children, says READY and waits. `abandon N` starts
//! N, drops each after its first line, says ENDED when all are reaped, and exits in order at a line on stdin. `env
//! PROGRAM` prints the answer of one child that is asked for its surroundings. All children get TEST_TAG of the
//! environment.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use burdock::backend::child::{self, ChildHandle};
use burdock::backend::command::Command;
use burdock::backend::{Output, Priority, descriptors, watchdog};
use burdock::budget::Payload;
use burdock::{runtime, sweep};

/// Started and not yet abandoned at once.
const WAVE: usize = 50;

/// A plain child in a shell, one with a grandchild in a session of its own that is double-forked and deaf, and one
/// that has left its own group and ignores the end of input.
const SCRIPTS: [&str; 3] = [
    "sleep 1000 & echo '{}'; cat",
    r#"(setsid sh -c 'trap "" TERM HUP INT; (sleep 1000; sleep 1000) & wait' </dev/null >/dev/null 2>&1 &); echo '{}'; cat"#,
    "(setsid sleep 1000 </dev/null >/dev/null 2>&1 &); trap '' TERM; echo '{}'; sleep 1000",
];

fn main() -> ExitCode {
    descriptors::shut_inheritance();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    match arguments.first().map(String::as_str) {
        Some("watchdog") => return watchdog::main(),
        Some("hold") => run(hold(count)),
        Some("abandon") => run(abandon(count)),
        Some("env") => run(surroundings(arguments.get(1).cloned().unwrap_or_default())),
        _ => return ExitCode::from(64),
    }
    ExitCode::SUCCESS
}

fn run(work: impl Future<Output = ()>) {
    descriptors::raise_limit();
    let begun = runtime::start(2);
    runtime::spawn(sweep::run()).detach();
    async_io::block_on(async {
        if begun.is_err() || watchdog::start().await.is_err() {
            eprintln!("the watchdog does not start");
            std::process::exit(70);
        }
        work.await;
        watchdog::stop().await;
    });
}

fn start(program: &str, args: &[&str]) -> ChildHandle {
    let tag = std::env::var("TEST_TAG").unwrap_or_default();
    let command = Command {
        program: program.into(),
        args: args.iter().map(|arg| (*arg).into()).collect(),
        env: vec![("TEST_TAG".into(), tag)],
        cwd: None,
        term_grace: Duration::from_millis(200),
    };
    child::start(Arc::new(command), "driver".into(), Arc::default())
}

fn start_script(index: usize) -> ChildHandle {
    start("sh", &["-c", SCRIPTS[index % SCRIPTS.len()]])
}

async fn hold(count: usize) {
    println!("STARTING");
    let children: Vec<_> = (0..count).map(start_script).collect();
    for child in &children {
        let _ = child.outputs().recv().await;
    }
    println!("READY");
    std::future::pending::<()>().await;
}

async fn abandon(count: usize) {
    let mut ends = Vec::new();
    for begun in (0..count).step_by(WAVE) {
        let children: Vec<_> = (begun..count.min(begun + WAVE)).map(start_script).collect();
        for child in children {
            let _ = child.outputs().recv().await;
            child.stop();
            ends.push(child);
        }
    }
    // Each queue closes when its child is reaped.
    for end in ends {
        while end.outputs().recv().await.is_some() {}
    }
    println!("ENDED");
    let _ = smol::unblock(|| std::io::stdin().read_line(&mut String::new())).await;
}

async fn surroundings(program: String) {
    let child = start(&program, &[]);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"env"}}"#;
    let _ = child.send(Payload::made_here(call.into()), Priority::Request);
    if let Some(Output::Message(answer)) = child.outputs().recv().await {
        println!("{}", String::from_utf8_lossy(answer.bytes()));
    }
    child.stop();
    while child.outputs().recv().await.is_some() {}
}
