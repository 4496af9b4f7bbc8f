//! JSON-RPC envelopes: no panic, payloads keep their bytes, ids survive, and what is forwarded is what was read.
#![no_main]

use burdock::budget::Share;
use burdock::message::{self, Kind, Line, Message, Parsed};
use serde_json::Value;

/// What a backend will make of the message has to be what burdock took it for.
fn check(message: &Message) {
    let text = std::str::from_utf8(message.payload.bytes()).expect("not UTF-8");
    assert!(!text.contains(['\n', '\r']), "a line break would cut it in two");
    assert!(text.trim().starts_with('{'), "no object");
    let Line::One(Ok(again)) = message::parse_line(message.payload.clone()) else { panic!("not read again") };
    assert_eq!((&again.kind, &again.concerns), (&message.kind, &message.concerns));
    let _ = (message::initialize(message), message::negotiated_version(message));
    if let Kind::Request { id, .. } = &message.kind {
        let error = message::error(id, message::INTERNAL_ERROR, "text", None);
        let Line::One(Ok(answer)) = message::parse_line(error) else { panic!("our error is no message") };
        assert_eq!(answer.kind, Kind::Response { id: Some(id.clone()), error: true });
    }
    // An independent reader; it refuses what is nested too deeply or too large a number.
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let (id, method) = match &message.kind {
        Kind::Request { id, method } => (Some(id), Some(method)),
        Kind::Notification { method } => (None, Some(method)),
        Kind::Response { id, .. } => (id.as_ref(), None),
    };
    assert_eq!(value.get("method").and_then(Value::as_str), method.map(|method| &**method));
    // A zero with a sign is the only integer written in two ways.
    let same = id
        .is_none_or(|id| serde_json::to_value(id).ok().as_ref() == value.get("id") || id.to_string() == "0");
    assert!(same, "{id:?} in {text}");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match message::parse(bytes.to_vec(), Share::default()) {
        Ok(Parsed::One(message)) => {
            let unbroken: Vec<u8> =
                bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
            assert_eq!(message.payload.bytes(), unbroken);
            check(&message);
            if let Some(replaced) = message::with_version(&message, "2025-11-25") {
                check(&replaced);
                assert_eq!(message::initialize(&replaced).version.as_deref(), Some("2025-11-25"));
            }
        }
        Ok(Parsed::Batch(messages)) => messages.iter().for_each(check),
        Err(invalid) => assert!(!invalid.text.is_empty()),
    }
});
