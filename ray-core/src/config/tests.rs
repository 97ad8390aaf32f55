use std::collections::BTreeMap;
use std::ffi::OsString;

use super::page::page;
use super::table::settings;
use super::*;

fn given(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = entries
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

/// What is resolved from a builder and an environment.
fn resolve(builder: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = given(environment);
    let sources = Sources::new(given(builder), |name| environment.get(name).map(OsString::from))?;
    Config::resolve(&sources)
}

#[test]
fn cf_1_the_builder_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ray.json");
    std::fs::write(
        &file,
        r#"{"num_cpus": 1, "num_gpus": 1, "memory": 1, "log_encoding": "json"}"#,
    )
    .unwrap();
    let path = file.to_str().unwrap();
    let environment = [("RAY_CONFIG", path), ("RAY_NUM_CPUS", "2"), ("RAY_NUM_GPUS", "2")];
    let config = resolve(&[("num_cpus", "3")], &environment).unwrap();
    let node = &config.node;
    assert_eq!((node.num_cpus, node.num_gpus, node.memory), (Some(3), Some(2), Some(1)));
    assert_eq!(config.cluster.log_encoding, LogEncoding::Json);
    assert_eq!(config.process, Process::default());
}

#[test]
fn cf_2_a_value_that_makes_no_sense_names_its_place_and_what_would_make_sense() {
    let wrong = [
        ("RAY_NUM_CPUS", "many", "a whole number"),
        ("RAY_MEMORY_USAGE_THRESHOLD", "1.5", "a number from 0 to 1"),
        ("RAY_LOG_TO_DRIVER", "maybe", "`true` or `false`"),
        ("RAY_LOG_ENCODING", "xml", "`TEXT` or `JSON`"),
        ("RAY_LOG_LEVEL", "app=loud", "a level"),
    ];
    for (variable, value, expected) in wrong {
        let error = resolve(&[], &[(variable, value)]).unwrap_err().to_string();
        for part in [variable, value, expected] {
            assert!(error.contains(part), "{error}");
        }
    }
    let error = resolve(&[("memory_monitor_refresh_ms", "-1")], &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`memory_monitor_refresh_ms` in the builder is `-1`"),
        "{error}"
    );
}

#[test]
fn cf_2_an_unknown_name_in_the_builder_or_the_file_is_told_with_its_nearest() {
    let error = resolve(&[("num_cpu", "1")], &[]).unwrap_err().to_string();
    assert!(
        error.contains("num_cpu") && error.contains("did you mean num_cpus"),
        "{error}"
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ray.json");
    for (text, part) in [("[1]", "one JSON object"), (r#"{"colour": 1}"#, "`colour` in the file")] {
        std::fs::write(&file, text).unwrap();
        let error = resolve(&[], &[("RAY_CONFIG", file.to_str().unwrap())])
            .unwrap_err()
            .to_string();
        assert!(error.contains(part) && error.contains("ray.json"), "{error}");
    }
}

#[test]
fn an_empty_variable_is_taken_as_unset() {
    assert_eq!(resolve(&[], &[("RAY_NUM_CPUS", "")]).unwrap(), Config::default());
}

#[test]
fn cf_3_settings_of_the_cluster_survive_the_handshake() {
    let cluster = Cluster {
        max_direct_call_object_size: 7,
        log_level: LogLevel::from_text("warn,ray_core=debug").unwrap(),
        log_encoding: LogEncoding::Json,
        ..Cluster::default()
    };
    assert_eq!(Cluster::received(&cluster.to_text()).unwrap(), cluster);
}

#[test]
fn every_default_can_be_written_and_read_and_no_name_is_used_twice() {
    let config = Config::default();
    let mut texts = config.process.to_text();
    texts.extend(config.node.to_text());
    texts.extend(config.cluster.to_text());
    let sources = Sources::new(texts, |_| None).unwrap();
    assert_eq!(Config::resolve(&sources).unwrap(), config);
    let mut names: Vec<_> = settings().map(|setting| setting.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn the_page_of_settings_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md");
    if std::env::var_os("RAY_TEST_BLESS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, page(), "run `just generate`");
}
