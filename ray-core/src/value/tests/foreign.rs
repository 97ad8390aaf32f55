//! Buffers and references inside values.

use serde::{Deserialize, Serialize};

use super::super::{Buffer, RefToken, decode, encode, refs_of};
use super::round_trip;
use crate::ids::{ActorId, TaskId, WorkerId};

fn buffer(len: usize) -> Buffer {
    Buffer::from_vec((0..len).map(|index| index as u8).collect::<Vec<u8>>())
}

fn token(index: u32) -> RefToken {
    let owner = WorkerId::from_bytes([7; 16]);
    RefToken::object(TaskId::new(owner, 1).object(index), owner)
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Batch {
    name: String,
    first: Buffer,
    second: Option<Buffer>,
    refs: Vec<RefToken>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    batch: Batch,
    id: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Batch(Batch),
    Buffer(Buffer),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    Batch(Batch),
    Fields { buffer: Buffer, reference: RefToken },
}

fn batch() -> Batch {
    Batch {
        name: "b".into(),
        first: buffer(1000),
        second: Some(buffer(64)),
        refs: vec![token(1), token(2)],
    }
}

#[test]
fn buffers_of_every_size_are_read_back() {
    for len in [0, 1, 63, 64, 65, 4096] {
        round_trip(&(1, buffer(len), vec![buffer(len + 1), buffer(len)]));
    }
}

#[test]
fn a_buffer_is_read_as_a_view_of_the_object() {
    let object = encode(&batch()).unwrap().to_bytes();
    let read: Batch = decode(&object).unwrap();
    for view in [&read.first, read.second.as_ref().unwrap()] {
        assert!(object.as_ptr_range().contains(&view.as_ptr()));
        assert!(view.is_aligned());
    }
    assert!(read.first.typed::<u64>().is_ok());
}

#[test]
fn a_buffer_in_unaligned_memory_is_read_as_an_aligned_copy() {
    let object = encode(&batch()).unwrap().to_bytes();
    let mut frame = vec![0; 1];
    frame.extend_from_slice(&object);
    let frame = bytes::Bytes::from(frame);
    let read: Batch = decode(&frame.slice(1..)).unwrap();
    assert_eq!(read, batch());
    assert!(read.first.is_aligned());
    assert!(!frame.as_ptr_range().contains(&read.first.as_ptr()));
}

#[test]
fn memory_shared_within_a_value_is_written_once() {
    let shared = buffer(1 << 16);
    let encoded = encode(&vec![shared.clone(), shared.clone(), shared]).unwrap();
    assert_eq!(encoded.buffers.len(), 1);
    assert_eq!(decode::<Vec<Buffer>>(&encoded.to_bytes()).unwrap().len(), 3);
}

#[test]
fn references_are_listed_without_decoding() {
    let actor = RefToken::actor(ActorId::from_bytes([9; 16]), WorkerId::from_bytes([1; 16]));
    let value = (token(1), vec![Some(token(2)), None], actor, "x");
    let object = encode(&value).unwrap().to_bytes();
    assert_eq!(refs_of(&object).unwrap(), [token(1), token(2), actor]);
    assert_eq!(actor.actor_id(), Some(ActorId::from_bytes([9; 16])));
    round_trip(&(token(1), vec![Some(token(2)), None], actor));
}

#[test]
fn buffers_and_references_survive_flatten_untagged_and_tags() {
    round_trip(&Flat { batch: batch(), id: 1 });
    round_trip(&Untagged::Batch(batch()));
    round_trip(&Untagged::Buffer(buffer(100)));
    round_trip(&Untagged::Buffer(buffer(10)));
    round_trip(&Tagged::Batch(batch()));
    round_trip(&Tagged::Fields {
        buffer: buffer(100),
        reference: token(3),
    });
}

#[test]
fn another_serializer_writes_a_buffer_as_bytes_and_refuses_a_reference() {
    assert_eq!(serde_json::to_string(&buffer(3)).unwrap(), "[0,1,2]");
    assert_eq!(serde_json::from_str::<Buffer>("[0,1,2]").unwrap(), buffer(3));
    let refused = serde_json::to_string(&token(1)).unwrap_err().to_string();
    assert!(
        refused.contains("an ObjectRef can only travel in values sent through ray-core"),
        "{refused}"
    );
    let forged = encode(&Buffer::copy_from_slice(&[0; 37])).unwrap().to_bytes();
    assert!(decode::<RefToken>(&forged).is_err());
}

/// Runs two other serializers, ours among them, inside its own.
#[derive(Debug, PartialEq)]
struct Wrapper(Buffer);

impl Serialize for Wrapper {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(&self.0).map_err(serde::ser::Error::custom)?;
        let nested = encode(&(&self.0, token(1)))
            .map_err(serde::ser::Error::custom)?
            .to_bytes();
        (text, Buffer::from(nested), &self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Wrapper {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (text, nested, direct) = <(String, Buffer, Buffer)>::deserialize(deserializer)?;
        let from_text: Buffer = serde_json::from_str(&text).map_err(serde::de::Error::custom)?;
        let (from_nested, reference): (Buffer, RefToken) =
            decode(&nested.into_bytes()).map_err(serde::de::Error::custom)?;
        assert_eq!((&from_text, &from_nested, reference), (&direct, &direct, token(1)));
        Ok(Self(direct))
    }
}

#[test]
fn user_code_may_run_other_serializers_inside_its_own() {
    round_trip(&vec![Wrapper(buffer(100)), Wrapper(buffer(5))]);
}
