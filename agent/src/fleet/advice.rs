//! What is no mistake in a document and yet may not mean what its author thinks. Pure.

mod clusters;
mod releases;
mod sites;
mod unserved;

use std::collections::BTreeMap;

use super::model::{CronJob, Fleet};
use super::names::Name;
use super::pointer::Pointer;

pub use clusters::moved_leases;
pub use unserved::unserved;

/// The most that is said of one document.
const MOST: usize = 50;

/// Something to think about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Where it stands.
    pub pointer: Pointer,
    /// What it means, and what to write instead.
    pub message: String,
}

/// All that is worth a second look in `fleet`, in its order, at most 50 things.
pub fn advice(fleet: &Fleet) -> Vec<Advice> {
    let roles = (fleet.roles.iter()).map(|(name, role)| ("roles", name, &role.cron));
    let products = (fleet.products.iter()).map(|(name, product)| ("products", name, &product.cron));
    let mut found = Vec::new();
    for (kind, name, jobs) in roles.chain(products) {
        let at = Pointer::of(["signed", kind, name.as_str(), "cron"]);
        jobs_of(jobs, &at, &mut found);
    }
    clusters::advise(fleet, &mut found);
    sites::advise(fleet, &mut found);
    releases::advise(fleet, &mut found);
    found.truncate(MOST);
    found
}

fn jobs_of(jobs: &BTreeMap<Name, CronJob>, at: &Pointer, found: &mut Vec<Advice>) {
    for (name, job) in jobs {
        let at = at.then(name);
        if job.schedule.comes_on_either_day() {
            found.push(Advice {
                pointer: at.then("schedule"),
                message: format!(
                    "`{0}` comes on those days of the month and also on those days of the week: cron takes either. For a day that is both, \
                     leave the day of the week `*` and begin the command with a test such as `[ $(date +%w) = 0 ] && `",
                    job.schedule
                ),
            });
        }
        if let Some(sign) = bashism(job) {
            found.push(Advice {
                pointer: at.then("command"),
                message: format!(
                    "`{sign}` is bash's: /bin/sh is another shell on Debian, which takes it otherwise. {}",
                    instead_of(sign)
                ),
            });
        }
    }
}

/// What to write in the place of what only bash knows.
pub fn instead_of(sign: &str) -> &'static str {
    match sign {
        "&>>" => "Write `>>FILE 2>&1`, or say \"shell\": \"/bin/bash\"",
        "&>" => "Write `>FILE 2>&1`, or say \"shell\": \"/bin/bash\"",
        "source" => "Write `.` in its place, or say \"shell\": \"/bin/bash\"",
        "==" => "Write `=`, or say \"shell\": \"/bin/bash\"",
        "function" => "Write `NAME() {`, or say \"shell\": \"/bin/bash\"",
        "|&" => "Write `2>&1 |`, or say \"shell\": \"/bin/bash\"",
        _ => "Say \"shell\": \"/bin/bash\"",
    }
}

/// What stands for all of bash's ways to change a variable's value where it is used.
const EXPANSION: &str = "${NAME/…}";

/// What only bash understands, where it is told by more than its first characters: `rest` follows `before`, outside of quotes.
fn of_bash(before: &str, rest: &str) -> Option<&'static str> {
    let ahead = before.trim_end();
    let is_command = ahead.is_empty()
        || ahead.ends_with([';', '|', '&', '(', '{', '!'])
        || [" then", " do", " else"]
            .iter()
            .any(|word| ahead.ends_with(word));
    let starts_word = before.is_empty()
        || before.ends_with(|c: char| !c.is_alphanumeric() && !"_-./".contains(c));
    if is_command && starts_word {
        for (word, sign) in [("source ", "source"), ("function ", "function")] {
            if rest.starts_with(word) {
                return Some(sign);
            }
        }
    }
    let test = ahead
        .rsplit([';', '|', '&'])
        .next()
        .unwrap_or_default()
        .trim_start();
    if rest.starts_with("== ")
        && ["[ ", "test ", "if [ ", "while [ "]
            .iter()
            .any(|open| test.starts_with(open))
    {
        return Some("==");
    }
    if expands(rest) {
        return Some(EXPANSION);
    }
    // `{a,b}` and `{1..5}`; `{ a; }` is a group, and `${a}` a variable.
    let braces = rest.strip_prefix('{').filter(|_| !before.ends_with('$'))?;
    let (inner, _) = braces.split_once('}')?;
    let is_list =
        !inner.contains(char::is_whitespace) && (inner.contains(',') || inner.contains(".."));
    is_list.then_some("{A,B}")
}

/// Whether a variable is used here with a part replaced, cut out or in other letters: `${x//a/b}`, `${x:0:3}`, `${x^^}`.
fn expands(rest: &str) -> bool {
    let Some(name) = rest.strip_prefix("${") else {
        return false;
    };
    let after = name.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let mut after = after.chars();
    match after.next() {
        Some('/' | '^' | ',') => true,
        Some(':') => after.next().is_some_and(|c| c.is_ascii_digit() || c == ' '),
        _ => false,
    }
}

/// What only bash and its kin understand in the command of `job`, where it goes to `/bin/sh`.
pub fn bashism(job: &CronJob) -> Option<&'static str> {
    // Longer ones first. What is only two words to another shell (`{1..5}`) is found by its dots.
    const SIGNS: [&str; 8] = ["&>>", "&>", "|&", "<<<", "<(", ">(", "$'", "[[ "];
    if job
        .shell
        .as_ref()
        .is_some_and(|shell| shell.as_str() != "/bin/sh")
    {
        return None;
    }
    let command = job.command.as_str();
    let mut quote = None;
    let mut characters = command.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (None | Some('"'), '\\') => {
                characters.next();
            }
            (None, '#')
                if command
                    .get(..at)
                    .is_some_and(|before| before.is_empty() || before.ends_with(' ')) =>
            {
                return None;
            }
            (Some('"'), '$') if expands(command.get(at..).unwrap_or_default()) => {
                return Some(EXPANSION);
            }
            (Some(open), _) => {
                if character == open {
                    quote = None;
                }
            }
            (None, _) => {
                let rest = command.get(at..).unwrap_or_default();
                if let Some(sign) = of_bash(command.get(..at).unwrap_or_default(), rest) {
                    return Some(sign);
                }
                let found = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                // `2>&1 >&2` has no `&>`, and `a && >b` has one that is none.
                let is_and = character == '&'
                    && command
                        .get(..at)
                        .is_some_and(|before| before.ends_with(['&', '>']));
                if let Some(sign) = found
                    && !is_and
                {
                    return Some(sign.trim_end());
                }
                if character == '\'' || character == '"' {
                    quote = Some(character);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(command: &str, more: &str) -> CronJob {
        let command = serde_json::Value::from(command);
        let text =
            format!(r#"{{"schedule": "0 4 * * *", "user": "root", "command": {command}{more}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_only_bash_understands() {
        for (command, sign) in [
            ("backup &>> /var/log/backup.log", "&>>"),
            ("backup &>/dev/null", "&>"),
            ("a |& b", "|&"),
            ("a <<< b", "<<<"),
            ("diff <(a) <(b)", "<("),
            ("a > >(tee b)", ">("),
            ("echo $'a\\tb'", "$'"),
            ("[[ -e /x ]] && y", "[["),
            ("echo 'a' &>> b", "&>>"),
            ("mkdir -p /srv/{a,b}", "{A,B}"),
            ("for i in {1..5}; do x; done", "{A,B}"),
            ("source /etc/profile; x", "source"),
            ("x && source ./y", "source"),
            ("[ \"$a\" == b ] && x", "=="),
            ("if [ $a == b ]; then x; fi", "=="),
            ("echo ${x//a/b}", "${NAME/…}"),
            ("echo \"${x:0:3}\"", "${NAME/…}"),
            ("echo ${x^^}", "${NAME/…}"),
            ("function f { x; }; f", "function"),
        ] {
            assert_eq!(bashism(&job(command, "")), Some(sign), "{command}");
            assert_eq!(bashism(&job(command, r#", "shell": "/bin/bash""#)), None);
            assert_eq!(
                bashism(&job(command, r#", "shell": "/bin/sh""#)),
                Some(sign)
            );
        }
        for command in [
            "backup >> /var/log/backup.log 2>&1",
            "a && b",
            "a &",
            "a && >b",
            "a 2>&1 >/dev/null & b",
            "a || b & c",
            "echo 'x &> y' \"a |& b\" \\&\\> z # &>> no",
            "grep '[[:space:]]' x",
            "x=$(( 1 + 2 ))",
            "cat <<EOF",
            "{ a; b; } >> c",
            "echo ${x:-a} ${x#a/} ${x%/*} \"${x:+a}\" ${#x}",
            "find . -exec cp {} x,y \\;",
            "git log data-source x",
            "awk '{print $1,$2}'",
            "awk \"\\$1 == 2\" x",
            "echo a == b",
            "open-source x; x function y",
            "curl --header source x",
        ] {
            assert_eq!(bashism(&job(command, "")), None, "{command}");
        }
    }
}
