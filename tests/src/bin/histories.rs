//! Breaks real database servers on booted machines, history after history: see `docs/failover-histories.md`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use node_agent_tests::histories::{Fault, Outcome, Pace, Plan, Played, Stage, Times, play, table};
use node_agent_tests::machine::{Fleet, Trouble};

/// Breaks real database servers in ways drawn from a seed while clients write, and checks that nothing went wrong.
///
/// Boots four database machines and two web machines (root is needed, and what tests/setup makes); build first:
/// cargo build --workspace. A history takes 10 to 20 s with fast times, about a minute with the product's own.
#[derive(Debug, Parser)]
#[command(
    after_help = "Exit code: 0 everything held; 1 something did not; 2 the histories could not be played.\n\n\
    Examples:\n  histories --count 20\n  histories --seed 4711 --count 1              the same history again\n  \
    histories --faults power,freeze --times default --count 30\n  histories --count 500 --keep-going --out results.jsonl\n  \
    histories --list"
)]
struct Options {
    /// The first history's seed; the next ones count up
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many
    #[arg(long, default_value_t = 10)]
    count: u64,
    /// Begins no other history after so many minutes
    #[arg(long, value_name = "MINUTES")]
    within: Option<u64>,
    /// Only these faults, by name, with commas between. A seed is the same history again only with the same faults
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// The protocol's times: about a quarter of the product's, or the product's own, from which alone outages can be told
    #[arg(long, value_enum, default_value = "fast")]
    times: Pace,
    /// Goes on after a history in which something did not hold
    #[arg(long)]
    keep_going: bool,
    /// A line of JSON for each history goes to this file, and FILE.SEED.txt has the whole story of those that went wrong, or
    /// in which a server was kept out
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keeps the whole story of every history, not only of those
    #[arg(long, requires = "out")]
    stories: bool,
    /// Prints what is drawn from the seeds, and does nothing
    #[arg(long)]
    plan: bool,
    /// Prints the faults that there are
    #[arg(long)]
    list: bool,
}

impl Options {
    fn plans(&self) -> impl Iterator<Item = Plan> {
        let faults = if self.faults.is_empty() {
            Fault::ALL.to_vec()
        } else {
            self.faults.clone()
        };
        let times = Times::of(self.times);
        (self.seed..self.seed.saturating_add(self.count))
            .map(move |seed| Plan::draw(seed, &faults, &times))
    }

    fn keep(&self, played: &Played) -> std::io::Result<()> {
        let outcome = &played.outcome;
        let Some(path) = &self.out else {
            return Ok(());
        };
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        writeln!(file, "{}", outcome.line())?;
        if !(played.spoiled || self.stories) {
            return Ok(());
        }
        let mut path = path.clone().into_os_string();
        path.push(format!(".{}.txt", outcome.plan.seed));
        std::fs::File::create(path)?.write_all(played.story.as_bytes())
    }
}

#[expect(clippy::print_stdout, reason = "a person reads it")]
fn histories(options: &Options) -> Result<bool, Trouble> {
    let fleet = Fleet::new()?;
    let begun = Instant::now();
    let mut stage = Stage::boot(&fleet, Times::of(options.times))?;
    println!("booted in {} s", begun.elapsed().as_secs());
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut fine = true;
    let minutes = |it: u64| std::time::Duration::from_secs(it.saturating_mul(60));
    let late = || {
        options
            .within
            .is_some_and(|it| begun.elapsed() > minutes(it))
    };
    for plan in options.plans().take_while(|_| !late()) {
        println!("{plan}");
        let played = match play(&mut stage, &plan) {
            Ok(played) => played,
            // Of the test, not of what it tests: once more from the beginning, then it counts.
            Err(trouble) => {
                println!("  not played ({trouble}); once more from the beginning");
                stage.reset()?;
                play(&mut stage, &plan)?
            }
        };
        let outcome = &played.outcome;
        let [ok, failed, unknown] = outcome.writes;
        println!(
            "  {ok} ok, {failed} failed, {unknown} unknown, {} lost; {} ms without a write, {} changes of master, whole after {} ms, \
             {:.1} s in all{}",
            outcome.lost,
            outcome.outage,
            outcome.changes,
            outcome.settled,
            std::time::Duration::from_millis(outcome.took).as_secs_f64(),
            if outcome.quarantined.is_empty() {
                String::new()
            } else {
                format!(", kept out: {}", outcome.quarantined.join(", "))
            },
        );
        options
            .keep(&played)
            .map_err(|e| Trouble::caused("cannot write the results", e))?;
        if !outcome.violations.is_empty() {
            fine = false;
            println!("WRONG\n{}", played.story);
        }
        let spoiled = played.spoiled;
        outcomes.push(played.outcome);
        if !fine && !options.keep_going {
            break;
        }
        if spoiled {
            stage.reset()?;
        }
    }
    println!("\n{}", table(&outcomes));
    println!(
        "{} histories in {} s",
        outcomes.len(),
        begun.elapsed().as_secs()
    );
    Ok(fine)
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a person reads it"
)]
fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for fault in Fault::ALL {
            let targets: Vec<_> = fault.targets().iter().map(ToString::to_string).collect();
            println!(
                "{:<22} {} [{}]",
                fault.name(),
                fault.what(),
                targets.join(", ")
            );
        }
        return ExitCode::SUCCESS;
    }
    if options.plan {
        options.plans().for_each(|plan| println!("{plan}"));
        return ExitCode::SUCCESS;
    }
    match histories(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("histories: {trouble}");
            ExitCode::from(2)
        }
    }
}
