//! What client and server say to each other: one message a packet, explicit widths, little-endian.

use std::time::Duration;

use crate::error::{Error, Holder, Usage};
use crate::ids::Key;

/// Changes with every change of a message or of a shared layout.
pub(crate) const PROTOCOL: u32 = 2;
const MAGIC: u64 = u64::from_le_bytes(*b"rayobj\0\0");
/// No packet is longer.
pub(crate) const MAX_PACKET: usize = 32 * 1024;
/// No reply is longer: texts in it are cut at 1 KiB.
pub(crate) const MAX_REPLY: usize = 4 * 1024;
/// Keys in one [`Request::Free`].
pub(crate) const KEYS_PER_PACKET: usize = 1024;

/// The server's first packet; the descriptors of what is shared come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) segment_len: u64,
    pub(crate) huge: bool,
    pub(crate) buckets: u32,
    pub(crate) slots: u32,
}

/// From a client. `id` names the call that waits for the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Create {
        id: u64,
        key: Key,
        size: u64,
        /// A lease of an arena is as welcome as the object's own grant.
        lease: bool,
    },
    Seal {
        id: u64,
        generation: u64,
        sealed_at: u64,
    },
    /// The creation ends unsealed.
    Abort {
        generation: u64,
    },
    Get {
        id: u64,
        key: Key,
    },
    /// The client has pinned what the reply to `Get` held for it, or gave up.
    Unhold {
        generation: u64,
    },
    Contains {
        id: u64,
        key: Key,
    },
    /// Frees what was sealed or begun under these keys up to `freed_at`.
    Free {
        keys: Vec<Key>,
        freed_at: u64,
    },
    /// Take over what this client has published before the reply.
    Sync {
        id: u64,
    },
    /// The client ends in order: it has no pin and no creation left.
    Bye,
}

/// To a client, for the call `id`.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) id: u64,
    pub(crate) result: Result<Answer, Error>,
}

/// A good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted {
        generation: u64,
        offset: u64,
        backed: bool,
    },
    /// An arena to create in, with the first of its generations.
    Leased {
        lease: u64,
        generation: u64,
        offset: u64,
        backed: bool,
    },
    Synced,
    Sealed {
        slot: u32,
    },
    /// In memory, and held for the client until it says `Unhold`.
    Found {
        generation: u64,
        slot: u32,
        offset: u64,
        size: u64,
    },
    Contains(bool),
}

#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    fn key(mut self, key: &Key) -> Self {
        self.0.extend(key.0);
        self
    }
    fn text(self, text: &str) -> Self {
        let end = text
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .take_while(|end| *end <= 1024)
            .last()
            .unwrap_or(0);
        let mut out = self.u32(end as u32);
        out.0.extend(&text.as_bytes()[..end]);
        out
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    fn key(&mut self) -> Option<Key> {
        self.array().map(Key)
    }
    fn text(&mut self) -> Option<String> {
        let len = self.u32()? as usize;
        Some(String::from_utf8_lossy(self.take(len)?).into_owned())
    }
}

impl Hello {
    pub(crate) fn encode(&self) -> Vec<u8> {
        Out::default()
            .u64(MAGIC)
            .u32(PROTOCOL)
            .u64(self.segment_len)
            .u8(u8::from(self.huge))
            .u32(self.buckets)
            .u32(self.slots)
            .0
    }

    pub(crate) fn decode(packet: &[u8]) -> Result<Self, Error> {
        let mut from = In(packet);
        let (magic, protocol) = (from.u64(), from.u32());
        if magic != Some(MAGIC) {
            return Err(Error::corrupt("the descriptor does not lead to an object store"));
        }
        if protocol != Some(PROTOCOL) {
            return Err(Error::corrupt(format!(
                "the store speaks protocol {protocol:?}, this client {PROTOCOL}"
            )));
        }
        let hello = (|| {
            Some(Self {
                segment_len: from.u64()?,
                huge: from.u8()? != 0,
                buckets: from.u32()?,
                slots: from.u32()?,
            })
        })();
        hello
            .filter(|hello| hello.buckets > 0)
            .ok_or_else(|| Error::corrupt("a greeting cut short"))
    }
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let out = Out::default();
        match self {
            Self::Create { id, key, size, lease } => out.u8(1).u64(*id).key(key).u64(*size).u8(u8::from(*lease)),
            Self::Seal {
                id,
                generation,
                sealed_at,
            } => out.u8(2).u64(*id).u64(*generation).u64(*sealed_at),
            Self::Abort { generation } => out.u8(3).u64(*generation),
            Self::Get { id, key } => out.u8(4).u64(*id).key(key),
            Self::Unhold { generation } => out.u8(5).u64(*generation),
            Self::Contains { id, key } => out.u8(6).u64(*id).key(key),
            Self::Free { keys, freed_at } => {
                let out = out.u8(7).u64(*freed_at).u32(keys.len() as u32);
                keys.iter().fold(out, Out::key)
            }
            Self::Bye => out.u8(8),
            Self::Sync { id } => out.u8(9).u64(*id),
        }
        .0
    }

    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        let mut from = In(packet);
        Some(match from.u8()? {
            1 => Self::Create {
                id: from.u64()?,
                key: from.key()?,
                size: from.u64()?,
                lease: from.u8()? != 0,
            },
            2 => Self::Seal {
                id: from.u64()?,
                generation: from.u64()?,
                sealed_at: from.u64()?,
            },
            3 => Self::Abort {
                generation: from.u64()?,
            },
            4 => Self::Get {
                id: from.u64()?,
                key: from.key()?,
            },
            5 => Self::Unhold {
                generation: from.u64()?,
            },
            6 => Self::Contains {
                id: from.u64()?,
                key: from.key()?,
            },
            7 => {
                let freed_at = from.u64()?;
                let len = from.u32()? as usize;
                if len > KEYS_PER_PACKET {
                    return None;
                }
                Self::Free {
                    keys: (0..len).map(|_| from.key()).collect::<Option<_>>()?,
                    freed_at,
                }
            }
            8 => Self::Bye,
            9 => Self::Sync { id: from.u64()? },
            _ => return None,
        })
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let out = Out::default().u64(self.id);
        match &self.result {
            Ok(Answer::Granted {
                generation,
                offset,
                backed,
            }) => out.u8(1).u64(*generation).u64(*offset).u8(u8::from(*backed)),
            Ok(Answer::Sealed { slot }) => out.u8(2).u32(*slot),
            Ok(Answer::Found {
                generation,
                slot,
                offset,
                size,
            }) => out.u8(3).u64(*generation).u32(*slot).u64(*offset).u64(*size),
            Ok(Answer::Contains(yes)) => out.u8(4).u8(u8::from(*yes)),
            Ok(Answer::Leased {
                lease,
                generation,
                offset,
                backed,
            }) => (out.u8(5).u64(*lease).u64(*generation))
                .u64(*offset)
                .u8(u8::from(*backed)),
            Ok(Answer::Synced) => out.u8(6),
            Err(error) => encode_error(out.u8(0), error),
        }
        .0
    }

    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        let mut from = In(packet);
        let id = from.u64()?;
        let result = match from.u8()? {
            1 => Ok(Answer::Granted {
                generation: from.u64()?,
                offset: from.u64()?,
                backed: from.u8()? != 0,
            }),
            2 => Ok(Answer::Sealed { slot: from.u32()? }),
            3 => Ok(Answer::Found {
                generation: from.u64()?,
                slot: from.u32()?,
                offset: from.u64()?,
                size: from.u64()?,
            }),
            4 => Ok(Answer::Contains(from.u8()? != 0)),
            5 => Ok(Answer::Leased {
                lease: from.u64()?,
                generation: from.u64()?,
                offset: from.u64()?,
                backed: from.u8()? != 0,
            }),
            6 => Ok(Answer::Synced),
            0 => Err(decode_error(&mut from)?),
            _ => return None,
        };
        Some(Self { id, result })
    }
}

fn encode_error(out: Out, error: &Error) -> Out {
    let out = out.u32(u32::from(error.code()));
    match error {
        Error::NotFound { key } => out.key(key),
        Error::Lost { key, reason } => out.key(key).text(reason),
        Error::Full {
            requested,
            waited,
            usage,
            spill_error,
        } => {
            let out = out
                .u64(*requested)
                .u64(waited.as_millis() as u64)
                .u64(usage.capacity)
                .u64(usage.creating);
            let out = out
                .u64(usage.sealed)
                .u64(usage.arenas)
                .u64(usage.dying)
                .u64(usage.spilled)
                .u32(usage.holders.len() as u32);
            let out = usage
                .holders
                .iter()
                .fold(out, |out, holder| out.u32(holder.pid).u64(holder.bytes));
            match spill_error {
                Some(text) => out.u8(1).text(text),
                None => out.u8(0),
            }
        }
        Error::TooLarge { requested, capacity } => out.u64(*requested).u64(*capacity),
        Error::TooManyObjects { limit } | Error::TooManyPins { limit } => out.u64(*limit),
        Error::NoMemory { requested, reason } => out.u64(*requested).text(reason),
        Error::StoreGone => out,
        Error::Corrupt { what } => out.text(what),
        Error::Io { what, reason } => out.text(&format!("{what}: {reason}")),
    }
}

fn decode_error(from: &mut In<'_>) -> Option<Error> {
    Some(match from.u32()? {
        1001 => Error::NotFound { key: from.key()? },
        1002 => Error::Lost {
            key: from.key()?,
            reason: from.text()?,
        },
        1003 => {
            let (requested, waited) = (from.u64()?, Duration::from_millis(from.u64()?));
            let mut usage = Usage {
                capacity: from.u64()?,
                creating: from.u64()?,
                sealed: from.u64()?,
                arenas: from.u64()?,
                dying: from.u64()?,
                spilled: from.u64()?,
                holders: Vec::new(),
            };
            for _ in 0..from.u32()? {
                usage.holders.push(Holder {
                    pid: from.u32()?,
                    bytes: from.u64()?,
                });
            }
            let spill_error = if from.u8()? == 1 { Some(from.text()?) } else { None };
            Error::Full {
                requested,
                waited,
                usage,
                spill_error,
            }
        }
        1004 => Error::TooLarge {
            requested: from.u64()?,
            capacity: from.u64()?,
        },
        1005 => Error::TooManyObjects { limit: from.u64()? },
        1006 => Error::TooManyPins { limit: from.u64()? },
        1007 => Error::NoMemory {
            requested: from.u64()?,
            reason: from.text()?,
        },
        1008 => Error::StoreGone,
        1009 => Error::Corrupt { what: from.text()? },
        1010 => Error::Io {
            what: "the object store failed",
            reason: from.text()?,
        },
        _ => return None,
    })
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
