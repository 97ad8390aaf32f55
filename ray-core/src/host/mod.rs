//! What this machine offers: CPUs, memory, GPUs. A container's limits come before the host's size.
//!
//! Reading files is apart from understanding them: every parser is a function of text.

mod cgroup;
pub mod cpus;
pub mod gpus;
pub mod memory;
pub mod memory_monitor;
#[cfg(feature = "gpu")]
mod nvml;
pub mod process_memory;

pub use cpus::Cpus;
pub use gpus::{Gpu, VisibleDevices};
pub use memory::{Memory, MemoryUsage};
pub use process_memory::ProcessMemory;
