//! What each file must and must not contain.

use std::collections::BTreeMap;

use super::source::{Function, Source, Token, sources};
use super::{FILE_LINES_MAX, FUNCTION_LINES_MAX, LONG_FILES, LONG_FUNCTIONS, SHARED_NAMES, gone, none};

#[test]
fn functions_fit_a_screen() {
    let mut findings = Vec::new();
    let mut lengths = Vec::new();
    for source in sources() {
        let mut longest_of_exception = LONG_FUNCTIONS
            .iter()
            .filter(|(path, ..)| *path == source.path)
            .map(|(_, name, lines)| (*name, *lines, 0))
            .collect::<Vec<_>>();
        for Function { name, line, lines } in &source.functions {
            lengths.push(*lines);
            let exception = longest_of_exception.iter_mut().find(|(known, ..)| known == name);
            let allowed = exception.as_ref().map_or(FUNCTION_LINES_MAX, |(_, allowed, _)| *allowed);
            if *lines > allowed {
                findings.push(format!(
                    "src/{}:{line}: {name} has {lines} lines, allowed are {allowed}",
                    source.path
                ));
            }
            if let Some((_, _, longest)) = exception {
                *longest = (*lines).max(*longest);
            }
        }
        for (name, allowed, longest) in
            longest_of_exception.into_iter().filter(|(_, allowed, longest)| longest < allowed)
        {
            findings.push(format!(
                "src/{}: {name} has {longest} lines now: lower {allowed} in LONG_FUNCTIONS",
                source.path
            ));
        }
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!((3..=12).contains(&median), "{} functions, median {median} lines", lengths.len());
    none("functions fit a screen", &findings);
}

#[test]
fn files_are_about_one_thing() {
    let sources = sources();
    let mut findings = Vec::new();
    for source in sources {
        let listed = LONG_FILES.iter().find(|(path, _)| *path == source.path);
        let allowed = listed.map_or(FILE_LINES_MAX, |(_, lines)| *lines);
        if source.lines > allowed {
            let Source { path, lines, .. } = source;
            findings.push(format!("src/{path} has {lines} lines of code, allowed are {allowed}"));
        }
    }
    none("a file that is longer has more than one subject", &findings);
    let is_long =
        |path: &str| sources.iter().any(|source| source.path == path && source.lines > FILE_LINES_MAX);
    let short = LONG_FILES.iter().filter(|(path, _)| !is_long(path)).map(|(path, _)| path.to_string());
    gone("not that long any more: take them off LONG_FILES", short);
}

#[test]
fn one_word_is_one_thing() {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources() {
        for name in &source.types {
            homes.entry(name.clone()).or_default().push(source.path.clone());
        }
    }
    homes.retain(|_, homes| homes.len() > 1);
    let new = homes.iter().filter(|(name, _)| !SHARED_NAMES.contains(&name.as_str()));
    let new = new.map(|(name, homes)| format!("{name}: {}", homes.join(", ")));
    none("a type's name is used once in src/", &new.collect::<Vec<_>>());
    let unique = SHARED_NAMES.iter().filter(|name| !homes.contains_key(**name)).map(|name| name.to_string());
    gone("unique now: take them off SHARED_NAMES", unique);
}

#[test]
fn bounds_are_in_limits() {
    const CALLS: [&str; 8] = [
        "Duration::from_secs(",
        "Duration::from_millis(",
        "Duration::from_micros(",
        "Duration::from_nanos(",
        "Duration::from_mins(",
        "Duration::from_secs_f64(",
        "bounded(",
        "bounded_blocking(",
    ];
    const ENDINGS: [&str; 9] =
        ["_MAX", "_MIN", "_DEADLINE", "_TIMEOUT", "_WAIT", "_GRACE", "_STEP", "_PATIENCE", "_SECS"];
    let is_number = |token: &Token| token.text.starts_with(|c: char| c.is_ascii_digit());
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path != "limits.rs") {
        let tokens = &source.tokens;
        for call in CALLS {
            let length = call.split("::").count() * 3 - 1;
            for at in source.places(call) {
                let number = &tokens[at + length];
                // A channel of one is a hand-over, and one second is a unit: not bounds that somebody chose.
                if is_number(number) && !matches!(&*number.text, "0" | "1") {
                    findings.push(format!("{}: {call}{})", source.place(at), number.text));
                }
            }
        }
        for at in source.places("const") {
            let name = &tokens[at + 1].text;
            let value = tokens[at..]
                .iter()
                .take_while(|token| token.text != ";")
                .skip_while(|token| token.text != "=");
            if ENDINGS.iter().any(|ending| name.ends_with(ending)) && value.skip(1).take(1).any(is_number) {
                findings.push(format!("{}: const {name}", source.place(at)));
            }
        }
    }
    none("every bound is named, with its unit and reason, in src/limits.rs", &findings);
}

/// `.expect("...")` with its message: other methods may have that name.
#[test]
fn nothing_from_outside_can_panic_by_unwrap() {
    let mut findings = Vec::new();
    for source in sources() {
        for word in [
            ".unwrap()",
            ".expect(\"\"",
            ".unwrap_err()",
            ".expect_err(\"\"",
            "panic!(",
            "unreachable!(",
            "todo!(",
            "unimplemented!(",
        ] {
            findings
                .extend(source.places(word).into_iter().map(|at| format!("{}: {word}", source.place(at))));
        }
    }
    none("no unwrap, no expect, no panic outside tests", &findings);
}

#[test]
fn every_file_says_what_it_is() {
    let mute = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect::<Vec<_>>();
    none("the first line of a file is a `//!` sentence", &mute);
}
