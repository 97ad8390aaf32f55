//! The first message of each end: who it is, as far as that decides whether the two can talk.

use crate::wire::handshake::{MAGIC, PROTOCOL, layout_fingerprint};

/// The length of the message.
pub(super) const OPENING: usize = 64;
/// The length of a challenge.
pub(super) const NONCE: usize = 32;
const ARCH: usize = 12;

/// What an end says first: `[magic u64][protocol u32][layout u64][architecture 12 bytes][nonce 32 bytes]`, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    magic: u64,
    protocol: u32,
    layout: u64,
    arch: [u8; ARCH],
    nonce: [u8; NONCE],
}

/// Why two ends cannot talk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mismatch {
    /// The other end is something else.
    #[error("the peer is not a process of Ray for Rust{}", if *http { ": it speaks HTTP, as a Python Ray process does" } else { "" })]
    Foreign {
        /// Whether what it said looks like HTTP.
        http: bool,
    },
    /// Another protocol.
    #[error(
        "the peer speaks protocol {theirs}, this process protocol {ours}: run the same version of ray-core everywhere"
    )]
    Protocol {
        /// The peer's.
        theirs: u32,
        /// This process's.
        ours: u32,
    },
    /// The same protocol number, but other frames: two builds of an unreleased version.
    #[error(
        "the peer's frames are laid out differently ({theirs:#018x}, here {ours:#018x}): run the same version of ray-core everywhere"
    )]
    Layout {
        /// The peer's fingerprint.
        theirs: u64,
        /// This process's.
        ours: u64,
    },
    /// Another processor architecture.
    #[error("the peer runs on {theirs}, this process on {ours}")]
    Arch {
        /// The peer's.
        theirs: String,
        /// This process's.
        ours: String,
    },
}

fn arch_field(name: &str) -> [u8; ARCH] {
    let mut field = [0; ARCH];
    let len = name.len().min(ARCH);
    field[..len].copy_from_slice(&name.as_bytes()[..len]);
    field
}

fn arch_name(field: &[u8; ARCH]) -> String {
    let text = String::from_utf8_lossy(field);
    text.trim_end_matches('\0').escape_default().to_string()
}

impl Opening {
    /// What this process says.
    pub(super) fn of_this_process(nonce: [u8; NONCE]) -> Self {
        Self {
            magic: MAGIC,
            protocol: PROTOCOL,
            layout: layout_fingerprint(),
            arch: arch_field(std::env::consts::ARCH),
            nonce,
        }
    }

    pub(super) fn to_bytes(&self) -> [u8; OPENING] {
        let mut bytes = [0; OPENING];
        bytes[0..8].copy_from_slice(&self.magic.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.protocol.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.layout.to_le_bytes());
        bytes[20..32].copy_from_slice(&self.arch);
        bytes[32..64].copy_from_slice(&self.nonce);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; OPENING]) -> Self {
        fn field<const N: usize>(bytes: &[u8; OPENING], at: usize) -> [u8; N] {
            let mut field = [0; N];
            field.copy_from_slice(&bytes[at..at + N]);
            field
        }
        Self {
            magic: u64::from_le_bytes(field(bytes, 0)),
            protocol: u32::from_le_bytes(field(bytes, 8)),
            layout: u64::from_le_bytes(field(bytes, 12)),
            arch: field(bytes, 20),
            nonce: field(bytes, 32),
        }
    }

    /// TC-4: whether the two can talk.
    pub(super) fn check(&self, ours: &Self) -> Result<(), Mismatch> {
        if self.magic != ours.magic {
            // Longer than the shortest method, so that a request is known before all of it has come.
            let text = self.magic.to_le_bytes();
            let http = [&b"PRI "[..], b"GET ", b"POST", b"PUT ", b"HTTP", b"HEAD"];
            return Err(Mismatch::Foreign {
                http: http.iter().any(|method| text.starts_with(method)),
            });
        }
        if self.protocol != ours.protocol {
            return Err(Mismatch::Protocol {
                theirs: self.protocol,
                ours: ours.protocol,
            });
        }
        if self.layout != ours.layout {
            return Err(Mismatch::Layout {
                theirs: self.layout,
                ours: ours.layout,
            });
        }
        if self.arch != ours.arch {
            return Err(Mismatch::Arch {
                theirs: arch_name(&self.arch),
                ours: arch_name(&ours.arch),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_writes() {
        let opening = Opening::of_this_process([7; NONCE]);
        assert_eq!(Opening::from_bytes(&opening.to_bytes()), opening);
        assert_eq!(arch_name(&opening.arch), std::env::consts::ARCH);
    }

    #[test]
    fn tc_4_each_difference_is_named_with_both_sides() {
        let ours = Opening::of_this_process([0; NONCE]);
        let differing = |change: fn(&mut Opening)| {
            let mut theirs = Opening::of_this_process([1; NONCE]);
            change(&mut theirs);
            theirs.check(&ours).map_err(|error| error.to_string())
        };
        assert_eq!(differing(|_| ()), Ok(()));
        let protocol = differing(|theirs| theirs.protocol = 77).unwrap_err();
        assert!(
            protocol.contains("protocol 77") && protocol.contains(&PROTOCOL.to_string()),
            "{protocol}"
        );
        let arch = differing(|theirs| theirs.arch = arch_field("riscv64")).unwrap_err();
        assert!(
            arch.contains("riscv64") && arch.contains(std::env::consts::ARCH),
            "{arch}"
        );
        assert!(differing(|theirs| theirs.layout ^= 1).unwrap_err().contains("laid out"));
        let http = differing(|theirs| theirs.magic = u64::from_le_bytes(*b"PRI * HT")).unwrap_err();
        assert!(http.contains("Python Ray"), "{http}");
        assert_eq!(
            differing(|theirs| theirs.magic = 3).unwrap_err(),
            "the peer is not a process of Ray for Rust"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::array::uniform32(0u8..)) {
            let mut whole = [0; OPENING];
            whole[..32].copy_from_slice(&bytes);
            let _checked = Opening::from_bytes(&whole).check(&Opening::of_this_process([0; NONCE]));
        }
    }
}
