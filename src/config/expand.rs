//! Variables in the strings of a config file: `${NAME}`, `${NAME:-default}` and VS Code's `${env:NAME}`.
//!
//! Sans-io. The value of a variable is not expanded again. A `$` without a brace behind it stays a `$`.

use super::args::Environment;
use crate::foreign::Foreign;

/// `text` with its variables replaced.
///
/// # Errors
/// A variable that is not set and has no default, or a form that is not known; in words for the user.
pub fn expand(text: &str, environment: &Environment) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, reference)) = rest.split_once("${") {
        let Some((inside, after)) = reference.split_once('}') else {
            return Err("has a ${ without a }".to_owned());
        };
        expanded.push_str(plain);
        expanded.push_str(resolve(inside, environment)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The text that replaces `${inside}`.
fn resolve<'a>(inside: &'a str, environment: &'a Environment) -> Result<&'a str, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let name = name.strip_prefix("env:").unwrap_or(name);
    if !is_name(name) {
        return Err(format!(
            "has ${{{}}}, which burdock cannot fill in; allowed: ${{NAME}}, ${{NAME:-default}}, ${{env:NAME}}",
            Foreign(inside.as_bytes())
        ));
    }
    match (environment.get(name), default) {
        // As in a shell, the default stands for an empty value as well.
        (Some(value), Some(default)) => Ok(if value.is_empty() { default } else { value }),
        (Some(value), None) => Ok(value),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(format!(
            "uses ${{{name}}}, which is not set in burdock's environment; set it, or write ${{{name}:-default}}"
        )),
    }
}

/// A variable's name as a shell has it.
fn is_name(text: &str) -> bool {
    text.bytes().enumerate().all(|(index, byte)| match byte {
        b'_' | b'a'..=b'z' | b'A'..=b'Z' => true,
        b'0'..=b'9' => index > 0,
        _ => false,
    }) && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment() -> Environment {
        [("HOME", "/home/u"), ("EMPTY", ""), ("ODD", "${HOME}$"), ("_A1", "x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn variables_are_replaced() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("${HOME}/x", "/home/u/x"),
            ("${env:HOME}/x", "/home/u/x"),
            ("${HOME}${_A1}", "/home/ux"),
            ("${EMPTY}", ""),
            ("${EMPTY:-d}", "d"),
            ("${NONE:-d e}", "d e"),
            ("${NONE:-}", ""),
            ("${env:NONE:-a:b}", "a:b"),
            ("${ODD}", "${HOME}$"),
            ("$HOME $ $$ } {", "$HOME $ $$ } {"),
        ] {
            assert_eq!(expand(text, &environment()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_named() {
        for (text, part) in [
            ("${NONE}", "${NONE}, which is not set"),
            ("${env:NONE}", "${NONE}, which is not set"),
            ("${", "without a }"),
            ("a ${HOME", "without a }"),
            ("${}", "cannot fill in"),
            ("${input:token}", "${input:token}, which burdock cannot fill in"),
            ("${1}", "cannot fill in"),
            ("${a b}", "cannot fill in"),
        ] {
            let error = expand(text, &environment()).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn text_without_braces_is_untouched(text in "[^{]*") {
            prop_assert_eq!(expand(&text, &environment()), Ok(text));
        }

        #[test]
        fn any_text_is_expanded_or_refused(text in "[${}:A-Z-]{0,30}") {
            let _ = expand(&text, &environment());
        }
    }
}
