//! All tools of a server, or all its prompts, resources or templates: found by name, and listed page by page
//! in the order in which they were registered.

use std::collections::BTreeMap;

use serde::Serialize;

/// See the module. An entry is what stands behind a name: a handler, mostly.
pub(super) struct List<T> {
    /// For each entry the JSON by which clients are told of it.
    descriptions: Vec<String>,
    entries: Vec<T>,
    by_name: BTreeMap<String, usize>,
}

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List { descriptions: Vec::new(), entries: Vec::new(), by_name: BTreeMap::new() }
    }
}

impl<T> List<T> {
    /// Adds an entry, or replaces the one of the same name.
    pub(super) fn put(&mut self, name: String, description: &impl Serialize, entry: T) {
        // Descriptions are plain structs of text and JSON, which always have a JSON form.
        let description = serde_json::to_string(description).unwrap_or_default();
        match self.by_name.get(&name) {
            Some(&at) => (self.descriptions[at], self.entries[at]) = (description, entry),
            None => {
                self.by_name.insert(name, self.entries.len());
                self.descriptions.push(description);
                self.entries.push(entry);
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.by_name.get(name).and_then(|at| self.entries.get(*at))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One page of at most `entries` entries, as the JSON of a list result with the member `key`. It begins
    /// at `cursor`; `None` when this list never gave out that cursor.
    pub(super) fn page(&self, key: &str, cursor: Option<&str>, entries: usize) -> Option<String> {
        let from = match cursor {
            None => 0,
            Some(cursor) => place_of(key, cursor).filter(|from| *from < self.len())?,
        };
        let to = self.len().min(from.saturating_add(entries));
        let page = self.descriptions.get(from..to)?.join(",");
        let next = if to < self.len() {
            format!(",\"nextCursor\":\"{}\"", cursor_at(key, to))
        } else {
            String::new()
        };
        Some(format!("{{\"{key}\":[{page}]{next}}}"))
    }
}

/// A cursor names its kind of list, so that one list refuses the cursor of another. To clients it is opaque.
fn cursor_at(key: &str, place: usize) -> String {
    format!("{key}-{place:x}")
}

fn place_of(key: &str, cursor: &str) -> Option<usize> {
    let digits = cursor.strip_prefix(key)?.strip_prefix('-')?;
    usize::from_str_radix(digits, 16).ok().filter(|place| cursor_at(key, *place) == cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(count: usize) -> List<usize> {
        let mut list = List::default();
        for entry in 0..count {
            list.put(format!("name-{entry}"), &entry, entry);
        }
        list
    }

    #[test]
    fn pages_join_to_the_whole_list() {
        let list = list(5);
        assert_eq!(list.page("tools", None, 2).unwrap(), r#"{"tools":[0,1],"nextCursor":"tools-2"}"#);
        assert_eq!(
            list.page("tools", Some("tools-2"), 2).unwrap(),
            r#"{"tools":[2,3],"nextCursor":"tools-4"}"#
        );
        assert_eq!(list.page("tools", Some("tools-4"), 2).unwrap(), r#"{"tools":[4]}"#);
        assert_eq!(list.page("tools", None, usize::MAX).unwrap(), r#"{"tools":[0,1,2,3,4]}"#);
        assert_eq!(List::<usize>::default().page("tools", None, 2).unwrap(), r#"{"tools":[]}"#);
    }

    #[test]
    fn foreign_cursors_are_refused() {
        for cursor in ["", "tools-", "tools-5", "tools-02", "tools-+2", "prompts-2", "2"] {
            assert_eq!(list(5).page("tools", Some(cursor), 2), None, "{cursor}");
        }
    }

    #[test]
    fn a_name_is_there_once() {
        let mut list = list(2);
        list.put("name-0".into(), &"new", 7);
        assert_eq!((list.len(), list.get("name-0")), (2, Some(&7)));
        assert_eq!(list.page("k", None, 9).unwrap(), r#"{"k":["new",1]}"#);
    }
}
