//! Waiting for files to grow.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use rustix::io::Errno;

/// How often files are looked at where the kernel cannot tell of changes.
const POLL_PERIOD: Duration = Duration::from_millis(100);

/// Tells which files have grown. Where inotify is not to be had (its limits are per user), all are looked at regularly.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: Option<OwnedFd>,
}

/// A watched file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Watch {
    /// The kernel tells, by this number.
    Told(i32),
    /// To be looked at each time.
    Polled,
}

/// What may have grown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Grown {
    These(Vec<Watch>),
    All,
}

impl Watcher {
    pub(super) fn new() -> Self {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        Self { inotify: inotify.ok() }
    }

    #[cfg(test)]
    pub(super) fn without_inotify() -> Self {
        Self { inotify: None }
    }

    pub(super) fn watch(&self, path: &Path) -> Watch {
        let told = self
            .inotify
            .as_ref()
            .map(|inotify| inotify::add_watch(inotify, path, inotify::WatchFlags::MODIFY));
        match told {
            Some(Ok(number)) => Watch::Told(number),
            Some(Err(_)) | None => Watch::Polled,
        }
    }

    pub(super) fn unwatch(&self, watch: Watch) {
        if let (Some(inotify), Watch::Told(number)) = (&self.inotify, watch) {
            // Fails when the file is gone, which ends the watch too.
            let _ended = inotify::remove_watch(inotify, number);
        }
    }

    /// Waits until a file grows, `bell` rings or the time is over.
    pub(super) fn wait(&self, bell: &Bell, timeout: Option<Duration>, has_polled: bool) -> Result<Grown, Errno> {
        let timeout = match (has_polled, timeout) {
            (true, Some(timeout)) => Some(timeout.min(POLL_PERIOD)),
            (true, None) => Some(POLL_PERIOD),
            (false, timeout) => timeout,
        };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut ready = vec![PollFd::new(&bell.0, PollFlags::IN)];
        ready.extend(self.inotify.as_ref().map(|inotify| PollFd::new(inotify, PollFlags::IN)));
        match rustix::event::poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        bell.hush();
        self.grown(has_polled)
    }

    fn grown(&self, has_polled: bool) -> Result<Grown, Errno> {
        let mut grown = if has_polled { vec![Watch::Polled] } else { Vec::new() };
        let Some(inotify) = &self.inotify else {
            return Ok(Grown::These(grown));
        };
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) => return Ok(Grown::All),
                Ok(event) => {
                    let watch = Watch::Told(event.wd());
                    if !grown.contains(&watch) {
                        grown.push(watch);
                    }
                }
                Err(Errno::AGAIN) => return Ok(Grown::These(grown)),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Wakes a waiting [`Watcher`].
#[derive(Debug)]
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn new() -> Result<Self, Errno> {
        rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Self)
    }

    pub(super) fn ring(&self) {
        // Fails only when it rings already.
        let _rung = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    fn hush(&self) {
        // Fails only when it does not ring.
        let _hushed = rustix::io::read(&self.0, &mut [0; 8]);
    }
}
