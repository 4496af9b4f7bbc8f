//! A conversation with any lines on both sides: no panic, each call is answered at most once and with its own id, and no
//! number is given twice.
#![no_main]

use std::collections::HashMap;

use burdock::budget::{Payload, Share};
use burdock::conversation::{Conversation, Effect, ReplyTo, Spot};
use burdock::message::{self, Kind, Line, Parsed};
use burdock::moment::Moment;

/// Carries out what the conversation asks for, and checks it against the calls that are open by reply.
fn carry_out(
    conversation: &mut Conversation,
    effects: Vec<Effect>,
    open: &mut HashMap<u32, String>,
    last: &mut Option<u64>,
) {
    for effect in effects {
        match effect {
            Effect::ToBackend(outbound) => {
                if let Some(number) = outbound.call() {
                    assert!(last.is_none_or(|last| last < number), "a number twice");
                    *last = Some(number);
                }
                let _ = outbound.into_payload();
            }
            Effect::Respond { to, response, .. } => {
                let id = open.remove(&to.reply).expect("answered twice, or never asked");
                let Line::One(response) = message::parse_line(Payload::made_here(response.to_vec())) else {
                    panic!("the response is no message")
                };
                assert!(
                    matches!(response.kind, Kind::Response { id: Some(own), .. } if own.to_string() == id)
                );
            }
            Effect::LeaveUnanswered { to, .. } => assert!(open.remove(&to.reply).is_some()),
            Effect::Ask { number, .. } => conversation.put(number, (number % 2) as u32, Spot(0, number)),
            Effect::Deliver { .. } | Effect::Settle(_) | Effect::Detach(_) => {}
            Effect::Tell(remark) => assert!(!remark.to_string().is_empty()),
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (mut conversation, mut open, mut last) = (Conversation::default(), HashMap::new(), None);
    // Each line is said by whom its first byte names.
    for (reply, line) in (0..).zip(bytes.split(|byte| *byte == b'\n')) {
        let Some((by, line)) = line.split_first() else { continue };
        let effects: Vec<Effect> = match by % 3 {
            0 | 1 => {
                let Ok(Parsed::One(message)) = message::parse(line.to_vec(), Share::default()) else {
                    continue;
                };
                if let Kind::Request { id, .. } = &message.kind {
                    open.insert(reply, id.to_string());
                }
                let to = ReplyTo { client: u32::from(by % 3), reply };
                conversation.hear_client(to, message, Moment::ZERO).into_iter().collect()
            }
            _ => match message::parse_line(Payload::made_here(line.to_vec())) {
                Line::One(message) => conversation.hear_backend(message, Moment::ZERO).into_iter().collect(),
                Line::Bad(bad) => conversation.hear_bad_line(bad),
                Line::Batch(_) => continue,
            },
        };
        carry_out(&mut conversation, effects, &mut open, &mut last);
        assert_eq!(conversation.calls(), open.len());
    }
});
