//! Reading a document: from bytes to a checked [`Fleet`], or to all of its mistakes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::check::check;
use super::envelope::{self, Opened, Sealed, Signature};
use super::findings::{Findings, Mistake};
use super::measure;
use super::model::Fleet;
use super::names::{KeyName, Name};
use super::pointer::Pointer;
use super::position::line_column;
use super::shape::walk_file;
use super::signing::{DOCUMENT_NAMESPACE, Trust, Unverified};
use super::tree::{Node, Value};
use super::walk::{Walker, found};
use crate::system::digest::sha256_hex;

/// One version of the document, by what it says and by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentId {
    /// The fleet.
    pub fleet: Name,
    /// The version.
    pub version: u64,
    /// SHA-256 of the exact bytes of the `signed` member, in hexadecimal.
    pub digest: String,
}

/// A document that was read and checked as a whole.
#[derive(Debug, Clone)]
pub struct Document {
    /// What it says.
    pub fleet: Arc<Fleet>,
    /// Which it is.
    pub id: DocumentId,
    /// Who says so, as the file has it.
    pub signatures: Vec<Signature>,
    /// Who was found to say so: the names of trusted keys. Nobody, where nobody was asked for.
    pub signers: Vec<KeyName>,
}

/// Why a file is no document to go by.
#[derive(Debug)]
pub enum Refused {
    /// Too few of those who must have signed it. Nothing else of it was read.
    Unverified(Unverified),
    /// It has mistakes: all of them, in the order of the file; never none.
    Mistakes(Vec<Mistake>),
}

impl Refused {
    /// All reasons, for people.
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::Unverified(why) => vec![why.to_string()],
            Self::Mistakes(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Document {
    /// Reads and checks a document. All its mistakes are returned at once, in the order of the file; never none.
    pub fn read(bytes: &[u8]) -> Result<Self, Vec<Mistake>> {
        let text = text_of(bytes).map_err(|mistake| vec![mistake])?;
        if let Some(message) = measure::too_much(text) {
            return Err(vec![of_the_file(None, message)]);
        }
        match Self::read_good(text) {
            Ok(document) => {
                let mut findings = Findings::default();
                check(&document.fleet, &mut findings);
                if findings.is_empty() {
                    return Ok(document);
                }
                // Its memory is needed for finding where.
                drop((document, findings));
                Err(mistakes(text, "the check failed"))
            }
            Err(error) => Err(mistakes(text, &error.to_string())),
        }
    }

    /// Like [`Document::read`], and before anything that is signed is read, whether those have signed it who must.
    pub fn read_trusted(bytes: &[u8], trust: &Trust) -> Result<Self, Refused> {
        let signers = Self::signers(bytes, trust)?;
        let document = Self::read(bytes).map_err(Refused::Mistakes)?;
        Ok(Self {
            signers,
            ..document
        })
    }

    /// Like [`Document::read_accepted`], and before anything that is signed is read, whether those have signed it who must.
    pub fn read_accepted_trusted(bytes: &[u8], trust: &Trust) -> Result<Self, Refused> {
        let signers = Self::signers(bytes, trust)?;
        let document = Self::read_accepted(bytes).map_err(Refused::Mistakes)?;
        Ok(Self {
            signers,
            ..document
        })
    }

    /// Who of those who count has signed a file. Of its signed part nothing is read but where it ends.
    pub fn signers(bytes: &[u8], trust: &Trust) -> Result<Vec<KeyName>, Refused> {
        if *trust == Trust::Nobody {
            return Ok(Vec::new());
        }
        let text = text_of(bytes).map_err(|mistake| Refused::Mistakes(vec![mistake]))?;
        let Sealed { signatures, signed } = envelope::unseal(text).map_err(|error| {
            // Where: unknown, for that would need all of it to be read.
            let what = match error.classify() {
                Category::Eof => "it ends too early: was it half uploaded?".into(),
                Category::Data if error.line() == 0 => error.to_string(),
                _ => "agentctl validate says where".into(),
            };
            let message = format!(
                "this is no whole document with `signatures` and `signed`, so that no signature can be checked: {what}"
            );
            Refused::Mistakes(vec![of_the_file(None, message)])
        })?;
        trust
            .signers(signed.as_bytes(), &signatures, DOCUMENT_NAMESPACE)
            .map_err(Refused::Unverified)
    }

    /// Reads a document that was checked when it was accepted, maybe by an older version of the agent: rules that came later
    /// are for new documents, and must not take away the one that a machine stands on.
    pub fn read_accepted(bytes: &[u8]) -> Result<Self, Vec<Mistake>> {
        let text = text_of(bytes).map_err(|mistake| vec![mistake])?;
        Self::read_good(text).map_err(|error| mistakes(text, &error.to_string()))
    }

    /// The fast path: straight from the text to the model.
    fn read_good(text: &str) -> Result<Self, serde_json::Error> {
        let Opened {
            signatures,
            fleet,
            signed,
        } = envelope::open(text)?;
        let id = DocumentId {
            fleet: fleet.fleet.clone(),
            version: fleet.version,
            digest: sha256_hex(signed.as_bytes()),
        };
        Ok(Self {
            fleet: Arc::new(fleet),
            id,
            signatures,
            signers: Vec::new(),
        })
    }
}

/// A mistake of the file as a whole.
fn of_the_file(position: Option<(u32, u32)>, message: impl Into<String>) -> Mistake {
    Mistake {
        pointer: Pointer(String::new()),
        position,
        message: message.into(),
        other: None,
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, Mistake> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(of_the_file(
            Some((1, 1)),
            "the file starts with a byte order mark: save it as UTF-8 without one",
        ));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(of_the_file(
            Some((1, 1)),
            "the file is UTF-16: save it as UTF-8 without a byte order mark",
        ));
    }
    if bytes.starts_with(b"\x1f\x8b") {
        return Err(of_the_file(
            Some((1, 1)),
            "the file is compressed with gzip: publish it as it is",
        ));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let position = line_column(&String::from_utf8_lossy(good), good.len());
        let message = match error.error_len() {
            None => "the file ends in the middle of a character: it looks half uploaded",
            Some(_) => "the file is not UTF-8 from here on",
        };
        of_the_file(Some(position), message)
    })?;
    if text.trim_start().starts_with('<') {
        return Err(of_the_file(
            Some((1, 1)),
            "the file is HTML or XML: an error page may have been saved in the document's place",
        ));
    }
    if text.trim().is_empty() {
        return Err(of_the_file(
            None,
            "the file is empty: it looks half uploaded, or was never written",
        ));
    }
    Ok(text)
}

/// The slow path: all mistakes of a text that the fast path refused, for the reason `refusal`.
fn mistakes(text: &str, refusal: &str) -> Vec<Mistake> {
    let tree = match Node::parse(text) {
        Ok(tree) => tree,
        Err(error) => {
            return vec![Mistake {
                pointer: error.pointer,
                position: Some(line_column(text, error.offset)),
                message: error.message,
                other: None,
            }];
        }
    };
    if let Some(mistake) = another_kind_of_file(text, &tree) {
        return vec![mistake];
    }
    let mut walker = Walker::new(text);
    walk_file(&tree, &mut walker);
    if !walker.findings.stopped()
        && let Some(fleet) = what_is_left(&tree, &walker)
    {
        check(&fleet, &mut walker.findings);
    }
    let mistakes = walker.findings.into_mistakes(text, Some(&tree));
    if mistakes.is_empty() {
        // Never none: what the fast path refused is no document, whatever the slow one thinks of it.
        return vec![of_the_file(
            None,
            format!("not a fleet document: {refusal}"),
        )];
    }
    mistakes
}

/// A file that is no fleet document of this format at all, which makes its other mistakes noise.
fn another_kind_of_file(text: &str, tree: &Node<'_>) -> Option<Mistake> {
    let wrong = |at: usize, pointer: Pointer, message: String| {
        Some(Mistake {
            pointer,
            position: Some(line_column(text, at)),
            message,
            other: None,
        })
    };
    let top = Pointer(String::new());
    if !matches!(tree.value, Value::Object(_)) {
        let message = format!(
            "expected a fleet document, an object with `signatures` and `signed`; found {}",
            found(tree)
        );
        return wrong(tree.start, top, message);
    }
    let Some(signed) = tree.member("signed") else {
        if ["servers", "products", "fleet"]
            .iter()
            .any(|key| tree.member(key).is_some())
        {
            let message = "this is the signed part without its envelope: \
                put it into {\"signatures\": [], \"signed\": …}";
            return wrong(tree.start, top, message.to_owned());
        }
        return None;
    };
    let format = signed.value.member("format")?.value;
    match format.value {
        Value::Number(number) if number != "1" && number.parse::<u32>().is_ok() => wrong(
            format.start,
            Pointer::of(["signed", "format"]),
            format!(
                "this version of node-agent ({}) reads format 1; the document has format {number}",
                env!("CARGO_PKG_VERSION")
            ),
        ),
        _ => None,
    }
}

/// The fleet without all that is wrong, so that what it means can be judged too.
fn what_is_left(tree: &Node<'_>, walker: &Walker<'_>) -> Option<Fleet> {
    let signed = tree.member("signed")?.value;
    if !matches!(signed.value, Value::Object(_)) {
        return None;
    }
    // Stand-ins: the walk has already said that these are wrong or missing.
    let left = walker.unmasked(
        &signed,
        &[
            ("format", "1"),
            ("fleet", "\"fleet\""),
            ("version", "1"),
            ("issued", "\"2000-01-01T00:00:00Z\""),
            ("expires", "\"9999-01-01T00:00:00Z\""),
            ("servers", "{}"),
        ],
    );
    serde_json::from_str(&left).ok()
}

#[cfg(test)]
mod tests;
