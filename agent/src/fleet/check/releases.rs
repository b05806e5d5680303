//! Releases of products, and the smoke tests that show that they work.

use std::time::Duration;

use super::{Check, FEW, ROLES};
use crate::fleet::model::Product;
use crate::fleet::names::{AbsolutePath, Name, ReleasePath};
use crate::fleet::pointer::Place;
use crate::fleet::release::{self, BeforeSwitch, Release, SmokeTest};
use crate::fleet::wording::listed;
use crate::system::spelling::nearest;

/// What an archive's name ends in.
const ARCHIVES: [&str; 3] = [".tar.zst", ".tar.gz", ".tgz"];
/// The most directories that releases share.
const MOST_SHARED: usize = 50;
/// The most words of a command.
const MOST_WORDS: usize = 64;
/// The most headers that one smoke test looks at.
const MOST_HEADERS: usize = 20;
/// The most smoke tests of a product.
const MOST_TESTS: usize = 50;
/// The longest that a command may take.
const LONGEST_COMMAND: Duration = Duration::from_hours(1);
/// The longest that an answer may take.
const LONGEST_ANSWER: Duration = Duration::from_mins(1);

impl<'f> Check<'f> {
    /// The release of a product, and its smoke tests.
    pub(super) fn release_and_tests(
        &mut self,
        name: &'f Name,
        product: &'f Product,
        at: &Place<'_>,
    ) {
        if let Some(release) = &product.release {
            self.release(release, &at.then("release"));
            self.files_beside_it(name, product, &at.then("files"));
        }
        let tests = at.then("smoke");
        self.at_most(product.smoke.len(), MOST_TESTS, &tests);
        for (index, test) in product.smoke.iter().take(MOST_TESTS).enumerate() {
            let at_test = self.findings.item(&tests, index);
            self.smoke_test(product, test, &at_test, &at.then("sites"));
        }
    }

    fn release(&mut self, release: &'f Release, at: &Place<'_>) {
        let object = release.object.as_str();
        if !ARCHIVES.iter().any(|ending| object.ends_with(ending)) {
            self.findings.add(&at.then("object"), || {
                format!("expected an archive that ends in .tar.zst or .tar.gz; found \"{object}\"")
            });
        }
        if release
            .user
            .as_ref()
            .is_some_and(|user| user.as_str() == "root")
        {
            self.findings.add(&at.then("user"), || {
                "a release without `user` is root's: leave it out".to_owned()
            });
        }
        let shared = at.then("shared");
        self.list(&release.shared, &shared, MOST_SHARED);
        for (index, path) in release.shared.iter().enumerate() {
            let above = release.shared.iter().find(|other| {
                let rest = path.as_str().strip_prefix(other.as_str());
                rest.is_some_and(|rest| rest.starts_with('/'))
            });
            if let Some(above) = above {
                let place = self.findings.item(&shared, index);
                self.findings.add(&place, || {
                    format!("`{path}` stands in `{above}`, which is shared as a whole: take it out")
                });
            }
        }
        if let Some(before) = &release.before {
            self.before(before, &at.then("before"));
        }
        let on = at.then("on");
        self.list(&release.on, &on, 64);
        for (index, role) in release.on.iter().enumerate() {
            self.refers(&self.fleet.roles, &ROLES, role, &on, index);
        }
    }

    fn before(&mut self, before: &BeforeSwitch, at: &Place<'_>) {
        let command = at.then("command");
        self.at_most(before.command.len(), MOST_WORDS, &command);
        match before.command.first() {
            None if !self.findings.is_doubtful(&command) => self.findings.add(&command, || {
                "expected a program, with its arguments; found an empty list".to_owned()
            }),
            Some(program) => {
                let path = program.as_str();
                let is_path =
                    path.parse::<AbsolutePath>().is_ok() || path.parse::<ReleasePath>().is_ok();
                if !is_path {
                    self.findings.add(&self.findings.item(&command, 0), || {
                        format!("expected a program's path, absolute or within the release, such as bin/migrate; found \"{path}\": no shell reads it")
                    });
                }
            }
            None => {}
        }
        if let Some(timeout) = before.timeout
            && timeout.duration() > LONGEST_COMMAND
        {
            self.findings.add(&at.then("timeout"), || {
                format!("expected at most 1h; found {timeout}: a release is not held up for longer")
            });
        }
    }

    /// What the agent keeps below `/srv/PRODUCT` itself.
    fn files_beside_it(&mut self, name: &Name, product: &Product, at: &Place<'_>) {
        let home = release::home(name);
        let own = ["current", "releases"].map(|part| format!("{home}/{part}"));
        for (path, file) in &product.files {
            let paths = [Some(path), file.debian.as_ref()];
            let taken = paths.into_iter().flatten().find_map(|path| {
                own.iter()
                    .find(|own| path.is_at_or_under(own))
                    .map(|own| (path, own))
            });
            if let Some((path, own)) = taken {
                self.findings.add(&at.then(path.as_str()), || {
                    format!("no file of a document can be {path}: {own} is kept by the product's `release`")
                });
            }
        }
    }

    fn smoke_test(
        &mut self,
        product: &'f Product,
        test: &SmokeTest,
        at: &Place<'_>,
        sites: &Place<'_>,
    ) {
        let is_known = product.sites.contains_key(&test.site);
        if !is_known && !self.findings.may_hide(sites, test.site.as_str()) {
            self.findings.add(&at.then("site"), || {
                let site = &test.site;
                let names = || product.sites.keys().map(Name::as_str);
                match nearest(site.as_str(), names()) {
                    Some(near) => {
                        format!("the product has no site `{site}`; did you mean `{near}`?")
                    }
                    None if product.sites.is_empty() => {
                        format!("the product has no site `{site}`: it has none")
                    }
                    None => format!(
                        "the product has no site `{site}`; its sites are {}",
                        listed(names().take(FEW), '`', "and")
                    ),
                }
            });
        }
        self.at_most(test.header.len(), MOST_HEADERS, &at.then("header"));
        if let Some(within) = test.within
            && within.duration() > LONGEST_ANSWER
        {
            self.findings.add(&at.then("within"), || {
                format!("expected at most 60s; found {within}: no visitor waits for longer")
            });
        }
        if let (Some(contains), Some(lacks)) = (&test.contains, &test.lacks)
            && contains.as_str().contains(lacks.as_str())
        {
            self.findings.add(&at.then("lacks"), || {
                format!("`contains` has \"{lacks}\" in it: no page could have the one and lack the other")
            });
        }
    }
}
