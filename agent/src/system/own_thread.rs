//! Work on a thread of its own with a runtime of its own: what takes minutes beside it, or hangs on a dead disk, never stalls it.

use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::runtime;
use tokio::time::{Instant, sleep};

/// The longest name that the kernel shows of a thread, in bytes.
const LONGEST_NAME: usize = 15;
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// What hangs on a dead disk is not waited for at its end.
const END: Duration = Duration::from_millis(100);

/// A thread that works. Dropped, it goes on: whoever started it tells it to end in his own way.
#[derive(Debug)]
pub struct OwnThread {
    handle: JoinHandle<()>,
}

/// A runtime that may be dropped within another one, where no thread could be started for it.
struct Held(Option<runtime::Runtime>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl OwnThread {
    /// Starts it. The runtime is made first, so that whoever starts it hears of everything that can fail. `name` is cut to 15 bytes.
    pub fn start<W, F>(name: &str, work: W) -> io::Result<Self>
    where
        W: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .build()?;
        let mut runtime = Held(Some(runtime));
        let name = name.chars().take(LONGEST_NAME).collect();
        let handle = Builder::new().name(name).spawn(move || {
            if let Some(runtime) = runtime.0.take() {
                runtime.block_on(work());
                runtime.shutdown_timeout(END);
            }
        })?;
        Ok(Self { handle })
    }

    /// Returns when it has ended, or after `patience`.
    pub async fn ended(self, patience: Duration) {
        let until = Instant::now() + patience;
        while !self.handle.is_finished() && Instant::now() < until {
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_on_a_thread_of_that_name_and_its_end_is_waited_for() {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let thread = OwnThread::start("a-name-that-is-long", || async move {
            let name = std::thread::current().name().map(str::to_owned);
            let _ = answer.send(name);
        })
        .unwrap();
        let name = answered.await.unwrap();
        assert_eq!(name.as_deref(), Some("a-name-that-is-"));
        thread.ended(Duration::from_secs(10)).await;
    }

    #[tokio::test]
    async fn one_that_hangs_is_left() {
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        let work = || async move {
            let _ = ends.await;
        };
        let thread = OwnThread::start("hangs", work).unwrap();
        let before = Instant::now();
        thread.ended(Duration::from_millis(50)).await;
        assert!(before.elapsed() >= Duration::from_millis(50));
        drop(end);
    }
}
