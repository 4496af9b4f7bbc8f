//! Server-sent events: what a reader by the WHATWG's rules makes of the bytes is the event that was written.
#![no_main]

use arbitrary::Arbitrary;
use burdock::budget::Payload;
use burdock::http::{Event, EventId};

#[derive(Arbitrary, Debug)]
struct Written {
    id: Option<(u32, u64)>,
    retry_ms: Option<u32>,
    data: Option<String>,
}

/// What a reader dispatches: last event id, reconnection time, data (WHATWG HTML, section 9.2.6).
fn read(text: &str) -> Vec<(Option<String>, Option<u32>, String)> {
    let (mut events, mut id, mut retry, mut data) = (Vec::new(), None, None, None::<String>);
    // All three line ends; the text ends with one.
    for line in text.replace("\r\n", "\n").replace('\r', "\n").split_terminator('\n') {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => {
                if let Some(data) = data.take() {
                    events.push((id.clone(), retry, data));
                }
            }
            "id" => id = Some(value.to_owned()),
            "retry" => retry = value.parse().ok(),
            // Else it would be dispatched under a name that no client listens to.
            "event" => assert_eq!(value, "message"),
            "data" => data = Some(data.map_or(value.to_owned(), |data| format!("{data}\n{value}"))),
            field => panic!("a field {field:?}"),
        }
    }
    assert_eq!(data, None, "the event does not end");
    events
}

libfuzzer_sys::fuzz_target!(|written: Vec<Written>| {
    let (mut out, mut expected, mut id, mut retry) = (Vec::new(), Vec::new(), None, None);
    for Written { id: place, retry_ms, data } in &written {
        let place = place.map(|(stream, place)| EventId { stream, place });
        let payload = data.as_ref().map(|data| Payload::made_here(data.clone().into_bytes()));
        Event { id: place, retry_ms: *retry_ms, data: payload, last: false }.encode_into(&mut out);
        (id, retry) = (place.map(|place| place.to_string()).or(id), retry_ms.or(retry));
        if data.is_some() || place.is_some() {
            let data = data.clone().unwrap_or_default().replace("\r\n", "\n").replace('\r', "\n");
            expected.push((id.clone(), retry, data));
        }
        assert!(place.is_none_or(|place| place.to_string().parse() == Ok(place)));
    }
    assert_eq!(read(std::str::from_utf8(&out).expect("not UTF-8")), expected);
});
