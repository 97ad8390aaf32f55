//! The codes of errors: the compiler sees to it that every variant has one, and tests that each has its page.

use super::RayError;

/// Declares the codes: the compiler sees to it that every variant has one.
macro_rules! codes {
    ($($code:literal => $variant:ident,)*) => {
        impl RayError {
            /// Every code, with the name of its variant. Each has a page under `docs/errors/`.
            pub const CODES: &'static [(&'static str, &'static str)] = &[$(($code, stringify!($variant))),*];

            /// The stable code, such as `RAY0005`: the name of the page that explains it.
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code,)*
                }
            }
        }
    };
}

codes! {
    "RAY0001" => NotInitialized,
    "RAY0002" => AlreadyInitialized,
    "RAY0003" => SessionEnded,
    "RAY0004" => Start,
    "RAY0005" => TaskFailed,
    "RAY0006" => WorkerCrashed,
    "RAY0007" => ActorDied,
    "RAY0008" => ActorUnavailable,
    "RAY0009" => ObjectLost,
    "RAY0010" => OwnerDied,
    "RAY0011" => GetTimeout,
    "RAY0012" => Cancelled,
    "RAY0013" => TaskTimeout,
    "RAY0014" => OutOfMemory,
    "RAY0015" => Unschedulable,
    "RAY0016" => RuntimeEnv,
    "RAY0017" => PendingCallsLimit,
    "RAY0018" => PendingTasksLimit,
    "RAY0019" => WouldDeadlock,
    "RAY0020" => ActorNameTaken,
    "RAY0021" => ActorNotFound,
    "RAY0022" => Store,
    "RAY0023" => Encode,
    "RAY0024" => Decode,
    "RAY0025" => InvalidOption,
    "RAY0026" => BlockingInAsync,
    "RAY0027" => PlacementGroup,
    "RAY0028" => UnknownItem,
    "RAY0029" => Internal,
    "RAY0030" => Disconnected,
    "RAY0031" => Unsupported,
    "RAY0032" => Stream,
    "RAY0033" => QueueEmpty,
    "RAY0034" => QueueFull,
    "RAY0035" => Checkpoint,
    "RAY0036" => ActorPending,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_begins_with_the_code_of_its_variant_which_is_its_number_on_the_wire() {
        let source = include_str!("mod.rs");
        let declared = source.split("\n        #[error(\"").skip(1).map(|rest| {
            let variant = rest.lines().nth(1).unwrap().trim().split(' ').next().unwrap();
            (&rest[..7], variant)
        });
        assert_eq!(declared.collect::<Vec<_>>(), RayError::CODES);
        let mut head = String::new();
        for (number, (code, _)) in (1..).zip(RayError::CODES) {
            assert_eq!(*code, format!("RAY{number:04}"));
            head.push_str(&format!("        {number} =>\n"));
        }
        let numbers = source
            .lines()
            .filter(|line| line.starts_with("        ") && line.ends_with(" =>"));
        assert_eq!(numbers.map(|line| format!("{line}\n")).collect::<String>(), head);
    }

    #[test]
    fn every_code_has_its_page_and_every_page_its_code() {
        let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
        let index = std::fs::read_to_string(pages.join("README.md")).unwrap();
        for (code, variant) in RayError::CODES {
            let page = std::fs::read_to_string(pages.join(format!("{code}.md"))).expect(code);
            assert!(page.starts_with(&format!("# {code}: {variant}\n")), "{code}");
            for section in ["\n## How it comes about\n", "\n## What to do\n", "\n## Example\n"] {
                assert!(page.contains(section), "{code} lacks {section:?}");
            }
            assert!(
                index.contains(&format!("[{code}]({code}.md) | `{variant}`")),
                "{code} is not in the index"
            );
        }
        for entry in std::fs::read_dir(&pages).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let known = name == "README.md" || RayError::CODES.iter().any(|(code, _)| name == format!("{code}.md"));
            assert!(known, "{name} is the page of no code");
        }
    }
}
