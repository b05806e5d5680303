//! Looking a subject up: in the ledger, on the disk, in the journal. Reads, never writes.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{
    Explanation, LaterFailure, Line, Other, OwnedAccount, OwnedPath, OwnedUnit, State, WriteCause,
};
use crate::converge::account_as_it_stands;
use crate::converge::journal;
use crate::converge::ledger::{Form, Ledger, Original, Owned};
use crate::fleet::Pointer;
use crate::report::{RunRecord, StepName, StepRecord};
use crate::resource::block::{self, BlockState};
use crate::resource::secrets::SecretKey;
use crate::resource::{Accounts, BLOCK_BEGIN, Thing};
use crate::system::digest::sha256_hex;
use crate::system::file::{FileError, Files, Found};
use crate::system::root::plain;
use crate::system::spelling::likeness;

/// Runs that are searched for what went wrong with a step since.
const RUNS_SEARCHED: usize = 50;
/// Paths that are suggested where the subject is not the agent's.
const SUGGESTED: usize = 5;
/// Links that are followed to find what a path stands for.
const LINKS_FOLLOWED: usize = 8;

/// What there is to look in.
pub(super) struct Lookup<'a> {
    files: &'a Files,
    ledger: &'a Ledger,
    runs: Vec<RunRecord>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(files: &'a Files, ledger: &'a Ledger) -> Result<Self, FileError> {
        Ok(Self {
            files,
            ledger,
            runs: journal::last(files, RUNS_SEARCHED)?,
        })
    }

    /// Everything that is known of `subject`: a path, a unit, a package, a service, or a word that stands in a file of the agent's.
    pub(super) fn find(&self, subject: &str, name: Option<&str>) -> Explanation {
        let mut answer = Explanation {
            format: 1,
            subject: subject.into(),
            name: name.map(Into::into),
            owned: Vec::new(),
            units: Vec::new(),
            others: Vec::new(),
            accounts: Vec::new(),
            nearest: Vec::new(),
        };
        if subject.contains('/') && !self.is_step(subject) {
            let path = self.absolute(subject);
            answer.subject = path.display().to_string();
            match self.resolve(&path) {
                Some((path, owned)) => {
                    let told = self.path(path, owned, name, name.is_some());
                    answer.owned.push(told);
                }
                None => answer.nearest = self.nearest(&path),
            }
            return answer;
        }
        answer.units = self.units(subject);
        answer.others = self.others(subject);
        answer.accounts = self.accounts(subject);
        if !(answer.units.is_empty() && answer.others.is_empty() && answer.accounts.is_empty()) {
            return answer;
        }
        for (path, owned) in self.ledger.paths() {
            if owned.step.0 == subject {
                answer.owned.push(self.path(path, owned, name, false));
            } else {
                let told = self.path(path, owned, Some(subject), true);
                if told.lines.iter().any(|line| line.ours) {
                    answer.owned.push(told);
                }
            }
        }
        answer
    }

    fn is_step(&self, subject: &str) -> bool {
        !subject.starts_with('/') && self.ledger.things.values().any(|o| o.step.0 == subject)
    }

    /// The path as the agent speaks of it: without the root, without `.` and `..`.
    fn absolute(&self, subject: &str) -> PathBuf {
        let typed = Path::new(subject);
        let typed = std::path::absolute(typed).unwrap_or_else(|_| typed.into());
        let typed = typed
            .strip_prefix(self.files.root().dir())
            .map_or(typed.clone(), |inside| Path::new("/").join(inside));
        plain(&typed)
    }

    /// The ledger's entry of a path: its own, the one shown as it, or the one that it leads to through links.
    fn resolve(&self, path: &Path) -> Option<(&'a Path, &'a Owned)> {
        let mut path = path.to_path_buf();
        for _ in 0..LINKS_FOLLOWED {
            if let Some(entry) = self.entry(&path) {
                return Some(entry);
            }
            path = self.through_link(&path)?;
        }
        None
    }

    fn entry(&self, path: &Path) -> Option<(&'a Path, &'a Owned)> {
        let shown = || {
            let mut all = self.ledger.paths();
            all.find(|(_, owned)| owned.shown_as.as_deref() == Some(path))
        };
        let own = self.ledger.paths().find(|(known, _)| *known == path);
        own.or_else(shown)
    }

    /// `path` with its first component that is a link replaced by where that points.
    fn through_link(&self, path: &Path) -> Option<PathBuf> {
        let root = self.files.root();
        let mut walked = PathBuf::from("/");
        let mut parts = path
            .components()
            .filter(|part| matches!(part, Component::Normal(_)));
        while let Some(part) = parts.next() {
            let parent = walked.clone();
            walked.push(part);
            if let Ok(target) = std::fs::read_link(root.real(&walked)) {
                let mut led = parent.join(target);
                led.extend(parts);
                return Some(plain(&led));
            }
        }
        None
    }

    fn units(&self, subject: &str) -> Vec<OwnedUnit> {
        let full = format!("{subject}.service");
        let units = self.ledger.units();
        units
            .filter(|(unit, _)| *unit == subject || *unit == full)
            .map(|(unit, owned)| {
                let step = &owned.step;
                let asked_by: BTreeSet<&Pointer> = self
                    .of_step(step)
                    .flat_map(|(_, owned)| owned.origins.iter().map(|origin| &origin.pointer))
                    .collect();
                OwnedUnit {
                    unit: unit.to_owned(),
                    step: step.clone(),
                    asked_by: asked_by.into_iter().cloned().collect(),
                    paths: (self.of_step(step))
                        .map(|(path, _)| path.to_path_buf())
                        .collect(),
                }
            })
            .collect()
    }

    fn others(&self, subject: &str) -> Vec<Other> {
        let full = format!("{subject}.service");
        let packages = self.ledger.packages();
        let services = self.ledger.services();
        packages
            .filter(|(name, _)| *name == subject)
            .chain(services.filter(|(name, _)| *name == subject || *name == full))
            .map(|(name, owned)| Other {
                name: name.to_owned(),
                form: owned.form,
                step: owned.step.clone(),
                adopted: owned.adopted,
                version: owned.version,
                run: owned.run,
                written: owned.written,
                asked_by: (owned.origins.iter())
                    .map(|origin| origin.pointer.clone())
                    .collect(),
            })
            .collect()
    }

    /// Groups and users, by their names, with or without what they are (`user deploy`, `user:deploy`), or their step.
    fn accounts(&self, subject: &str) -> Vec<OwnedAccount> {
        let things = self.ledger.things.iter();
        let accounts = things.filter(|(thing, owned)| {
            let is_called = match thing {
                Thing::Group(name) | Thing::User(name) => name == subject,
                _ => return false,
            };
            is_called
                || owned.step.0 == subject
                || thing.to_string() == subject.replacen(' ', ":", 1)
        });
        accounts
            .map(|(thing, owned)| {
                let user = match thing {
                    Thing::User(name) => name.as_str(),
                    _ => "",
                };
                let [_, keys, sudo] = Accounts::steps_of(user);
                let paths = self.of_step(&keys).chain(self.of_step(&sudo));
                let asked_by = owned.origins.iter().map(|origin| origin.pointer.clone());
                OwnedAccount {
                    account: thing.as_path().display().to_string(),
                    step: owned.step.clone(),
                    adopted: owned.adopted,
                    version: owned.version,
                    run: owned.run,
                    written: owned.written,
                    asked_by: asked_by.collect(),
                    now: account_as_it_stands(self.files, thing),
                    paths: if user.is_empty() {
                        Vec::new()
                    } else {
                        paths.map(|(path, _)| path.to_path_buf()).collect()
                    },
                }
            })
            .collect()
    }

    fn of_step(&self, step: &StepName) -> impl Iterator<Item = (&'a Path, &'a Owned)> {
        let step = step.clone();
        self.ledger
            .paths()
            .filter(move |(_, owned)| owned.step == step)
    }

    /// All that is known of one path. `filtered`: only lines with `name`; else all that somebody asked for.
    fn path(&self, path: &Path, owned: &Owned, name: Option<&str>, filtered: bool) -> OwnedPath {
        let (state, trouble, content) = match self.content(path, owned) {
            Ok(Some(content)) if content.digest == owned.digest => {
                (State::AsWritten, None, content)
            }
            Ok(Some(content)) => (State::Changed, None, content),
            Ok(None) => (State::Missing, None, Content::default()),
            Err(error) => (
                State::Unreadable,
                Some(error.to_string()),
                Content::default(),
            ),
        };
        let mut asked_by: Vec<Pointer> = owned
            .origins
            .iter()
            .filter(|origin| origin.line.is_none())
            .map(|origin| origin.pointer.clone())
            .collect();
        asked_by.dedup();
        let mut lines = content.lines(owned);
        match name {
            Some(name) if filtered => lines.retain(|line| has_word(&line.text, name)),
            _ => lines.retain(|line| !line.asked_by.is_empty()),
        }
        let because = self
            .runs
            .iter()
            .find(|run| run.id == owned.run)
            .and_then(|run| {
                step_of(run, &owned.step).map(|step| WriteCause {
                    trigger: run.trigger,
                    cause: step.cause,
                    signers: run.signers.clone(),
                })
            });
        let later = self
            .runs
            .iter()
            .take_while(|run| run.id > owned.run)
            .find_map(|run| step_of(run, &owned.step).map(|step| (run, step)))
            .filter(|(_, step)| step.outcome.is_failure())
            .map(|(run, step)| LaterFailure {
                run: run.id,
                version: run.document.version,
                outcome: step.outcome,
                error: step.error.clone(),
            });
        let known = owned.shown_as.as_deref().unwrap_or(path);
        OwnedPath {
            path: known.into(),
            stands_at: (known != path).then(|| path.into()),
            kind: owned.kind,
            step: owned.step.clone(),
            form: owned.form,
            adopted: owned.adopted,
            secret: owned.secret,
            before: owned.original.as_ref().map(before),
            state,
            trouble,
            version: owned.version,
            run: owned.run,
            written: owned.written,
            because,
            later,
            asked_by,
            lines,
        }
    }

    /// What stands at a path now; `None` where nothing of its form does.
    fn content(&self, path: &Path, owned: &Owned) -> Result<Option<Content>, FileError> {
        Ok(match (self.files.read(path)?, owned.form) {
            // Compared, and nothing of it is shown.
            (Found::File { bytes, .. }, Form::File) if owned.secret => Some(Content {
                digest: SecretKey::load(self.files)?.digest(&String::from_utf8_lossy(&bytes)),
                ..Content::default()
            }),
            (Found::Directory(_), Form::Directory) => Some(Content {
                digest: owned.digest.clone(),
                ..Content::default()
            }),
            (Found::File { bytes, .. }, Form::File | Form::Private) => Some(Content::whole(&bytes)),
            (Found::File { bytes, .. }, Form::Block) => Content::block(&bytes),
            (Found::Link(target), Form::Link) => Some(Content {
                digest: sha256_hex(target.as_os_str().as_encoded_bytes()),
                ..Content::default()
            }),
            (Found::Absent, _) => None,
            // Something else stands there: not as written, and with no lines to show.
            _ => Some(Content::default()),
        })
    }

    /// Owned paths that may have been meant by one that is not: inside it, beside it, of the same name, or nearly so.
    fn nearest(&self, path: &Path) -> Vec<PathBuf> {
        let mut scored: Vec<(f64, &Path)> = self
            .ledger
            .paths()
            .map(|(at, owned)| owned.shown_as.as_deref().unwrap_or(at))
            .filter_map(|known| {
                let likeness = likeness(&known.to_string_lossy(), &path.to_string_lossy());
                let score = if known.starts_with(path) || known.parent() == path.parent() {
                    2.0 + likeness
                } else if known.file_name() == path.file_name() {
                    1.0 + likeness
                } else {
                    likeness
                };
                (score > 0.7).then_some((score, known))
            })
            .collect();
        scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let mut nearest: Vec<PathBuf> = Vec::new();
        for (_, known) in scored {
            if nearest.len() < SUGGESTED && !nearest.iter().any(|other| other == known) {
                nearest.push(known.into());
            }
        }
        nearest
    }
}

/// What comes back when the document lets go of a path.
fn before(original: &Original) -> String {
    match original {
        Original::File { attributes, .. } => {
            let copy = original.copy().unwrap_or_default();
            format!("a file ({attributes}), kept at {}", copy.display())
        }
        Original::Link(target) => format!("a link to {}", target.display()),
        Original::Directory(attributes) => format!("a directory ({attributes})"),
    }
}

fn step_of<'a>(run: &'a RunRecord, step: &StepName) -> Option<&'a StepRecord> {
    run.steps.iter().find(|record| record.step == *step)
}

/// The text at a path.
#[derive(Debug, Default)]
struct Content {
    digest: String,
    /// All lines of the file.
    lines: Vec<String>,
    /// The agent's first line, from 0, and how many there are.
    first: usize,
    count: usize,
}

impl Content {
    fn whole(bytes: &[u8]) -> Self {
        let lines: Vec<String> = lines(bytes);
        Self {
            digest: sha256_hex(bytes),
            first: 0,
            count: lines.len(),
            lines,
        }
    }

    fn block(bytes: &[u8]) -> Option<Self> {
        let ours = match block::find(bytes) {
            BlockState::None => return None,
            // Not as written, and nobody can say which lines are whose.
            BlockState::Malformed(_) => return Some(Self::default()),
            BlockState::One { lines } => lines,
        };
        // Its words after the colon may be an older version's.
        let begins = BLOCK_BEGIN.split(':').next().unwrap_or(BLOCK_BEGIN);
        let begin = bytes
            .split(|byte| *byte == b'\n')
            .take_while(|line| !line.starts_with(begins.as_bytes()))
            .count();
        Some(Self {
            digest: sha256_hex(ours),
            first: begin + 1,
            count: ours.split_inclusive(|byte| *byte == b'\n').count(),
            lines: lines(bytes),
        })
    }

    fn lines(self, owned: &Owned) -> Vec<Line> {
        let Self {
            lines,
            first,
            count,
            ..
        } = self;
        lines
            .into_iter()
            .enumerate()
            .map(|(index, text)| {
                let ours = (first..first + count).contains(&index);
                let within = index
                    .checked_sub(first)
                    .and_then(|line| u32::try_from(line + 1).ok());
                let asked_by = owned
                    .origins
                    .iter()
                    .filter(|origin| ours && origin.line.is_some() && origin.line == within)
                    .map(|origin| origin.pointer.clone())
                    .collect();
                Line {
                    number: index + 1,
                    text,
                    ours,
                    asked_by,
                }
            })
            .collect()
    }
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .map(Into::into)
        .collect()
}

/// Whether `word` stands in a line by itself: not as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |character: char| character.is_alphanumeric() || "-_.".contains(character);
    let before_ok = |before: &str| !before.ends_with(part_of_name);
    let after_ok = |after: &str| {
        // A dot ends a sentence, or goes on with a name.
        let after = after.strip_prefix('.').unwrap_or(after);
        !after.starts_with(|c: char| c.is_alphanumeric() || "-_".contains(c))
    };
    !word.is_empty()
        && line.match_indices(word).any(|(at, _)| {
            let (before, rest) = line.split_at(at);
            before_ok(before) && rest.strip_prefix(word).is_some_and(after_ok)
        })
}
