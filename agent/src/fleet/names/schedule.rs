//! The grammar of cron schedules that every cron implementation of CentOS and Debian accepts, and `H` in it: a value
//! of each server's own, so that not all servers of a fleet begin at the same moment.

use super::CronSchedule;
use super::written::InvalidString;
use crate::system::digest::sha256;

/// What a person should have written.
pub(super) const EXPECTED: &str = "five cron fields such as */5 * * * *, or @hourly, @daily, @weekly, @monthly, @yearly or @reboot";

/// cron's words, and what they stand for.
const WORDS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// When cron starts a job after a boot.
const REBOOT: &str = "@reboot";

/// One of the five fields.
struct Field {
    /// As messages call it.
    name: &'static str,
    low: u8,
    high: u8,
    /// Names of the values from `low` on.
    names: &'static [&'static str],
}

const MINUTE: Field = Field::numbers("minute", 0, 59);
const HOUR: Field = Field::numbers("hour", 0, 23);
const DAY: Field = Field::numbers("day of month", 1, 31);
const MONTH: Field = Field {
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
    ..Field::numbers("month", 1, 12)
};
const WEEKDAY: Field = Field {
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ..Field::numbers("day of week", 0, 7)
};

/// All, in their order.
const FIELDS: [Field; 5] = [MINUTE, HOUR, DAY, MONTH, WEEKDAY];

/// The days of the longest month of each kind, January first.
const DAYS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl CronSchedule {
    /// Whether the job starts once after each boot, at no time of its own.
    pub fn is_reboot(&self) -> bool {
        self.as_str() == REBOOT
    }

    /// The schedule with a value for each `H`: always the same one for the same `seed`, which names the server and
    /// the job, and evenly spread over all of them.
    pub fn of_server(&self, seed: &str) -> String {
        if !self.as_str().contains('H') {
            return self.as_str().to_owned();
        }
        let fields = self.as_str().split(' ').zip(FIELDS);
        let fields = fields.map(|(text, field)| {
            let parts = text.split(',').map(|part| field.chosen(part, seed));
            parts.collect::<Vec<_>>().join(",")
        });
        fields.collect::<Vec<_>>().join(" ")
    }

    /// Whether the job comes on the days of the month *and* on the days of the week that its fields name, where most
    /// people think that it comes on days that are both.
    pub fn comes_on_either_day(&self) -> bool {
        let mut fields = self.as_str().split(' ').skip(2);
        let (day, weekday) = (fields.next(), fields.nth(1));
        // So cron tells: by a star at the beginning.
        let is_said = |field: Option<&str>| field.is_some_and(|field| !field.starts_with('*'));
        is_said(day) && is_said(weekday)
    }
}

/// The times of a schedule without `H`: of each field the values, ascending, in the order of the fields; `None`: all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// Minutes, hours, days of the month, months, days of the week from 0, Sunday, to 6.
    pub fields: [Option<Vec<u8>>; 5],
    /// A day that is one of the days of the month or one of the days of the week will do.
    pub either_day: bool,
}

impl Times {
    /// What cron makes of a schedule. `None`: it has no times (`@reboot`).
    pub fn of(schedule: &str) -> Option<Self> {
        let word = WORDS.iter().find(|(word, _)| *word == schedule);
        let schedule = word.map_or(schedule, |(_, meaning)| meaning);
        let texts: Vec<&str> = schedule.split(' ').collect();
        let mut fields = [const { None }; 5];
        for ((place, field), text) in fields.iter_mut().zip(FIELDS).zip(&texts) {
            let mut values = field.values(text).ok()?.0;
            if field.name == WEEKDAY.name {
                values = (values | values >> 7) & 0x7f;
            }
            let high = if field.name == WEEKDAY.name {
                6
            } else {
                field.high
            };
            let listed: Vec<u8> = (field.low..=high)
                .filter(|v| values >> v & 1 == 1)
                .collect();
            let all = usize::from(high - field.low) + 1;
            *place = (listed.len() < all).then_some(listed);
        }
        let is_said = |at: usize| texts.get(at).is_some_and(|text| !text.starts_with('*'));
        (texts.len() == 5).then_some(Self {
            fields,
            either_day: is_said(2) && is_said(4),
        })
    }
}

/// Checks a schedule: five fields in range, or one of cron's `@` words. The error says which field is wrong and why.
pub(super) fn check(text: &str) -> Result<(), InvalidString> {
    if text.starts_with('@') {
        return if text == REBOOT || WORDS.iter().any(|(word, _)| *word == text) {
            Ok(())
        } else {
            Err(shape())
        };
    }
    let fields: Vec<&str> = text.split(' ').collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(if fields.len() > 1 && !fields.contains(&"") {
            InvalidString(format!(
                "expected five fields (minute, hour, day of month, month, day of week), each after one space; \
                 these are {}",
                fields.len()
            ))
        } else {
            shape()
        });
    };
    if fields.iter().any(|field| field.is_empty()) || text.len() > 256 {
        return Err(shape());
    }
    MINUTE.values(minute)?;
    HOUR.values(hour)?;
    let days = DAY.values(day)?;
    let months = MONTH.values(month)?;
    WEEKDAY.values(weekday)?;
    // With a restricted day of week, cron runs the job on that day too; without one it would never run.
    let comes = DAYS
        .into_iter()
        .zip(1..)
        .any(|(longest, month)| months.contains(month) && days.has_up_to(longest));
    if *weekday == "*" && !comes {
        return Err(InvalidString(format!(
            "`{day} {month}` never comes: no such month has a day {day}"
        )));
    }
    Ok(())
}

fn shape() -> InvalidString {
    InvalidString(format!("expected {EXPECTED}"))
}

/// Values of a field, a bit each: none is above 59.
#[derive(Clone, Copy)]
struct Values(u64);

impl Values {
    /// Whether one of them is `most` or less.
    const fn has_up_to(self, most: u8) -> bool {
        self.0.trailing_zeros() <= most as u32
    }

    fn contains(self, value: u8) -> bool {
        self.0 >> value & 1 == 1
    }
}

/// `H`, among which values it chooses, and how far apart its values are.
struct Hashed {
    range: (u8, u8),
    step: Option<usize>,
}

impl Field {
    const fn numbers(name: &'static str, low: u8, high: u8) -> Self {
        Self {
            name,
            low,
            high,
            names: &[],
        }
    }

    /// The values that a field's text stands for: a comma-separated list of `*`, values and ranges, the first and
    /// last with an optional step.
    fn values(&self, text: &str) -> Result<Values, InvalidString> {
        let mut values = Values(0);
        for part in text.split(',') {
            if let Some(Hashed {
                range: (low, high), ..
            }) = self.hashed(part)?
            {
                (low..=high).for_each(|value| values.0 |= 1 << value);
                continue;
            }
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (part, None),
            };
            let (low, high) = match range.split_once('-') {
                Some((low, high)) => (self.value(low)?, self.value(high)?),
                None if range == "*" => (self.low, self.high),
                None => {
                    let value = self.value(range)?;
                    if step.is_some() {
                        return Err(self.wrong(&format!(
                            "a step needs * or a range before it, such as {value}-{}/2",
                            self.high
                        )));
                    }
                    (value, value)
                }
            };
            if low > high {
                let hint = if self.name == WEEKDAY.name && high == 0 {
                    " (Sunday is also 7)"
                } else {
                    ""
                };
                return Err(self.wrong(&format!("the range {range} runs backwards{hint}")));
            }
            let step = match step {
                Some(step) => self.step(step)?,
                None => 1,
            };
            (low..=high)
                .step_by(step)
                .for_each(|value| values.0 |= 1 << value);
        }
        Ok(values)
    }

    /// The values among which `H` alone chooses: days that every month has, and each day of the week once.
    fn spread(&self) -> (u8, u8) {
        match self.name {
            name if name == DAY.name => (1, 28),
            name if name == WEEKDAY.name => (0, 6),
            _ => (self.low, self.high),
        }
    }

    /// What a part with `H` says; `None`: it has none.
    fn hashed(&self, part: &str) -> Result<Option<Hashed>, InvalidString> {
        let Some(rest) = part.strip_prefix('H') else {
            return Ok(None);
        };
        let (range, rest) = match rest.strip_prefix('(').map(|rest| rest.split_once(')')) {
            Some(Some((range, rest))) => {
                let (low, high) = range
                    .split_once('-')
                    .ok_or_else(|| self.wrong("expected a range in H( ), such as H(0-5)"))?;
                ((self.value(low)?, self.value(high)?), rest)
            }
            Some(None) => return Err(self.wrong("H( needs a range and ) after it, such as H(0-5)")),
            None => (self.spread(), rest),
        };
        if range.0 > range.1 {
            return Err(self.wrong(&format!("the range {}-{} runs backwards", range.0, range.1)));
        }
        let step = match rest.strip_prefix('/') {
            Some(step) => Some(self.step(step)?),
            None if rest.is_empty() => None,
            None => {
                return Err(self.wrong(&format!(
                    "expected nothing or a step such as /15 after H, found {rest}"
                )));
            }
        };
        Ok(Some(Hashed { range, step }))
    }

    /// A part of this field's text, with a value in the place of `H`.
    fn chosen(&self, part: &str, seed: &str) -> String {
        let Ok(Some(Hashed {
            range: (low, high),
            step,
        })) = self.hashed(part)
        else {
            return part.to_owned();
        };
        let digest = sha256(format!("{seed} {}", self.name).as_bytes());
        let hash = digest
            .iter()
            .take(8)
            .fold(0u64, |hash, byte| hash << 8 | u64::from(*byte));
        let among = u64::from(high - low) + 1;
        let among = step.map_or(among, |step| {
            among.min(u64::try_from(step).unwrap_or(among))
        });
        let value = low + u8::try_from(hash % among).unwrap_or(0);
        match step {
            Some(step) => format!("{value}-{high}/{step}"),
            None => value.to_string(),
        }
    }

    fn value(&self, text: &str) -> Result<u8, InvalidString> {
        let named = self
            .names
            .iter()
            .zip(self.low..)
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        if let Some((_, value)) = named {
            return Ok(value);
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            let names = match self.names {
                [first, .., last] => format!(" or a name from {first} to {last}"),
                _ => String::new(),
            };
            let found = if text.is_empty() { "nothing" } else { text };
            return Err(self.wrong(&format!("expected a number{names}, found {found}")));
        }
        // Three digits are never in range, and cron's own buffers are short.
        text.parse()
            .ok()
            .filter(|value| text.len() <= 2 && (self.low..=self.high).contains(value))
            .ok_or_else(|| self.wrong(&format!("{text} is out of {} to {}", self.low, self.high)))
    }

    fn step(&self, text: &str) -> Result<usize, InvalidString> {
        text.parse::<usize>()
            .ok()
            .filter(|step| {
                text.bytes().all(|byte| byte.is_ascii_digit())
                    && (1..=usize::from(self.high)).contains(step)
            })
            .ok_or_else(|| {
                let found = if text.is_empty() { "nothing" } else { text };
                self.wrong(&format!(
                    "expected a step from 1 to {} after /, found {found}",
                    self.high
                ))
            })
    }

    fn wrong(&self, what: &str) -> InvalidString {
        InvalidString(format!("{}: {what}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        check(text).unwrap_err().to_string()
    }

    #[test]
    fn what_every_cron_accepts() {
        for text in [
            "* * * * *",
            "*/5 * * * *",
            "0 0 1 1 0",
            "59 23 31 12 7",
            "30 6 * * 1-5",
            "30 6 * * mon-fri",
            "0 0 * JAN,Jul Sun",
            "0,15,30-45/5,*/20 */2 1-15/7 1-12 0-7",
            "05 09 * * *",
            "0 0 29 2 *",
            "0 0 30 2 1",
            "0 0 31 1,2 *",
            "@hourly",
            "@daily",
            "@midnight",
            "@weekly",
            "@monthly",
            "@yearly",
            "@annually",
            "@reboot",
            "H * * * *",
            "H/15 H(0-5) H * H",
            "H(10-20)/5,40 */2 1 1 mon",
            "H H(22-23) * JAN H(1-5)",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_schedule() {
        for text in [
            "",
            " ",
            "*",
            "*  * * * *",
            " * * * * *",
            "* * * * * ",
            "*\t* * * *",
            "* * * *\n*",
            "* * * * *\n* * * * * root true",
            "@every 5m",
            "@Daily",
        ] {
            assert!(refusal(text).starts_with("expected five "), "{text:?}");
        }
        for text in [
            "** * * * *",
            "*/ * * * *",
            "*/5/5 * * * *",
            "*-5 * * * *",
            "1- * * * *",
            "-1 * * * *",
            "+1 * * * *",
            "1,,2 * * * *",
            "1, * * * *",
            "*/+5 * * * *",
            "*/05x * * * *",
            "000 * * * *",
            "0~30 * * * *",
            "H-5 * * * *",
            "5-H * * * *",
            "h * * * *",
            "H() * * * *",
            "H(5) * * * *",
            "H(0-60) * * * *",
            "H(9-5) * * * *",
            "H(0-5 * * * *",
            "H(0-5)) * * * *",
            "H/0 * * * *",
            "H/60 * * * *",
            "HH * * * *",
            "(0-5) * * * *",
            "@Reboot",
            "? * * * *",
            "L * L * *",
            "* * * january *",
            "* * * * monday",
            "jan * * * *",
            "٣ * * * *",
            "* * * * 1%2",
        ] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn refusals_say_which_field_and_why() {
        for (text, message) in [
            (
                "H(5) * * * *",
                "minute: expected a range in H( ), such as H(0-5)",
            ),
            (
                "0 9 * * * root /bin/true",
                "expected five fields (minute, hour, day of month, month, day of week), each after one space; these are 7",
            ),
            ("75 * * * *", "minute: 75 is out of 0 to 59"),
            ("* 24 * * *", "hour: 24 is out of 0 to 23"),
            ("* * 0 * *", "day of month: 0 is out of 1 to 31"),
            ("* * * 13 *", "month: 13 is out of 1 to 12"),
            ("* * * * 8", "day of week: 8 is out of 0 to 7"),
            (
                "* * * mai *",
                "month: expected a number or a name from jan to dec, found mai",
            ),
            (
                "*/0 * * * *",
                "minute: expected a step from 1 to 59 after /, found 0",
            ),
            (
                "*/90 * * * *",
                "minute: expected a step from 1 to 59 after /, found 90",
            ),
            (
                "5/15 * * * *",
                "minute: a step needs * or a range before it, such as 5-59/2",
            ),
            ("* 22-6 * * *", "hour: the range 22-6 runs backwards"),
            (
                "* * * * fri-sun",
                "day of week: the range fri-sun runs backwards (Sunday is also 7)",
            ),
            ("1,,2 * * * *", "minute: expected a number, found nothing"),
            (
                "0 0 30 2 *",
                "`30 2` never comes: no such month has a day 30",
            ),
        ] {
            assert_eq!(refusal(text), message, "{text}");
        }
    }

    fn schedule(text: &str) -> CronSchedule {
        text.parse().unwrap()
    }

    #[test]
    fn servers_are_spread_and_each_keeps_its_time() {
        let daily = schedule("H H(0-5) * * *");
        let mut minutes = std::collections::BTreeSet::new();
        let mut hours = [0; 6];
        for server in 0..600 {
            let seed = format!("web-{server}/shop/tick");
            let of_server = daily.of_server(&seed);
            assert_eq!(of_server, daily.of_server(&seed));
            assert_eq!(check(&of_server), Ok(()));
            let times = Times::of(&of_server).unwrap();
            let [Some(minute), Some(hour), None, None, None] = times.fields else {
                panic!("{of_server}");
            };
            minutes.insert(minute[0]);
            hours[usize::from(hour[0])] += 1;
        }
        assert_eq!(minutes.len(), 60);
        assert!(
            hours.iter().all(|servers| (60..140).contains(servers)),
            "{hours:?}"
        );
        // Once more in another order: hashes must not change between versions, or every job moves.
        assert_eq!(daily.of_server("web-1/shop/tick"), HASHED);
        let steps = schedule("H/15 * * * *").of_server("web-1/shop/tick");
        assert_eq!(
            Times::of(&steps).unwrap().fields[0].as_ref().unwrap().len(),
            4,
            "{steps}"
        );
        assert_eq!(schedule("@daily").of_server("web-1"), "@daily");
        assert_eq!(
            schedule("0 0 * MAR THU").of_server("web-1"),
            "0 0 * MAR THU"
        );
    }

    #[test]
    fn times_are_what_cron_makes_of_them() {
        let times = Times::of("*/30 6-7 1,15 * 1-5").unwrap();
        assert_eq!(
            times.fields,
            [
                Some(vec![0, 30]),
                Some(vec![6, 7]),
                Some(vec![1, 15]),
                None,
                Some(vec![1, 2, 3, 4, 5])
            ]
        );
        assert!(times.either_day);
        assert_eq!(Times::of("0 0 * * 7").unwrap().fields[4], Some(vec![0]));
        assert_eq!(Times::of("0 0 * * 0-7").unwrap().fields[4], None);
        assert_eq!(Times::of("@monthly"), Times::of("0 0 1 * *"));
        assert!(!Times::of("0 0 */2 * sun").unwrap().either_day);
        assert_eq!(Times::of("@reboot"), None);
    }

    #[test]
    fn two_kinds_of_days() {
        assert!(schedule("0 4 1-7 * sun").comes_on_either_day());
        for text in [
            "0 4 1-7 * *",
            "0 4 * * sun",
            "0 4 */2 * sun",
            "@weekly",
            "@reboot",
        ] {
            assert!(!schedule(text).comes_on_either_day(), "{text}");
        }
    }

    const HASHED: &str = "55 0 * * *";

    proptest! {
        #[test]
        fn any_text_is_judged(text in ".{0,40}") {
            let _ = check(&text);
        }

        #[test]
        fn fields_in_range_are_accepted(
            minute in 0..60u8, day in 1..29u8, month in 1..13u8, weekday in 0..8u8, step in 1..24u8,
        ) {
            let text = format!("{minute} */{step} {day}-28 {month},12 {weekday}");
            prop_assert_eq!(check(&text), Ok(()));
        }

        #[test]
        fn what_is_accepted_has_only_the_characters_of_a_schedule(text in "[-0-9*/, a-z@\n%]{0,20}") {
            if check(&text).is_ok() {
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-*/, @()".contains(&b)));
            }
        }
    }
}
