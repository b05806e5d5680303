//! When a schedule was due last: what tells a job that did not run from one whose time has not come. Pure.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::schedule::Times;

/// So many days are searched: a job of the 29th of February comes once in four years, or eight around the turn of a century.
const DAYS: i32 = 366 * 8 + 1;

impl Times {
    /// The last moment up to and with `until` at which cron starts the job, by the clock of `zone`. `None`: there was none for
    /// eight years.
    ///
    /// Moments that the clock of a zone skips or has twice are left out: what cron does in those nights differs from cron to cron.
    pub fn last_due(&self, zone: &TimeZone, until: Timestamp) -> Option<Timestamp> {
        let local = until.to_zoned(zone.clone()).datetime();
        let mut day = local.date();
        for back in 0..DAYS {
            if self.comes_on(day) {
                let latest = if back == 0 { local.time() } else { Time::MAX };
                let moments = self.times_of_day(latest);
                let mut moments = moments.filter_map(|time| certain(zone, day.to_datetime(time)));
                if let Some(found) = moments.find(|at| *at <= until) {
                    return Some(found);
                }
            }
            day = day.checked_sub(1.day()).ok()?;
        }
        None
    }

    fn comes_on(&self, day: Date) -> bool {
        let [_, _, days, months, weekdays] = &self.fields;
        let has = |field: &Option<Vec<u8>>, value: i8| {
            field
                .as_ref()
                .is_none_or(|values| values.iter().any(|one| i16::from(*one) == i16::from(value)))
        };
        if !has(months, day.month()) {
            return false;
        }
        let by_day = has(days, day.day());
        let by_weekday = has(weekdays, day.weekday().to_sunday_zero_offset());
        if self.either_day {
            by_day || by_weekday
        } else {
            by_day && by_weekday
        }
    }

    /// The times of a day, the latest first, from `latest` on backwards.
    fn times_of_day(&self, latest: Time) -> impl Iterator<Item = Time> + '_ {
        let [minutes, hours, ..] = &self.fields;
        let all = |field: &Option<Vec<u8>>, most: u8| {
            field.clone().unwrap_or_else(|| (0..=most).collect())
        };
        let (minutes, hours) = (all(minutes, 59), all(hours, 23));
        hours.into_iter().rev().flat_map(move |hour| {
            let minutes = minutes.clone();
            let of_hour = minutes.into_iter().rev().filter_map(move |minute| {
                let hour = i8::try_from(hour).ok()?;
                let minute = i8::try_from(minute).ok()?;
                Time::new(hour, minute, 0, 0).ok()
            });
            of_hour.filter(move |time| *time <= latest)
        })
    }
}

/// The moment of a time on a zone's clock, where there is exactly one.
fn certain(zone: &TimeZone, at: DateTime) -> Option<Timestamp> {
    let at = zone.to_ambiguous_timestamp(at);
    (!at.is_ambiguous()).then(|| at.compatible().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(schedule: &str, zone: &str, until: &str) -> Option<String> {
        let zone = match zone {
            "UTC" => TimeZone::UTC,
            // Central European time, as POSIX writes it: no file of the machine is needed.
            _ => TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
        };
        let found = Times::of(schedule)?.last_due(&zone, until.parse().unwrap());
        found.map(|at| at.to_string())
    }

    #[test]
    fn the_last_time_is_found_however_long_ago() {
        let until = "2026-11-30T14:03:20Z"; // a Monday
        for (schedule, found) in [
            ("* * * * *", "2026-11-30T14:03:00Z"),
            ("*/5 * * * *", "2026-11-30T14:00:00Z"),
            ("4 * * * *", "2026-11-30T13:04:00Z"),
            ("3 14 * * *", "2026-11-30T14:03:00Z"),
            ("30 6 * * 1-5", "2026-11-30T06:30:00Z"),
            ("30 16 * * 1-5", "2026-11-27T16:30:00Z"),
            ("@weekly", "2026-11-29T00:00:00Z"),
            ("@yearly", "2026-01-01T00:00:00Z"),
            ("0 4 29 2 *", "2024-02-29T04:00:00Z"),
            // Either day: a Sunday, though the 7th is longer ago.
            ("0 4 1-7 * 0", "2026-11-29T04:00:00Z"),
            // Both: `*` with a step is no day of its own to cron.
            ("0 4 */30 * 1", "2026-08-31T04:00:00Z"),
        ] {
            assert_eq!(
                last(schedule, "UTC", until).as_deref(),
                Some(found),
                "{schedule}"
            );
        }
        assert_eq!(last("@reboot", "UTC", until), None);
    }

    #[test]
    fn a_zone_has_its_own_hours_and_nights_without_an_answer() {
        assert_eq!(
            last("30 6 * * *", "CET", "2026-11-30T14:00:00Z").as_deref(),
            Some("2026-11-30T05:30:00Z")
        );
        // 2:30 is skipped on 29 March 2026, and comes twice on 25 October: those days say nothing.
        assert_eq!(
            last("30 2 * * *", "CET", "2026-03-29T12:00:00Z").as_deref(),
            Some("2026-03-28T01:30:00Z")
        );
        assert_eq!(
            last("30 2 * * *", "CET", "2026-10-25T12:00:00Z").as_deref(),
            Some("2026-10-24T00:30:00Z")
        );
    }
}
