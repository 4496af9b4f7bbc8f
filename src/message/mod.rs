//! JSON-RPC messages, sans-io: the envelope is read, params and result stay the bytes they were.
//!
//! A [`Message`] owns its bytes as one line (line breaks outside strings become blanks, which is what stdio's
//! framing and SSE need); what burdock has to know of it is taken out once, here.

mod envelope;
mod fragments;
mod glance;
mod id;
mod initialize;
mod line;
mod members;
mod number;
mod params;
mod parse;
mod places;
mod read;
mod text;
mod write;

pub use envelope::{
    DETACH, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, Invalid, Kind, METHOD_NOT_FOUND, Meant, Message,
    MethodName, PARSE_ERROR, Parsed,
};
pub use fragments::Fragments;
pub use id::{Id, NoId};
pub use initialize::{Initialize, error_code, initialize, negotiated_version, with_version};
pub use line::{BadLine, BatchLine, BatchMember, Line, parse_line, parse_wrapped};
pub use parse::parse;
pub use write::{ErrorData, detach, empty_result, error, request, response, result_text};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Payload, Share};
    use proptest::prelude::*;

    fn one(text: &str) -> Result<Message, Invalid> {
        match parse(text.as_bytes().to_vec(), Share::default())? {
            Parsed::One(message) => Ok(message),
            Parsed::Batch(_) => panic!("a batch"),
        }
    }

    fn number(id: i64) -> Id {
        Id::from(id)
    }

    #[test]
    fn kinds_are_told_apart() {
        let request = one(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).unwrap();
        assert_eq!(request.kind, Kind::Request { id: number(1), method: "ping".into() });
        let notification = one(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
        assert_eq!(notification.kind, Kind::Notification { method: "notifications/initialized".into() });
        let response = one(r#"{"jsonrpc":"2.0","id":"a","result":{}}"#).unwrap();
        assert_eq!(response.kind, Kind::Response { id: Some(Id::of_text("\"a\"").unwrap()), error: false });
        let error = one(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#).unwrap();
        assert_eq!(error.kind, Kind::Response { id: None, error: true });
    }

    #[test]
    fn the_id_keeps_its_json_type() {
        let text = one(r#"{"jsonrpc":"2.0","id":"1","method":"ping"}"#).unwrap();
        assert_eq!(text.kind, Kind::Request { id: Id::of_text("\"1\"").unwrap(), method: "ping".into() });
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
        assert_eq!(one(call).unwrap().concerns, Some(Id::of_text("\"t\"").unwrap()));
        let elsewhere =
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"arguments":{"_meta":{"progressToken":3}}}}"#;
        assert_eq!(one(elsewhere).unwrap().concerns, None);
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":1}}"#;
        assert_eq!(one(progress).unwrap().concerns, Some(number(3)));
        let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#;
        assert_eq!(one(cancelled).unwrap().concerns, Some(Id::of_text("\"a\"").unwrap()));
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

    fn mended(text: &str) -> String {
        let message = one(text).unwrap_or_else(|invalid| panic!("{text}: {}", invalid.text));
        String::from_utf8(message.into_payload(None, None).to_vec()).unwrap()
    }

    /// A null member is absent, a member that JSON-RPC does not have is none, `[]` is an object without
    /// members.
    #[test]
    fn the_envelope_is_mended_and_nothing_else() {
        let cases = [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","params":null}"#,
                r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#,
            ),
            (
                r#"{"params":null,"jsonrpc":"2.0","id":1,"method":"a"}"#,
                r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[ ]}"#,
                r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{}}"#,
            ),
            (
                r#"{"x":1, "jsonrpc":"2.0","y":{"id":2},"id":1,"error":null,"result":{"x":1,"y":null} ,"method":null }"#,
                r#"{"jsonrpc":"2.0","id":1,"result":{"x":1,"y":null} }"#,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, r#"{"jsonrpc":"2.0","id":1,"result":null}"#),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":null,"error":null}"#,
                r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":1,"message":""}}"#,
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"notifications/x","params":null}"#,
                r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":null,"a":null}}"#,
                r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"a":null}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"a":[], "_meta":{"progressToken":null}}}"#,
                r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"a":[], "_meta":{}}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[], "_meta": null}}"#,
                r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"_meta":null}}}"#,
                r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"_meta":null}}}"#,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(mended(text), expected, "{text}");
            assert_eq!(one(text).unwrap().is_mended(), text != expected, "{text}");
            assert_eq!(mended(expected), expected, "mended twice");
        }
    }

    /// What servers that check schemas would drop without a word is refused with the id.
    #[test]
    fn params_that_no_server_takes_are_refused() {
        for (params, code) in [
            ("[1]", INVALID_REQUEST),
            ("\"a\"", INVALID_REQUEST),
            (r#"{"_meta":[]}"#, INVALID_PARAMS),
            (r#"{"_meta":{"progressToken":{}}}"#, INVALID_PARAMS),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"a","params":{params}}}"#);
            let invalid = one(&text).expect_err(&text);
            assert_eq!((invalid.code, invalid.id), (code, Some(number(7))), "{text}");
        }
    }

    #[test]
    fn an_id_that_is_too_long_is_told_from_one_that_is_none() {
        let request =
            |id: &str| one(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"a"}}"#)).unwrap_err().text;
        assert!(request(&"9".repeat(257)).contains("longer than 256"));
        assert!(request("1.5").contains("must be a string or an integer"));
        assert!(request("null").contains("must be a string or an integer"), "L11");
    }

    #[test]
    fn a_body_may_begin_with_a_byte_order_mark() {
        let body = "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}";
        assert_eq!(&mended(body), body.trim_start_matches('\u{feff}'));
    }

    /// Ids and tokens go in where those of the other side stood; a large message stays where it is.
    #[test]
    fn ids_are_put_in_without_a_copy() {
        let large = "x".repeat(2 * 1024 * 1024);
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":"client","x":null,"method":"tools/call","params":{{"_meta":{{"progressToken":7}},"a":"{large}"}}}}"#
        );
        let message = one(&text).unwrap();
        let (at, capacity) = (message.payload.bytes().as_ptr() as usize, text.len());
        let payload = message.into_payload(Some(&number(17)), Some(&number(18)));
        let longest = payload.pieces().max_by_key(|piece| piece.len()).unwrap();
        assert!(
            longest.len() > large.len() && (at..at + capacity).contains(&(longest.as_ptr() as usize)),
            "copied"
        );
        let expected =
            text.replace(r#""client","x":null"#, "17").replace("\"progressToken\":7", "\"progressToken\":18");
        assert_eq!(payload.to_vec(), expected.into_bytes());
    }

    fn members_of(line: &str) -> Vec<&'static str> {
        let Line::Batch(mut batch) = parse_line(Payload::made_here(line.into())) else { panic!("no batch") };
        let name = |member| match member {
            BatchMember::Message(_) => "message",
            BatchMember::Bad(bad) if bad.answers.is_empty() => "bad",
            BatchMember::Bad(_) => "answer",
            BatchMember::Nothing => "nothing",
        };
        std::iter::from_fn(|| batch.next_member()).map(name).collect()
    }

    #[test]
    fn members_of_a_batch_are_taken_one_by_one() {
        assert_eq!(
            members_of(
                r#" [{"jsonrpc":"2.0","method":"a"} , 1,null,"x",[2],{"a":1},{"jsonrpc":"2.0","id":5,"result":{}}]"#
            ),
            ["message", "nothing", "nothing", "nothing", "nothing", "bad", "message"]
        );
        assert_eq!(
            members_of(r#"[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","id":5,"res"#),
            ["message", "answer"]
        );
        assert_eq!(members_of(r#"[{"jsonrpc":"2.0","id":5,"id":6}]"#), ["answer"]);
        assert_eq!(members_of("[INFO] started"), ["bad"]);
        assert_eq!(members_of("[1 2,,3]"), ["nothing", "nothing", "bad"]);
        assert_eq!(members_of("[]"), [""; 0]);
        assert_eq!(members_of("["), [""; 0]);
    }

    /// Read at once, the members of such a line took 425 MiB and a thread for seconds.
    #[test]
    fn a_batch_of_a_million_members_holds_its_line_and_nothing_else() {
        let line = format!("[{}]", vec!["1"; 2_000_000].join(","));
        let Line::Batch(mut batch) = parse_line(Payload::made_here(line.into_bytes())) else {
            panic!("no batch")
        };
        let held = crate::budget::held_bytes();
        let members = std::iter::from_fn(|| batch.next_member()).count();
        assert_eq!(members, 2_000_000);
        assert!(crate::budget::held_bytes() < held + 4 * 1024 * 1024);
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

    /// What is left out in one piece is one edit, and many edits are one copy: neither memory nor time is more than
    /// the message's length allows.
    #[test]
    fn very_many_members_are_left_out_in_one_piece() {
        let unknown = r#""a":1,"#.repeat(100_000);
        let mended = one(&format!(r#"{{{unknown}"jsonrpc":"2.0",{unknown}"method":"x"}}"#)).unwrap();
        assert!(mended.is_mended() && mended.places.mends.len() == 2, "{}", mended.places.mends.len());
        assert_eq!(mended.into_payload(None, None).to_vec(), br#"{"jsonrpc":"2.0","method":"x"}"#);
        let nulls = r#""progressToken":null,"b":1,"#.repeat(40_000);
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"_meta":{{{nulls}"c":1}}}}}}"#);
        let payload = one(&text).unwrap().into_payload(None, None);
        assert_eq!(payload.pieces().count(), 1, "each writing would go through all of them");
        assert_eq!(payload.to_vec(), text.replace(r#""progressToken":null,"#, "").as_bytes());
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
            let text = serde_json::to_string(&text).unwrap();
            for id in [Id::of_text(&text).unwrap(), Id::from(number)] {
                let parsed = one(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"m\"}}")).unwrap();
                prop_assert_eq!(parsed.kind, Kind::Request { id: id.clone(), method: "m".into() });
            }
        }
    }
}
