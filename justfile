# The one entry: `just` lists what there is.

_list:
    @just --list --unsorted

# what must hold before a change is taken
verify:
    .ci/run

# all tests
test *arguments:
    cargo test --workspace {{arguments}}

# the tests with processes, with raylet, GCS and object store in a process of their own
test-head-process *arguments:
    RAY_HEAD_PROCESS=1 cargo test -p ray-core -p ray-examples --test it {{arguments}} -- --skip ui::

# the main example: digits, trained on all cores
demo:
    cargo run --release -p ray-examples --bin digits

# the table of speeds, beside the floors of this machine
bench *arguments:
    cargo run --release -p ray-bench -- core {{arguments}}

# the protocol between readers and the store, in every order of its memory accesses
loom:
    RUSTFLAGS="--cfg ray_loom" cargo test --release --target-dir target/loom -p ray-objstore -p ray-core-ring --lib loom

# unsafe code of the value codec, under Miri (needs the nightly toolchain with `miri`)
miri:
    MIRIFLAGS="-Zmiri-disable-isolation" PROPTEST_CASES=4 cargo +nightly miri test --target-dir target/miri -p ray-core --lib value::

# the reference, with private items
doc:
    cargo doc --workspace --no-deps --document-private-items

# generated pages, written anew
generate:
    RAY_TEST_BLESS=1 cargo test -p ray-core --lib config::

# licences, advisories and sources of dependencies (needs `cargo install cargo-deny`)
deny:
    cargo deny check

# the formatting that `verify` asks for
fmt:
    cargo fmt --all
