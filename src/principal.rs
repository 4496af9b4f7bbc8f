//! Who calls: principals and the bearer tokens that name them.
//!
//! A token file holds no tokens but their hashes, one `NAME sha256:HEX` per line. A name may have several
//! tokens, so that a new one can be handed out while the old one still works.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

use crate::foreign::Foreign;
use crate::limits::{PRINCIPAL_NAME_BYTES_MAX, TOKEN_RANDOM_BYTES};
use crate::small_file;

/// What stands before a hash in the token file.
const ALGORITHM: &str = "sha256:";

/// What a token begins with, so that scanners for leaked secrets (and people) can tell what it is.
const TOKEN_PREFIX: &str = "bd_";

/// The permissions of a token file that burdock makes: its owner alone reads and writes it.
const OWNER_ONLY: u32 = 0o600;

/// The permission bits of group and others. A token file must have none of them.
const OTHERS: u32 = 0o077;

/// The one of these that a credential of systemd may have, see `is_credential`.
const GROUP_READS: u32 = 0o040;

/// Who calls: a name from the token file. A session belongs to the principal that began it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

impl Principal {
    /// A principal of this name.
    ///
    /// # Errors
    /// What a name may be, in words for the user.
    pub fn new(name: &str) -> Result<Principal, String> {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
        if (1..=PRINCIPAL_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(letters) {
            return Ok(Principal(name.into()));
        }
        let shown = Foreign(name.as_bytes());
        Err(format!(
            "{shown} cannot be a name; allowed: letters, digits, '.', '_', '@', '-', 1 to {PRINCIPAL_NAME_BYTES_MAX}"
        ))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 of a token.
type Hash = [u8; 32];

/// All tokens that are accepted, as their hashes.
#[derive(Clone)]
pub struct Tokens(Vec<(Hash, Principal)>);

impl Tokens {
    /// Reads a token file.
    ///
    /// # Errors
    /// [`TokenFileError`]: it cannot be read, others may read it, or a line of it is wrong.
    pub fn load(path: &Path) -> Result<Tokens, TokenFileError> {
        let (text, metadata) = small_file::read(path)
            .map_err(|problem| TokenFileError::File { path: path.to_owned(), problem })?;
        check_private(path, &metadata)?;
        Tokens::parse(&text).map_err(|(line, problem)| TokenFileError::Line {
            path: path.to_owned(),
            line,
            problem,
        })
    }

    /// Reads the text of a token file. An error says in which line it is, counted from 1.
    fn parse(text: &str) -> Result<Tokens, (usize, String)> {
        let mut tokens: Vec<(Hash, Principal)> = Vec::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let (hash, principal) = entry(content).map_err(|problem| (line, problem))?;
            if tokens.iter().any(|(known, _)| *known == hash) {
                return Err((line, "the same token is there twice".to_owned()));
            }
            tokens.push((hash, principal));
        }
        if tokens.is_empty() {
            return Err((
                1,
                "there is no token in it, so nobody could call; burdock token NAME makes one".to_owned(),
            ));
        }
        Ok(Tokens(tokens))
    }

    /// Whose token this is, as [`Tokens::principal`] says. A token that `presented` remembers is not searched
    /// for.
    pub fn principal_of(&self, token: &str, presented: &mut Presented) -> Option<Principal> {
        let hash = hash_of(token);
        if let Some((known, principal)) = &presented.0
            && same(known, &hash)
        {
            return Some(principal.clone());
        }
        let principal = self.owner_of(&hash)?.clone();
        presented.0 = Some((hash, principal.clone()));
        Some(principal)
    }

    /// Whose token this is; `None` when it is not accepted. Takes the same time in either case.
    pub fn principal(&self, token: &str) -> Option<&Principal> {
        self.owner_of(&hash_of(token))
    }

    fn owner_of(&self, hash: &Hash) -> Option<&Principal> {
        // All are compared, also after a match: the time of a search that stops early tells where it stopped.
        self.0
            .iter()
            .fold(None, |found, (known, principal)| if same(known, hash) { Some(principal) } else { found })
    }
}

impl fmt::Debug for Tokens {
    /// Shows the names only: not even hashes belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(_, principal)| principal.as_str())).finish()
    }
}

/// The accepted token that a connection presented last (its hash), and whose it is. A client presents the
/// same token with every request, so mostly the next one is found here. It is compared all the same, for a
/// proxy's connection carries requests of many clients. What is remembered stays true: the accepted tokens do
/// not change while burdock runs.
#[derive(Default)]
pub struct Presented(Option<(Hash, Principal)>);

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented(...)")
    }
}

fn hash_of(token: &str) -> Hash {
    hmac_sha256::Hash::hash(token.as_bytes())
}

/// Takes the same time wherever two hashes differ, so that measuring it tells nothing of an accepted hash.
fn same(left: &Hash, right: &Hash) -> bool {
    left.ct_eq(right).into()
}

/// Reads one line, `NAME sha256:HEX`. Errors never quote the line: it may be a token that was pasted by
/// mistake.
fn entry(line: &str) -> Result<(Hash, Principal), String> {
    const FORM: &str = "a line is NAME sha256:HEX, as burdock token NAME prints it";
    if line.starts_with(TOKEN_PREFIX) && !line.contains(char::is_whitespace) {
        return Err(format!("this is a token itself and not its hash; {FORM}"));
    }
    let (name, hash) = line.split_once(char::is_whitespace).ok_or(FORM)?;
    let hex = hash.trim().strip_prefix(ALGORITHM).ok_or(FORM)?;
    let hash = from_hex(hex).ok_or("the hash must be sha256: and 64 hexadecimal digits")?;
    Ok((hash, Principal::new(name)?))
}

/// Why a token file cannot be used.
#[derive(Debug)]
pub enum TokenFileError {
    /// The file cannot be read or written.
    File {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Group or others have permissions on it.
    Public {
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// One of its lines is wrong.
    Line {
        /// Its path.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The system gave no random bytes.
    Random(String),
}

impl fmt::Display for TokenFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenFileError::File { path, problem } => {
                write!(f, "the token file {} {problem}", path.display())
            }
            TokenFileError::Public { path, mode } => {
                let path = path.display();
                write!(f, "the token file {path} is open to others (mode {mode:04o}); run: chmod 600 {path}")
            }
            TokenFileError::Line { path, line, problem } => write!(f, "{}:{line}: {problem}", path.display()),
            TokenFileError::Random(problem) => write!(f, "the system gives no random bytes: {problem}"),
        }
    }
}

impl std::error::Error for TokenFileError {}

/// A new token and its line for the token file. Only this value and whoever is shown the token know it: the
/// file does not.
pub struct NewToken {
    /// The token, for the client.
    pub token: String,
    /// `NAME sha256:HEX`, for the token file.
    pub line: String,
}

impl NewToken {
    /// Makes a token from random bytes of the system.
    ///
    /// # Errors
    /// [`TokenFileError::Random`].
    pub fn make(principal: &Principal) -> Result<NewToken, TokenFileError> {
        let mut random = [0; TOKEN_RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(|error| TokenFileError::Random(error.to_string()))?;
        let token = format!("{TOKEN_PREFIX}{}", to_hex(&random));
        let line = format!("{principal} {ALGORITHM}{}", to_hex(&hash_of(&token)));
        Ok(NewToken { token, line })
    }
}

/// A token file that a line can be added to.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    file: File,
}

impl TokenFile {
    /// Opens the token file; where there is none, makes one that only its owner can read. Whatever is wrong
    /// with the file is found now, before a token is shown to anybody.
    ///
    /// # Errors
    /// [`TokenFileError::File`] or [`TokenFileError::Public`].
    pub fn open(path: &Path) -> Result<TokenFile, TokenFileError> {
        let failed = |problem: String| TokenFileError::File { path: path.to_owned(), problem };
        // `read` refuses what is no regular file, and says so. To open a FIFO would wait for its other end.
        if path.exists() {
            small_file::read(path).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(OWNER_ONLY);
        let file = options.open(path).map_err(|error| failed(why_not_made(path, &error)))?;
        let metadata = file.metadata().map_err(|error| failed(small_file::why(&error)))?;
        check_private(path, &metadata)?;
        Ok(TokenFile { path: path.to_owned(), file })
    }

    /// Adds the line of a token. Call this after the token was shown. If showing fails there is then no line:
    /// a token without a line lets nobody in, but a line whose token nobody knows would stay in the file for
    /// ever.
    ///
    /// # Errors
    /// [`TokenFileError::File`]; then nothing was added.
    pub fn keep(mut self, token: &NewToken) -> Result<(), TokenFileError> {
        self.write(token).map_err(|error| TokenFileError::File {
            path: self.path,
            problem: format!("cannot be written, so this token will not be accepted: {error}"),
        })
    }

    fn write(&mut self, token: &NewToken) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let start = if ends_within_line(&mut self.file)? { "\n" } else { "" };
        let line = format!("{start}{}\n", token.line);
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_all());
        if written.is_err() {
            // burdock refuses to start with half a line in the file.
            self.file.set_len(before)?;
        }
        written
    }
}

fn why_not_made(path: &Path, error: &io::Error) -> String {
    match path.parent() {
        Some(directory) if error.kind() == io::ErrorKind::NotFound && !directory.as_os_str().is_empty() => {
            format!("cannot be made: there is no directory {}", directory.display())
        }
        Some(_) | None => small_file::why(error),
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewToken(...)")
    }
}

/// Whether the file's last line has no line feed.
fn ends_within_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn check_private(path: &Path, metadata: &Metadata) -> Result<(), TokenFileError> {
    let mode = metadata.permissions().mode() & 0o7777;
    let public = if is_credential(path) { OTHERS & !GROUP_READS } else { OTHERS };
    if mode & public == 0 { Ok(()) } else { Err(TokenFileError::Public { path: path.to_owned(), mode }) }
}

/// Whether systemd has put this file where only this service can read it (`LoadCredential=`). systemd may
/// grant that by an access list. The mask of the list then stands where the group's permissions stand
/// otherwise, so those say nothing.
fn is_credential(path: &Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .is_some_and(|directory| !directory.is_empty() && path.starts_with(directory))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 2 * hash.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(name: &str) -> NewToken {
        NewToken::make(&Principal::new(name).unwrap()).unwrap()
    }

    #[test]
    fn a_token_names_its_principal() {
        let (alice, bob, later) = (made("alice"), made("bob@example.com"), made("alice"));
        let text = format!("# users\n\n{}\n  {}  \r\n{}", alice.line, bob.line, later.line);
        let tokens = Tokens::parse(&text).unwrap();
        let name = |token: &str| tokens.principal(token).map(ToString::to_string);
        assert_eq!(name(&alice.token).as_deref(), Some("alice"));
        assert_eq!(name(&later.token).as_deref(), Some("alice"));
        assert_eq!(name(&bob.token).as_deref(), Some("bob@example.com"));
        assert_eq!(name(&made("alice").token), None);
        assert_eq!(name(""), None);
        assert_eq!(name(&alice.token[1..]), None);
    }

    #[test]
    fn what_was_presented_answers_for_that_token_alone() {
        let (alice, bob) = (made("alice"), made("bob"));
        let tokens = Tokens::parse(&format!("{}\n{}", alice.line, bob.line)).unwrap();
        let mut presented = Presented::default();
        let mut name = |token: &str| {
            let principal = tokens.principal_of(token, &mut presented).map(|principal| principal.to_string());
            (principal, presented.0.as_ref().map(|(_, principal)| principal.to_string()))
        };
        let is = |name: &str| Some(name.to_owned());
        assert_eq!(name(&alice.token), (is("alice"), is("alice")));
        assert_eq!(name(&alice.token), (is("alice"), is("alice")));
        for other in ["", &alice.token[1..], &format!("{}0", alice.token), &made("alice").token] {
            assert_eq!(name(other), (None, is("alice")), "{other}");
        }
        assert_eq!(name(&bob.token), (is("bob"), is("bob")));
        assert_eq!(name(&alice.token), (is("alice"), is("alice")));
        assert_eq!(format!("{presented:?}"), "Presented(...)");
    }

    #[test]
    fn a_known_hash() {
        let line = "a sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(Tokens::parse(line).unwrap().principal("abc").is_some());
        assert!(
            Tokens::parse(&line.to_uppercase().replace("SHA256", "sha256"))
                .unwrap()
                .principal("abc")
                .is_some()
        );
    }

    #[test]
    fn tokens_are_strong_and_hidden() {
        let token = made("alice");
        assert_eq!(token.token.len(), TOKEN_PREFIX.len() + 2 * TOKEN_RANDOM_BYTES);
        assert_ne!(token.token, made("alice").token);
        let tokens = Tokens::parse(&token.line).unwrap();
        assert_eq!(format!("{tokens:?} {token:?}"), "[\"alice\"] NewToken(...)");
    }

    #[test]
    fn wrong_lines_are_told_without_showing_them() {
        let hash = "0".repeat(64);
        for (text, line, part) in [
            (String::new(), 1, "no token in it"),
            ("# only\n".to_owned(), 1, "no token in it"),
            ("alice".to_owned(), 1, "NAME sha256:HEX"),
            (format!("\nalice {hash}"), 2, "NAME sha256:HEX"),
            (format!("alice sha256:{}", &hash[1..]), 1, "64 hexadecimal digits"),
            (format!("alice sha256:{}+f", &hash[2..]), 1, "64 hexadecimal digits"),
            (format!("al/ice sha256:{hash}"), 1, "al/ice cannot be a name"),
            (format!("a sha256:{hash}\nb sha256:{hash}"), 2, "twice"),
            ("bd_secret".to_owned(), 1, "token itself"),
        ] {
            let (at, problem) = Tokens::parse(&text).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(problem.contains(part) && !problem.contains("secret"), "{text}: {problem}");
        }
    }

    #[test]
    fn names() {
        for name in ["a", "A.b_c@d-9", &"x".repeat(64)] {
            assert!(Principal::new(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "a/b", "\u{e4}", &"x".repeat(65)] {
            assert!(Principal::new(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*", lines in "(a|sha256:|[0-9a-f]{60,66}|\n| |#)*") {
            let _ = (Tokens::parse(&text), Tokens::parse(&lines));
        }

        #[test]
        fn hex_round_trip(hash: [u8; 32]) {
            prop_assert_eq!(from_hex(&to_hex(&hash)), Some(hash));
        }
    }
}
