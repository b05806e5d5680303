//! The benchmarks: what the README promises in figures, measured on this machine and printed as Markdown.
//!
//! `cargo bench-report [SECTION…]`, as root; sections: usual, others, latency, rest, scale, boot, size, database. All of them
//! take about a quarter of an hour. Progress goes to standard error.

mod boot;
mod daemon;
mod database;
mod machine;
mod measure;
mod others;
mod scale;
mod table;
mod usual;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SECTIONS: [&str; 8] = [
    "usual", "others", "latency", "rest", "scale", "boot", "size", "database",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("measure", command)) = arguments
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        return measure::trampoline(command);
    }
    match report(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn report(asked: &[String]) -> Result<()> {
    if let Some(wrong) = asked.iter().find(|name| !SECTIONS.contains(&name.as_str())) {
        return Err(format!(
            "there is no section {wrong}; there are: {}",
            SECTIONS.join(", ")
        )
        .into());
    }
    // Servers are compared with servers: that needs none of our programs as they are shipped.
    let bin = if asked == ["database"] {
        let own = std::env::current_exe()?;
        own.parent().map(Path::to_owned).ok_or("no directory")?
    } else {
        build_programs()?
    };
    print(&machine::describe(&bin)?);
    for section in SECTIONS {
        if !asked.is_empty() && !asked.iter().any(|name| name == section) {
            continue;
        }
        note(&format!("measuring: {section}"));
        print(&match section {
            "usual" => usual::report(&bin)?,
            "others" => others::report()?,
            "latency" => daemon::latency(&bin)?,
            "rest" => daemon::rest(&bin)?,
            "scale" => scale::report(&bin)?,
            "boot" => boot::report()?,
            "database" => database::report()?,
            _ => machine::sizes(&bin)?,
        });
    }
    Ok(())
}

/// Builds the programs as they are shipped, with the cargo that runs us; returns where they are.
fn build_programs() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--release",
            "--workspace",
            "--bins",
            "--manifest-path",
        ])
        .arg(repository().join("Cargo.toml"))
        .spawn()?
        .wait()?;
    if !built.success() {
        return Err("the programs do not build".into());
    }
    Ok(repository().join("target/release"))
}

fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "ten minutes are long without a word")]
fn note(text: &str) {
    eprintln!("bench: {text}");
}
