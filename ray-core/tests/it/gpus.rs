//! GPUs: counted, given out by number, shown to processes by `CUDA_VISIBLE_DEVICES` and to shared work by its context. No
//! GPU is needed: nothing here computes on one, and where one must be found, a library answers in NVML's place.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use ray_core::{Ray, RayError, cluster_resources, get, remote, runtime_context};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::support::{Gate, Signs, Tally, in_own_process, in_own_process_given, kill_process, skip, wait_until};

const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// What code sees of its GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    pid: u32,
    variable: Option<String>,
    numbers: Vec<usize>,
    ids: Vec<String>,
}

fn seen() -> Seen {
    let context = runtime_context().unwrap();
    Seen {
        pid: std::process::id(),
        variable: std::env::var(VISIBLE).ok(),
        numbers: context.gpus(),
        ids: context.gpu_ids(),
    }
}

#[remote]
fn look() -> Seen {
    seen()
}

/// Runs until told to end, so that several hold their GPUs at once.
#[remote]
fn hold(begun: Tally, end: Gate) -> Seen {
    begun.add();
    end.wait();
    seen()
}

#[remote(isolation = "shared")]
fn hold_here(begun: Tally, end: Gate) -> Seen {
    begun.add();
    end.wait();
    seen()
}

/// A task of a process of its own, whose own task is shared: it runs in the driver, under a lease of this process.
#[remote(num_cpus = 0)]
fn from_elsewhere(begun: Tally, end: Gate) -> Seen {
    get(&hold_here::options().num_cpus(0).num_gpus(1).remote(begun, end)).unwrap()
}

struct Trainer;

#[remote]
impl Trainer {
    fn new() -> Self {
        Self
    }

    fn look(&self) -> Seen {
        seen()
    }
}

fn ids(seen: &[Seen]) -> BTreeSet<String> {
    seen.iter().flat_map(|one| one.ids.clone()).collect()
}

fn set<const N: usize>(ids: [&str; N]) -> BTreeSet<String> {
    ids.map(str::to_owned).into()
}

#[test]
fn without_a_driver_there_are_none_and_who_needs_one_is_told() {
    in_own_process_given(
        || Some(((), vec![(VISIBLE, String::new())])),
        || {
            let _ray = Ray::builder().num_cpus(1).init().unwrap();
            assert!(!cluster_resources().unwrap().contains_key("GPU"));
            let error = get(&look::options().num_gpus(1).remote()).unwrap_err();
            assert!(matches!(error, RayError::Unschedulable { .. }), "{error:?}");
            assert!(error.to_string().contains("GPU"), "{error}");
        },
    );
}

#[test]
fn each_process_sees_its_own_and_keeps_them_for_life() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(4).num_gpus(2).init().unwrap();
        let signs = Signs::new();
        let (begun, end) = (signs.tally("begun"), signs.gate("end"));
        let held: Vec<_> = (0..2)
            .map(|_| hold::options().num_gpus(1).remote(begun.clone(), end.clone()))
            .collect();
        let waits = look::options().num_gpus(1).remote();
        wait_until(|| begun.count() == 2);
        let without = get(&look::remote()).unwrap();
        assert_eq!(
            (without.variable.as_deref(), without.numbers, without.ids),
            (Some(""), vec![], vec![])
        );
        end.open();
        let held = get(&held).unwrap();
        assert_eq!(ids(&held), set(["0", "1"]));
        for one in &held {
            assert_eq!((one.variable.as_ref(), &one.numbers[..]), (one.ids.first(), &[0][..]));
        }
        // Who comes after runs in a process that has one already, and none of the others.
        let after = get(&waits).unwrap();
        assert!(held.contains(&after), "{after:?} of {held:?}");
        assert_ne!(after.pid, without.pid);
    });
}

#[test]
fn parts_of_one_are_shared_and_no_more_than_all_of_it() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(8).num_gpus(2).init().unwrap();
        let signs = Signs::new();
        let (begun, end) = (signs.tally("begun"), signs.gate("end"));
        let halves: Vec<_> = (0..4)
            .map(|_| hold::options().num_gpus(0.5).remote(begun.clone(), end.clone()))
            .collect();
        wait_until(|| begun.count() == 4);
        end.open();
        let halves = get(&halves).unwrap();
        assert!(halves.iter().all(|half| half.ids.len() == 1), "{halves:?}");
        for id in ["0", "1"] {
            assert_eq!(halves.iter().filter(|half| half.ids == [id]).count(), 2, "{halves:?}");
        }
        let both = get(&look::options().num_gpus(2).remote()).unwrap();
        assert_eq!(
            (ids(std::slice::from_ref(&both)), both.numbers),
            (set(["0", "1"]), vec![0, 1])
        );
        assert_eq!(both.variable.as_deref(), Some("0,1"));
        let error = get(&look::options().num_gpus(1.5).remote()).unwrap_err();
        assert!(error.to_string().contains("1.5"), "{error}");
    });
}

#[test]
fn shared_work_is_told_by_its_context_also_that_of_other_processes() {
    in_own_process(|| {
        let _ray = Ray::builder().num_cpus(4).num_gpus(3).init().unwrap();
        let signs = Signs::new();
        let (begun, end) = (signs.tally("begun"), signs.gate("end"));
        let mut held: Vec<_> = (0..2)
            .map(|_| hold_here::options().num_gpus(1).remote(begun.clone(), end.clone()))
            .collect();
        held.push(from_elsewhere::remote(begun.clone(), end.clone()));
        wait_until(|| begun.count() == 3);
        end.open();
        let held = get(&held).unwrap();
        assert!(
            held.iter()
                .all(|one| one.pid == std::process::id() && one.numbers.len() == 1),
            "{held:?}"
        );
        assert_eq!(ids(&held), set(["0", "1", "2"]));
        let without = get(&hold_here::remote(begun, end)).unwrap();
        assert_eq!((without.numbers, without.ids), (vec![], vec![]));
    });
}

/// What answers in NVML's place: a machine with eight GPUs.
const STAND_IN: &str = r#"
#include <stdio.h>
#include <string.h>
static int devices[8];
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 8; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    if (index >= 8) return 2;
    *device = &devices[index];
    return 0;
}
static long number(void *device) { return (int *)device - devices; }
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-%04ld-stand-in", number(device));
    return 0;
}
int nvmlDeviceGetName(void *device, char *name, unsigned length) {
    snprintf(name, length, "stand-in %ld", number(device));
    return 0;
}
"#;

/// A directory with the library, for the loader's path.
fn stand_in() -> Option<TempDir> {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("nvml.c");
    std::fs::write(&source, STAND_IN).unwrap();
    let library = |name: &str| directory.path().join(name);
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library("libnvidia-ml.so.1"), &source])
        .status();
    match built {
        Ok(status) if status.success() => {}
        _ => {
            skip("a C compiler as `cc`");
            return None;
        }
    }
    std::os::unix::fs::symlink(Path::new("libnvidia-ml.so.1"), library("libnvidia-ml.so")).unwrap();
    Some(directory)
}

#[test]
fn those_that_nvml_finds_are_given_out_as_far_as_this_process_may_see_them() {
    in_own_process_given(
        || {
            let library = stand_in()?;
            let path = library.path().display().to_string();
            Some((
                library,
                vec![("LD_LIBRARY_PATH", path), (VISIBLE, "6,2,GPU-0004".to_owned())],
            ))
        },
        || {
            let _ray = Ray::builder().num_cpus(3).init().unwrap();
            assert_eq!(cluster_resources().unwrap()["GPU"], 3.0);
            let trainers: Vec<_> = (0..3)
                .map(|_| Trainer::options().num_gpus(1).max_restarts(1).remote())
                .collect();
            let look = || get(&trainers.iter().map(|trainer| trainer.look()).collect::<Vec<_>>()).unwrap();
            let before = look();
            assert_eq!(ids(&before), set(["6", "2", "GPU-0004"]));
            for one in &before {
                assert_eq!((one.variable.as_ref(), &one.numbers[..]), (one.ids.first(), &[0][..]));
            }
            // One that comes back has one that is free.
            kill_process(before[0].pid);
            let after = loop {
                match get(&trainers[0].look()) {
                    Ok(after) if after.pid != before[0].pid => break after,
                    _ => std::thread::yield_now(),
                }
            };
            assert_eq!(after.ids, before[0].ids);
            assert_eq!(look()[1..], before[1..]);
        },
    );
}
