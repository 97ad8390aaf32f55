//! The format of a spill file: for each object a header of 48 bytes (magic, key, CRC32 of the data, generation, size;
//! little-endian) and its bytes. A file lives no longer than its store, so nothing older is ever read.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::disk::{RestoreError, SpillItem};

const MAGIC: [u8; 8] = *b"rayspil1";
const HEADER: usize = 48;
const CHUNK: usize = 1 << 20;

fn header(item: &SpillItem, crc: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..28].copy_from_slice(&item.key.0);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    bytes[32..40].copy_from_slice(&item.generation.to_le_bytes());
    bytes[40..].copy_from_slice(&item.size.to_le_bytes());
    bytes
}

fn chunks(size: u64) -> impl Iterator<Item = (u64, usize)> {
    (0..size)
        .step_by(CHUNK)
        .map(move |at| (at, CHUNK.min((size - at) as usize)))
}

/// Writes objects one after another; gives the position of each.
pub(super) fn write(path: &Path, items: &[SpillItem]) -> io::Result<Vec<u64>> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let mut buffer = vec![0; CHUNK];
    let mut positions = Vec::with_capacity(items.len());
    let mut position = 0;
    for item in items {
        let mut crc = crc32fast::Hasher::new();
        file.write_all(&[0; HEADER])?;
        for (at, len) in chunks(item.size) {
            item.segment.read_at(item.offset + at, &mut buffer[..len])?;
            crc.update(&buffer[..len]);
            file.write_all(&buffer[..len])?;
        }
        file.write_all_at(&header(item, crc.finalize()), position)?;
        positions.push(position);
        position += HEADER as u64 + item.size;
    }
    Ok(positions)
}

/// Reads one object back into its segment.
pub(super) fn read(path: &Path, position: u64, item: &SpillItem) -> Result<(), RestoreError> {
    let lost = |what: String| RestoreError::Lost(format!("spill file {}: {what}", path.display()));
    let file = File::open(path).map_err(|error| lost(error.to_string()))?;
    let mut found = [0; HEADER];
    file.read_exact_at(&mut found, position)
        .map_err(|error| lost(error.to_string()))?;
    let mut buffer = vec![0; CHUNK];
    let mut crc = crc32fast::Hasher::new();
    for (at, len) in chunks(item.size) {
        let from = position + HEADER as u64 + at;
        file.read_exact_at(&mut buffer[..len], from)
            .map_err(|error| lost(error.to_string()))?;
        crc.update(&buffer[..len]);
        let written = item.segment.write_at(item.offset + at, &buffer[..len]);
        written.map_err(|error| RestoreError::NoMemory(error.to_string()))?;
    }
    if found == header(item, crc.finalize()) {
        Ok(())
    } else {
        Err(lost("its checksum does not match".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Key;
    use crate::memory::Segment;

    fn items(segment: &Segment) -> Vec<SpillItem> {
        let sizes = [0, 1, (3 << 20) + 5];
        let mut offset = 0;
        let mut items = Vec::new();
        for (index, size) in sizes.into_iter().enumerate() {
            segment.write_at(offset, &vec![index as u8 + 1; size as usize]).unwrap();
            items.push(SpillItem {
                generation: 5,
                key: Key([index as u8; 20]),
                offset,
                size,
                segment: segment.clone(),
            });
            offset += size;
        }
        items
    }

    #[test]
    fn objects_fused_into_one_file_come_back_each_to_another_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spill");
        let segment = Segment::new(16 << 20, 16 << 20).unwrap();
        let items = items(&segment);
        let positions = write(&path, &items).unwrap();
        for (index, (item, position)) in items.iter().zip(positions).enumerate() {
            let moved = SpillItem {
                offset: item.offset + (8 << 20),
                ..item.clone()
            };
            read(&path, position, &moved).unwrap();
            let mut bytes = vec![0; item.size as usize];
            segment.read_at(moved.offset, &mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| *byte == index as u8 + 1));
        }
    }

    #[test]
    fn a_flipped_bit_a_short_file_and_a_missing_file_are_lost_objects() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spill");
        let segment = Segment::new(16 << 20, 16 << 20).unwrap();
        let items = items(&segment);
        let positions = write(&path, &items).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff], positions[2] + HEADER as u64 + 77).unwrap();
        let lost = |index: usize| matches!(read(&path, positions[index], &items[index]), Err(RestoreError::Lost(_)));
        assert!(lost(2) && !lost(1));
        file.set_len(positions[2] + 9).unwrap();
        assert!(lost(2));
        std::fs::remove_file(&path).unwrap();
        assert!(lost(1));
    }
}
