//! The GPUs that this process may use, counted without starting CUDA.
//!
//! Starting CUDA (`cuInit`) would fix the set of devices for the whole process and cost seconds and memory. The driver's
//! own lists are asked instead: NVML with feature `gpu`, else `/proc/driver/nvidia`. What `CUDA_VISIBLE_DEVICES` hides
//! from this process is never handed on.

use std::path::Path;

/// The variable that says which devices CUDA shows a process.
pub const VISIBLE_DEVICES_VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// A GPU that this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// How `CUDA_VISIBLE_DEVICES` of a worker names it: as the parent's variable does, else by its number.
    pub visible_as: String,
    /// Its UUID (`GPU-...`), where known.
    pub uuid: Option<String>,
    /// Its model, where known.
    pub model: Option<String>,
    /// Its memory in bytes, where known.
    pub memory: Option<u64>,
}

impl Gpu {
    /// The GPUs that this process may use. None without a driver.
    pub fn detect() -> Vec<Self> {
        let variable = std::env::var(VISIBLE_DEVICES_VARIABLE).ok();
        VisibleDevices::parse(variable.as_deref()).select(&installed())
    }
}

/// The entries of this process's `CUDA_VISIBLE_DEVICES`, as they stand there; none if it is not set.
pub(crate) fn visible_names() -> Vec<String> {
    let list = std::env::var(VISIBLE_DEVICES_VARIABLE).unwrap_or_default();
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(ToOwned::to_owned).collect()
}

#[cfg(feature = "gpu")]
fn installed() -> Vec<Gpu> {
    super::nvml::installed().unwrap_or_else(from_proc)
}

#[cfg(not(feature = "gpu"))]
fn installed() -> Vec<Gpu> {
    from_proc()
}

/// The driver's list: a directory for each GPU, named by its bus address. A container sees them all there, but only its own
/// have a device file.
fn from_proc() -> Vec<Gpu> {
    let Ok(directories) = std::fs::read_dir("/proc/driver/nvidia/gpus") else {
        return Vec::new();
    };
    let mut directories: Vec<_> = directories.filter_map(|entry| Some(entry.ok()?.path())).collect();
    directories.sort();
    let texts = directories
        .iter()
        .filter_map(|directory| std::fs::read_to_string(directory.join("information")).ok());
    let has_device = |minor: u32| Path::new(&format!("/dev/nvidia{minor}")).exists();
    number(
        texts
            .map(|text| Information::parse(&text))
            .filter(|gpu| gpu.minor.is_none_or(has_device)),
    )
}

fn number(informations: impl Iterator<Item = Information>) -> Vec<Gpu> {
    informations
        .enumerate()
        .map(|(index, Information { uuid, model, .. })| Gpu {
            visible_as: index.to_string(),
            uuid,
            model,
            memory: None,
        })
        .collect()
}

/// What `/proc/driver/nvidia/gpus/<address>/information` tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Information {
    model: Option<String>,
    uuid: Option<String>,
    minor: Option<u32>,
}

impl Information {
    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'))?;
            Some(line.trim().to_owned()).filter(|value| !value.is_empty())
        };
        Self {
            model: value("Model"),
            // A locked-down driver shows question marks.
            uuid: value("GPU UUID").filter(|uuid| !uuid.contains('?')),
            minor: value("Device Minor").and_then(|minor| minor.parse().ok()),
        }
    }
}

/// What `CUDA_VISIBLE_DEVICES` says, read as CUDA reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VisibleDevices {
    /// The variable is not set: all devices.
    All,
    /// The devices before the first entry that is none. An empty variable, `-1` or `NoDevFiles` hide all.
    Only(Vec<Device>),
}

/// An entry of `CUDA_VISIBLE_DEVICES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// By number.
    Index(usize),
    /// By UUID or the unambiguous start of one.
    Uuid(String),
    /// A part of a GPU (multi-instance GPU), by its own UUID.
    Instance(String),
}

impl Device {
    fn parse(text: &str) -> Option<Self> {
        if text.starts_with("GPU-") {
            return Some(Self::Uuid(text.to_owned()));
        }
        if text.starts_with("MIG-") {
            return Some(Self::Instance(text.to_owned()));
        }
        text.parse().ok().map(Self::Index)
    }

    fn find(&self, installed: &[Gpu]) -> Option<Gpu> {
        let is_named = |gpu: &Gpu, start: &str| gpu.uuid.as_deref().is_some_and(|uuid| uuid.starts_with(start));
        match self {
            Self::Index(index) => installed.get(*index).cloned(),
            Self::Uuid(start) => {
                let mut matching = installed.iter().filter(|gpu| is_named(gpu, start));
                let found = matching.next()?.clone();
                // Ambiguous is unknown.
                matching.next().is_none().then_some(Gpu {
                    visible_as: start.clone(),
                    ..found
                })
            }
            // Not in the driver's list of GPUs: taken at its word where there is a GPU at all.
            Self::Instance(uuid) => (!installed.is_empty()).then(|| Gpu {
                visible_as: uuid.clone(),
                uuid: Some(uuid.clone()),
                model: None,
                memory: None,
            }),
        }
    }
}

impl VisibleDevices {
    /// Reads the variable's value; `None` is a variable that is not set.
    pub fn parse(variable: Option<&str>) -> Self {
        match variable {
            None => Self::All,
            Some(list) => Self::Only(list.split(',').map_while(|entry| Device::parse(entry.trim())).collect()),
        }
    }

    /// The visible ones of the installed GPUs, in the variable's order, each once; up to the first that does not exist.
    pub fn select(&self, installed: &[Gpu]) -> Vec<Gpu> {
        let Self::Only(devices) = self else {
            return installed.to_vec();
        };
        let mut selected: Vec<Gpu> = Vec::new();
        for gpu in devices.iter().map_while(|device| device.find(installed)) {
            let is_same =
                |known: &Gpu| known.visible_as == gpu.visible_as || (known.uuid.is_some() && known.uuid == gpu.uuid);
            // CUDA refuses a list that names a device twice; counting it once is the nearest that works.
            if !selected.iter().any(is_same) {
                selected.push(gpu);
            }
        }
        selected
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INFORMATION: &str = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 120\nGPU UUID: \t GPU-5a6b\nVideo BIOS: \t 96\n\
                               Bus Location: \t 0000:04:00.0\nDevice Minor: \t 0\n";

    fn installed() -> Vec<Gpu> {
        let uuids = ["GPU-aa11", "GPU-aa22", "GPU-bb33"];
        number(uuids.into_iter().map(|uuid| Information {
            uuid: Some(uuid.to_owned()),
            ..Information::default()
        }))
    }

    fn visible(variable: &str) -> Vec<String> {
        let selected = VisibleDevices::parse(Some(variable)).select(&installed());
        selected.into_iter().map(|gpu| gpu.visible_as).collect()
    }

    #[test]
    fn the_drivers_text_is_read() {
        let expected = Information {
            model: Some("NVIDIA H200".to_owned()),
            uuid: Some("GPU-5a6b".to_owned()),
            minor: Some(0),
        };
        assert_eq!(Information::parse(INFORMATION), expected);
        assert_eq!(Information::parse("GPU UUID: \t GPU-????\n"), Information::default());
    }

    #[test]
    fn without_the_variable_all_gpus_are_visible() {
        assert_eq!(VisibleDevices::parse(None).select(&installed()), installed());
    }

    #[test]
    fn the_list_is_read_as_cuda_reads_it() {
        assert_eq!(visible("2,0"), ["2", "0"]);
        assert_eq!(visible(" 1 , 2 "), ["1", "2"]);
        assert_eq!(visible("GPU-bb,GPU-aa22"), ["GPU-bb", "GPU-aa22"]);
        assert!(visible("").is_empty());
        assert!(visible("-1").is_empty());
        assert!(visible("NoDevFiles").is_empty());
        assert_eq!(visible("0,-1,1"), ["0"]);
        assert_eq!(visible("0,7,1"), ["0"]);
        assert_eq!(visible("0,GPU-aa11,1"), ["0", "1"]);
        assert!(visible("GPU-aa").is_empty(), "ambiguous");
        assert_eq!(visible("MIG-77"), ["MIG-77"]);
        assert!(
            VisibleDevices::parse(Some("MIG-77")).select(&[]).is_empty(),
            "no driver, no device"
        );
    }

    proptest! {
        #[test]
        fn what_is_selected_is_installed_and_named_once(variable in "([0-9-]{1,2}|GPU-[ab]{1,2}[0-9]{0,2}|x)?(,([0-9]|GPU-[ab]{1,2}[0-9]{0,2}| )){0,4}") {
            let selected = VisibleDevices::parse(Some(&variable)).select(&installed());
            prop_assert!(selected.len() <= installed().len());
            for gpu in &selected {
                prop_assert!(installed().iter().any(|known| known.uuid == gpu.uuid));
            }
        }
    }
}
