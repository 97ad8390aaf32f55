//! The `memory` report.

use ray_core::memory::ObjectState;
use ray_core::value::Buffer;
use ray_core::{get, memory_report, put, remote};

use super::{MIB, all_is_freed, pattern, session, small_store};
use crate::support::{Gate, Signs, in_own_process, wait_until};

#[remote]
fn hold_until(buffer: Buffer, begun: Gate, gate: Gate) -> usize {
    begun.open();
    gate.wait();
    buffer.len()
}

#[test]
fn the_report_says_who_holds_what_and_which_memory_each_task_takes() {
    in_own_process(|| {
        let _ray = session(2);
        let signs = Signs::new();
        let (begun, gate) = (signs.gate("begun"), signs.gate("gate"));
        let reference = put(&Buffer::from(pattern(1, MIB))).unwrap();
        let result = hold_until::remote(&reference, begun.clone(), gate.clone());
        begun.wait();
        let pinned = |report: &ray_core::memory::MemoryReport| {
            let object = report.objects.iter().find(|object| object.object == reference.id());
            object.is_some_and(|object| object.holders.iter().any(|holder| holder.views == 1))
        };
        wait_until(|| pinned(&memory_report().unwrap()));
        let report = memory_report().unwrap();

        let object = report
            .objects
            .iter()
            .find(|object| object.object == reference.id())
            .unwrap();
        assert_eq!(object.state, ObjectState::Sealed {});
        assert!(object.size.unwrap() >= MIB as u64 && report.store.sealed >= MIB as u64);
        assert_eq!(object.call_site, None);
        let driver = report
            .processes
            .iter()
            .find(|process| process.state == "driver")
            .unwrap();
        assert_eq!((object.owner, driver.pid), (driver.worker, std::process::id()));
        assert!(driver.pending_bytes > 0 && driver.resident > 0);
        let holder = object.holders.iter().find(|holder| holder.pid == driver.pid).unwrap();
        assert_eq!(
            (holder.handles, holder.tasks, holder.values, holder.views),
            (1, 1, 0, 0)
        );

        let worker = report
            .processes
            .iter()
            .find(|process| process.state == "leased")
            .unwrap();
        assert!(worker.resident > 0 && worker.proportional.is_some_and(|bytes| bytes <= worker.resident));
        assert_eq!(worker.running.len(), 1);
        assert!(worker.running[0].name.ends_with("hold_until") && worker.running[0].retriable);
        let pending = report
            .objects
            .iter()
            .find(|object| object.object == result.id())
            .unwrap();
        assert_eq!((pending.state, pending.size), (ObjectState::Pending {}, None));

        let text = report.to_string();
        for part in ["hold_until", "1 handles, 1 tasks", "1 views", "sealed", "PSS"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        gate.open();
        assert_eq!(get(&result).unwrap(), MIB);
        drop((reference, result));
        all_is_freed();
    });
}

#[remote]
fn number() -> u64 {
    7
}

struct Teller;

#[remote]
impl Teller {
    fn new() -> Self {
        Self
    }

    fn number(&self) -> u64 {
        7
    }
}

#[test]
fn the_report_says_where_references_were_made_if_that_is_wanted() {
    in_own_process(|| {
        let _ray = small_store(16).config("record_ref_creation_sites", 1).init().unwrap();
        let stored = put(&1u64).unwrap();
        let line = line!() - 1;
        let made = number::remote();
        get(&made).unwrap();
        let waited = number::submit_blocking();
        let teller = Teller::remote();
        let called = teller.number();
        get((&waited, &called)).unwrap();
        let report = memory_report().unwrap();
        let site = |id| {
            report
                .objects
                .iter()
                .find(|object| object.object == id)
                .unwrap()
                .call_site
                .clone()
                .unwrap()
        };
        assert!(site(stored.id()).contains(&format!("report.rs:{line}:")), "{report}");
        assert!(
            site(made.id()).contains(&format!("report.rs:{}:", line + 2)),
            "{report}"
        );
        assert!(
            site(waited.id()).contains(&format!("report.rs:{}:", line + 4)),
            "{report}"
        );
        assert!(
            site(called.id()).contains(&format!("report.rs:{}:", line + 6)),
            "{report}"
        );
        drop((stored, made, waited, called, teller));
        all_is_freed();
    });
}
