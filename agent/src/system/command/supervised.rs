//! A command of somebody else's that is looked after: with its own environment, directory and input, a time limit for its
//! whole process group, and the end of what it prints.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::{DRAIN, Group, LAST_WAIT};

/// Between two looks at whether anybody of a group that was told to end is left.
const PAUSE: Duration = Duration::from_millis(50);

/// How a command is looked after.
#[derive(Debug, Clone, Copy)]
pub struct Supervision {
    /// How long it may take. `None`: as long as it likes.
    pub limit: Option<Duration>,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How many bytes of what it prints are kept: the last ones.
    pub kept: usize,
    /// Whether what it prints is printed here too.
    pub pass_on: bool,
}

/// How it ended.
#[derive(Debug)]
pub struct Supervised {
    /// Its exit status. `None`: it did not end, even when it was killed.
    pub status: Option<ExitStatus>,
    /// Its time limit ended it.
    pub timed_out: bool,
    /// A signal to this process ended it.
    pub told_to_stop: bool,
    /// How long it took.
    pub took: Duration,
    /// The end of what it printed to standard output and standard error, as it came.
    pub output: String,
}

impl Supervised {
    /// Its exit code. `None`: a signal ended it, or nothing did.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// How it ended: `exit code 1`, `killed by SIGSEGV`.
    pub fn ended(&self) -> String {
        let Some(status) = self.status else {
            return "does not end, though it was killed".into();
        };
        match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(signal) => format!("killed by {signal}"),
                Err(_) => format!("killed by signal {signal}"),
            },
            (None, None) => "ended for no known reason".to_owned(),
        }
    }
}

/// Runs a command to its end, or to that of its time. It gets this process's environment, directory and input.
///
/// At its limit, or when this process gets SIGTERM, SIGINT or SIGHUP, its process group gets SIGTERM, and what is left of it after
/// the grace SIGKILL. What a command that ended by itself left in the background stays, as it does with cron.
pub async fn supervise(argv: &[String], how: Supervision) -> io::Result<Supervised> {
    let mut signals = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    let (reader, mut child) = start(argv)?;
    let began = Instant::now();
    let mut group = Group::of(child.id());
    let kept = Arc::new(Mutex::new(Vec::new()));
    let reading = tokio::spawn(read(reader, Arc::clone(&kept), how));

    let limit = async {
        match how.limit {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let mut timed_out = false;
    let mut told_to_stop = false;
    let status = tokio::select! {
        ended = child.wait() => Some(ended?),
        () = limit => {
            timed_out = true;
            stop(&mut child, &group, how.grace).await
        }
        () = async {
            tokio::select! {
                _ = signals.0.recv() => {}
                _ = signals.1.recv() => {}
                _ = signals.2.recv() => {}
            }
        } => {
            told_to_stop = true;
            stop(&mut child, &group, how.grace).await
        }
    };
    group.leave();
    let took = began.elapsed();
    let abort = reading.abort_handle();
    if timeout(DRAIN, reading).await.is_err() {
        abort.abort();
    }
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let from = kept.len().saturating_sub(how.kept);
    let end = kept.get(from..).unwrap_or_default();
    Ok(Supervised {
        status,
        timed_out,
        told_to_stop,
        took,
        output: String::from_utf8_lossy(end).into_owned(),
    })
}

fn start(argv: &[String]) -> io::Result<(pipe::Receiver, Child)> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let (reader, writer) = io::pipe()?;
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    // Both ends of what it prints are one pipe, so that it is kept in its order. The command holds them until it is dropped.
    let child = Command::new(program)
        .args(arguments)
        .process_group(0)
        .stdout(Stdio::from(OwnedFd::from(writer.try_clone()?)))
        .stderr(Stdio::from(OwnedFd::from(writer)))
        .kill_on_drop(true)
        .spawn()?;
    Ok((reader, child))
}

async fn read(mut from: pipe::Receiver, kept: Arc<Mutex<Vec<u8>>>, how: Supervision) {
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let new = buffer.get(..count).unwrap_or_default();
        if how.pass_on {
            // Nobody may be there to read it: the record has it. Not in this thread: who reads slowly must not keep the limit from
            // being looked after.
            let mut stdout = tokio::io::stdout();
            let _ = stdout.write_all(new).await;
            let _ = stdout.flush().await;
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(new);
        // Cut rarely, not at every read.
        if kept.len() > 2 * how.kept {
            let surplus = kept.len() - how.kept;
            kept.drain(..surplus);
        }
    }
}

/// Ends a group: asked to, and killed where it does not. All of it has the grace, also where its leader obeys at once.
async fn stop(child: &mut Child, group: &Group, grace: Duration) -> Option<ExitStatus> {
    group.signal(Signal::SIGTERM);
    let began = Instant::now();
    let mut status = None;
    while began.elapsed() < grace {
        status = status.or_else(|| child.try_wait().ok().flatten());
        if status.is_some() && group.is_empty() {
            return status;
        }
        sleep(PAUSE).await;
    }
    group.signal(Signal::SIGKILL);
    match status {
        Some(status) => Some(status),
        None => timeout(LAST_WAIT, child.wait()).await.ok()?.ok(),
    }
}

impl Group {
    /// Whether nobody of it is left.
    fn is_empty(&self) -> bool {
        self.leader
            .is_none_or(|leader: Pid| killpg(leader, None) == Err(Errno::ESRCH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, limit_ms: Option<u64>) -> Supervised {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        let how = Supervision {
            limit: limit_ms.map(Duration::from_millis),
            grace: Duration::from_millis(400),
            kept: 100,
            pass_on: false,
        };
        supervise(&argv, how).await.unwrap()
    }

    #[tokio::test]
    async fn the_end_of_what_it_prints_is_kept_in_order() {
        let done = shell("echo out; echo err >&2; echo more; exit 3", None).await;
        assert_eq!(done.output, "out\nerr\nmore\n");
        assert_eq!((done.code(), done.ended()), (Some(3), "exit code 3".into()));
        let long = shell("seq 1 100000", None).await;
        assert_eq!(long.output.len(), 100);
        assert!(
            long.output.ends_with("\n99999\n100000\n"),
            "{}",
            long.output
        );
    }

    #[tokio::test]
    async fn its_environment_and_what_it_leaves_in_the_background_are_its_own() {
        let began = Instant::now();
        let done = shell("echo ${PATH%%:*}; sleep 30 & echo $!", None).await;
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "nobody waits for what it left"
        );
        let mut lines = done.output.lines();
        let path = std::env::var("PATH").unwrap();
        assert_eq!(lines.next(), path.split(':').next());
        let left: i32 = lines.next().unwrap().parse().unwrap();
        assert_eq!(nix::sys::signal::kill(Pid::from_raw(left), None), Ok(()));
        nix::sys::signal::kill(Pid::from_raw(left), Signal::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn its_whole_group_ends_with_its_time() {
        let done = shell(
            "sleep 60 & echo $!; trap '' TERM; sleep 61; sleep 62",
            Some(200),
        )
        .await;
        assert!(done.timed_out && !done.told_to_stop);
        assert!(done.took < Duration::from_secs(5), "{:?}", done.took);
        let child: i32 = done.output.lines().next().unwrap().parse().unwrap();
        // A zombie is nobody's work any more.
        let is_gone = || crate::system::process::identity(child).is_none();
        for _ in 0..100 {
            if is_gone() {
                return;
            }
            sleep(PAUSE).await;
        }
        panic!("what it had started goes on");
    }

    #[tokio::test]
    async fn what_does_not_obey_ends_though_its_leader_did() {
        let script = "(trap '' TERM; sleep 61) & echo $!; sleep 62";
        let done = shell(script, Some(200)).await;
        assert!(done.timed_out && done.took >= Duration::from_millis(600));
        let child: i32 = done.output.lines().next().unwrap().parse().unwrap();
        for _ in 0..100 {
            if crate::system::process::identity(child).is_none() {
                return;
            }
            sleep(PAUSE).await;
        }
        panic!("what it had started goes on");
    }

    #[tokio::test]
    async fn one_that_obeys_may_tidy_up() {
        let done = shell(
            "trap 'echo tidied; exit 7' TERM; sleep 60 & wait",
            Some(200),
        )
        .await;
        assert_eq!((done.code(), done.timed_out), (Some(7), true));
        assert_eq!(done.output, "tidied\n");
    }
}
