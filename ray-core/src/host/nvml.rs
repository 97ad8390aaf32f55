//! The GPUs as NVML tells them. The library is loaded at run time, so a build with it runs on machines without.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::Gpu;

/// The installed GPUs in NVML's order (by bus address), or `None` where NVML is not there or does not answer.
pub(super) fn installed() -> Option<Vec<Gpu>> {
    match ask() {
        Ok(gpus) => Some(gpus),
        Err(error) => {
            tracing::debug!(%error, "no answer from NVML");
            None
        }
    }
}

fn ask() -> Result<Vec<Gpu>, NvmlError> {
    let nvml = Nvml::init()?;
    (0..nvml.device_count()?)
        .map(|index| {
            let device = nvml.device_by_index(index)?;
            Ok(Gpu {
                visible_as: index.to_string(),
                uuid: device.uuid().ok(),
                model: device.name().ok(),
                memory: device.memory_info().ok().map(|memory| memory.total),
            })
        })
        .collect()
}
