//! One saved state, as it lies in a file.
//!
//! ```text
//! b"RAYSTATE"  version u32  crc32 of all that follows u32  length of it u64
//! number u64  actor [u8; 16]  type name  state  calls
//! ```
//!
//! Numbers are little-endian; the last three are each preceded by their length, a u64. The calls are those of the actor's
//! own session and in that session's wire format: another one reads only the state.
//!
//! - CK-1: nothing in a file is believed before its length and its checksum are right.

use bytes::{Buf, BufMut, Bytes};

use crate::ids::ActorId;

const MAGIC: [u8; 8] = *b"RAYSTATE";
const VERSION: u32 = 1;
const HEADER: usize = 24;

/// A saved state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Given by the place: it grows from save to save, also over restarts and runs.
    pub(super) number: u64,
    pub(super) actor: ActorId,
    pub(super) type_name: String,
    /// The state, encoded as an object.
    pub(super) state: Bytes,
    /// The calls that it contains.
    pub(super) calls: Bytes,
}

/// Why a file is not a saved state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("is not one: {0}")]
    Damaged(&'static str),
    #[error("has format {found}, and this build reads format {VERSION}")]
    Version { found: u32 },
}

impl Record {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let parts = [self.type_name.as_bytes(), &self.state, &self.calls];
        let length = 24 + parts.iter().map(|part| 8 + part.len()).sum::<usize>();
        let mut file = Vec::with_capacity(HEADER + length);
        file.put_slice(&MAGIC);
        file.put_u32_le(VERSION);
        file.put_u32_le(0);
        file.put_u64_le(length as u64);
        file.put_u64_le(self.number);
        file.put_slice(self.actor.as_bytes());
        for part in parts {
            file.put_u64_le(part.len() as u64);
            file.put_slice(part);
        }
        let sum = crc32fast::hash(&file[16..]);
        file[12..16].copy_from_slice(&sum.to_le_bytes());
        file
    }

    /// CK-1.
    pub(super) fn from_bytes(mut file: Bytes) -> Result<Self, Unreadable> {
        use Unreadable::Damaged;
        if file.len() < HEADER || file[..8] != MAGIC {
            return Err(Damaged("it does not begin like one"));
        }
        file.advance(8);
        let (version, sum) = (file.get_u32_le(), file.get_u32_le());
        if version != VERSION {
            return Err(Unreadable::Version { found: version });
        }
        if crc32fast::hash(&file) != sum {
            return Err(Damaged("its checksum is wrong"));
        }
        if file.get_u64_le() != file.len() as u64 || file.len() < 24 {
            return Err(Damaged("its length is wrong"));
        }
        let number = file.get_u64_le();
        let mut actor = [0; 16];
        file.copy_to_slice(&mut actor);
        let mut part = || {
            let length = file
                .try_get_u64_le()
                .ok()
                .and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length <= file.len());
            length
                .map(|length| file.split_to(length))
                .ok_or(Damaged("a part of it is cut off"))
        };
        let (type_name, state, calls) = (part()?, part()?, part()?);
        let type_name = String::from_utf8(type_name.to_vec()).map_err(|_| Damaged("its type has no name"))?;
        Ok(Self {
            number,
            actor: ActorId::from_bytes(actor),
            type_name,
            state,
            calls,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        Record {
            number: 7,
            actor: ActorId::random(),
            type_name: "app::Counter".into(),
            state: Bytes::from_static(b"the state"),
            calls: Bytes::new(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = record();
        assert_eq!(Record::from_bytes(record.to_bytes().into()), Ok(record));
    }

    #[test]
    fn ck_1_every_cut_and_every_changed_byte_is_noticed() {
        let file = record().to_bytes();
        for length in 0..file.len() {
            assert!(
                Record::from_bytes(Bytes::copy_from_slice(&file[..length])).is_err(),
                "{length}"
            );
        }
        for place in 0..file.len() {
            let mut changed = file.clone();
            changed[place] ^= 1;
            assert!(Record::from_bytes(changed.into()).is_err(), "{place}");
        }
    }

    proptest! {
        #[test]
        fn ck_1_a_hostile_body_with_a_right_checksum_is_an_error_and_no_panic(
            body in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut file = MAGIC.to_vec();
            file.put_u32_le(VERSION);
            let rest = [&(body.len() as u64).to_le_bytes()[..], &body].concat();
            file.put_u32_le(crc32fast::hash(&rest));
            file.extend(rest);
            let _any = Record::from_bytes(file.into());
        }
    }
}
