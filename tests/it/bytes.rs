//! Params and results arrive as the bytes they were, apart from line breaks between tokens: a property, through the
//! real thing, for a JSON body and for an event stream.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::*;

/// JSON as somebody else may write it: odd numbers, escapes, white space and line breaks between tokens.
fn json_text() -> impl Strategy<Value = String> {
    let blank = prop_oneof![Just(""), Just(" "), Just("\n"), Just("\r\n\t"), Just("\r")];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        Just("-0.0".to_owned()),
        Just("1.50E+10".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just("\"\\u00e4\\/\\ud83d\\ude00\u{2028}\"".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let pair = (blank.clone(), inner.clone(), blank.clone());
        prop_oneof![
            prop::collection::vec(pair.clone(), 0..5).prop_map(|items| {
                let items: Vec<String> =
                    items.into_iter().map(|(a, item, b)| format!("{a}{item}{b}")).collect();
                format!("[{}]", items.join(","))
            }),
            prop::collection::vec(pair, 0..5).prop_map(|items| {
                let member = |(at, (a, item, b)): (usize, (&str, String, &str))| {
                    format!("{a}\"k{at}\"{b}:{a}{item}{b}")
                };
                let members: Vec<String> = items.into_iter().enumerate().map(member).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn unbroken(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[test]
fn params_and_results_are_byte_identical() {
    let burdock = Burdock::with_child(&[], &[]);
    let session = burdock.session("2025-11-25");
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    runner
        .run(&(json_text(), json_text(), any::<bool>()), |(params, result, stream)| {
            let params = format!("{{\"v\":{params}}}");
            let seen = session.post(&format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"test/params\",\"params\":{params}}}"
            ));
            let seen = seen.json()["result"]["params"].clone();
            prop_assert_eq!(seen, Value::from(unbroken(&params)));
            // The child writes one line: what it is given has no line feed.
            let raw = unbroken(&result);
            let asked = json!({"jsonrpc": "2.0", "id": 2, "method": "test/result", "params": {"raw": raw}})
                .to_string();
            let text = if stream { streamed(&session, &asked) } else { session.post(&asked).text() };
            prop_assert!(text.contains(&format!("\"result\":{raw}")), "{}", text);
            Ok(())
        })
        .unwrap();
}

/// The same response as the data of an event.
fn streamed(session: &Session, request: &str) -> String {
    let mut client = Client::connect(session.address);
    let headers = [("Accept", "text/event-stream"), JSON, ("Mcp-Session-Id", &*session.id)];
    client.request("POST", "/mcp", &headers, request);
    let reply = client.response();
    assert!(reply.is_stream());
    let event = reply.events().into_iter().find(|event| !event.data.is_empty()).unwrap();
    let _: Value = event.json();
    event.data
}
