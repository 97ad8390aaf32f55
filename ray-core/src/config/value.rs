//! Values of settings, from and to text.

use std::fmt;
use std::path::PathBuf;

/// A type that a setting may have.
pub trait Value: Sized {
    /// Which texts it takes, for people.
    const KIND: &'static str;

    /// Reads a text.
    fn from_text(text: &str) -> Option<Self>;

    /// The text that reads as this value; `None` for no value.
    fn to_text(&self) -> Option<String>;
}

macro_rules! whole_numbers {
    ($($ty:ty),*) => { $(
        impl Value for $ty {
            const KIND: &'static str = "a whole number";

            fn from_text(text: &str) -> Option<Self> {
                text.replace('_', "").parse().ok()
            }

            fn to_text(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )* };
}

whole_numbers!(u32, u64);

impl Value for bool {
    const KIND: &'static str = "`true` or `false` (or 1, 0)";

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }

    fn to_text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    const KIND: &'static str = "a text";

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn to_text(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "a path";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }

    fn to_text(&self) -> Option<String> {
        Some(self.display().to_string())
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;

    fn from_text(text: &str) -> Option<Self> {
        T::from_text(text).map(Some)
    }

    fn to_text(&self) -> Option<String> {
        self.as_ref().and_then(Value::to_text)
    }
}

/// A part of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Share {
    pub(super) const fn percent(percent: u8) -> Self {
        Self(percent as f64 / 100.0)
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Value for Share {
    const KIND: &'static str = "a number from 0 to 1";

    fn from_text(text: &str) -> Option<Self> {
        let number: f64 = text.parse().ok()?;
        (0.0..=1.0).contains(&number).then_some(Self(number))
    }

    fn to_text(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

/// Which lines are logged: directives of `tracing_subscriber`'s `EnvFilter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(String);

impl LogLevel {
    pub(super) fn info() -> Self {
        Self("info".to_owned())
    }

    /// The directives.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for LogLevel {
    const KIND: &'static str =
        "a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or such as `warn,ray_core=debug`";

    fn from_text(text: &str) -> Option<Self> {
        let read = tracing_subscriber::EnvFilter::try_new(text);
        read.is_ok().then(|| Self(text.to_owned()))
    }

    fn to_text(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEncoding {
    /// `time level target ids message key=value`
    Text,
    /// One JSON object a line.
    Json,
}

impl Value for LogEncoding {
    const KIND: &'static str = "`TEXT` or `JSON`";

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_uppercase().as_str() {
            "TEXT" => Some(Self::Text),
            "JSON" => Some(Self::Json),
            _ => None,
        }
    }

    fn to_text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl fmt::Display for LogEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "TEXT",
            Self::Json => "JSON",
        })
    }
}
