//! Who may talk to whom: magic, protocol number, layout fingerprint, architecture and table of remote items must agree.

pub use super::frames::handshake::MAGIC;
use super::frames::{FRAME_LAYOUTS, Hello};
use crate::error::{ERROR_LAYOUTS, FAILURE_LAYOUTS};
use crate::ids::WorkerId;
use crate::memory::MEMORY_LAYOUTS;

/// The number of the protocol. A changed layout needs a new one, and so does a change of meaning that no layout shows.
pub const PROTOCOL: u32 = 3;

/// A hash (FNV-1a, 64 bits) of the declarations of all frames, without white space.
pub fn layout_fingerprint() -> u64 {
    let modules = FRAME_LAYOUTS
        .iter()
        .chain(&[ERROR_LAYOUTS, FAILURE_LAYOUTS, MEMORY_LAYOUTS]);
    let bytes = modules
        .flat_map(|texts| texts.iter())
        .flat_map(|text| text.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Hello {
    /// What this process says of itself.
    pub fn of_this_process(worker: WorkerId, items: u64) -> Self {
        Self {
            magic: MAGIC,
            protocol: PROTOCOL,
            layout: layout_fingerprint(),
            arch: std::env::consts::ARCH.to_owned(),
            items,
            worker,
            pid: std::process::id(),
        }
    }

    /// Whether the two can talk; if not, what differs, with both sides named.
    pub fn check(&self, ours: &Hello) -> Result<(), String> {
        if self.magic != ours.magic {
            let python = "a Python Ray process speaks gRPC and cannot join a cluster of Ray for Rust";
            return Err(format!(
                "the peer is not a process of Ray for Rust (magic {:#x}); {python}",
                self.magic
            ));
        }
        let differs = |what: &str, theirs: &dyn std::fmt::Display, own: &dyn std::fmt::Display| {
            Err(format!("{what} differs: the peer has {theirs}, this process has {own}"))
        };
        if self.protocol != ours.protocol {
            return differs("the protocol number", &self.protocol, &ours.protocol);
        }
        if self.layout != ours.layout {
            return differs("the layout of frames", &self.layout, &ours.layout);
        }
        if self.arch != ours.arch {
            return differs("the architecture", &self.arch, &ours.arch);
        }
        if self.items != ours.items {
            return differs(
                "the table of remote functions and actors (the build)",
                &self.items,
                &ours.items,
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout of this number. A change of it that is not meant is seen here; one that is needs a new number.
    const LAYOUT: (u32, u64) = (3, 0x7cc5_868e_0879_b92e);

    #[test]
    fn a_changed_layout_has_a_new_number() {
        assert_eq!(
            (PROTOCOL, layout_fingerprint()),
            LAYOUT,
            "raise PROTOCOL, and write down its layout: {:#018x}",
            layout_fingerprint()
        );
    }

    #[test]
    fn each_difference_is_refused_with_both_sides_named() {
        let ours = Hello::of_this_process(WorkerId::random(), 5);
        assert_eq!(ours.check(&ours), Ok(()));
        let other = Hello {
            items: 6,
            ..ours.clone()
        };
        let why = other.check(&ours).unwrap_err();
        assert!(why.contains("peer has 6") && why.contains("has 5"), "{why}");
        assert!(
            Hello {
                magic: 1,
                ..ours.clone()
            }
            .check(&ours)
            .unwrap_err()
            .contains("Python Ray")
        );
        assert!(
            Hello {
                protocol: 9,
                ..ours.clone()
            }
            .check(&ours)
            .is_err()
        );
        assert!(
            Hello {
                arch: "riscv64".into(),
                ..ours.clone()
            }
            .check(&ours)
            .is_err()
        );
    }
}
