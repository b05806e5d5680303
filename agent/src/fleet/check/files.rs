//! Files of products and roles: what one of them can be, and that no two want something else of one path.

use std::borrow::Cow;
use std::collections::BTreeSet;

use minijinja::Environment;

use super::bundles::{Claim, Said};
use super::paths::{For, needs_check, obstacle};
use super::services::unfit;
use super::{Check, ROLES};
use crate::fleet::bundle::Bundle;
use crate::fleet::file::FileEntry;
use crate::fleet::names::{AbsolutePath, Name};
use crate::fleet::pointer::Place;
use crate::fleet::secret::SecretSource;

/// The most files of one role or product.
const MOST: usize = 500;
/// The most secrets of one file.
const MOST_SECRETS: usize = 32;
/// The most words of a check's command.
const MOST_WORDS: usize = 64;
/// The most services that one file has reloaded or restarted.
const MOST_SERVICES: usize = 8;
/// What stands for the new file's path in a check.
const STAGED: &str = "{staged}";

impl<'f> Check<'f> {
    /// What each file says by itself.
    pub(super) fn files(&mut self, bundle: Bundle<'f>, at: &Place<'_>) {
        let at = at.then("files");
        self.at_most(bundle.files().len(), MOST, &at);
        for (path, file) in bundle.files().iter().take(MOST) {
            let at = at.then(path.as_str());
            if !self.findings.is_doubtful(&at) {
                self.file(path, file, &at);
            }
        }
    }

    fn file(&mut self, path: &AbsolutePath, file: &FileEntry, at: &Place<'_>) {
        let debian = at.then("debian");
        let places = [(Some(path), at), (file.debian.as_ref(), &debian)];
        for (path, at) in places {
            let Some(path) = path else { continue };
            if let Some(why) = obstacle(path, For::File) {
                self.findings
                    .add(at, || format!("no file of a document can be {path}: {why}"));
            } else if needs_check(path) && file.check.is_empty() {
                self.findings.add(at, || {
                    format!("{path} decides who can log in: give it a `check`, such as [\"/usr/sbin/sshd\", \"-t\", \"-f\", \"{STAGED}\"]")
                });
            }
        }
        self.what_it_is(file, at);
        self.secrets(file, at);
        self.mode(file, at);
        self.command(file, at);
        self.services(file, at);
        let on = at.then("on");
        self.list(&file.on, &on, 64);
        for (index, role) in file.on.iter().enumerate() {
            self.refers(&self.fleet.roles, &ROLES, role, &on, index);
        }
    }

    fn what_it_is(&mut self, file: &FileEntry, at: &Place<'_>) {
        let said = [
            ("content", file.content.is_some()),
            ("template", file.template.is_some()),
            ("object", file.object.is_some()),
            ("directory", file.directory),
            ("link", file.link.is_some()),
        ];
        let said: Vec<&str> = said
            .into_iter()
            .filter_map(|(name, is)| is.then_some(name))
            .collect();
        if said.len() != 1 {
            self.findings.add(at, || {
                let found = match said.as_slice() {
                    [] => "none of them".to_owned(),
                    some => some
                        .iter()
                        .map(|name| format!("`{name}`"))
                        .collect::<Vec<_>>()
                        .join(" and "),
                };
                format!("expected exactly one of `content`, `template`, `object`, `directory` and `link`; found {found}")
            });
        }
        match (&file.object, &file.sha256) {
            (Some(_), None) => self.findings.add(at, || {
                "an `object` needs its `sha256`: what the bucket gives is compared with that"
                    .to_owned()
            }),
            (None, Some(_)) => self.findings.add(&at.then("sha256"), || {
                "`sha256` is of an `object`: there is none here".to_owned()
            }),
            _ => {}
        }
        if let Some(template) = &file.template {
            let engine = Environment::new();
            if let Err(error) = engine.template_from_named_str("template", template.as_str()) {
                self.findings.add(&at.then("template"), || {
                    let line = error
                        .line()
                        .map_or_else(String::new, |line| format!("line {line}: "));
                    let detail = error.detail().unwrap_or_default();
                    format!("the template is wrong: {line}{}: {detail}", error.kind())
                });
            }
        }
        let plain = file.directory || file.link.is_some();
        for (field, said) in [
            ("check", !file.check.is_empty()),
            ("reload", !file.reload.is_empty()),
            ("restart", !file.restart.is_empty()),
        ] {
            if plain && said && field == "check" {
                self.findings.add(&at.then(field), || {
                    "a `check` looks at the content of a file: a directory or link has none"
                        .to_owned()
                });
            }
        }
        if file.link.is_some() {
            for (field, said) in [
                ("mode", file.mode.is_some()),
                ("owner", file.owner.is_some()),
                ("group", file.group.is_some()),
            ] {
                if said {
                    self.findings.add(&at.then(field), || {
                        format!("a link has no `{field}` of its own: what it points to has")
                    });
                }
            }
        }
    }

    fn secrets(&mut self, file: &FileEntry, at: &Place<'_>) {
        let at = at.then("secrets");
        self.at_most(file.secrets.len(), MOST_SECRETS, &at);
        if !file.secrets.is_empty() && file.template.is_none() {
            self.findings.add(&at, || {
                "secrets are for a `template`, which has them by secret('NAME'): there is none here"
                    .to_owned()
            });
        }
        for (name, source) in &file.secrets {
            self.secret(source, &at.then(name.as_str()));
        }
    }

    /// Whether a secret has one place.
    pub(super) fn secret(&mut self, source: &SecretSource, at: &Place<'_>) {
        match (&source.file, &source.aws) {
            (Some(_), None) | (None, Some(_)) => {}
            (None, None) => self.findings.add(at, || {
                "expected `file` or `aws`: where the secret is kept; found neither".to_owned()
            }),
            (Some(_), Some(_)) => self.findings.add(at, || {
                "a secret is kept in one place: `file` or `aws`, not both".to_owned()
            }),
        }
        if source.field.is_some() && source.aws.is_none() {
            self.findings.add(&at.then("field"), || {
                "`field` is of a secret in `aws`: a file is taken as a whole".to_owned()
            });
        }
    }

    fn mode(&mut self, file: &FileEntry, at: &Place<'_>) {
        let Some(mode) = file.mode else { return };
        let at = at.then("mode");
        let bits = mode.bits();
        if !file.secrets.is_empty() && bits & 0o007 != 0 {
            self.findings.add(&at, || {
                format!("a file with a secret in it is not for everybody: {mode} lets all accounts at it")
            });
        } else if bits & 0o002 != 0 && !(file.directory && bits & 0o1000 != 0) {
            self.findings.add(&at, || {
                format!("{mode} lets every account write there: give it to an `owner` or a `group`, or make a directory 1777")
            });
        } else if bits & 0o1000 != 0 && !file.directory {
            self.findings
                .add(&at, || format!("{mode}: the sticky bit is for directories"));
        }
    }

    fn command(&mut self, file: &FileEntry, at: &Place<'_>) {
        let Some(program) = file.check.first() else {
            return;
        };
        let at = at.then("check");
        self.at_most(file.check.len(), MOST_WORDS, &at);
        if program.as_str().parse::<AbsolutePath>().is_err() {
            self.findings.add(&at, || {
                format!("expected a program's absolute path first; found \"{program}\": no shell looks for it")
            });
        }
        if !file.check.iter().any(|word| word.as_str().contains(STAGED)) {
            self.findings.add(&at, || {
                format!("the check does not say {STAGED}, which stands for the new file's path: it would look at the old one")
            });
        }
    }

    fn services(&mut self, file: &FileEntry, at: &Place<'_>) {
        for (field, services) in [("reload", &file.reload), ("restart", &file.restart)] {
            let at = at.then(field);
            self.list(services, &at, MOST_SERVICES);
            for (index, unit) in services.iter().enumerate() {
                if let Some(why) = unfit(unit) {
                    let place = self.findings.item(&at, index);
                    self.findings.add(&place, || why);
                }
            }
        }
        let reload = at.then("reload");
        for (index, unit) in file.reload.iter().enumerate() {
            if file.restart.contains(unit) {
                let place = self.findings.item(&reload, index);
                self.findings.add(&place, || {
                    format!("`{unit}` is restarted anyway: take one of them out")
                });
            }
        }
    }

    /// What two say of one path on a server that has both, and paths that would have to be a file and a directory.
    pub(super) fn files_agree(&mut self) {
        let products = self.fleet.products.iter();
        let products = products.map(|(name, product)| Bundle::Product(name, product));
        let roles = self.fleet.roles.iter();
        let roles = roles.map(|(name, role)| Bundle::Role(name, role));
        let mut named: BTreeSet<&str> = BTreeSet::new();
        let mut any = false;
        for bundle in products.chain(roles) {
            for (path, file) in bundle.files() {
                any = true;
                named.insert(path.as_str());
                named.extend(file.debian.as_ref().map(AbsolutePath::as_str));
            }
        }
        if !any {
            return;
        }
        self.agree(whole_claims, contradiction);
        self.agree(|by| shape_claims(by, &named), misfit);
    }
}

/// The families whose paths differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layout {
    Centos,
    Debian,
}

impl Layout {
    const ALL: [Self; 2] = [Self::Centos, Self::Debian];

    fn path<'f>(self, path: &'f AbsolutePath, file: &'f FileEntry) -> &'f str {
        match (self, &file.debian) {
            (Self::Debian, Some(debian)) => debian.as_str(),
            _ => path.as_str(),
        }
    }
}

/// What is said of a path as a whole. A template means something else in each product and role, for it sees whose it is.
#[derive(Debug, PartialEq, Eq)]
struct Whole<'f> {
    file: FileEntry,
    template_of: Option<&'f Name>,
}

type Key<'f> = (Layout, &'f str);

fn whole_claims(by: Bundle<'_>) -> Vec<Claim<'_, Key<'_>, Whole<'_>>> {
    let files = by.files().iter();
    let claims = files.flat_map(|(path, file)| {
        Layout::ALL.map(|layout| Claim {
            key: (layout, layout.path(path, file)),
            value: Whole {
                file: FileEntry {
                    on: Vec::new(),
                    debian: None,
                    ..file.clone()
                },
                template_of: file.template.as_ref().map(|_| by.name()),
            },
            on: &file.on,
            path: vec!["files".into(), Cow::Borrowed(path.as_str())],
        })
    });
    claims.collect()
}

fn contradiction<'f>(
    this: &Said<'f, Key<'f>, Whole<'f>>,
    first: &Said<'f, Key<'f>, Whole<'f>>,
) -> String {
    let (_, path) = this.claim.key;
    let same = this.claim.value.file == first.claim.value.file;
    if same {
        format!(
            "{path} is a template of {} too: it means something else there",
            first.by
        )
    } else {
        format!("{path} is something else in {}", first.by)
    }
}

/// What a path has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    File,
    Directory,
    NodeList,
}

/// What each path has to be: the directories that it stands in are directories. `named`: those that any entry names, for
/// only these can be anything else.
fn shape_claims<'f>(by: Bundle<'f>, named: &BTreeSet<&str>) -> Vec<Claim<'f, Key<'f>, Shape>> {
    let mut claims = Vec::new();
    let mut claim = |key: &'f str, layout, shape, on: &'f [Name], at: Vec<Cow<'f, str>>| {
        claims.push(Claim {
            key: (layout, key),
            value: shape,
            on,
            path: at,
        });
    };
    for (path, file) in by.files() {
        let shape = if file.directory {
            Shape::Directory
        } else {
            Shape::File
        };
        for layout in Layout::ALL {
            let at: Vec<Cow<'f, str>> = vec!["files".into(), Cow::Borrowed(path.as_str())];
            let own = layout.path(path, file);
            claim(own, layout, shape, &file.on, at.clone());
            for above in directories(own).filter(|above| named.contains(above)) {
                claim(above, layout, Shape::Directory, &file.on, at.clone());
            }
        }
    }
    if let Bundle::Product(_, product) = by {
        for (name, cache) in product.all_caches() {
            let Some(list) = &cache.list else { continue };
            let mut at: Vec<Cow<'f, str>> = match name {
                Some(name) => vec!["caches".into(), Cow::Borrowed(name.as_str())],
                None => vec!["cache".into()],
            };
            at.extend(["list".into(), "path".into()]);
            let own = list.path.as_str();
            for layout in Layout::ALL {
                claim(own, layout, Shape::NodeList, &[], at.clone());
                for above in directories(own).filter(|above| named.contains(above)) {
                    claim(above, layout, Shape::Directory, &[], at.clone());
                }
            }
        }
    }
    claims
}

/// The directories that `path` stands in.
fn directories(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/')
        .filter_map(move |(slash, _)| path.get(..slash))
        .filter(|above| !above.is_empty())
}

fn misfit<'f>(this: &Said<'f, Key<'f>, Shape>, first: &Said<'f, Key<'f>, Shape>) -> String {
    let (_, path) = this.claim.key;
    let said = |shape| match shape {
        Shape::File => "a file or link",
        Shape::Directory => "a directory",
        Shape::NodeList => "a node list of memcached",
    };
    format!(
        "{path} is {} here, and {} in {}",
        said(this.claim.value),
        said(first.claim.value),
        first.by
    )
}
