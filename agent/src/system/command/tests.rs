use std::path::Path;
use std::time::Instant;

use super::*;

fn sh(script: &str, deadline: Duration) -> CommandLine {
    CommandLine::new(["/bin/sh", "-c", script], deadline)
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

fn alive(pid: &str) -> bool {
    // A zombie that init has not yet reaped is as good as dead.
    std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"))
        .is_ok_and(|stat| !stat.contains(") Z "))
}

async fn gone(pid: &str) -> bool {
    for _ in 0..100 {
        if !alive(pid) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn code_and_streams_come_back() {
    let output = run(&sh("echo out; echo err >&2; exit 3", LONG))
        .await
        .unwrap();
    assert_eq!(
        output,
        Output {
            success: false,
            code: Some(3),
            signal: None,
            stdout: "out\n".into(),
            stderr: "err\n".into(),
        }
    );
    assert_eq!(output.said(), "err\nout");
    assert_eq!(output.ended(), "exit code 3");
}

#[tokio::test]
async fn the_environment_is_its_own() {
    let output = run(&sh(
        "env; pwd; cat; cut -d' ' -f5 /proc/$$/stat; echo $$",
        LONG,
    ))
    .await
    .unwrap();
    assert!(output.success);
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    let (group, pid) = (lines.remove(lines.len() - 2), lines.remove(lines.len() - 1));
    assert_eq!(group, pid, "it leads a process group");
    lines.retain(|line| {
        !line.starts_with("_=") && !line.starts_with("PWD=") && !line.starts_with("OLDPWD=")
    });
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "/",
            "LANG=C.UTF-8",
            "LC_ALL=C",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        ]
    );
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let error = run(&CommandLine::new(["/nowhere/httpd", "-t"], LONG))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot start /nowhere/httpd");
    assert!(std::error::Error::source(&error).is_some());
    assert!(
        run(&CommandLine::new(Vec::<String>::new(), LONG))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_signal_is_named() {
    let output = run(&sh("kill -SEGV $$", LONG)).await.unwrap();
    assert!(!output.success);
    assert_eq!(output.code, None);
    assert_eq!(output.ended(), "killed by SIGSEGV");
}

#[tokio::test]
async fn much_output_neither_blocks_nor_grows() {
    let output = run(&sh("yes 0123456789 | head -c 5000000; echo the end", LONG))
        .await
        .unwrap();
    assert!(output.success);
    assert_eq!(output.stdout.len(), KEPT);
    assert!(output.stdout.ends_with("the end\n"));
}

#[tokio::test]
async fn one_that_obeys_sigterm_gets_no_more() {
    let begun = Instant::now();
    let error = run(&sh(
        "trap 'echo caught; exit 0' TERM; echo begun; while :; do sleep 0.05; done",
        SHORT,
    ))
    .await
    .unwrap_err();
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());
    let CommandError::Deadline { said, .. } = &error else {
        panic!("{error}")
    };
    // The shell may also report its killed `sleep`.
    assert!(said.contains("begun\ncaught"), "{said}");
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed_with_its_group() {
    let begun = Instant::now();
    let error = run(&sh(
        "trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & echo $!; while :; do sleep 0.1; done",
        SHORT,
    ))
    .await
    .unwrap_err();
    let took = begun.elapsed();
    assert!(took >= GRACE && took < GRACE + LAST_WAIT, "{took:?}");
    let CommandError::Deadline { said, .. } = &error else {
        panic!("{error}")
    };
    assert!(gone(said).await, "the grandchild {said} lives on");
}

#[tokio::test]
async fn a_grandchild_that_outlives_an_obedient_child_is_killed() {
    let error = run(&sh(
        "trap 'exit 0' TERM; sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & echo $!; while :; do sleep 0.05; done",
        SHORT,
    ))
    .await
    .unwrap_err();
    let CommandError::Deadline { said, .. } = &error else {
        panic!("{error}")
    };
    assert!(gone(said).await, "the grandchild {said} lives on");
}

#[tokio::test]
async fn a_background_process_with_our_pipes_does_not_hang_us_and_lives() {
    let begun = Instant::now();
    let output = run(&sh("sleep 30 & echo $!", LONG)).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let pid = output.stdout.trim();
    assert!(
        alive(pid),
        "what a command started in time is its own business"
    );
    let pid = Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_dropped_run_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("pid");
    let script = format!("sleep 30 & echo $! >{}; wait", note.display());
    let command = sh(&script, LONG);
    let _ = timeout(Duration::from_millis(500), run(&command)).await;
    let pid = std::fs::read_to_string(note).unwrap();
    assert!(gone(&pid).await, "{pid} lives on");
}
