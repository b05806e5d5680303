//! The command line and its errors.

use std::io;

use clap::{CommandFactory, Parser};

use super::args::{Args, Command, Format, RunName};
use super::failure::Failure;
use crate::report::text::Paint;
use crate::system::file::FileError;

#[test]
fn the_command_line_is_sound() {
    Args::command().debug_assert();
}

#[test]
fn global_flags_stand_before_and_after_the_command() {
    for line in [
        "agentctl --output json --root /r history -n 3",
        "agentctl history --output json -n 3 --root /r",
    ] {
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(args.global.output, Format::Json);
        assert_eq!(args.global.root.unwrap().to_str(), Some("/r"));
        assert!(matches!(args.command, Command::History { number: 3 }));
    }
}

#[test]
fn runs_are_named_by_number_or_as_the_last() {
    assert_eq!("last".parse(), Ok(RunName::Last));
    assert_eq!("17".parse(), Ok(RunName::Number(17)));
    assert!("-1".parse::<RunName>().is_err());
    assert!("latest".parse::<RunName>().is_err());
}

#[test]
fn wrong_usage_is_told_apart() {
    for line in [
        "agentctl",
        "agentctl frobnicate",
        "agentctl plan --as web-1",
        "agentctl plan --platform debian",
        "agentctl plan --offline --document f",
        "agentctl why",
        "agentctl history -n many",
        "agentctl --output yaml status",
        "agentctl plan --as UPPER --document f",
    ] {
        let error = Args::try_parse_from(line.split(' ')).unwrap_err();
        assert!(error.use_stderr(), "{line}");
    }
    let help = Args::try_parse_from(["agentctl", "--help"]).unwrap_err();
    assert!(!help.use_stderr());
}

#[test]
fn help_says_what_to_type() {
    let mut command = Args::command()
        .color(clap::ColorChoice::Never)
        .term_width(100);
    command.build();
    insta::assert_snapshot!("help", command.render_long_help());
    for each in [
        "status", "doctor", "plan", "apply", "history", "show", "why", "seal", "validate", "check",
        "munin", "metrics",
    ] {
        let sub = command.find_subcommand_mut(each).unwrap();
        insta::assert_snapshot!(format!("help_{each}"), sub.render_long_help());
    }
}

#[test]
fn errors_tell_their_causes_and_what_to_do() {
    let denied: Failure = FileError::Io {
        operation: "read",
        path: "/var/lib/agentd/ledger.json".into(),
        source: io::Error::from_raw_os_error(13),
    }
    .into();
    insta::assert_snapshot!(denied.text(Paint::PLAIN), @r"
    error: cannot read /var/lib/agentd/ledger.json
      caused by: Permission denied (os error 13)
      hint: the agent's state and files are root's: run this as root (sudo)
    ");
    let hostile = Failure::because(
        "run 17 is not kept\nreally",
        io::Error::other("said \x1b[2J\nand more"),
    )
    .hint("look at\nagentctl history");
    insta::assert_snapshot!(hostile.text(Paint::PLAIN), @r"
    error: run 17 is not kept
      really
      caused by: said \x1b[2J
        and more
      hint: look at
        agentctl history
    ");
    let paint = hostile.text(Paint::COLOR);
    assert!(paint.starts_with("\x1b[1;31merror:\x1b[0m run 17"));
}

/// What a shell makes of a line, as far as the page uses it: words, single quotes, and where the command ends.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for each in line.chars() {
        match each {
            '\'' => quoted = !quoted,
            _ if quoted => word.push(each),
            '|' | '>' | ';' | '&' | '#' => break,
            ' ' => words.push(std::mem::take(&mut word)),
            _ => word.push(each),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_of_the_operators_page_exists() {
    let page = include_str!("../../../docs/operations.md");
    let blocks = page.split("```sh\n").skip(1);
    let mut lines: Vec<&str> = blocks
        .filter_map(|block| block.split("\n```").next())
        .flat_map(str::lines)
        .collect();
    // Those in running text, too: `agentctl …`.
    lines.extend(page.split('`').filter(|text| text.starts_with("agentctl ")));
    let commands = lines
        .into_iter()
        .filter(|line| line.starts_with("agentctl ") && !line.contains('…'));
    let mut count = 0;
    for line in commands {
        let words = words(line);
        if let Err(error) = Args::try_parse_from(&words) {
            // A number to be filled in.
            let filled: Vec<String> = words.iter().map(|w| w.replace("RUN", "17")).collect();
            assert!(Args::try_parse_from(filled).is_ok(), "{line}: {error}");
        }
        count += 1;
    }
    assert!(count > 15, "{count}");
}
