//! JSON-RPC messages, sans-io: the envelope is read, params and result stay the bytes they were.
//!
//! A [`Message`] owns its bytes as one line (line breaks outside strings become blanks, which is what stdio's
//! framing and SSE need); what burdock has to know of it is taken out once, here.

mod envelope;
mod id;
mod initialize;
mod parse;
mod text;
mod write;

pub use envelope::{
    DETACH, INTERNAL_ERROR, INVALID_REQUEST, Invalid, Kind, Line, METHOD_NOT_FOUND, Message, MethodName,
    PARSE_ERROR, Parsed,
};
pub use id::Id;
pub use initialize::{Initialize, initialize, negotiated_version, with_version};
pub use parse::{parse, parse_line};
pub use write::{ErrorData, detach, empty_result, error};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Share;
    use proptest::prelude::*;

    fn one(text: &str) -> Result<Message, Invalid> {
        match parse(text.as_bytes().to_vec(), Share::default())? {
            Parsed::One(message) => Ok(message),
            Parsed::Batch(_) => panic!("a batch"),
        }
    }

    fn number(id: i64) -> Id {
        Id::Number(id)
    }

    #[test]
    fn kinds_are_told_apart() {
        let request = one(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).unwrap();
        assert_eq!(request.kind, Kind::Request { id: number(1), method: "ping".into() });
        let notification = one(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
        assert_eq!(notification.kind, Kind::Notification { method: "notifications/initialized".into() });
        let response = one(r#"{"jsonrpc":"2.0","id":"a","result":{}}"#).unwrap();
        assert_eq!(response.kind, Kind::Response { id: Some(Id::Text("a".into())), error: false });
        let error = one(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#).unwrap();
        assert_eq!(error.kind, Kind::Response { id: None, error: true });
    }

    #[test]
    fn the_id_keeps_its_json_type() {
        let text = one(r#"{"jsonrpc":"2.0","id":"1","method":"ping"}"#).unwrap();
        assert_eq!(text.kind, Kind::Request { id: Id::Text("1".into()), method: "ping".into() });
        assert_eq!(Id::Text("a\"b".into()).to_string(), r#""a\"b""#);
        assert_eq!(number(-7).to_string(), "-7");
    }

    /// L11, L6, L9: what is refused, with the id when it can be read.
    #[test]
    fn what_is_no_message_is_refused() {
        let cases: &[(&str, i32, Option<Id>)] = &[
            ("", PARSE_ERROR, None),
            ("{", PARSE_ERROR, None),
            ("nope", PARSE_ERROR, None),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\nb\"}", PARSE_ERROR, None),
            ("3", INVALID_REQUEST, None),
            ("{}", INVALID_REQUEST, None),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"id":1,"method":"ping"}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, INVALID_REQUEST, None),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, INVALID_REQUEST, None),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, INVALID_REQUEST, None),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":3}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","id":1}"#, INVALID_REQUEST, Some(number(1))),
            (r#"{"jsonrpc":"2.0","result":{}}"#, INVALID_REQUEST, None),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, INVALID_REQUEST, None),
        ];
        for (text, code, id) in cases {
            let invalid = one(text).expect_err(text);
            assert_eq!((invalid.code, &invalid.id), (*code, id), "{text}: {}", invalid.text);
        }
        let bad_utf8 = parse(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}".to_vec(), Share::default());
        assert_eq!(bad_utf8.unwrap_err().code, PARSE_ERROR);
    }

    /// serde takes an array for a struct; a server would be given what is no JSON-RPC.
    #[test]
    fn an_array_of_members_is_no_message() {
        for text in [r#"[["2.0",1,"ping"]]"#, r#"[ [ "2.0",1,"ping",{}]]"#] {
            let invalid = parse(text.into(), Share::default()).expect_err(text);
            assert_eq!((invalid.code, invalid.id), (INVALID_REQUEST, None), "{text}");
        }
    }

    /// serde's reasons quote what they found.
    #[test]
    fn a_refusal_is_short_however_long_the_message() {
        let invalid = one(&format!("\"{}\"", "x".repeat(100_000))).unwrap_err();
        assert!(invalid.text.len() < 300, "{} bytes", invalid.text.len());
    }

    #[test]
    fn tokens_and_cancelled_ids_are_found() {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":"t"}}}"#;
        assert_eq!(one(call).unwrap().concerns, Some(Id::Text("t".into())));
        let elsewhere =
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"arguments":{"_meta":{"progressToken":3}}}}"#;
        assert_eq!(one(elsewhere).unwrap().concerns, None);
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":1}}"#;
        assert_eq!(one(progress).unwrap().concerns, Some(number(3)));
        let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#;
        assert_eq!(one(cancelled).unwrap().concerns, Some(Id::Text("a".into())));
    }

    #[test]
    fn a_batch_is_split() {
        let text =
            "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"},\n {\"jsonrpc\":\"2.0\",\n\"method\":\"b\"}]";
        let Ok(Parsed::Batch(messages)) = parse(text.as_bytes().to_vec(), Share::default()) else {
            panic!("no batch")
        };
        assert_eq!(messages[1].payload.bytes(), b"{\"jsonrpc\":\"2.0\", \"method\":\"b\"}");
        assert_eq!(parse(b"[]".to_vec(), Share::default()).unwrap_err().code, INVALID_REQUEST);
    }

    #[test]
    fn initialize_is_read_and_its_version_replaced() {
        let text = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"x":[1, 2],"protocolVersion":"2026-07-28","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
        let message = one(text).unwrap();
        assert_eq!(
            initialize(&message),
            Initialize { version: Some("2026-07-28".into()), client: "c 1".into() }
        );
        let replaced = with_version(&message, "2025-11-25").unwrap();
        assert_eq!(replaced.payload.bytes(), text.replace("2026-07-28", "2025-11-25").as_bytes());
        let odd = one(&text.replace(r#""name":"c""#, r#""name":5"#)).unwrap();
        assert_eq!(
            initialize(&odd),
            Initialize { version: Some("2026-07-28".into()), client: String::new() }
        );
    }

    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn prop_params_stay_the_bytes_they_were(params in prop::collection::hash_map(any::<String>(), json_value(), 0..5), pretty in any::<bool>()) {
            let params = serde_json::Value::Object(params.into_iter().collect());
            let params = if pretty { serde_json::to_string_pretty(&params) } else { serde_json::to_string(&params) }.unwrap();
            let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{params}}}");
            let message = one(&text).unwrap();
            let unbroken = text.replace(['\n', '\r'], " ");
            prop_assert_eq!(message.payload.bytes(), unbroken.as_bytes());
        }

        #[test]
        fn prop_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(bytes, Share::default());
        }

        #[test]
        fn prop_an_id_survives(text in ".{0,40}", number in any::<i64>()) {
            for id in [Id::Text(text.into()), Id::Number(number)] {
                let parsed = one(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"m\"}}")).unwrap();
                prop_assert_eq!(parsed.kind, Kind::Request { id: id.clone(), method: "m".into() });
            }
        }
    }
}
