//! What fuzzing and reviews found, one test each.

use std::sync::{Arc, Once};
use std::time::Duration;

use async_channel::{Receiver, Sender, bounded};
use burdock::backend::Backend;
use burdock::backend::child::{self, Command};
use burdock::budget::Share;
use burdock::http::Event;
use burdock::limits::{INBOX_MAX, READER_EVENTS_MAX};
use burdock::message::{self, Parsed};
use burdock::session::worker::{Setup, Worker};
use burdock::session::{Activity, Ended, Form, Input, ReturnAddress};
use burdock::{runtime, sweep};

use crate::support::wait_for;

const PATIENCE: Duration = Duration::from_secs(20);

/// A worker whose child has already exited, and its inbox.
fn worker_of_an_exited_child() -> (Worker, Sender<Input>) {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        runtime::start(2).unwrap();
        runtime::spawn(sweep::run()).detach();
    });
    let command = Command {
        program: "true".into(),
        args: Vec::new(),
        env: Vec::new(),
        cwd: None,
        term_grace: Duration::from_millis(300),
    };
    let child = child::start(Arc::new(command), "test".into());
    wait_for("the child's exit", PATIENCE, || (!child.outputs().is_empty()).then_some(()));
    let (inbox, inputs) = bounded(INBOX_MAX);
    let worker = Worker::new(Setup {
        label: "test".into(),
        activity: Arc::new(Activity::new()),
        inbox: inputs,
        backend: Backend::Child(child),
        start_deadline: PATIENCE,
        idle_timeout: PATIENCE,
        idle_timeout_no_stream: PATIENCE,
        keep_alive_comment: PATIENCE,
    });
    (worker, inbox)
}

/// A POST of one call, on its way to a worker; and where its response must come.
fn post(stream: u32) -> (Input, Receiver<Event>) {
    let bytes = format!("{{\"jsonrpc\":\"2.0\",\"id\":{stream},\"method\":\"tools/call\"}}").into_bytes();
    let Ok(Parsed::One(call)) = message::parse(bytes, Share::default()) else { panic!("not a message") };
    let (events, reader) = bounded(READER_EVENTS_MAX);
    (
        Input::Messages(
            vec![call],
            Some(ReturnAddress { stream, events, form: Form::Either, since: std::time::Instant::now() }),
        ),
        reader,
    )
}

/// async-channel keeps what is queued when the receiver goes, as long as a sender lives. A session's handle has one,
/// and a GET that waits for its reader holds the handle: it waited for ever, and so did every POST beside it.
#[test]
fn who_waits_in_the_inbox_of_a_session_that_ends_is_answered() {
    let (mut worker, inbox) = worker_of_an_exited_child();
    let (mut posts, mut gets) = (Vec::new(), Vec::new());
    for stream in 1..=16 {
        let (input, reader) = post(stream);
        inbox.try_send(input).unwrap();
        posts.push(reader);
        let (answer, reader) = bounded(1);
        inbox.try_send(Input::Attach { after: None, answer }).unwrap();
        gets.push(reader);
    }
    let ended = async_io::block_on(worker.run());
    assert!(matches!(ended, Ended::Exited(_)), "{ended:?}");
    assert!(!inbox.is_empty(), "nothing was left in the inbox: the test shows nothing");
    worker.finish(&ended);
    drop(worker);
    for reader in posts {
        assert!(reader.try_recv().is_ok_and(|event| event.last), "a call has no response");
    }
    for reader in gets {
        assert!(!reader.is_empty() || reader.is_closed(), "a GET waits for ever");
    }
}
