//! The page that lists all settings, made from the table.
#![cfg(test)]

use std::fmt::Write;

use super::Scope;
use super::table::settings;

const HEAD: &str = "\
# Settings

Made from the table in `ray-core/src/config/table.rs` by `just generate`; not to be edited by hand.

A setting `some_name` is the environment variable `RAY_SOME_NAME`, an entry of the file that `RAY_CONFIG` names (one JSON
object, such as `{\"num_cpus\": 4}`), or `Builder::config(\"some_name\", value)`; common ones have a method of the builder of
their own. The builder beats the environment, the environment the file, the file the default. A value that makes no sense is
an error when the session starts.
";

/// The whole page.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    for (scope, title) in [
        (Scope::Process, "Of the driver"),
        (Scope::Node, "Of a node"),
        (
            Scope::Cluster,
            "Of the cluster: the head's count, and workers get them from it",
        ),
    ] {
        page += &format!("\n## {title}\n\n| setting | value | default | what it is for |\n| --- | --- | --- | --- |\n");
        for setting in settings().filter(|setting| setting.scope == scope) {
            let default = match (setting.default)() {
                none if none.is_empty() => "-".to_owned(),
                some => format!("`{some}`"),
            };
            let doc = setting.doc.trim();
            writeln!(
                page,
                "| `{}` | {} | {default} | {doc} |",
                setting.variable(),
                setting.kind
            )
            .unwrap();
        }
    }
    page
}
