//! The envelope around the signed part: which bytes are signed, and by whom. Not whether a signature is right.

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Deserializer, Error};

use super::model::Fleet;
use super::names::{KeyName, SshsigText};
use super::strict::{List, Object};

/// A fleet document: what the fleet should be, and who says so.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "node-agent fleet document", rename = "Document")]
#[expect(
    dead_code,
    reason = "describes the file for its schema; it is read member by member"
)]
pub(super) struct Envelope {
    /// Where editors find the schema of this file. The agent does not read it.
    #[serde(rename = "$schema", default)]
    schema: Option<String>,
    /// Signatures over the exact bytes of `signed`. Empty or absent: nobody signed it.
    #[serde(default)]
    signatures: Vec<Signature>,
    /// What the fleet should be.
    signed: Fleet,
}

/// One signature over the exact bytes of `signed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// What the key is called. For people: which key it is says the signature itself.
    pub key: KeyName,
    /// The signature, as `ssh-keygen -Y sign -n node-agent-fleet` prints it.
    pub sshsig: SshsigText,
}

/// The most signatures of a document. More could not count: no fleet has so many keys that sign.
pub(super) const MOST_SIGNATURES: usize = 32;
/// The most bytes of all signatures together.
const SIGNATURES_LIMIT: usize = 64 * 1024;

/// An envelope whose signed part is not read yet.
pub(super) struct Sealed<'t> {
    pub signatures: Vec<Signature>,
    /// The exact bytes that are signed.
    pub signed: &'t str,
}

/// What an envelope contains.
pub(super) struct Opened<'t> {
    pub signatures: Vec<Signature>,
    pub fleet: Fleet,
    /// The exact bytes that say it.
    pub signed: &'t str,
}

/// Reads what stands around the signed part, and of that only where it ends.
pub(super) fn unseal(text: &str) -> Result<Sealed<'_>, Error> {
    let mut reader = Reader { text, at: 0 };
    let (mut schema, mut signatures, mut signed) = (None, None, None);
    reader.take(b'{')?;
    let mut first = true;
    while !reader.takes(b'}') {
        if !first {
            reader.take(b',')?;
        }
        first = false;
        let key: String = reader.value()?;
        reader.take(b':')?;
        let twice = match key.as_str() {
            "$schema" => schema.replace(reader.value::<Option<String>>()?).is_some(),
            "signatures" => {
                let exact = reader.skip()?;
                signatures.replace(read_signatures(exact)?).is_some()
            }
            "signed" => signed.replace(reader.skip()?).is_some(),
            _ => return Err(Error::custom(format_args!("unknown field `{key}`"))),
        };
        if twice {
            return Err(Error::custom(format_args!("`{key}` stands here twice")));
        }
    }
    reader.space();
    if reader.at < text.len() {
        return Err(Error::custom("something follows the document"));
    }
    Ok(Sealed {
        signatures: signatures.unwrap_or_default(),
        signed: signed.ok_or_else(|| Error::custom("missing field `signed`"))?,
    })
}

fn read_signatures(text: &str) -> Result<Vec<Signature>, Error> {
    if text.len() > SIGNATURES_LIMIT {
        let message = format_args!("`signatures` has more than {SIGNATURES_LIMIT} bytes");
        return Err(Error::custom(message));
    }
    let List(signatures) = serde_json::from_str::<List<Signature>>(text)?;
    if signatures.len() > MOST_SIGNATURES {
        let message = format_args!("there are more than {MOST_SIGNATURES} signatures");
        return Err(Error::custom(message));
    }
    Ok(signatures)
}

/// Reads a whole file.
pub(super) fn open(text: &str) -> Result<Opened<'_>, Error> {
    let Sealed { signatures, signed } = unseal(text)?;
    let Object(fleet) = serde_json::from_str::<Object<Fleet>>(signed)?;
    Ok(Opened {
        signatures,
        fleet,
        signed,
    })
}

/// What a sealed file has: its signed part, to the byte, and who says that they signed it. `None`: it is no such file.
pub fn unsealed(bytes: &[u8]) -> Option<(&str, Vec<Signature>)> {
    let Sealed { signatures, signed } = unseal(str::from_utf8(bytes).ok()?).ok()?;
    Some((signed, signatures))
}

/// The exact bytes of the `signed` member; `None` where there are none.
pub fn signed_part(bytes: &[u8]) -> Option<&str> {
    unsealed(bytes).map(|(signed, _)| signed)
}

/// A signed part in its envelope.
pub fn sealed(signed: &str, signatures: &[Signature]) -> String {
    // Texts only: nothing here can fail to be written as JSON.
    let lines: Vec<String> = signatures
        .iter()
        .map(|signature| serde_json::to_string(signature).unwrap_or_default())
        .collect();
    let signatures = if lines.is_empty() {
        "[]".into()
    } else {
        format!("[\n    {}\n  ]", lines.join(",\n    "))
    };
    format!("{{\n  \"signatures\": {signatures},\n  \"signed\": {signed}\n}}\n")
}

/// A text that is read value by value.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        let space = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
        self.at += space;
    }

    /// Passes `byte` and the space before it, if it stands there.
    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    fn take(&mut self, byte: u8) -> Result<(), Error> {
        if self.takes(byte) {
            Ok(())
        } else {
            Err(Error::custom(format_args!(
                "expected `{}`",
                char::from(byte)
            )))
        }
    }

    fn value<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let mut values = Deserializer::from_str(self.rest()).into_iter();
        let value = values
            .next()
            .ok_or_else(|| Error::custom("expected a value"))??;
        let length = values.byte_offset();
        self.at += length;
        Ok(value)
    }

    /// Passes a value, whatever it is: its exact bytes.
    fn skip(&mut self) -> Result<&'t str, Error> {
        self.space();
        let start = self.at;
        let IgnoredAny = self.value()?;
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: &str = r#"{"format": 1, "fleet": "f", "version": 1, "issued": "2026-01-01T00:00:00Z",
        "expires": "2027-01-01T00:00:00Z", "servers": {} }"#;

    fn opened(before: &str, after: &str) -> Option<String> {
        open(&format!("{before}{FLEET}{after}"))
            .ok()
            .map(|opened| opened.signed.to_owned())
    }

    #[test]
    fn the_signed_part_is_known_to_the_byte_wherever_it_stands() {
        for (before, after) in [
            (r#"{"signed":"#, "}"),
            ("\n{ \t\"signed\" :\r\n", " \n}\n"),
            (r#"{"$schema": null, "signatures": [], "signed": "#, "}"),
            (
                r#"{"$schema": "s", "signed": "#,
                r#" , "signatures" : [ ] } "#,
            ),
            (r#"{"\u0073igned": "#, "}"),
        ] {
            assert_eq!(
                opened(before, after).as_deref(),
                Some(FLEET),
                "{before}…{after}"
            );
        }
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        for (before, after) in [
            ("", ""),
            ("[", "]"),
            (r#"{"signed" "#, "}"),
            (r#"{"signed":"#, ""),
            (r#"{"signed":"#, ",}"),
            (r#"{"signed":"#, "}}"),
            (r#"{"signed":"#, "} x"),
            (r#"{,"signed":"#, "}"),
            ("{signed:", "}"),
            (r#"{"sign":"#, "}"),
            (r#"{"signed":["#, "]}"),
            (r#"{"signed":"#, r#" "signatures": []}"#),
            (r#"{"signed":"#, r#", "signatures": null}"#),
            (r#"{"signed":"#, r#", "signatures": [["a", "b"]]}"#),
            (r#"{"signed":"#, r#", "$schema": 1}"#),
            (r#"{"signatures": [], "signatures": [], "signed":"#, "}"),
            (r#"{"$schema": null, "$schema": null, "signed":"#, "}"),
            (&format!(r#"{{"signed": {FLEET}, "signed":"#), "}"),
        ] {
            assert_eq!(opened(before, after), None, "{before}…{after}");
        }
        for text in ["", " ", "{}", "{", "null", r#"{"signatures": []}"#] {
            assert!(open(text).is_err(), "{text}");
        }
    }
}
