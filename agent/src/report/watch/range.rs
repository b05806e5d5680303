//! The ranges of Nagios plugins: when a number is a reason to alert.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Alerts outside `start:end`; with `@`, inside it, ends included.
///
/// `10` is `0:10`; `10:` has no upper end, `~:10` no lower one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    start: f64,
    end: f64,
    inside: bool,
}

/// What a range may look like, for messages.
const GRAMMAR: &str = "expected a range of Nagios plugins: 10 (alert below 0 or above 10), 10: (below 10), \
    ~:10 (above 10), 10:20 (outside) or @10:20 (inside)";

impl Range {
    /// Alerts above `most`, of a number that is never negative.
    pub const fn at_most(most: f64) -> Self {
        Self {
            start: 0.0,
            end: most,
            inside: false,
        }
    }

    /// Alerts below `least`, and only there.
    pub const fn at_least(least: f64) -> Self {
        Self {
            start: least,
            end: f64::INFINITY,
            inside: false,
        }
    }

    /// Whether this number is a reason to alert.
    pub fn alerts(&self, number: f64) -> bool {
        let within = self.start <= number && number <= self.end;
        within == self.inside
    }

    /// The lower and the upper end of what is good; `None` where there is no end. All of it is `None` for a range
    /// that alerts inside: what is good then has two parts.
    pub fn good(&self) -> Option<(Option<f64>, Option<f64>)> {
        let finite = |end: f64| end.is_finite().then_some(end);
        (!self.inside).then(|| (finite(self.start), finite(self.end)))
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no range; {GRAMMAR}");
        let (inside, ends) = match text.strip_prefix('@') {
            Some(ends) => (true, ends),
            None => (false, text),
        };
        let (start, end) = match ends.split_once(':') {
            None => (Some(0.0), number(ends)),
            Some((start, end)) => (
                if start == "~" {
                    Some(f64::NEG_INFINITY)
                } else {
                    number(start)
                },
                if end.is_empty() {
                    Some(f64::INFINITY)
                } else {
                    number(end)
                },
            ),
        };
        match (start, end) {
            (Some(start), Some(end)) if start <= end => Ok(Self { start, end, inside }),
            (Some(start), Some(end)) => Err(format!(
                "`{text}` is no range: it begins at {start}, after its end, {end}"
            )),
            _ => Err(wrong()),
        }
    }
}

/// A number as the guidelines have it: digits, perhaps a sign and a fraction. No exponents, no `inf`.
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inside {
            out.write_str("@")?;
        }
        match (self.start.is_finite(), self.end.is_finite()) {
            (false, false) => out.write_str("~:"),
            (false, true) => write!(out, "~:{}", self.end),
            (true, false) => write!(out, "{}:", self.start),
            // `0:10` is written `10`, as everybody does.
            (true, true) if self.start == 0.0 => write!(out, "{}", self.end),
            (true, true) => write!(out, "{}:{}", self.start, self.end),
        }
    }
}

impl Serialize for Range {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The table of the guidelines.
    #[test]
    fn the_guidelines_own_examples() {
        let alerts = |range: &str, number: f64| range.parse::<Range>().unwrap().alerts(number);
        for (range, good, bad) in [
            ("10", &[0.0, 5.0, 10.0][..], &[-0.1, 10.1][..]),
            ("10:", &[10.0, 1e9], &[9.9, -3.0]),
            ("~:10", &[-1e9, 10.0], &[10.1]),
            ("10:20", &[10.0, 20.0], &[9.9, 20.1]),
            ("@10:20", &[9.9, 20.1], &[10.0, 15.0, 20.0]),
            ("~:", &[-1e9, 0.0, 1e9], &[]),
            ("@10", &[-1.0, 11.0], &[0.0, 10.0]),
            ("-5:-1.5", &[-5.0, -1.5], &[0.0, -5.1]),
            ("0", &[0.0], &[1.0, -1.0]),
        ] {
            for number in good {
                assert!(!alerts(range, *number), "{range} {number}");
            }
            for number in bad {
                assert!(alerts(range, *number), "{range} {number}");
            }
        }
    }

    #[test]
    fn what_is_no_range_is_told_with_the_grammar() {
        for text in [
            "", "@", "~", ":", ":10", "10:~", "~:~", "x", "10:x", "1e3", "inf", "nan", "10..20",
            "1.", ".5", "--1", "+1", "10:20:30", "10,20", "@@1", " 1", "10s", "20:10", "0x10",
        ] {
            let error = text.parse::<Range>().unwrap_err();
            assert!(error.contains("no range"), "{error}");
        }
        assert_eq!(
            "20:10".parse::<Range>().unwrap_err(),
            "`20:10` is no range: it begins at 20, after its end, 10"
        );
    }

    fn end() -> impl Strategy<Value = f64> {
        (-1_000_000..1_000_000_i32, 0..4_u32)
            .prop_map(|(n, d)| f64::from(n) / 10_f64.powi(d.try_into().unwrap()))
    }

    proptest! {
        /// Written and read again it is the same, and it judges as the definition says.
        #[test]
        fn a_range_says_what_it_means(a in end(), b in end(), open in 0..4_u8, inside: bool, number in end()) {
            let (low, high) = (a.min(b), a.max(b));
            let start = if open & 1 == 0 { low } else { f64::NEG_INFINITY };
            let end = if open & 2 == 0 { high } else { f64::INFINITY };
            let range = Range { start, end, inside };
            let again: Range = range.to_string().parse().unwrap();
            prop_assert_eq!(again, range);
            let outside = number < start || number > end;
            prop_assert_eq!(again.alerts(number), outside != inside);
        }

        #[test]
        fn any_text_is_a_range_or_an_error(text in "[@~:0-9.\\-]{0,12}|\\PC{0,12}") {
            if let Ok(range) = text.parse::<Range>() {
                prop_assert_eq!(range.to_string().parse::<Range>(), Ok(range));
            }
        }
    }
}
