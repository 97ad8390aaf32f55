//! Blocking from wherever the caller is: an ordinary thread, or a thread of an async runtime.

use std::sync::{Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::error::{RayError, Result};

/// Runs something that blocks. On a multi-threaded tokio runtime its other tasks move on; on a current-thread one it
/// would stand still, so that the call is refused with the async form named.
pub(crate) fn allow<R>(call: &str, instead: &str, blocking: impl FnOnce() -> R) -> Result<R> {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Err(_) => Ok(blocking()),
        Ok(RuntimeFlavor::MultiThread) => Ok(tokio::task::block_in_place(blocking)),
        Ok(_) => Err(RayError::BlockingInAsync {
            call: call.to_owned(),
            instead: instead.to_owned(),
        }),
    }
}

/// Waits for a future on this thread, which needs no runtime.
pub(crate) fn run<T>(call: &str, instead: &str, future: impl Future<Output = Result<T>>) -> Result<T> {
    allow(call, instead, || block_on(future))?
}

/// Polls a future on this thread until it is ready.
fn block_on<F: Future>(future: F) -> F::Output {
    let bell = std::sync::Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        bell.wait();
    }
}

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !std::mem::take(&mut *rung) {
            rung = self.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_current_thread_runtime_is_told_the_async_form() {
        let error = allow("get()", "`.await`", || ()).unwrap_err();
        assert!(error.to_string().contains("use `.await`"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_multi_threaded_runtime_goes_on_meanwhile() {
        let (sender, receiver) = std::sync::mpsc::channel();
        tokio::spawn(async move { sender.send(7).unwrap() });
        assert_eq!(allow("get()", "`.await`", || receiver.recv().unwrap()).unwrap(), 7);
    }

    #[test]
    fn a_plain_thread_waits_for_a_future_of_another() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || sender.send(5).unwrap());
        assert_eq!(block_on(receiver), Ok(5));
        thread.join().unwrap();
    }
}
