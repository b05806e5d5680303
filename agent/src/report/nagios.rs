//! The watch as a Nagios plugin says it: one line, performance data, exit code; and as passive results. Pure.

use std::fmt::Write;

use super::text::{ago, shown};
use super::watch::{Alarm, Area, Kind, Level, Reading, Unit, Watch};
use crate::report::Health;

/// What stands before everything.
const SERVICE: &str = "AGENTD";
/// The first line has fewer characters than this before `|`: pagers and tables cut it.
const LINE: usize = 80;
/// What NRPE of version 2 hands on of an answer, in bytes.
const LONGEST: usize = 1023;

/// What a plugin answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    pub code: u8,
    /// What it prints, without a newline at the end.
    pub text: String,
}

/// The exit code of what could not be told.
pub const UNKNOWN: u8 = 3;

/// What to say where the check itself does not work: wrong usage, a timeout, a panic.
pub fn unknown(why: &str) -> Answer {
    Answer {
        code: UNKNOWN,
        text: cut(&format!("{SERVICE} UNKNOWN - {}", plain(why)), LINE - 1),
    }
}

/// What is wrong in these parts. `verbosity`: 0 a line; 1 all alarms in that line; 2 lines with their details;
/// 3 all readings too.
pub fn answer(watch: &Watch<'_>, areas: &[Area], verbosity: u8) -> Answer {
    let alarms = watch.alarms(areas);
    let mut text = line(watch, areas, &alarms, verbosity);
    let numbers: Vec<_> = watch
        .readings
        .iter()
        .filter(|reading| areas.contains(&reading.what.area))
        .map(|reading| performance(watch, reading))
        .collect();
    if !numbers.is_empty() {
        text.push_str(" |");
    }
    for number in numbers {
        // A number that is cut in the middle would be another one.
        if text.len() + 1 + number.len() <= LONGEST {
            text.push(' ');
            text.push_str(&number);
        }
    }
    if verbosity >= 2 {
        for alarm in &alarms {
            let _ = write!(text, "\n{}: {}", word(Some(alarm.level)), told(alarm));
            for detail in alarm.details.iter().flat_map(|detail| detail.lines()) {
                let _ = write!(text, "\n  {}", plain(detail));
            }
        }
    }
    if verbosity >= 3 {
        for reading in &watch.readings {
            let number = reading.number(watch.now);
            let number = number.map_or_else(|| "not known".to_owned(), |number| number.to_string());
            let _ = write!(
                text,
                "\n{}: {number} ({})",
                reading.key(),
                reading.what.help
            );
        }
    }
    Answer {
        code: code(alarms.first().map(|alarm| alarm.level)),
        text,
    }
}

/// One passive result, as `send_nsca` reads it: host, service, code and output, with tabs between.
pub fn passive(host: &str, service: &str, answer: &Answer) -> String {
    let output = answer.text.lines().next().unwrap_or_default();
    let field = |text: &str| plain(text).replace('\t', " ");
    format!(
        "{}\t{}\t{}\t{}\n",
        field(host),
        field(service),
        answer.code,
        output.replace('\t', " ")
    )
}

fn line(watch: &Watch<'_>, areas: &[Area], alarms: &[Alarm], verbosity: u8) -> String {
    let mut before = SERVICE.to_owned();
    if let [area] = areas {
        let _ = write!(before, " {}", area.as_str().to_ascii_uppercase());
    }
    let _ = write!(
        before,
        " {} - ",
        word(alarms.first().map(|alarm| alarm.level))
    );
    let Some(first) = alarms.first() else {
        return cut(&(before + &good(watch)), LINE - 1);
    };
    if verbosity == 1 {
        let all: Vec<_> = alarms.iter().map(told).collect();
        return before + &all.join("; ");
    }
    let more = match alarms.len() {
        0 | 1 => String::new(),
        count => format!(" (+{} more)", count - 1),
    };
    let room = (LINE - 1).saturating_sub(before.chars().count() + more.len());
    let whole = told(first);
    // What is wrong comes before what to do: the latter is in the long text, and in the manual.
    let text = if whole.chars().count() <= room {
        whole
    } else {
        cut(&plain(&first.says), room)
    };
    before + &text + &more
}

fn told(alarm: &Alarm) -> String {
    if alarm.todo.is_empty() {
        plain(&alarm.says)
    } else {
        plain(&format!("{}: {}", alarm.says, alarm.todo))
    }
}

/// What is said of a box of which nothing is wrong.
fn good(watch: &Watch<'_>) -> String {
    let Some(status) = watch.seen.status else {
        return "nothing is known".into();
    };
    let name = status.node.name.as_ref();
    let name = name.map_or("this box", |name| name.as_str());
    match (&status.document, status.health) {
        (Some(document), Health::Converged | Health::Degraded) => format!(
            "{name} on {} version {}, confirmed {}",
            document.id.fleet,
            document.id.version,
            ago(document.confirmed, watch.now)
        ),
        _ => "agentd has just started and does not know yet what to be".into(),
    }
}

const fn word(level: Option<Level>) -> &'static str {
    match level {
        None => "OK",
        Some(Level::Warning) => "WARNING",
        Some(Level::Critical) => "CRITICAL",
        Some(Level::Unknown) => "UNKNOWN",
    }
}

const fn code(level: Option<Level>) -> u8 {
    match level {
        None => 0,
        Some(Level::Warning) => 1,
        Some(Level::Critical) => 2,
        Some(Level::Unknown) => UNKNOWN,
    }
}

/// `label=value[UOM];warn;crit;min`.
fn performance(watch: &Watch<'_>, reading: &Reading) -> String {
    let Some(number) = reading.number(watch.now) else {
        return format!("{}=U", reading.key());
    };
    let unit = match (reading.what.kind, reading.what.unit) {
        (Kind::Counter, _) => "c",
        (_, Unit::Seconds) => "s",
        (_, Unit::Bytes) => "B",
        (_, Unit::None) => "",
    };
    let limit = |range: Option<super::watch::Range>| {
        range.map_or_else(String::new, |range| range.to_string())
    };
    // What alarms above 0 begins there, as its range says: NRPE of version 2 hands on 1,023 bytes of it all.
    let begins = |range: Option<super::watch::Range>| limit(range) == "0";
    let is_said = begins(reading.warning) || begins(reading.critical);
    let has_none = reading.warning.is_none() && reading.critical.is_none();
    let least = if reading.what.kind == Kind::Left || is_said || has_none {
        ""
    } else {
        "0"
    };
    let text = format!(
        "{}={number}{unit};{};{};{least}",
        reading.key(),
        limit(reading.warning),
        limit(reading.critical),
    );
    text.trim_end_matches(';').into()
}

/// One line without what would be read as the beginning of performance data.
fn plain(text: &str) -> String {
    shown(&text.replace(['\n', '\r', '\t'], " ")).replace('|', "/")
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    let kept: String = text.chars().take(most.saturating_sub(3)).collect();
    kept + "..."
}

#[cfg(test)]
mod tests {
    use super::super::watch::Seen;
    use super::super::watch::tests::{boxes, converged, now};
    use super::*;

    fn watch(status: Option<&crate::report::Status>, running: Option<bool>) -> Watch<'_> {
        Watch::new(
            Seen {
                status,
                trouble: None,
                running,
            },
            now(),
        )
    }

    #[test]
    fn every_box_in_a_line() {
        let mut said = String::new();
        for (name, status, running) in boxes() {
            let answer = answer(&watch(status.as_ref(), running), &Area::ALL, 0);
            let (line, numbers) = answer.text.split_once(" | ").unwrap();
            assert!(line.chars().count() < LINE, "{line}");
            assert!(line.is_ascii() && !answer.text.contains('\n'), "{line}");
            // What NRPE of version 2 hands on.
            assert!(answer.text.len() < 1024, "{}", answer.text.len());
            assert!(!numbers.contains('|'), "{numbers}");
            let _ = writeln!(said, "{name}:\n  {} {line}", answer.code);
        }
        insta::assert_snapshot!(said);
    }

    #[test]
    fn what_nrpe_would_cut_off_is_left_out_whole() {
        let mut status = converged();
        let database = status.databases.first().cloned().unwrap();
        for number in 1..20 {
            let mut other = database.clone();
            other.product = format!("product-{number}").parse().unwrap();
            status.databases.push(other);
        }
        let answer = answer(&watch(Some(&status), Some(true)), &Area::ALL, 0);
        assert!(answer.text.len() <= LONGEST && answer.text.len() > 900);
        let (_, numbers) = answer.text.split_once(" | ").unwrap();
        let is_whole = |number: &str| {
            let (_, value) = number.split_once('=').unwrap();
            value.starts_with(|c: char| c.is_ascii_digit() || c == 'U')
        };
        assert!(numbers.split(' ').all(is_whole), "{numbers}");
    }

    #[test]
    fn every_number_as_performance_data() {
        let status = converged();
        let answer = answer(&watch(Some(&status), Some(true)), &Area::ALL, 0);
        let numbers = answer.text.split_once(" | ").unwrap().1;
        insta::assert_snapshot!(numbers.replace(' ', "\n"));
    }

    #[test]
    fn more_is_told_to_who_asks_for_more() {
        let (_, status, running) = boxes().pop().unwrap();
        let watch = watch(status.as_ref(), running);
        let mut said = String::new();
        for verbosity in 0..=3 {
            let text = answer(&watch, &Area::ALL, verbosity).text;
            let lines = text.lines().map(|line| line.split(" | ").next().unwrap());
            let _ = writeln!(said, "-v {verbosity}:");
            for line in lines {
                let _ = writeln!(said, "  {line}");
            }
        }
        insta::assert_snapshot!(said);
    }

    #[test]
    fn a_part_is_asked_by_itself() {
        let mut said = String::new();
        for (name, status, running) in boxes() {
            for area in Area::ALL {
                let answer = answer(&watch(status.as_ref(), running), &[area], 0);
                let line = answer.text.split(" | ").next().unwrap();
                if answer.code != 0 {
                    let _ = writeln!(said, "{name}:\n  {} {line}", answer.code);
                }
            }
        }
        insta::assert_snapshot!(said);
    }

    #[test]
    fn a_passive_result_is_one_line_of_four_fields() {
        for (_, status, running) in boxes() {
            let answer = answer(&watch(status.as_ref(), running), &Area::ALL, 3);
            let line = passive("web-1\tx", "agentd", &answer);
            let fields: Vec<_> = line.trim_end_matches('\n').split('\t').collect();
            assert_eq!(fields.len(), 4, "{line}");
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(fields[2], answer.code.to_string());
        }
    }

    #[test]
    fn hostile_words_are_no_performance_data() {
        let unknown = unknown(
            "said | x=1\nand \x1b[31mmore, on and on, so that no table of any monitor would hold it",
        );
        assert_eq!(unknown.code, 3);
        insta::assert_snapshot!(unknown.text);
        assert!(unknown.text.chars().count() < LINE);
    }
}
