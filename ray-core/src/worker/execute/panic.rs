//! What a panic said, and where: kept for the error that its task ends with.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// A panic's message and place.
#[derive(Debug, Clone)]
pub(super) struct Panic {
    pub(super) message: String,
    pub(super) location: String,
}

/// Notes message and place of each panic before the hook that was there prints them.
pub(crate) fn install_hook() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let message = match info.payload_as_str() {
                Some(text) => text.to_owned(),
                None => "a panic whose payload is no text".to_owned(),
            };
            let location = info.location().map_or_else(String::new, ToString::to_string);
            // A thread that is ending keeps nothing.
            let _kept = LAST.try_with(|last| last.replace(Some(Panic { message, location })));
            before(info);
        }));
    });
}

/// The panic that was just caught on this thread.
pub(super) fn take_last() -> Panic {
    let unknown = || Panic {
        message: "a panic without a message".into(),
        location: String::new(),
    };
    LAST.take().unwrap_or_else(unknown)
}
