//! One node's shared memory: segments, index, pins, spilling. Knows bytes, not tasks.
