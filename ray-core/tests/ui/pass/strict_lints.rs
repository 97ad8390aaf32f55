//! Generated code is documented and clean under strict lints.
#![deny(missing_docs, missing_debug_implementations, unreachable_pub, unused, nonstandard_style, rust_2018_idioms)]

/// A module.
pub mod work {
    use ray_core::remote;

    /// Adds.
    #[remote]
    pub fn add(a: i64, b: i64) -> i64 {
        a + b
    }

    /// Counts.
    #[derive(Debug)]
    pub struct Counter(i64);

    #[remote]
    impl Counter {
        /// Starts at zero.
        pub fn new() -> Self {
            Self(0)
        }

        /// Adds.
        pub fn incr(&mut self, by: i64) -> i64 {
            self.0 += by;
            self.0
        }
    }

    impl Default for Counter {
        fn default() -> Self {
            Self::new()
        }
    }
}

fn main() {
    let counter = work::Counter::remote();
    let _sum = work::add::remote(counter.incr(1), 2);
    assert_eq!(work::add(1, 2), 3);
}
