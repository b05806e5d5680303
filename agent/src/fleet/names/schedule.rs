//! The grammar of cron schedules that every cron implementation of CentOS and Debian accepts.

use super::written::InvalidString;

/// What a person should have written.
pub(super) const EXPECTED: &str =
    "five cron fields such as */5 * * * *, or @hourly, @daily, @weekly, @monthly or @yearly";

const WORDS: [&str; 7] = [
    "@hourly",
    "@daily",
    "@midnight",
    "@weekly",
    "@monthly",
    "@yearly",
    "@annually",
];

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

/// The days of the longest month of each kind, January first.
const DAYS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Checks a schedule: five fields in range, or one of cron's `@` words. The error says which field is wrong and why.
pub(super) fn check(text: &str) -> Result<(), InvalidString> {
    if text.eq_ignore_ascii_case("@reboot") {
        return Err(InvalidString(
            "@reboot is no schedule: it names no time at which the job is due".into(),
        ));
    }
    if text.starts_with('@') {
        return if WORDS.contains(&text) {
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
            "H * * * *",
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
                "@reboot",
                "@reboot is no schedule: it names no time at which the job is due",
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
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-*/, @".contains(&b)));
            }
        }
    }
}
