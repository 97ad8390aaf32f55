//! The floor of a new worker: the smallest static executable there is, spawned and reaped.
//!
//! It is written here as bytes (an ELF header, one segment, three instructions that exit with 0), so the floor needs no
//! installed target and is the same whatever links this program. A static Rust program costs about 0.1 ms more.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::context::Context;
use crate::sample::Sample;
use crate::stats;

#[cfg(target_arch = "x86_64")]
mod machine {
    pub(super) const ELF_MACHINE: u16 = 62;
    /// `mov eax, 60; xor edi, edi; syscall`
    pub(super) const EXIT: &[u8] = &[0xb8, 0x3c, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
}

#[cfg(target_arch = "aarch64")]
mod machine {
    pub(super) const ELF_MACHINE: u16 = 183;
    /// `mov x8, #93; mov x0, #0; svc #0`
    pub(super) const EXIT: &[u8] = &[0xa8, 0x0b, 0x80, 0xd2, 0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4];
}

/// Seconds from the spawn of the executable until it is reaped.
pub(super) fn static_binary(context: &Context) -> Result<Sample> {
    let executable = Executable::new()?;
    let values = context.repeat(|| stats::call_p50(20, 200, Duration::ZERO, || executable.run()))?;
    Ok(Sample::new(values)?.note("an ELF file of 3 instructions"))
}

/// The executable, in a memfd that nobody has open for writing (else the kernel answers "text file busy").
#[derive(Debug)]
struct Executable {
    file: File,
}

impl Executable {
    fn new() -> Result<Self> {
        let writer: OwnedFd = memfd_create("ray-bench-exit", MemfdFlags::CLOEXEC).context("making a memfd")?;
        let mut writer = File::from(writer);
        writer.write_all(&elf()).context("writing the executable")?;
        let file = File::open(path_of(&writer)).context("opening the executable for reading")?;
        drop(writer);
        Ok(Self { file })
    }

    fn run(&self) -> Result<()> {
        let status = Command::new(path_of(&self.file))
            .env_clear()
            .stdin(Stdio::inherit())
            .status()
            .context("spawning the executable")?;
        ensure!(status.success(), "the executable ended with {status}");
        Ok(())
    }
}

fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// A 64-bit ELF executable of one segment, which holds the whole file.
fn elf() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const ELF_HEADER: u16 = 64;
    const PROGRAM_HEADER: u16 = 56;
    let code = u64::from(ELF_HEADER + PROGRAM_HEADER);
    let size = code + machine::EXIT.len() as u64;

    let mut file = Vec::new();
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(2_u16.to_le_bytes()); // executable
    file.extend(machine::ELF_MACHINE.to_le_bytes());
    file.extend(1_u32.to_le_bytes()); // version
    file.extend((BASE + code).to_le_bytes()); // entry point
    file.extend(u64::from(ELF_HEADER).to_le_bytes()); // where the program header is
    file.extend(0_u64.to_le_bytes()); // no section headers
    file.extend(0_u32.to_le_bytes()); // flags
    for half in [ELF_HEADER, PROGRAM_HEADER, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes()); // to be loaded
    file.extend(5_u32.to_le_bytes()); // readable and executable
    for word in [0, BASE, BASE, size, size, 0x1_0000] {
        file.extend(u64::to_le_bytes(word));
    }
    file.extend(machine::EXIT);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_runs_and_ends_with_success() {
        Executable::new().unwrap().run().unwrap();
    }

    #[test]
    fn the_executable_has_the_size_that_its_header_states() {
        assert_eq!(elf().len(), 120 + machine::EXIT.len());
    }
}
