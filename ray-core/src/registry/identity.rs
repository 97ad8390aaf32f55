//! Who an item is: [`Identity`] for people, [`ItemKey`] for the wire.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where and how a remote item is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The crate (or binary) that defines it.
    pub crate_name: &'static str,
    /// The version of that crate's package.
    pub crate_version: &'static str,
    /// The module, as `module_path!` gives it.
    pub module_path: &'static str,
    /// Module path and name: what people, Serve's `import_path` and restored checkpoints use.
    pub name: &'static str,
    /// The text of the signature; for an actor, of its constructor and all its methods.
    pub signature: &'static str,
    /// The source file.
    pub file: &'static str,
    /// The line of the attribute.
    pub line: u32,
    /// The column of the attribute.
    pub column: u32,
}

impl Identity {
    /// The name without its module.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit("::").next().unwrap_or(self.name)
    }

    /// The stable hash of every field: 64-bit FNV-1a over the texts, each closed by a byte that no UTF-8 text contains,
    /// and the numbers in little-endian.
    pub const fn key(&self) -> ItemKey {
        let mut hash = FNV_OFFSET;
        hash = hash_text(hash, self.crate_name);
        hash = hash_text(hash, self.crate_version);
        hash = hash_text(hash, self.module_path);
        hash = hash_text(hash, self.name);
        hash = hash_text(hash, self.signature);
        hash = hash_text(hash, self.file);
        hash = hash_bytes(hash, &self.line.to_le_bytes());
        hash = hash_bytes(hash, &self.column.to_le_bytes());
        ItemKey(hash)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{}:{})", self.name, self.file, self.line, self.column)
    }
}

/// What names an item between processes: the hash of its whole [`Identity`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ItemKey(pub u64);

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ItemKey({self})")
    }
}

pub(super) const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// Never part of UTF-8, so no two lists of texts hash the same bytes.
const TEXT_END: u8 = 0xff;

pub(super) const fn hash_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(FNV_PRIME);
        index += 1;
    }
    hash
}

const fn hash_text(hash: u64, text: &str) -> u64 {
    hash_bytes(hash_bytes(hash, text.as_bytes()), &[TEXT_END])
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const SAMPLE: Identity = Identity {
        crate_name: "app",
        crate_version: "0.1.0",
        module_path: "app::work",
        name: "app::work::add",
        signature: "fn add(a: i64, b: i64) -> i64",
        file: "src/work.rs",
        line: 3,
        column: 1,
    };

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(hash_bytes(FNV_OFFSET, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash_bytes(FNV_OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_field_changes_the_key() {
        let others = [
            Identity {
                crate_name: "other",
                ..SAMPLE
            },
            Identity {
                crate_version: "0.2.0",
                ..SAMPLE
            },
            Identity {
                module_path: "app::other",
                ..SAMPLE
            },
            Identity {
                name: "app::work::sub",
                ..SAMPLE
            },
            Identity {
                signature: "fn add(a: i32, b: i32) -> i32",
                ..SAMPLE
            },
            Identity {
                file: "src/other.rs",
                ..SAMPLE
            },
            Identity { line: 4, ..SAMPLE },
            Identity { column: 5, ..SAMPLE },
        ];
        for other in others {
            assert_ne!(other.key(), SAMPLE.key(), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn moving_text_from_one_field_to_the_next_changes_the_key(left in ".*", middle in ".+", right in ".*") {
            let one = [format!("{left}{middle}"), right.clone()];
            let two = [left, format!("{middle}{right}")];
            let hash = |texts: &[String]| texts.iter().fold(FNV_OFFSET, |hash, text| hash_text(hash, text));
            prop_assert_ne!(hash(&one), hash(&two));
        }
    }
}
