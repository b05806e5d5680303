//! The draft: a file at the desk, with the document as it would be published next. Nothing else remembers an edit.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::super::failure::Failure;
use super::super::fleet::{LIMIT, write};
use serde_json::Value;

use crate::fleet::{Document, Edit, Mistake, sealed, signed_part, take_over};
use crate::report::text::Paint;
use crate::system::digest::sha256_hex;

/// The file.
#[derive(Debug)]
pub(super) struct DraftFile {
    path: PathBuf,
    /// One edit at a time.
    lock: Mutex<()>,
}

/// What stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub text: String,
    /// Which text it is: what somebody looked at is not always what is there.
    pub digest: String,
}

/// Why an edit was not made, as a page tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotEdited(pub String);

impl From<Failure> for NotEdited {
    fn from(failure: Failure) -> Self {
        Self(failure.text(Paint::PLAIN))
    }
}

impl Draft {
    fn of(text: String) -> Self {
        Self {
            digest: sha256_hex(text.as_bytes()),
            text,
        }
    }

    /// The document, or its mistakes.
    pub fn document(&self) -> Result<Document, Vec<Mistake>> {
        Document::read(self.text.as_bytes())
    }
}

impl DraftFile {
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            lock: Mutex::new(()),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stands in it; `None`: there is no draft.
    pub fn read(&self) -> Result<Option<Draft>, NotEdited> {
        let failed = |error| {
            NotEdited(format!(
                "the draft {} cannot be read: {error}",
                self.path.display()
            ))
        };
        let file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut text = String::new();
        file.take(LIMIT).read_to_string(&mut text).map_err(failed)?;
        Ok(Some(Draft::of(text)))
    }

    /// Makes these edits in the draft, or in a first one of what is published. All of them or none: where the draft was good, none
    /// that would make it wrong.
    pub fn edit(&self, edits: &[Edit], published: &[u8]) -> Result<(), NotEdited> {
        let _one = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match self.read()? {
            Some(draft) => draft,
            None => Draft::of(without_signatures(published)),
        };
        let mut text = before.text.clone();
        for edit in edits {
            text = edit.apply(&text).map_err(|error| {
                NotEdited(format!(
                    "the draft cannot be edited: {error}; mend it as a text first"
                ))
            })?;
        }
        let after = Draft::of(text);
        if let (Ok(_), Err(mistakes)) = (before.document(), after.document()) {
            let mistakes: Vec<String> = mistakes.iter().map(mistake_line).collect();
            return Err(NotEdited(format!(
                "The draft stays as it was. With this it would be wrong:\n{}",
                mistakes.join("\n")
            )));
        }
        self.put(&after)
    }

    /// Makes its changes in what is published now: `base` is the version that it was edited from.
    pub fn take_over(&self, base: &[u8], published: &[u8]) -> Result<(), NotEdited> {
        let _one = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(draft) = self.read()? else {
            return Ok(());
        };
        let theirs = without_signatures(published);
        let value = |text: &str| {
            serde_json::from_str::<Value>(text)
                .map_err(|error| NotEdited(format!("the draft is no JSON: {error}; mend it first")))
        };
        let edits = take_over(
            &value(&without_signatures(base))?,
            &value(&draft.text)?,
            &value(&theirs)?,
        );
        let edits = edits.map_err(|clashes| {
            let places: Vec<String> = clashes.iter().map(ToString::to_string).collect();
            NotEdited(format!(
                "Both the draft and what is published have changed these, each in another way. Put them right in the text, and set its \
                 version to the published one:\n{}",
                places.join("\n")
            ))
        })?;
        let text = edits
            .iter()
            .try_fold(theirs, |text, edit| edit.apply(&text));
        let text =
            text.map_err(|error| NotEdited(format!("the draft cannot be edited: {error}")))?;
        self.put(&Draft::of(text))
    }

    /// Puts another text in its place, right or wrong, if it is still the one that was edited.
    pub fn replace(&self, text: &str, edited: &str, published: &[u8]) -> Result<(), NotEdited> {
        let _one = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match self.read()? {
            Some(draft) => draft,
            None => Draft::of(without_signatures(published)),
        };
        if now.digest != edited {
            return Err(NotEdited(
                "The draft was changed elsewhere since you opened it (another tab, or its file): your text was not saved. Copy it, and \
                 open the draft again."
                    .into(),
            ));
        }
        // Browsers send the ends of lines as HTTP has them.
        self.put(&Draft::of(text.replace("\r\n", "\n")))
    }

    fn put(&self, draft: &Draft) -> Result<(), NotEdited> {
        write(&self.path, &draft.text).map_err(NotEdited::from)
    }

    /// Removes it, if it is still the one that was looked at.
    pub fn discard(&self, seen: &str) -> Result<(), NotEdited> {
        let _one = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        match self.read()? {
            None => Ok(()),
            Some(draft) if draft.digest == seen => std::fs::remove_file(&self.path)
                .map_err(|error| NotEdited(format!("the draft cannot be removed: {error}"))),
            Some(_) => Err(NotEdited(
                "The draft was changed since you looked at it: it was not discarded.".into(),
            )),
        }
    }
}

/// What a person begins to edit: signatures are of what it was.
pub(super) fn without_signatures(published: &[u8]) -> String {
    match signed_part(published) {
        Some(signed) => sealed(signed, &[]),
        None => String::from_utf8_lossy(published).into_owned(),
    }
}

/// Where a mistake is, and what.
pub(super) fn mistake_line(mistake: &Mistake) -> String {
    let place = mistake.position.map_or_else(String::new, |(line, column)| {
        format!("line {line}, column {column}: ")
    });
    format!("{place}{}: {}", mistake.pointer, mistake.message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::Pointer;

    const PUBLISHED: &str = r#"{"signatures": [], "signed": {"format": 1, "fleet": "f", "version": 41, "issued": "2026-01-01T00:00:00Z",
      "expires": "2126-01-01T00:00:00Z", "servers": {"web-1": {"address": "10.0.0.1"}}}}"#;

    fn scratch() -> (tempfile::TempDir, DraftFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = DraftFile::new(dir.path().join("draft.json"));
        (dir, file)
    }

    fn state(state: &str) -> Edit {
        let place = Pointer::of(["signed", "servers", "web-1", "state"]);
        Edit::Set(place, json!(state))
    }

    #[test]
    fn an_edit_begins_a_draft_and_one_that_would_be_wrong_does_not() {
        let (_dir, file) = scratch();
        assert_eq!(file.read().unwrap(), None);
        let refused = file.edit(&[state("gone")], PUBLISHED.as_bytes());
        let NotEdited(why) = refused.unwrap_err();
        assert!(why.contains("/signed/servers/web-1/state"), "{why}");
        assert_eq!(file.read().unwrap(), None);
        file.edit(&[state("draining")], PUBLISHED.as_bytes())
            .unwrap();
        let draft = file.read().unwrap().unwrap();
        assert!(
            draft
                .text
                .contains(r#""address": "10.0.0.1", "state": "draining""#)
                || draft.text.contains("draining")
        );
        assert_eq!(draft.document().unwrap().id.version, 41);
        // The next one goes on from it.
        let zone = Edit::Set(
            Pointer::of(["signed", "servers", "web-1", "zone"]),
            json!("a"),
        );
        file.edit(&[zone], PUBLISHED.as_bytes()).unwrap();
        let text = file.read().unwrap().unwrap().text;
        assert!(
            text.contains("draining") && text.contains("\"zone\": \"a\""),
            "{text}"
        );
    }

    #[test]
    fn nobody_writes_over_what_another_tab_has_written() {
        let (_dir, file) = scratch();
        let first = Draft::of(without_signatures(PUBLISHED.as_bytes()));
        file.replace("{ \r\n", &first.digest, PUBLISHED.as_bytes())
            .unwrap();
        let draft = file.read().unwrap().unwrap();
        assert_eq!(draft.text, "{ \n");
        assert!(draft.document().is_err());
        assert!(
            file.replace("x", &first.digest, PUBLISHED.as_bytes())
                .is_err()
        );
        assert!(file.discard(&first.digest).is_err());
        file.discard(&draft.digest).unwrap();
        assert_eq!(file.read().unwrap(), None);
    }
}
