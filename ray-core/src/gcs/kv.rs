//! Keys and values of the cluster: what crates on top keep across a restart of the head.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::error::RayError;
use crate::gcs::state::refuse;
use crate::wire::GcsReply;

/// Bytes of all keys and values together, at most.
const CAPACITY: usize = 1 << 30;

#[derive(Debug, Default)]
pub(super) struct KeyValues {
    entries: BTreeMap<String, Bytes>,
    bytes: usize,
}

impl KeyValues {
    pub(super) fn put(&mut self, key: String, value: Bytes, overwrite: bool) -> GcsReply {
        let old = self.entries.get(&key);
        if old.is_some() && !overwrite {
            return GcsReply::Changed { changed: false };
        }
        let freed = old.map_or(0, |value| key.len() + value.len());
        let after = self.bytes - freed + key.len() + value.len();
        if after > CAPACITY {
            let why = format!(
                "{after} bytes would be over the bound of {CAPACITY}: delete keys, or store large values elsewhere"
            );
            return refuse(RayError::Unsupported {
                call: format!("storing key `{key}`"),
                why,
            });
        }
        self.bytes = after;
        // A copy, so that a small value does not keep the whole buffer of a connection.
        self.entries.insert(key, Bytes::copy_from_slice(&value));
        GcsReply::Changed { changed: true }
    }

    pub(super) fn get(&self, key: &str) -> Option<Bytes> {
        self.entries.get(key).cloned()
    }

    pub(super) fn delete(&mut self, key: &str) -> bool {
        let removed = self.entries.remove(key);
        self.bytes -= removed.as_ref().map_or(0, |value| key.len() + value.len());
        removed.is_some()
    }

    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        let from_prefix = self.entries.range(prefix.to_owned()..);
        from_prefix
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_replaced_listed_and_deleted() {
        let mut kv = KeyValues::default();
        let put = |kv: &mut KeyValues, key: &str, value: &'static [u8], overwrite| {
            matches!(
                kv.put(key.into(), Bytes::from_static(value), overwrite),
                GcsReply::Changed { changed: true }
            )
        };
        assert!(put(&mut kv, "a/1", b"x", false));
        assert!(!put(&mut kv, "a/1", b"y", false));
        assert!(put(&mut kv, "a/1", b"yy", true));
        assert!(put(&mut kv, "a/2", b"z", false));
        assert!(put(&mut kv, "b", b"z", false));
        assert_eq!(kv.get("a/1").as_deref(), Some(&b"yy"[..]));
        assert_eq!(kv.keys("a/"), ["a/1", "a/2"]);
        assert!(kv.delete("a/1") && kv.delete("a/2") && kv.delete("b") && !kv.delete("b"));
        assert_eq!(kv.bytes, 0);
    }
}
