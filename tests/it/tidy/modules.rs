//! Which file uses which, and where that goes in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, Token};

/// Which names the modules have, and where these come from.
pub struct Modules<'a> {
    sources: &'a [Source],
    /// The file of each module.
    files: BTreeMap<Vec<String>, usize>,
}

impl<'a> Modules<'a> {
    pub fn new(sources: &'a [Source]) -> Modules<'a> {
        let files = sources.iter().enumerate().map(|(index, source)| (source.module(), index)).collect();
        Modules { sources, files }
    }

    /// For each file those that it uses. A name that a room passes on (`pub use`) belongs to its own file; what the
    /// `mod.rs` of a folder has is common ground for the files of this folder, which may use it.
    pub fn used(&self) -> Vec<BTreeSet<usize>> {
        let used = |index: usize| {
            let imported = self.sources[index].imports.values().cloned();
            let paths = imported.chain(paths(&self.sources[index].tokens));
            let mut used: BTreeSet<usize> =
                paths.filter_map(|path| self.file_of(&self.absolute(index, &path, 0)?, 0)).collect();
            let own = self.sources[index].module();
            used.retain(|other| *other != index && !own.starts_with(&self.sources[*other].module()));
            used
        };
        (0..self.sources.len()).map(used).collect()
    }

    /// The path from the crate's root; `None` of what is another crate's or the file's own.
    fn absolute(&self, index: usize, path: &[String], depth: usize) -> Option<Vec<String>> {
        let mut base = self.sources[index].module();
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" | "burdock" => Some(rest.to_vec()),
            "self" => Some([base, rest.to_vec()].concat()),
            "super" => {
                base.pop();
                let above = rest.iter().take_while(|part| *part == "super").count();
                base.truncate(base.len() - above);
                Some([base, rest[above..].to_vec()].concat())
            }
            _ if self.files.contains_key(&[base.clone(), vec![first.clone()]].concat()) => {
                Some([base, path.to_vec()].concat())
            }
            // An import may begin with the name of another one, and that of a crate with itself.
            _ if depth < 4 => {
                let import = self.sources[index].imports.get(first).filter(|import| import[0] != *first)?;
                self.absolute(index, &[import.clone(), rest.to_vec()].concat(), depth + 1)
            }
            _ => None,
        }
    }

    fn file_of(&self, path: &[String], depth: usize) -> Option<usize> {
        let modules = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let index = self.files[&path[..modules]];
        let passed_on = path.get(modules).and_then(|name| self.sources[index].imports.get(name));
        let Some(passed_on) = passed_on.filter(|_| depth < 8) else { return Some(index) };
        let rest = path[modules + 1..].to_vec();
        match self.absolute(index, &[passed_on.clone(), rest].concat(), 0) {
            Some(further) => self.file_of(&further, depth + 1),
            None => Some(index),
        }
    }

    /// Files of which each uses each other, be it by way of further ones.
    pub fn circles(&self) -> Vec<Vec<&'a str>> {
        let mut reach = self.used();
        for over in 0..reach.len() {
            let further = reach[over].clone();
            reach.iter_mut().filter(|reach| reach.contains(&over)).for_each(|reach| reach.extend(&further));
        }
        let circle = |index: usize| -> Vec<usize> {
            reach[index].iter().copied().filter(|other| reach[*other].contains(&index)).collect()
        };
        let circles: BTreeSet<Vec<usize>> =
            (0..reach.len()).map(circle).filter(|circle| !circle.is_empty()).collect();
        let names = |circle: Vec<usize>| circle.into_iter().map(|index| &*self.sources[index].path).collect();
        circles.into_iter().map(names).collect()
    }
}

/// The paths of two names or more outside of `use`: in expressions, types and macros.
fn paths(tokens: &[Token]) -> Vec<Vec<String>> {
    let is_name = |at: usize| {
        tokens.get(at).is_some_and(|token| token.text.starts_with(|c: char| c.is_alphabetic() || c == '_'))
    };
    let is_colons = |at: usize| tokens[at..].iter().take(2).filter(|token| token.text == ":").count() == 2;
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text == "use" {
            at += tokens[at..].iter().position(|token| token.text == ";").unwrap_or(0);
        }
        let mut path = Vec::new();
        while is_name(at) {
            path.push(tokens[at].text.clone());
            if !(is_colons(at + 1) && is_name(at + 3)) {
                break;
            }
            at += 3;
        }
        if path.len() > 1 {
            paths.push(path);
        }
        at += 1;
    }
    paths
}

#[test]
fn names_are_followed_to_their_files() {
    let source = |path: &str, text: &str| Source::new(path, text.to_owned());
    let sources = [
        source("a/mod.rs", "mod b; pub use b::B; use crate::c; fn f() { c::f() }"),
        source("a/b.rs", "pub struct B; fn f() { super::d::D::new() }"),
        source("a/d.rs", "use super::{B as Bee, e::{self, E}};"),
        source("a/e.rs", "use std::fmt;"),
        source("c.rs", "use crate::a::B; use log::log;"),
        source("lib.rs", "pub mod a; pub mod c;"),
    ];
    let modules = Modules::new(&sources);
    let used: Vec<Vec<usize>> = modules.used().into_iter().map(|used| used.into_iter().collect()).collect();
    assert_eq!(used, [vec![1, 4], vec![2], vec![1, 3], vec![], vec![1], vec![]]);
    assert_eq!(modules.circles(), [["a/b.rs", "a/d.rs"]]);
}
