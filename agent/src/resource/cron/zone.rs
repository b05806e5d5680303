//! A schedule in another time zone than the machine's.
//!
//! cronie knows `CRON_TZ`, Debian's cron does not; and a time of day moves against the machine's with each daylight
//! saving. So cron is told all moments at which it may be time, and the line itself asks the clock of that zone.

use std::fmt::Write as _;

use crate::fleet::names::TimeZoneName;
use crate::fleet::names::schedule::Times;

/// When cron is to start the line: at the minutes that may be meant. Zones are quarters of an hour apart.
pub(super) fn moments(times: &Times) -> String {
    let [minutes, ..] = &times.fields;
    let Some(minutes) = minutes else {
        return "* * * * *".to_owned();
    };
    let may_be = |minute: &u8| minutes.iter().any(|meant| meant % 15 == minute % 15);
    let listed: Vec<String> = (0..60u8)
        .filter(may_be)
        .map(|minute| minute.to_string())
        .collect();
    match listed.len() {
        60 => "* * * * *".to_owned(),
        _ => format!("{} * * * *", listed.join(",")),
    }
}

/// What ends the line where it is not one of `times` in `zone`, as a POSIX shell takes it and a crontab writes it.
pub(super) fn guard(zone: &TimeZoneName, times: &Times) -> String {
    let mut text = format!(r"set -- $(TZ={zone} /bin/date '+\%-M \%-H \%-d \%-m \%w');");
    let check = |at: usize, otherwise: &str| {
        let values = times.fields.get(at)?.as_ref()?;
        let values: Vec<String> = values.iter().map(u8::to_string).collect();
        Some(format!(
            " case ,{}, in *,${},*);; *){otherwise};; esac",
            values.join(","),
            at + 1
        ))
    };
    let (minute, hour, day, month, weekday) = (0, 1, 2, 3, 4);
    let end = "exit 0";
    for field in [minute, hour, month] {
        if let Some(check) = check(field, end) {
            let _ = write!(text, "{check};");
        }
    }
    let weekdays = check(weekday, end);
    if times.either_day
        && let Some(weekdays) = &weekdays
    {
        // A day of the month will do, and else a day of the week. Every day of either is every day.
        if let Some(days) = check(day, weekdays) {
            let _ = write!(text, "{days};");
        }
        return text;
    }
    if times.either_day {
        return text;
    }
    for check in [check(day, end), weekdays].into_iter().flatten() {
        let _ = write!(text, "{check};");
    }
    text
}
