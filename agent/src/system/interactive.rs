//! Programs that a person talks to: an editor, or one that asks for a passphrase or the touch of a token.
//!
//! They share the terminal and the process group of whoever starts them: in a group of their own they could not read from
//! the terminal.

use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The most that is read of what a program prints, in bytes.
const OUTPUT_LIMIT: u64 = 64 * 1024;
/// Between two looks at whether a program has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Runs a program that reads `input` and prints an answer; its messages go to the terminal. After `deadline` it is killed:
/// [`io::ErrorKind::TimedOut`]. Returns how it ended, and what it printed, its first 64 KiB.
pub fn answer(
    argv: &[String],
    input: &[u8],
    deadline: Duration,
) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut child = command(argv)?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let input = input.to_vec();
    // A program that does not read what it is given says why itself.
    thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
    let reader = thread::spawn(move || {
        let mut printed = Vec::new();
        let stdout = stdout.map(|stdout| stdout.take(OUTPUT_LIMIT));
        stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut printed))?;
        io::Result::Ok(printed)
    });
    let status = wait(&mut child, deadline)?;
    // Ended with the program, unless it has left somebody behind who holds its output.
    let since = Instant::now();
    while !reader.is_finished() {
        if since.elapsed() > Duration::from_secs(1) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK);
    }
    let printed = reader
        .join()
        .map_err(|_| io::Error::other("its output was not read"))??;
    Ok((status, printed))
}

/// Runs a program that has the terminal to itself, until the person ends it.
pub fn hand_over(argv: &[String]) -> io::Result<ExitStatus> {
    command(argv)?.spawn()?.wait()
}

fn command(argv: &[String]) -> io::Result<Command> {
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

fn wait(child: &mut Child, deadline: Duration) -> io::Result<ExitStatus> {
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if since.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).into()
    }

    #[test]
    fn a_program_reads_and_answers() {
        let input = vec![b'x'; 300_000];
        let (status, printed) = answer(&sh("wc -c"), &input, Duration::from_secs(20)).unwrap();
        assert!(status.success());
        assert_eq!(String::from_utf8(printed).unwrap().trim(), "300000");
        // One that does not read, and fails.
        let (status, _) = answer(&sh("exit 3"), &input, Duration::from_secs(20)).unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(hand_over(&sh("exit 4")).unwrap().code(), Some(4));
    }

    #[test]
    fn a_program_that_hangs_is_given_up() {
        let error = answer(&sh("exec sleep 60"), b"", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
