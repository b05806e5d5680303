//! What the package database answered last, and of which database that was: it is asked again only where its files changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::PackageState;
use super::query;
use crate::system::chain;
use crate::system::file::{Files, Found, Sighting};
use crate::system::platform::Family;

/// Permission bits of the file: what is installed is no secret, but nobody else's business either.
const MODE: u32 = 0o640;

/// Files that change with the database. rpm's stands in either directory, in one of three forms; with the one of today a
/// change may be in its log alone.
const RPM_FILES: [&str; 8] = [
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite-wal",
    "/var/lib/rpm/Packages",
    "/var/lib/rpm/Packages.db",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    "/usr/lib/sysimage/rpm/Packages",
    "/usr/lib/sysimage/rpm/Packages.db",
];
const DPKG_FILES: [&str; 1] = ["/var/lib/dpkg/status"];

/// The last answer, as it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Answers {
    /// The database's files when it was asked.
    database: Vec<Sighting>,
    packages: BTreeMap<String, PackageState>,
}

impl Answers {
    fn load(files: &Files, kept: &Path) -> Self {
        match files.read(kept) {
            // What cannot be understood is asked for again.
            Ok(Found::File { bytes, .. }) => serde_json::from_slice(&bytes).unwrap_or_default(),
            _ => Self::default(),
        }
    }

    fn answer(&self, database: &[Sighting], names: &BTreeSet<String>) -> bool {
        // A database that is nowhere to be seen may have changed.
        let is_seen = database.iter().any(Option::is_some);
        is_seen
            && self.database == database
            && names.iter().all(|name| self.packages.contains_key(name))
    }
}

fn database(files: &Files, family: Family) -> Vec<Sighting> {
    let paths: &[&str] = match family {
        Family::Centos => &RPM_FILES,
        Family::Debian => &DPKG_FILES,
    };
    let look = |path: &&str| files.look(Path::new(path)).unwrap_or_default();
    paths.iter().map(look).collect()
}

/// What the package database says of `names`. `kept`: the file with its last answer, which is good as long as the database's
/// files are the same. Writes nothing. The error says why nobody knows.
pub async fn look(
    files: &Files,
    family: Family,
    kept: &Path,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, PackageState>, String> {
    let known = Answers::load(files, kept);
    if known.answer(&database(files, family), names) {
        return Ok(known.packages);
    }
    ask(family, names).await
}

/// Writes the answer of `names` down where it is another than the kept one. A failure is no harm: it is asked again.
pub async fn refresh(files: &Files, family: Family, kept: &Path, names: &BTreeSet<String>) {
    // Before it is asked: what changes meanwhile is asked for again.
    let database = database(files, family);
    if names.is_empty() || Answers::load(files, kept).answer(&database, names) {
        return;
    }
    let Ok(packages) = ask(family, names).await else {
        return;
    };
    let answers = Answers { database, packages };
    if let Ok(bytes) = serde_json::to_vec(&answers) {
        let _ = files.write(kept, &bytes, MODE);
    }
}

async fn ask(
    family: Family,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, PackageState>, String> {
    let asked = query::states(family, names).await;
    asked.map_err(|error| format!("the package database does not answer: {}", chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;

    #[test]
    fn an_answer_is_good_for_the_database_that_gave_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::under(dir.path()).unwrap());
        let status = Path::new(DPKG_FILES[0]);
        let names = BTreeSet::from(["alpha".to_owned()]);
        let seen = || database(&files, Family::Debian);
        let known = |database| Answers {
            database,
            packages: BTreeMap::from([("alpha".to_owned(), PackageState::Absent)]),
        };
        assert!(
            !known(seen()).answer(&seen(), &names),
            "there is no database"
        );

        files.write(status, b"one", 0o644).unwrap();
        let answers = known(seen());
        assert!(answers.answer(&seen(), &names));
        assert!(!answers.answer(&seen(), &BTreeSet::from(["beta".to_owned()])));
        files.write(status, b"two", 0o644).unwrap();
        assert!(!answers.answer(&seen(), &names), "it was replaced");
    }
}
