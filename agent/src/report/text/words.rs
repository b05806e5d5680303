//! Ages, durations, numbers and strings of unknown origin, as people say them.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::Timestamp;

/// A span of seconds in its largest fitting unit: `4 s`, `3 min`, `5 h`, `29 days`. Negative ones count as 0.
pub fn age(secs: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match secs {
        ..=0 => "0 s".into(),
        1..=119 => format!("{secs} s"),
        120..7200 => format!("{} min", secs / MINUTE),
        7200..172_800 => format!("{} h", secs / HOUR),
        _ => format!("{} days", secs / DAY),
    }
}

/// How long ago `then` was: `3 min ago`, `just now`; a moment to come is `in 3 min`.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let secs = now.as_second().saturating_sub(then.as_second());
    match secs {
        0 => "just now".into(),
        1.. => format!("{} ago", age(secs)),
        _ => format!("in {}", age(secs.saturating_neg())),
    }
}

/// The first line of a text of unknown origin and length: at most so many characters, none of which drives a terminal.
pub fn one_line(text: &str, most: usize) -> String {
    let first = text.lines().next().unwrap_or_default();
    let plain = first.chars().map(|c| if c.is_control() { ' ' } else { c });
    if first.chars().count() > most {
        plain.take(most.saturating_sub(1)).chain(['…']).collect()
    } else {
        plain.collect()
    }
}

/// A moment to the second, in UTC: `2026-11-22 20:00:05Z`.
pub fn moment(at: Timestamp) -> String {
    let text = Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string();
    text.replacen('T', " ", 1)
}

/// A duration of milliseconds: `12 ms`, `3.4 s`, `5 min`.
pub fn took(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => age(i64::try_from(ms / 1000).unwrap_or(i64::MAX)),
    }
}

/// An amount of bytes: `900 B`, `12 KiB`, `3.4 MiB`, `270 GiB`.
pub fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    let (whole, tenth) = (bytes / unit, bytes % unit * 10 / unit);
    if whole < 10 && unit > 1 << 10 {
        format!("{whole}.{tenth} {name}")
    } else {
        format!("{whole} {name}")
    }
}

/// A number and its noun: `1 problem`, `2 problems`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The characters of a headline: as many as a log's line or a status's bullet can take.
const HEADLINE_CHARS: usize = 400;

/// What a text of many lines comes to, in one: its first line, with the next ones for as long as each only announces
/// what follows (`Syntax error on line 3 of …:`). Cut where it is longer than 400 characters. Control characters stay.
pub fn headline(text: &str) -> String {
    split_headline(text).0
}

/// The same, and the lines that it does not have.
pub(super) fn split_headline(text: &str) -> (String, Vec<&str>) {
    let mut out = String::new();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines.by_ref() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(line);
        if !line.ends_with(':') {
            break;
        }
    }
    let rest = lines.collect();
    if let Some((at, _)) = out.char_indices().nth(HEADLINE_CHARS) {
        out.truncate(at);
        out.push('…');
    }
    (out, rest)
}

/// Text of unknown origin, one line: control characters, and those that reorder text, are shown escaped. Tabs stay.
pub fn shown(text: &str) -> Cow<'_, str> {
    let harmless = |character: char| character == '\t' || !is_unsafe(character);
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if harmless(character) {
            out.push(character);
        } else if character.is_ascii() {
            let _ = write!(out, "\\x{:02x}", u32::from(character));
        } else {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
        }
    }
    Cow::Owned(out)
}

/// Control characters, line separators, and what makes text run the other way.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
