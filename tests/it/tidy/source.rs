//! The sources of `src/` as syn reads them: items, and tokens with their lines.
//!
//! Tests (`#[cfg(test)]`) and documentation are left out, so that no rule is about them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Item, UseTree};

/// A word, a number or one character. Every string, byte string and character is `""`.
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// A file of `src/`.
pub struct Source {
    /// Relative to `src`.
    pub path: String,
    /// As it is.
    pub text: String,
    pub tokens: Vec<Token>,
    /// Lines with code on them.
    pub lines: usize,
    /// Functions and methods with a body, those inside of others included.
    pub functions: Vec<Function>,
    /// Names of the structs, enums, traits and type aliases that stand in the file by themselves.
    pub types: BTreeSet<String>,
    /// The names that `use` brings, and the path that each has where it is from.
    pub imports: BTreeMap<String, Vec<String>>,
}

/// A function with a body.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All of `src/`, in the order of their paths.
pub fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut sources = Vec::new();
        collect(&root().join("src"), &mut sources);
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(sources.len() > 20, "where are the sources?");
        sources
    })
}

fn collect(folder: &Path, into: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap();
            into.push(Source::new(path, text));
        }
    }
}

impl Source {
    pub fn new(path: &str, text: String) -> Source {
        let code = without_tests(text.parse().unwrap());
        let (mut tokens, mut lines) = (Vec::new(), BTreeSet::new());
        flatten(code.clone(), &mut tokens, &mut lines);
        let file = syn::parse2(code).unwrap_or_else(|error| panic!("src/{path}: {error}"));
        let mut items = Items::default();
        items.visit_file(&file);
        Source {
            path: path.to_owned(),
            text,
            tokens,
            lines: lines.len(),
            functions: items.functions,
            types: file.items.iter().filter_map(type_name).collect(),
            imports: items.imports,
        }
    }

    pub fn room(&self) -> &str {
        self.path.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// Where `words` stand in a row: `Instant::now` is the words `Instant`, `:`, `:` and `now`.
    pub fn places(&self, words: &str) -> Vec<usize> {
        let words = split(words);
        let is_here = |at: usize| {
            words.iter().zip(&self.tokens[at..]).filter(|(word, token)| **word == token.text).count()
                == words.len()
        };
        (0..self.tokens.len()).filter(|at| is_here(*at)).collect()
    }

    /// `path:line` of a token.
    pub fn place(&self, token: usize) -> String {
        format!("src/{}:{}", self.path, self.tokens[token].line)
    }

    /// `["session", "id"]` of `session/id.rs`.
    pub fn module(&self) -> Vec<String> {
        let path = self.path.trim_end_matches(".rs");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
    }
}

fn type_name(item: &Item) -> Option<String> {
    match item {
        Item::Struct(item) => Some(item.ident.to_string()),
        Item::Enum(item) => Some(item.ident.to_string()),
        Item::Trait(item) => Some(item.ident.to_string()),
        Item::Type(item) => Some(item.ident.to_string()),
        Item::Union(item) => Some(item.ident.to_string()),
        _ => None,
    }
}

/// The words of `text`, and each other character by itself.
fn split(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut inside = false;
    for c in text.chars() {
        let is_word = c.is_alphanumeric() || c == '_';
        match words.last_mut() {
            Some(word) if is_word && inside => word.push(c),
            _ if c == ' ' => {}
            Some(word) if c == '"' && word == "\"" => word.push(c),
            _ => words.push(c.to_string()),
        }
        inside = is_word;
    }
    words
}

/// Leaves out what is `#[cfg(test)]`, and documentation.
fn without_tests(stream: TokenStream) -> TokenStream {
    let mut kept = Vec::new();
    let mut tokens = stream.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_hash = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
        let bang = tokens.next_if(|next| is_hash && matches!(next, TokenTree::Punct(_)));
        let attribute = match tokens.peek() {
            Some(TokenTree::Group(group)) if is_hash => group.stream().to_string().replace(' ', ""),
            _ => String::new(),
        };
        if attribute.starts_with("doc=") {
            tokens.next();
        } else if attribute == "cfg(test)" {
            tokens.next();
            tokens.by_ref().find(ends_an_item);
        } else {
            kept.extend([Some(token), bang].into_iter().flatten().map(inside_without_tests));
        }
    }
    kept.into_iter().collect()
}

fn inside_without_tests(token: TokenTree) -> TokenTree {
    let TokenTree::Group(group) = token else { return token };
    let mut inside = Group::new(group.delimiter(), without_tests(group.stream()));
    inside.set_span(group.span());
    inside.into()
}

fn ends_an_item(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => matches!(punct.as_char(), ';' | ','),
        _ => false,
    }
}

fn flatten(stream: TokenStream, into: &mut Vec<Token>, lines: &mut BTreeSet<usize>) {
    for token in stream {
        if let TokenTree::Group(group) = token {
            let (open, close) = match group.delimiter() {
                Delimiter::Parenthesis => ("(", ")"),
                Delimiter::Brace => ("{", "}"),
                Delimiter::Bracket => ("[", "]"),
                Delimiter::None => ("", ""),
            };
            let mut push = |text: &str, span: Span, into: &mut Vec<Token>| {
                lines.insert(span.start().line);
                into.push(Token { text: text.to_owned(), line: span.start().line });
            };
            push(open, group.span_open(), into);
            push(close, group.span_close(), into);
            let close = into.pop();
            flatten(group.stream(), into, lines);
            into.extend(close);
            continue;
        }
        lines.extend(token.span().start().line..=token.span().end().line);
        let text = match &token {
            TokenTree::Literal(literal) if literal.to_string().ends_with(['"', '\'', '#']) => {
                "\"\"".to_owned()
            }
            token => token.to_string(),
        };
        into.push(Token { text, line: token.span().start().line });
    }
}

#[derive(Default)]
struct Items {
    functions: Vec<Function>,
    imports: BTreeMap<String, Vec<String>>,
}

impl Items {
    fn push(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let lines = block.brace_token.span.close().end().line - line + 1;
        self.functions.push(Function { name: signature.ident.to_string(), line, lines });
    }
}

impl<'a> Visit<'a> for Items {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        names_of(&item.tree, &[], &mut self.imports);
    }

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.push(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.push(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'a syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.push(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn names_of(tree: &UseTree, above: &[String], into: &mut BTreeMap<String, Vec<String>>) {
    let with = |name: &syn::Ident| [above, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => names_of(&path.tree, &with(&path.ident), into),
        UseTree::Name(name) if name.ident == "self" => {
            into.insert(above.last().unwrap().clone(), above.to_vec());
        }
        UseTree::Name(name) => {
            into.insert(name.ident.to_string(), with(&name.ident));
        }
        UseTree::Rename(name) => {
            let path = if name.ident == "self" { above.to_vec() } else { with(&name.ident) };
            into.insert(format!("{} of {}", name.rename, path.join("::")), path.clone());
            into.insert(name.rename.to_string(), path);
        }
        UseTree::Glob(_) => {
            into.insert(format!("* of {}", above.join("::")), above.to_vec());
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| names_of(tree, above, into)),
    }
}

#[test]
fn tests_and_comments_are_no_code() {
    let text = "//! a\n/// b\nfn c(x: [u8; 2]) -> u8 {\n    // d\n    if x { \"e::f\" }\n}\n\nfn g();\n#[cfg(test)]\nmod tests { h::i }\n";
    let source = Source::new("x.rs", text.replace("fn g();", "fn g() {}"));
    let words: Vec<&str> = source.tokens.iter().map(|token| &*token.text).collect();
    assert_eq!(words.join(" "), "fn c ( x : [ u8 ; 2 ] ) - > u8 { if x { \"\" } } fn g ( ) { }");
    assert_eq!(source.lines, 4);
    let functions: Vec<_> = source.functions.iter().map(|f| (&*f.name, f.line, f.lines)).collect();
    assert_eq!(functions, [("c", 3, 4), ("g", 8, 1)]);
    assert_eq!(source.places("if x {").len(), 1);
}
