//! Options that cannot be meant.

use std::collections::BTreeMap;

use super::{ActorOptions, MethodOptions, RetryBackoff, SchedulingStrategy, TaskOptions, UNLIMITED};

/// An option with a value that cannot be meant.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A quantity below zero, infinite or no number.
    #[error("the option `{option}` is {value}: a quantity is a number from 0")]
    Quantity {
        /// The option.
        option: String,
        /// What was given.
        value: f64,
    },
    /// A resource that has an option of its own.
    #[error("`resources` contains `{resource}`: use the option `{option}`")]
    ReservedResource {
        /// The resource.
        resource: String,
        /// The option to use.
        option: &'static str,
    },
    /// An empty text.
    #[error("the option `{option}` is empty: give a text, or leave the option away")]
    Empty {
        /// The option.
        option: &'static str,
    },
    /// A limit below -1.
    #[error("the option `{option}` is {value}: a limit is a number from 0, or -1 for none")]
    Limit {
        /// The option.
        option: &'static str,
        /// What was given.
        value: i32,
    },
    /// A zero that would let nothing happen.
    #[error("the option `{option}` is 0: give at least 1, or leave the option away")]
    Zero {
        /// The option.
        option: String,
    },
    /// An option that needs another one.
    #[error("the option `{option}` needs the option `{needed}`")]
    Needs {
        /// The option.
        option: &'static str,
        /// The other one.
        needed: &'static str,
    },
    /// A back-off that does not describe waits.
    #[error(
        "the option `retry_backoff` has a factor of {factor} and a jitter of {jitter}: the factor is from 1, the jitter from 0 to 1"
    )]
    Backoff {
        /// Its factor.
        factor: f64,
        /// Its jitter.
        jitter: f64,
    },
}

/// Resources that have an option of their own.
const RESERVED: [(&str, &str); 4] = [
    ("CPU", "num_cpus"),
    ("GPU", "num_gpus"),
    ("memory", "memory"),
    ("object_store_memory", "memory"),
];

impl TaskOptions {
    /// Finds the first value that cannot be meant.
    ///
    /// # Errors
    ///
    /// Says which option and what to give.
    pub fn validate(&self) -> Result<(), OptionsError> {
        quantity("num_cpus", self.num_cpus)?;
        quantity("num_gpus", self.num_gpus)?;
        resources(&self.resources)?;
        text("name", self.name.as_deref())?;
        limit("max_retries", self.max_retries)?;
        strategy(&self.scheduling_strategy)?;
        backoff(self.retry_backoff)
    }
}

impl ActorOptions {
    /// Finds the first value that cannot be meant.
    ///
    /// # Errors
    ///
    /// Says which option and what to give.
    pub fn validate(&self) -> Result<(), OptionsError> {
        quantity("num_cpus", self.num_cpus.unwrap_or_default())?;
        quantity("num_gpus", self.num_gpus)?;
        resources(&self.resources)?;
        text("name", self.name.as_deref())?;
        text("namespace", self.namespace.as_deref())?;
        text("checkpoint_place", self.checkpoint_place.as_deref())?;
        limit("max_restarts", self.max_restarts)?;
        limit("max_task_retries", self.max_task_retries)?;
        limit("max_pending_calls", self.max_pending_calls)?;
        at_least_one("max_concurrency", self.max_concurrency)?;
        for (group, calls) in &self.concurrency_groups {
            text("concurrency_groups", Some(group))?;
            at_least_one(&format!("concurrency_groups.{group}"), Some(*calls))?;
        }
        if let Some(policy) = self.checkpoint {
            at_least_one("checkpoint", policy.every_calls)?;
        }
        strategy(&self.scheduling_strategy)?;
        if self.get_if_exists && self.name.is_none() {
            return Err(OptionsError::Needs {
                option: "get_if_exists",
                needed: "name",
            });
        }
        Ok(())
    }
}

impl MethodOptions {
    /// Finds the first value that cannot be meant.
    ///
    /// # Errors
    ///
    /// Says which option and what to give.
    pub fn validate(&self) -> Result<(), OptionsError> {
        text("name", self.name.as_deref())?;
        text("concurrency_group", self.concurrency_group.as_deref())?;
        limit("max_task_retries", self.max_task_retries.unwrap_or_default())?;
        backoff(self.retry_backoff)
    }
}

fn strategy(strategy: &SchedulingStrategy) -> Result<(), OptionsError> {
    match strategy {
        SchedulingStrategy::PlacementGroup { group, bundle, .. } if group.is_nil() => Err(OptionsError::Needs {
            option: if bundle.is_some() {
                "bundle_index"
            } else {
                "capture_child_tasks"
            },
            needed: "placement_group",
        }),
        _ => Ok(()),
    }
}

fn quantity(option: &str, value: f64) -> Result<(), OptionsError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(OptionsError::Quantity {
        option: option.to_owned(),
        value,
    })
}

fn resources(resources: &BTreeMap<String, f64>) -> Result<(), OptionsError> {
    for (name, amount) in resources {
        text("resources", Some(name))?;
        if let Some((_, option)) = RESERVED.iter().find(|(reserved, _)| reserved == name) {
            return Err(OptionsError::ReservedResource {
                resource: name.clone(),
                option,
            });
        }
        quantity(&format!("resources.{name}"), *amount)?;
    }
    Ok(())
}

fn text(option: &'static str, value: Option<&str>) -> Result<(), OptionsError> {
    if value == Some("") {
        Err(OptionsError::Empty { option })
    } else {
        Ok(())
    }
}

fn limit(option: &'static str, value: i32) -> Result<(), OptionsError> {
    if value >= UNLIMITED {
        Ok(())
    } else {
        Err(OptionsError::Limit { option, value })
    }
}

fn at_least_one(option: &str, value: Option<u32>) -> Result<(), OptionsError> {
    if value == Some(0) {
        Err(OptionsError::Zero {
            option: option.to_owned(),
        })
    } else {
        Ok(())
    }
}

fn backoff(backoff: Option<RetryBackoff>) -> Result<(), OptionsError> {
    match backoff {
        Some(RetryBackoff { factor, jitter, .. }) if !(factor >= 1.0 && (0.0..=1.0).contains(&jitter)) => {
            Err(OptionsError::Backoff { factor, jitter })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        TaskOptions::default().validate().unwrap();
        ActorOptions::default().validate().unwrap();
        MethodOptions::default().validate().unwrap();
    }

    #[test]
    fn each_bad_value_is_named_with_what_to_do() {
        let cases: [(TaskOptions, &str); 5] = [
            (
                TaskOptions {
                    num_cpus: -1.0,
                    ..Default::default()
                },
                "`num_cpus` is -1",
            ),
            (
                TaskOptions {
                    num_gpus: f64::NAN,
                    ..Default::default()
                },
                "`num_gpus` is NaN",
            ),
            (
                TaskOptions {
                    name: Some(String::new()),
                    ..Default::default()
                },
                "`name` is empty",
            ),
            (
                TaskOptions {
                    max_retries: -2,
                    ..Default::default()
                },
                "-1 for none",
            ),
            (
                TaskOptions {
                    resources: BTreeMap::from([("CPU".to_owned(), 1.0)]),
                    ..Default::default()
                },
                "use the option `num_cpus`",
            ),
        ];
        for (options, expected) in cases {
            let error = options.validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn get_if_exists_needs_a_name_and_a_group_needs_room() {
        let options = ActorOptions {
            get_if_exists: true,
            ..Default::default()
        };
        assert_eq!(
            options.validate().unwrap_err().to_string(),
            "the option `get_if_exists` needs the option `name`"
        );
        let options = ActorOptions {
            concurrency_groups: BTreeMap::from([("io".to_owned(), 0)]),
            ..Default::default()
        };
        assert!(
            options
                .validate()
                .unwrap_err()
                .to_string()
                .contains("concurrency_groups.io")
        );
    }
}
