//! Versions of packages: which fit what a document asks for, and which is the newer one, as rpm and dpkg see it.

use std::cmp::Ordering;

use crate::system::platform::Family;

/// A version in its parts: `[epoch:]version[-release]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'t> {
    epoch: Option<&'t str>,
    upstream: &'t str,
    release: Option<&'t str>,
}

impl<'t> Version<'t> {
    /// The parts of `text`.
    pub fn of(text: &'t str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => (Some(epoch), rest),
            None => (None, text),
        };
        let (upstream, release) = match rest.rsplit_once('-') {
            Some((upstream, release)) => (upstream, Some(release)),
            None => (rest, None),
        };
        Self {
            epoch,
            upstream,
            release,
        }
    }

    /// Whether `installed` is the version that a document asks for with this one: epoch and release count where it has them.
    pub fn fits(&self, installed: &str) -> bool {
        let found = Version::of(installed);
        let same_epoch = |epoch| epoch == found.epoch.unwrap_or("0");
        self.epoch.is_none_or(same_epoch)
            && self.upstream == found.upstream
            && self
                .release
                .is_none_or(|release| Some(release) == found.release)
    }

    /// How `installed` compares with this one, which a document asks for: epoch and release count where it has them.
    pub fn compared_with(&self, installed: &str, family: Family) -> Ordering {
        let compare = match family {
            Family::Centos => rpm_order,
            Family::Debian => dpkg_order,
        };
        let found = Version::of(installed);
        let epochs = self.epoch.map_or(Ordering::Equal, |epoch| {
            compare(found.epoch.unwrap_or("0"), epoch)
        });
        let releases = || {
            let release = self.release?;
            Some(compare(found.release.unwrap_or("0"), release))
        };
        epochs
            .then_with(|| compare(found.upstream, self.upstream))
            .then_with(|| releases().unwrap_or(Ordering::Equal))
    }

    /// The same as apt's preferences want it: an expression for versions that fit.
    pub fn as_expression(&self) -> String {
        let epoch = match self.epoch {
            Some("0") => "(0:)?".to_owned(),
            Some(epoch) => format!("{epoch}:"),
            None => "([0-9]+:)?".to_owned(),
        };
        let release = match self.release {
            Some(release) => format!("-{}", escaped(release)),
            None => "(-[^-]*)?".to_owned(),
        };
        format!("/^{epoch}{}{release}$/", escaped(self.upstream))
    }

    /// The same as dnf's versionlock wants it, of the package `name`: with all parts, so that no hyphen of the name can be
    /// taken for one of the version.
    pub fn as_lock(&self, name: &str) -> String {
        let epoch = self
            .epoch
            .map_or_else(String::new, |epoch| format!("{epoch}:"));
        let release = self.release.unwrap_or("*");
        format!("{name}-{epoch}{}-{release}.*", self.upstream)
    }
}

/// Each character that an expression gives a meaning stands in brackets: `.` becomes `[.]`.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, character| {
        match character {
            '.' | '+' => {
                out.push('[');
                out.push(character);
                out.push(']');
            }
            '^' => out.push_str("\\^"),
            other => out.push(other),
        }
        out
    })
}

/// rpm's order: runs of digits and of letters, `~` before the end, `^` after it; all else only separates.
fn rpm_order(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let separates = |c: char| !c.is_ascii_alphanumeric() && c != '~' && c != '^';
        one = one.trim_start_matches(separates);
        other = other.trim_start_matches(separates);
        match (one.strip_prefix('~'), other.strip_prefix('~')) {
            (Some(rest), Some(there)) => {
                (one, other) = (rest, there);
                continue;
            }
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        match (one.strip_prefix('^'), other.strip_prefix('^')) {
            (Some(rest), Some(there)) => {
                (one, other) = (rest, there);
                continue;
            }
            (Some(_), None) => {
                return if other.is_empty() {
                    Ordering::Greater
                } else {
                    Ordering::Less
                };
            }
            (None, Some(_)) => {
                return if one.is_empty() {
                    Ordering::Less
                } else {
                    Ordering::Greater
                };
            }
            (None, None) => {}
        }
        if one.is_empty() || other.is_empty() {
            return one.len().cmp(&other.len());
        }
        let digits = one.starts_with(|c: char| c.is_ascii_digit());
        let (run, rest) = leading(one, digits);
        let (there, rest_there) = leading(other, digits);
        if there.is_empty() {
            // Numbers are newer than letters.
            return if digits {
                Ordering::Greater
            } else {
                Ordering::Less
            };
        }
        let order = if digits {
            by_number(run, there)
        } else {
            run.cmp(there)
        };
        if order.is_ne() {
            return order;
        }
        (one, other) = (rest, rest_there);
    }
}

fn leading(text: &str, digits: bool) -> (&str, &str) {
    let ends = |c: char| {
        if digits {
            !c.is_ascii_digit()
        } else {
            !c.is_ascii_alphabetic()
        }
    };
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

fn by_number(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// dpkg's order: runs of what is no digit, in which `~` comes before the end and letters before all else, and of digits.
fn dpkg_order(one: &str, other: &str) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let (mut one, mut other) = (one, other);
    while !one.is_empty() || !other.is_empty() {
        let text = |text: &str| {
            text.find(|c: char| c.is_ascii_digit())
                .unwrap_or(text.len())
        };
        let (run, rest) = one.split_at(text(one));
        let (there, rest_there) = other.split_at(text(other));
        for index in 0..run.len().max(there.len()) {
            let order = weight(run.as_bytes().get(index)).cmp(&weight(there.as_bytes().get(index)));
            if order.is_ne() {
                return order;
            }
        }
        let (number, rest) = leading(rest, true);
        let (number_there, rest_there) = leading(rest_there, true);
        let order = by_number(number, number_there);
        if order.is_ne() {
            return order;
        }
        (one, other) = (rest, rest_there);
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_a_document_leaves_out_do_not_count() {
        let fits = |wanted, installed| Version::of(wanted).fits(installed);
        assert!(fits("2.4.57", "2.4.57-5.el9"));
        assert!(fits("2.4.57", "1:2.4.57-5.el9"));
        assert!(fits("2.4.57-5.el9", "2.4.57-5.el9"));
        assert!(fits("0:2.4.57", "2.4.57-5.el9"));
        assert!(fits("2.4.57", "2.4.57"));
        assert!(!fits("2.4.5", "2.4.57-5.el9"));
        assert!(!fits("2.4.57-5", "2.4.57-5.el9"));
        assert!(!fits("1:2.4.57", "2.4.57-5.el9"));
    }

    #[test]
    fn what_is_newer_is_what_the_managers_say() {
        use Ordering::{Equal, Greater, Less};
        // As `rpm --eval '%{lua:print(rpm.vercmp(…))}'` and `dpkg --compare-versions` have them.
        for (one, other, rpm, dpkg) in [
            ("1.0", "1.0", Equal, Equal),
            ("1.0", "2.0", Less, Less),
            ("2.0.1", "2.0", Greater, Greater),
            ("10", "9", Greater, Greater),
            ("1.0~rc1", "1.0", Less, Less),
            ("1.0^git1", "1.0", Greater, Greater),
            ("1.0^git1", "1.0.1", Less, Greater),
            ("1.0a", "1.0", Greater, Greater),
            ("1.a", "1.1", Less, Greater),
            ("007", "7", Equal, Equal),
            ("1_0", "1.0", Equal, Greater),
            ("5.el9", "5.el9_1", Less, Less),
            ("1+b1", "1", Greater, Greater),
        ] {
            assert_eq!(rpm_order(one, other), rpm, "rpm: {one} {other}");
            assert_eq!(rpm_order(other, one), rpm.reverse(), "rpm: {other} {one}");
            assert_eq!(dpkg_order(one, other), dpkg, "dpkg: {one} {other}");
            assert_eq!(
                dpkg_order(other, one),
                dpkg.reverse(),
                "dpkg: {other} {one}"
            );
        }
        let older =
            |wanted, installed| Version::of(wanted).compared_with(installed, Family::Centos);
        assert_eq!(older("2.0", "2.0-7"), Equal);
        assert_eq!(older("2.0-8", "2.0-7"), Less);
        assert_eq!(older("1:1.0", "9.0-1"), Less);
        assert_eq!(older("1.0", "1:2.0-1"), Greater);
    }

    #[test]
    fn pins_are_written_so_that_nothing_else_fits() {
        assert_eq!(
            Version::of("2.4.57").as_expression(),
            "/^([0-9]+:)?2[.]4[.]57(-[^-]*)?$/"
        );
        assert_eq!(
            Version::of("1:2.4-1+b1").as_expression(),
            "/^1:2[.]4-1[+]b1$/"
        );
        assert_eq!(Version::of("8.0").as_lock("php-fpm"), "php-fpm-8.0-*.*");
        assert_eq!(Version::of("1:8.0-3").as_lock("php"), "php-1:8.0-3.*");
    }
}
