//! Looking items up: [`Registry`].
//!
//! - RT-1: no two items of a table share a key.
//! - RT-2: the hash of a table depends on its set of keys only, not on the order in which the linker laid them out.

use std::sync::OnceLock;

use super::identity::{FNV_OFFSET, hash_bytes};
use super::suggest::near_misses;
use super::{ItemKey, REMOTE_ITEMS, RemoteItem};

/// Why an item cannot be found, or the table not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two items hash to one key: the program cannot start.
    #[error(
        "the remote items {first} and {second} have the same key {key}: give one of them another name, or write it \
         outside the macro that makes both"
    )]
    DuplicateKey {
        /// The key of both.
        key: ItemKey,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The name belongs to several items.
    #[error("the name `{name}` belongs to {}: give them different names to look one up by name", .candidates.join(" and "))]
    AmbiguousName {
        /// The name.
        name: String,
        /// Each item with its place.
        candidates: Vec<String>,
    },
    /// No item has this name.
    #[error("no remote function or actor is called `{name}`{}", did_you_mean(.suggestions))]
    UnknownName {
        /// The name.
        name: String,
        /// Names that may have been meant, best first.
        suggestions: Vec<&'static str>,
    },
    /// No item has this key: the other process runs another executable.
    #[error("no remote item has the key {key}: the processes run different builds of the program")]
    UnknownKey {
        /// The key.
        key: ItemKey,
    },
}

fn did_you_mean(suggestions: &[&str]) -> String {
    match suggestions {
        [] => ": is it marked `#[remote]`, and its crate part of this program?".to_owned(),
        names => format!(": did you mean `{}`?", names.join("` or `")),
    }
}

/// All remote items of this program, by key and by name.
#[derive(Debug)]
pub struct Registry {
    /// Sorted by key.
    items: Vec<&'static RemoteItem>,
    hash: u64,
}

impl Registry {
    /// The items that the linker collected.
    ///
    /// # Errors
    ///
    /// [`RegistryError::DuplicateKey`].
    pub fn global() -> Result<&'static Self, RegistryError> {
        static REGISTRY: OnceLock<Result<Registry, RegistryError>> = OnceLock::new();
        REGISTRY
            .get_or_init(|| Self::new(REMOTE_ITEMS.iter()))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// A table of these items.
    ///
    /// # Errors
    ///
    /// [`RegistryError::DuplicateKey`].
    pub fn new(items: impl IntoIterator<Item = &'static RemoteItem>) -> Result<Self, RegistryError> {
        let mut items: Vec<_> = items.into_iter().collect();
        items.sort_by_key(|item| item.key());
        if let Some(pair) = items.windows(2).find(|pair| pair[0].key() == pair[1].key()) {
            return Err(RegistryError::DuplicateKey {
                key: pair[0].key(),
                first: pair[0].identity().to_string(),
                second: pair[1].identity().to_string(),
            });
        }
        let hash = items
            .iter()
            .fold(FNV_OFFSET, |hash, item| hash_bytes(hash, &item.key().0.to_le_bytes()));
        Ok(Self { items, hash })
    }

    /// The item with this key.
    ///
    /// # Errors
    ///
    /// [`RegistryError::UnknownKey`].
    pub fn by_key(&self, key: ItemKey) -> Result<&'static RemoteItem, RegistryError> {
        self.items
            .binary_search_by_key(&key, |item| item.key())
            .map(|index| self.items[index])
            .map_err(|_| RegistryError::UnknownKey { key })
    }

    /// The item with this name, as [`Identity::name`](super::Identity::name) writes it.
    ///
    /// # Errors
    ///
    /// [`RegistryError::UnknownName`] with near misses, or [`RegistryError::AmbiguousName`].
    pub fn by_name(&self, name: &str) -> Result<&'static RemoteItem, RegistryError> {
        let found: Vec<_> = self
            .items
            .iter()
            .copied()
            .filter(|item| item.identity().name == name)
            .collect();
        match found[..] {
            [item] => Ok(item),
            [] => Err(RegistryError::UnknownName {
                name: name.to_owned(),
                suggestions: near_misses(name, self.items.iter().map(|item| item.identity().name)),
            }),
            _ => Err(RegistryError::AmbiguousName {
                name: name.to_owned(),
                candidates: found.iter().map(|item| item.identity().to_string()).collect(),
            }),
        }
    }

    /// All items, by key.
    pub fn items(&self) -> &[&'static RemoteItem] {
        &self.items
    }

    /// The hash of the sorted keys (RT-2), which driver and worker compare in their handshake.
    pub fn table_hash(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::identity::tests::SAMPLE;
    use super::super::{Identity, ItemKind, RemoteFunction};
    use super::*;
    use crate::remote::{FunctionBody, Outcome, TaskOptions};

    fn item(identity: Identity) -> &'static RemoteItem {
        let body = FunctionBody::Sync(|_| Outcome::one(()));
        let function = RemoteFunction::new(body, &[], 1, TaskOptions::default);
        Box::leak(Box::new(RemoteItem::new(identity, ItemKind::Function(function))))
    }

    #[test]
    fn rt_1_two_items_with_one_key_are_refused_with_both_named() {
        let error = Registry::new([item(SAMPLE), item(SAMPLE)]).unwrap_err().to_string();
        assert_eq!(error.matches("app::work::add (src/work.rs:3:1)").count(), 2, "{error}");
    }

    #[test]
    fn two_items_with_one_name_are_found_by_key_and_ambiguous_by_name() {
        let first = item(SAMPLE);
        let second = item(Identity { line: 30, ..SAMPLE });
        let registry = Registry::new([first, second]).unwrap();
        assert!(std::ptr::eq(registry.by_key(first.key()).unwrap(), first));
        assert!(std::ptr::eq(registry.by_key(second.key()).unwrap(), second));
        let error = registry.by_name(SAMPLE.name).unwrap_err().to_string();
        assert!(
            error.contains("src/work.rs:3:1") && error.contains("src/work.rs:30:1"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_what_was_meant() {
        let registry = Registry::new([item(SAMPLE)]).unwrap();
        let error = registry.by_name("app::work::ad").unwrap_err().to_string();
        assert_eq!(
            error,
            "no remote function or actor is called `app::work::ad`: did you mean `app::work::add`?"
        );
        assert_eq!(
            registry.by_key(ItemKey(7)).unwrap_err().to_string(),
            "no remote item has the key 0000000000000007: the processes run different builds of the program"
        );
    }

    proptest! {
        #[test]
        fn rt_2_the_order_of_the_items_does_not_change_the_hash(lines in prop::collection::btree_set(1u32..1000, 0..8)) {
            let items: Vec<_> = lines.iter().map(|line| item(Identity { line: *line, ..SAMPLE })).collect();
            let forward = Registry::new(items.iter().copied()).unwrap();
            let backward = Registry::new(items.iter().rev().copied()).unwrap();
            prop_assert_eq!(forward.table_hash(), backward.table_hash());
            if let Some((_, fewer)) = items.split_first() {
                prop_assert_ne!(Registry::new(fewer.iter().copied()).unwrap().table_hash(), forward.table_hash());
            }
        }
    }
}
