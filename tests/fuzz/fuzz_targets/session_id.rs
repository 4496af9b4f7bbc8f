//! Names from outside: session ids and event ids are taken only in the one form we write, and foreign text is tame.
#![no_main]

use burdock::foreign::Foreign;
use burdock::http::EventId;
use burdock::limits::FOREIGN_TEXT_BYTES_MAX;
use burdock::session_id::{SessionId, is_node_name};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let shown = Foreign(bytes).to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(shown.len() <= FOREIGN_TEXT_BYTES_MAX + "…".len(), "{} bytes", shown.len());
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(id) = SessionId::parse(text) {
        assert_eq!(id.to_string(), text);
        assert!(is_node_name(id.node()) && text.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(id.short().len() < text.len() && !format!("{id:?}").contains(text));
    }
    if let Ok(id) = text.parse::<EventId>() {
        assert_eq!(id.to_string(), text);
    }
});
