//! Settings that cannot be used.

use std::path::PathBuf;

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value makes no sense.
    #[error("{place} is `{value}`, which is not {expected}")]
    Value {
        /// Where it stands: the variable, the file's entry, the builder's.
        place: String,
        /// The value.
        value: String,
        /// What would make sense.
        expected: &'static str,
    },
    /// There is no such setting.
    #[error("{place} is no setting{}", meant(.nearest))]
    Unknown {
        /// Where it stands.
        place: String,
        /// The settings with the nearest names.
        nearest: Vec<&'static str>,
    },
    /// The file cannot be read.
    #[error("the file {} that RAY_CONFIG names cannot be used: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

fn meant(nearest: &[&str]) -> String {
    if nearest.is_empty() {
        ": docs/config.md lists them".to_owned()
    } else {
        format!(": did you mean {}?", nearest.join(" or "))
    }
}
