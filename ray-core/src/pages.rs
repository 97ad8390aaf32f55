//! The examples in the README and in the pages of errors are compiled, and those of the README run, as tests.

macro_rules! pages {
    ($($name:ident: $path:literal,)*) => {
        $(#[doc = include_str!($path)] pub struct $name;)*
    };
}

pages! {
    Readme: "../../README.md",
    Ray0001: "../../docs/errors/RAY0001.md",
    Ray0002: "../../docs/errors/RAY0002.md",
    Ray0003: "../../docs/errors/RAY0003.md",
    Ray0004: "../../docs/errors/RAY0004.md",
    Ray0005: "../../docs/errors/RAY0005.md",
    Ray0006: "../../docs/errors/RAY0006.md",
    Ray0007: "../../docs/errors/RAY0007.md",
    Ray0008: "../../docs/errors/RAY0008.md",
    Ray0009: "../../docs/errors/RAY0009.md",
    Ray0010: "../../docs/errors/RAY0010.md",
    Ray0011: "../../docs/errors/RAY0011.md",
    Ray0012: "../../docs/errors/RAY0012.md",
    Ray0013: "../../docs/errors/RAY0013.md",
    Ray0014: "../../docs/errors/RAY0014.md",
    Ray0015: "../../docs/errors/RAY0015.md",
    Ray0016: "../../docs/errors/RAY0016.md",
    Ray0017: "../../docs/errors/RAY0017.md",
    Ray0018: "../../docs/errors/RAY0018.md",
    Ray0019: "../../docs/errors/RAY0019.md",
    Ray0020: "../../docs/errors/RAY0020.md",
    Ray0021: "../../docs/errors/RAY0021.md",
    Ray0022: "../../docs/errors/RAY0022.md",
    Ray0023: "../../docs/errors/RAY0023.md",
    Ray0024: "../../docs/errors/RAY0024.md",
    Ray0025: "../../docs/errors/RAY0025.md",
    Ray0026: "../../docs/errors/RAY0026.md",
    Ray0027: "../../docs/errors/RAY0027.md",
    Ray0028: "../../docs/errors/RAY0028.md",
    Ray0029: "../../docs/errors/RAY0029.md",
    Ray0030: "../../docs/errors/RAY0030.md",
    Ray0031: "../../docs/errors/RAY0031.md",
    Ray0032: "../../docs/errors/RAY0032.md",
    Ray0033: "../../docs/errors/RAY0033.md",
    Ray0034: "../../docs/errors/RAY0034.md",
    Ray0035: "../../docs/errors/RAY0035.md",
    Ray0036: "../../docs/errors/RAY0036.md",
    Checkpoints: "../../docs/checkpoints.md",
}
