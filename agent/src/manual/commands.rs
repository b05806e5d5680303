//! The pages of the two programs, and of each command of `agentctl`.

use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::{Page, help, tidied, title};
use crate::settings::{CONFIG_FILE, RUN_DIR, STATE_DIR};
use crate::{ctl, daemon};

/// The section of what an administrator's daemon is.
const DAEMONS: &str = "8";
/// The section of what people type.
const PROGRAMS: &str = "1";

/// agentd(8), agentctl(1), and a page for each command that `agentctl --help` shows.
pub(super) fn pages(date: &str) -> io::Result<Vec<Page>> {
    let mut agentd = daemon::Args::command();
    agentd.build();
    let mut agentctl = ctl::Args::command()
        .disable_help_subcommand(true)
        .subcommand_help_heading("COMMANDS")
        .subcommand_value_name("command");
    agentctl.build();

    let mut pages = vec![page(&agentd, DAEMONS, date, of_agentd())?];
    push_with_commands(&agentctl, date, &mut pages)?;
    Ok(pages)
}

fn push_with_commands(command: &Command, date: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    pages.push(page(command, PROGRAMS, date, of_agentctl(command))?);
    for sub in shown(command) {
        push_with_commands(sub, date, pages)?;
    }
    Ok(())
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}

fn page(command: &Command, section: &str, date: &str, end: Roff) -> io::Result<Page> {
    let man = Man::new(command.clone()).section(section);
    let mut text = Vec::new();
    title(name(command), section, date).to_writer(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if shown(command).next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    let after = command
        .get_after_long_help()
        .or_else(|| command.get_after_help());
    let mut rest = after.map_or_else(Roff::new, |after| help::sections(&after.to_string()));
    rest.extend([end]);
    rest.to_writer(&mut text)?;
    Ok(Page {
        name: man.get_filename(),
        text: tidied(&String::from_utf8_lossy(&text)),
    })
}

/// What no help text of `agentd` says.
fn of_agentd() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SIGNALS"]);
    term(
        &mut roff,
        "SIGHUP",
        "The bucket is asked and a run is made now. Settings are not read again: restart for that.",
    );
    term(
        &mut roff,
        "SIGTERM, SIGINT",
        "The daemon ends. A run that goes on has 10 seconds to end; what is left of it then is made good at the next start. \
         What the daemon keeps on the machine stays as it is.",
    );
    roff.control("SH", ["ENVIRONMENT"]);
    roff.text([roman(
        "Credentials and region of S3 are found as the AWS SDKs find them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, \
         AWS_PROFILE, AWS_REGION and the like, the files under ~/.aws, or the instance's role. systemd's unit reads \
         variables from /etc/agentd/environment.",
    )]);
    roff.control("SH", ["FILES"]);
    let files = [
        (CONFIG_FILE, "the configuration, see agentd.toml(5)"),
        (
            "/etc/agentd/environment",
            "environment variables of the daemon, for systemd; root's alone if credentials stand there",
        ),
        (
            STATE_DIR,
            "the accepted document, what the agent owns, the journal of runs, backups of edited files",
        ),
        (
            RUN_DIR,
            "the control socket, the lock of a run, and status.json for those who must not wait",
        ),
    ];
    for (path, what) in files {
        term(&mut roff, path, what);
    }
    see_also(
        &mut roff,
        ["agentctl(1)", "agentd.toml(5)"].map(str::to_owned),
    );
    roff
}

fn of_agentctl(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let name = name(command);
    let mut others = vec!["agentd(8)".to_owned(), "agentd.toml(5)".to_owned()];
    if let Some((parent, _)) = name.rsplit_once('-') {
        others.insert(0, format!("{parent}({PROGRAMS})"));
    }
    others.extend(shown(command).map(|sub| format!("{}({PROGRAMS})", self::name(sub))));
    see_also(&mut roff, others);
    roff
}

/// `agentctl-status`, as its page is called.
fn name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

fn term(roff: &mut Roff, term: &str, what: &str) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    roff.text([roman(what)]);
}

pub(super) fn see_also(roff: &mut Roff, pages: impl IntoIterator<Item = String>) {
    let mut line: Vec<Inline> = Vec::new();
    for page in pages {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        let (name, section) = page.split_once('(').unwrap_or((&page, ""));
        line.push(bold(name));
        line.push(roman(format!("({section}")));
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text(line);
}
