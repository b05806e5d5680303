//! How long a certificate is good: the one field of X.509 that the library, which only asks whether it is good now, keeps to
//! itself.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when until when a certificate (DER) is good. `None`: it is none.
pub(super) fn of(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (SEQUENCE, certificate, _) = value(certificate)? else {
        return None;
    };
    let (SEQUENCE, mut fields, _) = value(certificate)? else {
        return None;
    };
    // Version (where it is not the first), serial number, algorithm, issuer.
    for wanted in [VERSION, INTEGER, SEQUENCE, SEQUENCE] {
        let (tag, _, rest) = value(fields)?;
        if tag == wanted {
            fields = rest;
        } else if wanted != VERSION {
            return None;
        }
    }
    let (SEQUENCE, validity, _) = value(fields)? else {
        return None;
    };
    let (tag, from, rest) = value(validity)?;
    let from = moment(tag, from)?;
    let (tag, until, _) = value(rest)?;
    Some((from, moment(tag, until)?))
}

/// The first value: its tag, its content, and what follows it.
fn value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(*first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// `YYMMDDHHMMSSZ`, of 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn moment(tag: u8, content: &[u8]) -> Option<Timestamp> {
    let text = str::from_utf8(content).ok()?;
    let text = match tag {
        UTC_TIME => {
            let year: u8 = text.get(..2)?.parse().ok()?;
            let century = if year < 50 { "20" } else { "19" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", &text).ok()?;
    let zoned = time.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_kinds_of_times_are_read() {
        let said = |tag, text: &str| moment(tag, text.as_bytes()).map(|time| time.to_string());
        let first = said(UTC_TIME, "261129170000Z");
        assert_eq!(first.unwrap(), "2026-11-29T17:00:00Z");
        assert_eq!(
            said(UTC_TIME, "500101000000Z").unwrap(),
            "1950-01-01T00:00:00Z"
        );
        let long = said(GENERALIZED_TIME, "20500101000000Z");
        assert_eq!(long.unwrap(), "2050-01-01T00:00:00Z");
        assert_eq!(said(UTC_TIME, "2611291700Z"), None);
        assert_eq!(said(INTEGER, "261129170000Z"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = of(&bytes);
            let _ = value(&bytes);
        }
    }
}
