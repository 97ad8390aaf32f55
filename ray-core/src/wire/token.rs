//! The cluster's token: who has it may do everything.
//!
//! - TK-1: its text appears in no log, no error and no `Debug`.
//! - TK-2: proofs of it are compared in a time that does not tell where they differ.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Shorter ones are refused: they can be guessed.
const SHORTEST: usize = 16;
/// A file longer than this holds no token.
const LONGEST: usize = 4096;

/// The token of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    text: String,
    key: [u8; 32],
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// A token that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token {place} has {len} characters; at least {SHORTEST} are needed, or it can be guessed")]
    Short { place: String, len: usize },
    #[error("the token {place} holds characters other than printable ASCII without spaces")]
    Characters { place: String },
    #[error("the token file {} is longer than {LONGEST} bytes", path.display())]
    Long { path: PathBuf },
    #[error("the token file {} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the token file {} cannot be written: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("there is no token: neither `RAY_AUTH_TOKEN` nor a file {}; `ray get-auth-token` on the head prints it", path.display())]
    Missing { path: PathBuf },
    #[error("no random bytes: {0}")]
    Random(io::Error),
}

impl Token {
    /// A token from its text; `place` says where it was found.
    pub(crate) fn new(text: &str, place: &str) -> Result<Self, TokenError> {
        let (text, place) = (text.trim(), || place.to_owned());
        if text.len() < SHORTEST {
            return Err(TokenError::Short {
                place: place(),
                len: text.len(),
            });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Characters { place: place() });
        }
        Ok(Self {
            text: text.to_owned(),
            key: blake3::derive_key("ray for rust 2026 cluster token", text.as_bytes()),
        })
    }

    /// A new one: 32 random bytes in hexadecimal digits.
    pub(crate) fn generate() -> Result<Self, TokenError> {
        let mut bytes = [0; 32];
        random(&mut bytes).map_err(TokenError::Random)?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::new(&text, "that was made")
    }

    /// The token in a file.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        let unreadable = |source| TokenError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let missing = || TokenError::Missing { path: path.to_owned() };
        let length = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            metadata => metadata.map_err(unreadable)?.len(),
        };
        if length > LONGEST as u64 {
            return Err(TokenError::Long { path: path.to_owned() });
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        Self::new(&text, &format!("in {}", path.display()))
    }

    /// The token in a file; if there is no such file, a new one, which only this user can read.
    pub(crate) fn read_or_create(path: &Path) -> Result<Self, TokenError> {
        match Self::read(path) {
            Err(TokenError::Missing { .. }) => {}
            read => return read,
        }
        let unwritable = |source| TokenError::Unwritable {
            path: path.to_owned(),
            source,
        };
        if let Some(directory) = path.parent() {
            let mut builder = fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(unwritable)?;
        }
        let token = Self::generate()?;
        // Complete under another name first: who finds the file reads a whole token. Of two that make one at the same
        // time, the second finds the first one's.
        let mut unique = [0; 8];
        random(&mut unique).map_err(TokenError::Random)?;
        let beside = path.with_extension(format!("{:016x}.new", u64::from_le_bytes(unique)));
        let written = (|| {
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(token.text.as_bytes())?;
            file.sync_all()?;
            fs::hard_link(&beside, path)
        })();
        // What is left is a name of no use.
        let _removed = fs::remove_file(&beside);
        match written {
            Ok(()) => Ok(token),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::read(path),
            Err(error) => Err(unwritable(error)),
        }
    }

    /// The text, for whoever may see it: a header of a request, or a terminal that asked for it.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }

    /// A proof of having the token: a keyed hash over what was said (TC-2).
    pub(crate) fn proof(&self, role: Role, said: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(role.label());
        for part in said {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// Which end gives a proof: one end's is never good as the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The end that connects.
    Dials,
    /// The end that is connected to.
    Listens,
}

impl Role {
    fn label(self) -> &'static [u8; 8] {
        match self {
            Self::Dials => b"dials...",
            Self::Listens => b"listens.",
        }
    }
}

/// Fills `bytes` with randomness of the kernel's.
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const TEXT: &str = "correct-horse-battery";

    #[test]
    fn tk_1_debug_and_errors_do_not_show_it() {
        let token = Token::new(TEXT, "given").unwrap();
        assert_eq!(format!("{token:?}"), "Token(..)");
        let bad = "short secret";
        assert!(!Token::new(bad, "given").unwrap_err().to_string().contains(bad));
        let bad = "a secret with spaces in it";
        assert!(!Token::new(bad, "given").unwrap_err().to_string().contains(bad));
    }

    #[test]
    fn proofs_differ_by_token_role_and_what_was_said() {
        let (one, other) = (Token::new(TEXT, "").unwrap(), Token::generate().unwrap());
        let proof = one.proof(Role::Dials, &[b"a", b"b"]);
        assert_eq!(proof, one.proof(Role::Dials, &[b"a", b"b"]));
        assert_ne!(proof, one.proof(Role::Listens, &[b"a", b"b"]));
        assert_ne!(proof, one.proof(Role::Dials, &[b"a", b"c"]));
        assert_ne!(proof, other.proof(Role::Dials, &[b"a", b"b"]));
    }

    #[test]
    fn a_missing_file_is_created_for_this_user_alone_and_then_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/auth_token");
        let missing = Token::read(&path).unwrap_err();
        assert!(missing.to_string().contains("ray get-auth-token"), "{missing}");
        let created = Token::read_or_create(&path).unwrap();
        assert_eq!(created, Token::read_or_create(&path).unwrap());
        assert_eq!(created, Token::read(&path).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn many_that_create_it_at_once_have_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth_token");
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || Token::read_or_create(&path).unwrap())
            })
            .collect();
        let tokens: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(tokens.iter().all(|token| *token == tokens[0]));
    }

    #[test]
    fn a_file_that_holds_no_token_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth_token");
        fs::write(&path, "x".repeat(LONGEST + 1)).unwrap();
        assert!(matches!(Token::read(&path), Err(TokenError::Long { .. })));
        fs::write(&path, "tooshort").unwrap();
        assert!(Token::read(&path).unwrap_err().to_string().contains("auth_token"));
    }
}
