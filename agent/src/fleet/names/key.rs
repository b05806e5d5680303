//! SSH public keys, as a line of `authorized_keys` has them. What sshd would pass over in silence is refused here.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use smol_str::SmolStr;

use super::is_printable;
use super::written::{InvalidString, Written, read_written};

/// The longest line that every sshd reads.
const LONGEST: usize = 8000;
/// RSA keys below are broken by whoever wants to; those above no sshd takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=16_384;

/// Options without a value.
const FLAGS: [&str; 15] = [
    "agent-forwarding",
    "cert-authority",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-x11-forwarding",
    "port-forwarding",
    "pty",
    "restrict",
    "touch-required",
    "user-rc",
    "verify-required",
    "x11-forwarding",
];
/// Options with a value in double quotes.
const VALUES: [&str; 8] = [
    "command",
    "environment",
    "expiry-time",
    "from",
    "permitlisten",
    "permitopen",
    "principals",
    "tunnel",
];

typed_string!(
    /// An SSH public key with its options and comment: one line of `authorized_keys`.
    PublicKey,
    expected: "an SSH public key as in authorized_keys, in one line: ssh-ed25519 AAAA… comment",
    pattern: "^[!-~][ -~]{0,7998}[!-~]$",
    check: check
);

impl PublicKey {
    /// What the line says of how the key may be used; empty where it says nothing.
    pub fn options(&self) -> &str {
        parts(self.as_str()).map_or("", |(options, _)| options)
    }

    /// Which key it is, whatever its options and comment.
    pub fn blob(&self) -> &str {
        parts(self.as_str()).map_or("", |(_, key)| {
            key.split_whitespace().nth(1).unwrap_or_default()
        })
    }
}

fn wrong(why: impl Into<String>) -> InvalidString {
    InvalidString(why.into())
}

fn check(text: &str) -> Result<(), InvalidString> {
    if text.contains("PRIVATE KEY") {
        return Err(wrong(
            "this is a private key: take it out, make a new one, and put the line of the .pub file here",
        ));
    }
    if text.is_empty() || text.len() > LONGEST || !is_printable(text) || text.trim() != text {
        return Err(wrong(format!("expected {}", PublicKey::EXPECTED)));
    }
    let Some((options, key)) = parts(text) else {
        return Err(wrong(format!(
            "expected {}, of type {}; what comes before the type must be options, separated by commas without spaces",
            PublicKey::EXPECTED,
            TYPES.join(", ")
        )));
    };
    check_options(options)?;
    let mut words = key.split_whitespace();
    let (kind, blob) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let bytes = base64(blob).ok_or_else(|| {
        wrong(format!(
            "what follows `{kind}` is no key in base64: it looks cut off or broken into lines"
        ))
    })?;
    check_blob(kind, &bytes)
}

const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// The options, and the rest from the key's type on.
fn parts(text: &str) -> Option<(&str, &str)> {
    let begins_with_type = |text: &str| {
        let word = text.split(' ').next().unwrap_or_default();
        TYPES.contains(&word)
    };
    if begins_with_type(text) {
        return Some(("", text));
    }
    let (mut quoted, mut escaped) = (false, false);
    let end = text.find(|character: char| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' => return !quoted,
            _ => {}
        }
        false
    })?;
    let (options, key) = text.split_at_checked(end)?;
    let key = key.trim_start();
    begins_with_type(key).then_some((options, key))
}

fn check_options(options: &str) -> Result<(), InvalidString> {
    let mut rest = options;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let known = name.to_ascii_lowercase();
        rest = if FLAGS.contains(&known.as_str()) {
            after
        } else if VALUES.contains(&known.as_str()) {
            value(after).ok_or_else(|| {
                wrong(format!(
                    "the option `{name}` wants a value in double quotes: {name}=\"…\""
                ))
            })?
        } else {
            return Err(wrong(format!(
                "`{name}` is no option of authorized_keys, and sshd passes over a line with one that it does not know"
            )));
        };
        rest = match rest.strip_prefix(',') {
            Some(next) if !next.is_empty() => next,
            None if rest.is_empty() => rest,
            _ => {
                return Err(wrong(
                    "options are separated by single commas, without spaces",
                ));
            }
        };
    }
    Ok(())
}

/// What follows `="…"`.
fn value(text: &str) -> Option<&str> {
    let text = text.strip_prefix("=\"")?;
    let mut escaped = false;
    let end = text.find(|character: char| {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return true,
            _ => {}
        }
        false
    })?;
    text.get(end + 1..)
}

/// The fields of a key: each is its length in four bytes, and its content.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn next(&mut self) -> Option<&'b [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }
}

fn check_blob(kind: &str, blob: &[u8]) -> Result<(), InvalidString> {
    let broken = || {
        wrong(format!(
            "this is no whole key of type {kind}: it looks cut off"
        ))
    };
    let mut fields = Fields(blob);
    let inner = fields.next().ok_or_else(broken)?;
    if inner != kind.as_bytes() {
        return Err(wrong(format!(
            "it says {kind}, and the key itself is of another type: two lines may have been mixed"
        )));
    }
    let mut of_length = |length: usize| {
        let field = fields.next().filter(|field| field.len() == length);
        field.ok_or_else(broken)
    };
    match kind {
        "ssh-ed25519" => drop(of_length(32)?),
        "sk-ssh-ed25519@openssh.com" => {
            of_length(32)?;
            fields.next().ok_or_else(broken)?;
        }
        "ecdsa-sha2-nistp256" | "sk-ecdsa-sha2-nistp256@openssh.com" => {
            of_length(8)?;
            of_length(65)?;
            if kind.starts_with("sk-") {
                fields.next().ok_or_else(broken)?;
            }
        }
        "ecdsa-sha2-nistp384" => {
            of_length(8)?;
            of_length(97)?;
        }
        "ecdsa-sha2-nistp521" => {
            of_length(8)?;
            of_length(133)?;
        }
        _ => {
            fields.next().ok_or_else(broken)?;
            let modulus = fields.next().ok_or_else(broken)?;
            let bits = bits_of(modulus);
            if !RSA_BITS.contains(&bits) {
                return Err(wrong(format!(
                    "an RSA key of {bits} bits: expected one of {} to {}, or better an Ed25519 key",
                    RSA_BITS.start(),
                    RSA_BITS.end()
                )));
            }
        }
    }
    if fields.0.is_empty() {
        Ok(())
    } else {
        Err(wrong(format!(
            "there is something after the key of type {kind}: two lines may have been mixed"
        )))
    }
}

/// How long a number is.
fn bits_of(number: &[u8]) -> usize {
    let from = number.iter().position(|byte| *byte != 0);
    let number = from.and_then(|from| number.get(from..)).unwrap_or_default();
    let first = number.first().map_or(0, |byte| byte.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(first).unwrap_or_default())
}

/// The bytes that `text` stands for; `None` where it is no base64 with its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.as_bytes().chunks(4) {
        let mut number = 0_u32;
        for place in 0..4 {
            let value = group.get(place).map_or(Some(0), |byte| digit(*byte))?;
            number = number << 6 | u32::from(value);
        }
        bytes.extend(number.to_be_bytes().iter().skip(1));
    }
    bytes.truncate(bytes.len().checked_sub(padding)?);
    Some(bytes)
}

#[cfg(test)]
mod tests;
