//! The model checker by hand: `cargo run -p node-agent-model --bin modelcheck [SETUP…] [--long] [--broken]`;
//! optimised also in a debug build (`[profile.dev.package]` of the workspace).
//!
//! Searches each setup (all, unless some are named), prints how many states there are, and the shortest history of
//! what does not hold. Exit status 1 where something does not.

use std::time::Instant;

use clap::Parser;
use node_agent_model::setups;

/// Searches the states of the failover protocol.
#[derive(Parser)]
struct Arguments {
    /// Setups, by name; none: all.
    setups: Vec<String>,
    /// The most states of each.
    #[arg(long, default_value_t = 20_000_000)]
    most: usize,
    /// Threads that search.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Also those that take long.
    #[arg(long)]
    long: bool,
    /// Protocols that lack something, instead: each must be found out.
    #[arg(long)]
    broken: bool,
    /// With --broken: the same with nothing lacking, to see that it is that which makes the difference.
    #[arg(long)]
    whole: bool,
}

#[expect(clippy::print_stdout, reason = "a person reads it")]
fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let mut fine = true;
    println!(
        "{:<28} {:>12} {:>6} {:>8}  verdict",
        "setup", "states", "depth", "seconds"
    );
    let setups: Vec<_> = if arguments.broken {
        let broken = setups::broken(arguments.long).into_iter();
        broken
            .map(|(setup, wanted)| (setup, Some(wanted)))
            .collect()
    } else {
        let all = setups::all(arguments.long).into_iter();
        all.map(|setup| (setup, None)).collect()
    };
    for (setup, wanted) in setups {
        let name = setup.name;
        let named = &arguments.setups;
        if !named.is_empty() && !named.iter().any(|word| word == name) {
            continue;
        }
        let setup = if arguments.whole {
            setups::whole(&setup)
        } else {
            setup
        };
        let started = Instant::now();
        let verdict = setup.check(arguments.most, arguments.threads, wanted);
        let word = match (verdict.broken.is_empty(), verdict.whole) {
            (false, _) => "BROKEN",
            (true, true) => "holds",
            (true, false) => "holds as far as searched",
        };
        println!(
            "{name:<28} {:>12} {:>6} {:>8.1}  {word}; seen: {}",
            verdict.states,
            verdict.depth,
            started.elapsed().as_secs_f64(),
            verdict.reached.join(", ")
        );
        for (property, steps) in &verdict.broken {
            fine = false;
            println!("  {property}:");
            for step in steps {
                println!("    {step}");
            }
        }
    }
    if fine {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}
