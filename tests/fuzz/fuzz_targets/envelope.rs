//! JSON-RPC envelopes: no panic, payloads keep their bytes, ids survive, and what is forwarded is what was read.
#![no_main]

use burdock::budget::{Payload, Share};
use burdock::message::{self, Id, Kind, Line, Message, Parsed};
use serde_json::Value;

/// What a backend will make of the message has to be what burdock took it for.
fn check(message: &Message) {
    let text = std::str::from_utf8(message.payload.bytes()).expect("not UTF-8");
    assert!(!text.contains(['\n', '\r']), "a line break would cut it in two");
    assert!(text.trim().starts_with('{'), "no object");
    let Line::One(again) = message::parse_line(message.payload.clone()) else { panic!("not read again") };
    assert_eq!((&again.kind, &again.concerns), (&message.kind, &message.concerns));
    let _ = (message::initialize(message), message::negotiated_version(message));
    if let Kind::Request { id, .. } = &message.kind {
        let error = message::error(id, message::INTERNAL_ERROR, "text", None);
        let Line::One(answer) = message::parse_line(error) else { panic!("our error is no message") };
        assert_eq!(answer.kind, Kind::Response { id: Some(id.clone()), error: true });
    }
    // An independent reader; it refuses what is nested too deeply or too large a number.
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let (id, method) = match &message.kind {
        Kind::Request { id, method } => (Some(id), Some(method)),
        Kind::Notification { method } => (None, Some(method)),
        Kind::Response { id, .. } => (id.as_ref(), None),
    };
    let given = |name: &str| value.get(name).filter(|value| !value.is_null());
    assert_eq!(given("method").and_then(Value::as_str), method.map(|method| &**method));
    let same =
        id.is_none_or(|id| serde_json::from_str::<Value>(&id.to_string()).ok().as_ref() == given("id"));
    assert!(same, "{id:?} in {text}");
    check_mended(message, &value);
}

/// What is passed on is the same message without nulls and strangers, and needs no further mending.
fn check_mended(message: &Message, value: &Value) {
    let (id, token) = (Id::from(17), Id::from(18));
    let passed_on = message.clone().into_payload(Some(&id), Some(&token));
    let text = String::from_utf8(passed_on.to_vec()).expect("not UTF-8");
    let line = message::parse_line(Payload::made_here(text.clone().into_bytes()));
    let Line::One(again) = line else { panic!("{line:?}: {text}") };
    assert!(!again.is_mended(), "{text}");
    assert_eq!(again.method(), message.method());
    assert_eq!(again.concerns, message.concerns.as_ref().map(|_| token));
    let new: Value = serde_json::from_str(&text).expect("no JSON");
    for name in ["result", "error"] {
        let (old, new) = (value.get(name), new.get(name));
        assert!(new.is_none() || new == old || old.and_then(|old| old.get("_meta")).is_some(), "{text}");
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match message::parse(bytes.to_vec(), Share::default()) {
        Ok(Parsed::One(message)) => {
            let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let unbroken: Vec<u8> =
                body.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
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
    // As a line of a backend, with whatever it may still name.
    match message::parse_line(Payload::made_here(bytes.to_vec())) {
        Line::One(message) => assert!(!message.payload.is_empty()),
        Line::Bad(bad) => assert!(!bad.why.is_empty()),
        Line::Batch(mut batch) => while batch.next_member().is_some() {},
    }
});
