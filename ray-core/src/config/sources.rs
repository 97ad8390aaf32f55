//! Where values of settings come from, and which of them counts (CF-1).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::table::settings;
use super::{ConfigError, Scope, Setting, Value};
use crate::registry::near_misses;

/// The variable that names the file.
const FILE_VARIABLE: &str = "RAY_CONFIG";

/// What was given, as text by name, in order of precedence.
#[derive(Debug, Default)]
pub struct Sources {
    builder: BTreeMap<String, String>,
    environment: BTreeMap<&'static str, OsString>,
    file: BTreeMap<String, String>,
    file_path: PathBuf,
}

impl Sources {
    /// What the builder was given, this process's environment, and the file that it names.
    pub fn of_this_process(builder: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        Self::new(builder, |name| std::env::var_os(name))
    }

    pub(super) fn new(
        builder: BTreeMap<String, String>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        // An empty variable is taken as unset, as shells cannot always unset one.
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let environment = settings().filter_map(|setting| Some((setting.name, given(&setting.variable())?)));
        let mut sources = Self {
            builder,
            environment: environment.collect(),
            ..Self::default()
        };
        if let Some(path) = given(FILE_VARIABLE) {
            sources.file_path = path.into();
            sources.file = read(&sources.file_path)?;
        }
        Ok(sources)
    }

    /// What another process has resolved.
    pub(super) fn received(texts: BTreeMap<String, String>) -> Self {
        Self {
            builder: texts,
            ..Self::default()
        }
    }

    /// The builder and the file may name settings only. (Of the environment, `RAY_` belongs to others too.)
    pub(super) fn check_names(&self) -> Result<(), ConfigError> {
        let known = |name: &str| settings().any(|setting| setting.name == name);
        let builder = self.builder.keys().map(|name| (name, self.in_builder(name)));
        let file = self.file.keys().map(|name| (name, self.in_file(name)));
        let unknown = builder.chain(file).find(|(name, _)| !known(name));
        unknown.map_or(Ok(()), |(name, place)| {
            let nearest = near_misses(name, settings().map(|setting| setting.name));
            Err(ConfigError::Unknown { place, nearest })
        })
    }

    /// What the builder says of the node or the cluster, and nothing but that: how long it waits for the node is a driver's
    /// own business too.
    pub fn built_for_node(&self) -> impl Iterator<Item = &'static str> {
        const DRIVERS_TOO: &str = "worker_register_timeout_seconds";
        let of_node = |setting: &&Setting| setting.scope != Scope::Process && setting.name != DRIVERS_TOO;
        let names = settings().filter(of_node).map(|setting| setting.name);
        names.filter(|name| self.builder.contains_key(*name))
    }

    /// The value of a setting, if it was given anywhere.
    pub(super) fn value<T: Value>(&self, name: &'static str) -> Result<Option<T>, ConfigError> {
        let Some((text, place)) = self.text(name) else {
            return Ok(None);
        };
        match text.to_str().and_then(|text| T::from_text(text.trim())) {
            Some(value) => Ok(Some(value)),
            None => Err(ConfigError::Value {
                place,
                value: text.to_string_lossy().into_owned(),
                expected: T::KIND,
            }),
        }
    }

    /// CF-1.
    fn text(&self, name: &'static str) -> Option<(OsString, String)> {
        if let Some(text) = self.builder.get(name) {
            return Some((text.into(), self.in_builder(name)));
        }
        if let Some(text) = self.environment.get(name) {
            let variable = settings().find(|setting| setting.name == name).map(Setting::variable);
            return Some((text.clone(), format!("the environment variable {}", variable?)));
        }
        let text = self.file.get(name)?;
        Some((text.into(), self.in_file(name)))
    }

    fn in_builder(&self, name: &str) -> String {
        format!("`{name}` in the builder")
    }

    fn in_file(&self, name: &str) -> String {
        format!("`{name}` in the file {}", self.file_path.display())
    }
}

/// The file is one JSON object: `{"num_cpus": 4, "log_encoding": "JSON"}`.
fn read(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let failed = |why: String| ConfigError::File {
        path: path.to_owned(),
        why,
    };
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let entries: BTreeMap<String, Json> =
        serde_json::from_slice(&bytes).map_err(|error| failed(format!("it must be one JSON object: {error}")))?;
    let text = |value| match value {
        Json::String(text) => text,
        other => other.to_string(),
    };
    Ok(entries.into_iter().map(|(name, value)| (name, text(value))).collect())
}
