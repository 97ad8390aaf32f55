//! Names of the user's never meet those of generated code.
#![allow(non_camel_case_types, dead_code)]

use ray_core as cluster;

mod inner {
    use ::ray_core as renamed;

    type Option = u8;
    type Vec = u8;
    type Box = u8;
    struct String;
    struct Some;
    struct Ok;
    struct Err;
    struct Arc;

    #[renamed::remote(crate = renamed, name = "f", timeout = "1s", resources(a = 1))]
    fn f(value: Option, error: Vec, item: Box, options: u8, name: u8, r#type: u8) -> u8 {
        value + error + item + options + name + r#type
    }

    struct state;

    #[renamed::remote(crate = renamed, name = "a")]
    impl state {
        fn new(raw: u8) -> Self {
            let _ = raw;
            state
        }

        #[method(name = "g")]
        fn r#match(&self, handle: u8, raw: u8) -> u8 {
            handle + raw
        }

        fn handle(&self) {}
        fn raw(&self) {}
        fn from_raw(&self) {}
        fn timeout(&self) -> u8 {
            1
        }
    }

    pub fn call() {
        let handle = state::remote(1);
        f::remote(handle.r#match(1, 2), 2, 3, 4, 5, 6);
        handle.options().timeout();
    }
}

macro_rules! define {
    ($($name:ident)*) => {$(
        #[cluster::remote]
        fn $name(number: u8) -> u8 {
            number
        }
    )*};
}
define!(one two);

fn main() {
    inner::call();
    one::remote(two::remote(1));

    #[ray_core::remote]
    fn local(number: u8) -> u8 {
        number
    }
    local::remote(1);
}
