//! The demonstration, in a terminal as narrow as they come and in a wide one: it comes to its end, and is read without scrolling sideways.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests; `timeout` ends what hangs"
)]

use std::process::Command;
use std::time::Duration;

use node_agent_tests::machine::built;

/// What fits a short sitting.
const MOST_LINES: usize = 260;
/// In a pipe or a wide terminal nothing is longer.
const PATIENCE: Duration = Duration::from_mins(3);

/// What it prints in a terminal of so many columns, colours taken out.
fn shown(columns: usize) -> String {
    let demo = built("demo").unwrap();
    // The programs are built already.
    let typed = format!(
        "stty rows 24 cols {columns}; exec env CARGO=/bin/true NO_COLOR=1 {} --fast",
        demo.display()
    );
    let output = Command::new("timeout")
        .arg(PATIENCE.as_secs().to_string())
        .args([
            "script",
            "--quiet",
            "--return",
            "--command",
            &typed,
            "/dev/null",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace('\r', "");
    assert!(output.status.success(), "{}\n{text}", output.status);
    text
}

#[test]
fn it_fits_the_terminal_that_it_runs_in() {
    let said = [80, 120].map(|columns| {
        std::thread::spawn(move || {
            let text = shown(columns);
            for line in text.lines() {
                let width = line.chars().count();
                assert!(width <= columns, "{width} of {columns} columns: {line}");
            }
            let lines = text.lines().count();
            assert!(lines <= MOST_LINES, "{lines} lines:\n{text}");
            assert!(text.contains("README.md"), "{text}");
        })
    });
    for one in said {
        one.join().unwrap();
    }
}

#[test]
fn it_says_in_words_what_is_not_there() {
    let demo = built("demo").unwrap();
    let output = Command::new("timeout")
        .arg(PATIENCE.as_secs().to_string())
        .arg(demo)
        .args(["--fast"])
        .env("CARGO", "/nowhere/cargo")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("/nowhere/cargo does not start"), "{text}");
}
