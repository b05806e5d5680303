//! What a DNS host name is, and how the one that was meant is spelt.

use super::{InvalidString, is_host_name, is_label};

pub(super) const EXPECTED: &str = "a lower-case host name such as www.example.com (labels of letters, digits and hyphens; not localhost, not an address)";

pub(super) fn check(text: &str) -> Result<(), InvalidString> {
    if is_host_name(text, is_label) {
        return Ok(());
    }
    let expected = format!("expected {EXPECTED}");
    Err(InvalidString(match meant(text) {
        Some((name, why)) => format!("{expected}: write `{name}`, {why}"),
        None => expected,
    }))
}

/// The name that DNS has for what was written, and why it is spelt so.
fn meant(text: &str) -> Option<(String, &'static str)> {
    if text.len() > 253 {
        return None;
    }
    let plain = text.strip_suffix('.').unwrap_or(text);
    if plain.is_ascii() {
        let lower = plain.to_ascii_lowercase();
        let why = if plain.len() < text.len() {
            "without the dot at its end"
        } else {
            "which is the same name in lower case"
        };
        return (lower != text && is_host_name(&lower, is_label)).then_some((lower, why));
    }
    let name = idna::domain_to_ascii(plain).ok()?;
    is_host_name(&name, is_label).then_some((name, "as DNS has it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_told() {
        for (written, meant) in [
            ("Shop.Example.COM", "`shop.example.com`"),
            ("shop.example.com.", "`shop.example.com`"),
            ("käse.example", "`xn--kse-qla.example`"),
            ("KÄSE.Example", "`xn--kse-qla.example`"),
            ("例え.テスト", "`xn--r8jz45g.xn--zckzah`"),
        ] {
            let error = check(written).unwrap_err().0;
            assert!(error.contains(&format!(": write {meant}, ")), "{error}");
        }
        for written in [
            "",
            "a b",
            "-x.example",
            "10.0.0.256",
            "LOCALHOST",
            "\u{202e}",
        ] {
            let error = check(written).unwrap_err().0;
            assert!(!error.contains(": write "), "{written}: {error}");
        }
        assert_eq!(check("xn--kse-qla.example"), Ok(()));
    }
}
