//! Making a release: unpacked beside its place, what all share linked, its command run, and only then ready to be switched to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::interval;

use crate::converge::apply::{Applier, Fault};
use crate::converge::change::{After, When};
use crate::converge::plan::PlannedStep;
use crate::fleet::Name;
use crate::fleet::release::home;
use crate::report::StepRecord;
use crate::resource::{
    PARTIAL, ReleaseFailure, ReleaseRecord, ReleaseWish, archive_path, list_path, releases_dir,
    served,
};
use crate::system::accounts::{self, FIRST_OF_PEOPLE};
use crate::system::archive::{self, Limits, Packing, Progressing, Terms, UnpackError};
use crate::system::file::FileError;
use crate::system::{chain, clock, crash, outside};

/// Between two words on how far it is.
const PACE: Duration = Duration::from_secs(2);
/// Of a directory that releases share.
const SHARED_MODE: u32 = 0o755;

impl Applier<'_> {
    /// Makes the releases that a step asks for.
    pub(in crate::converge) async fn make_releases(
        &mut self,
        step: &PlannedStep,
        row: &mut StepRecord,
    ) -> Result<(), Fault> {
        for change in step.at(When::Together) {
            if let Some(After::Release(wish)) = &change.after {
                self.make_release(step, wish, row).await?;
            }
        }
        Ok(())
    }

    async fn make_release(
        &self,
        step: &PlannedStep,
        wish: &ReleaseWish,
        row: &mut StepRecord,
    ) -> Result<(), Fault> {
        let (files, product) = (self.files, &wish.product);
        let known = ReleaseRecord::load(files, product, &wish.version)?;
        let is_known = known.is_some();
        let mut record = known
            .filter(|record| record.sha256 == wish.sha256)
            .unwrap_or_else(|| {
                ReleaseRecord::new(wish.version.clone(), &wish.object, &wish.sha256)
            });
        let at = releases_dir(product).join(wish.version.as_str());
        let stands = files.look(&at)?.is_some();
        let is_in_use = served(files, &self.platform.apache)
            .get(product)
            .is_some_and(|versions| versions.contains(&wish.version));
        if stands && is_in_use && record.unpacked.is_none() {
            // The agent's state was lost: what serves is what was made.
            record.unpacked = Some(clock::now());
            record.ready = true;
            row.notes
                .push(format!("{} is taken over as it stands", at.display()));
            return Ok(record.save(files, product)?);
        }
        if stands && !is_known {
            return Err(Fault::Box(format!(
                "{} is there already and was not made by the agent: move it away, or give the release another version",
                at.display()
            )));
        }
        if !(stands && record.unpacked.is_some()) {
            // From here on what stands there is the agent's.
            record.save(files, product)?;
            let unpacked = self.unpack(step, wish, &mut record).await;
            if let Err(fault) = unpacked {
                return Err(self.failed(wish, record, fault)?);
            }
        }
        if let Some(command) = &wish.before
            && record.ran_before.is_none()
        {
            if let Some(dir) = self.within_reach_of_others(wish, &at)? {
                return Err(Fault::Box(format!(
                    "the command of the release {} of {product} would run as root, and {} is not root's alone: whoever may change that would decide what runs. Name the account as `user` of the release, or give the directory to root",
                    wish.version,
                    dir.display()
                )));
            }
            if files.root().is_machine() {
                self.say(&format!("running {}", command.argv.join(" ")), step);
                let product_variable = format!("AGENTD_PRODUCT={product}");
                let version_variable = format!("AGENTD_RELEASE={}", wish.version);
                crash::point("release command");
                let ended = outside::run(command, &[&product_variable, &version_variable]).await;
                let output = match ended.and_then(|output| output.checked(command)) {
                    Ok(output) => output,
                    Err(error) => {
                        let why = Fault::Change {
                            error: format!(
                                "its command before the switch failed: {}",
                                chain(&error)
                            ),
                            members: BTreeMap::new(),
                        };
                        return Err(self.failed(wish, record, why)?);
                    }
                };
                let said = output.said();
                if !said.is_empty() {
                    let tail: Vec<&str> = said.lines().rev().take(5).collect();
                    let tail: Vec<&str> = tail.into_iter().rev().collect();
                    row.notes
                        .push(format!("its command said: {}", tail.join(" / ")));
                }
                record.ran_before = Some(clock::now());
            } else {
                row.notes
                    .push("its command was not run: under --root no command is".into());
            }
        }
        record.ready = true;
        record.trouble = None;
        record.save(files, product)?;
        crash::point("release ready");
        files.remove(&archive_path(&wish.sha256))?;
        Ok(())
    }

    /// What is the release's own fault is remembered of it, and not tried again.
    fn failed(
        &self,
        wish: &ReleaseWish,
        mut record: ReleaseRecord,
        fault: Fault,
    ) -> Result<Fault, Fault> {
        let Fault::Change { error, .. } = fault else {
            return Ok(fault);
        };
        record.failed = Some(ReleaseFailure {
            since: self.started,
            error: error.clone(),
        });
        record.save(self.files, &wish.product)?;
        self.files.remove(&archive_path(&wish.sha256))?;
        Ok(Fault::Release(error))
    }

    async fn unpack(
        &self,
        step: &PlannedStep,
        wish: &ReleaseWish,
        record: &mut ReleaseRecord,
    ) -> Result<(), Fault> {
        let (files, product) = (self.files, &wish.product);
        let owner = self.owner(wish).await?;
        let dir = releases_dir(product);
        let at = dir.join(wish.version.as_str());
        let partial = dir.join(format!(".{}{PARTIAL}", wish.version));
        let packing = Packing::of(&wish.object).ok_or_else(|| {
            Fault::change(format!("{} is neither .tar.zst nor .tar.gz", wish.object))
        })?;
        let archive = files.open(&archive_path(&wish.sha256))?;
        let progress = Arc::new(Progressing::default());
        let stop = StopOnDrop(Arc::clone(&progress));
        let links = links(wish);
        let mut working = {
            let (files, at, partial) = (files.clone(), at.clone(), partial.clone());
            let progress = Arc::clone(&progress);
            spawn_blocking(move || {
                // What a killed run left, and what nobody is served from.
                files.remove_tree(&partial)?;
                crash::point("release begins");
                let terms = Terms {
                    limits: Limits::RELEASE,
                    owner,
                    stand_ins: &links,
                    progress: &progress,
                };
                let unpacked = archive::unpack(archive, packing, &files, &partial, &terms);
                let unpacked = match unpacked {
                    Ok(unpacked) => unpacked,
                    Err(error) => {
                        // Told is what it failed at, not that more failed after it.
                        let _ = files.remove_tree(&partial);
                        return Err(error);
                    }
                };
                crash::point("release unpacked");
                files.remove_tree(&at)?;
                files.rename(&partial, &at)?;
                crash::point("release renamed");
                Ok(unpacked)
            })
        };
        let mut pace = interval(PACE);
        let unpacked = loop {
            tokio::select! {
                done = &mut working => break done,
                _ = pace.tick() => {
                    let bytes = progress.bytes.load(Ordering::Relaxed);
                    let entries = progress.entries.load(Ordering::Relaxed);
                    let (product, version) = (&wish.product, &wish.version);
                    self.say(&format!("unpacking the release {version} of {product}: {entries} files, {} MiB", bytes >> 20), step);
                }
            }
        };
        drop(stop);
        let unpacked = match unpacked {
            Ok(Ok(unpacked)) => unpacked,
            Ok(Err(error)) => return Err(fault(wish, &error)),
            Err(_) => return Err(Fault::Box("unpacking was cut off".into())),
        };
        self.make_shared(wish, owner)?;
        let list = list_path(product, &wish.version);
        match &unpacked.list {
            Some(text) => drop(files.write(&list, text.as_bytes(), 0o640)?),
            None => files.remove(&list)?,
        }
        let others = ReleaseRecord::load_all(files, product)?;
        let newest = others.values().map(|record| record.number).max();
        record.number = newest.unwrap_or_default().saturating_add(1);
        record.bytes = unpacked.bytes;
        record.entries = unpacked.entries;
        record.unpacked = Some(clock::now());
        record.failed = None;
        record.save(files, product)?;
        crash::point("release recorded");
        Ok(())
    }

    /// The numbers of the account that the release belongs to. `None`: whoever unpacks.
    async fn owner(&self, wish: &ReleaseWish) -> Result<Option<(u32, u32)>, Fault> {
        let Some(user) = &wish.user else {
            return Ok(None);
        };
        if !self.files.root().is_machine() {
            return Ok(None);
        }
        let found = accounts::user_and_group(user.clone()).await;
        let found = found.map_err(|error| Fault::Box(chain(&error)))?;
        let (product, version) = (&wish.product, &wish.version);
        match found {
            None => Err(Fault::Box(format!(
                "the release {version} of {product} is {user}'s, and this box has no such account: name it in `users`, or make it"
            ))),
            Some((uid, _)) if uid < FIRST_OF_PEOPLE => Err(Fault::Box(format!(
                "the release {version} of {product} cannot be {user}'s: that is an account of the system (uid {uid}, less than {FIRST_OF_PEOPLE})"
            ))),
            numbers => Ok(numbers),
        }
    }

    /// For a command that is root's: a directory on the way to it that somebody else may change.
    fn within_reach_of_others(
        &self,
        wish: &ReleaseWish,
        at: &Path,
    ) -> Result<Option<PathBuf>, FileError> {
        if wish.user.is_some() || !self.files.root().is_machine() {
            return Ok(None);
        }
        for dir in at.ancestors().filter(|dir| dir.parent().is_some()) {
            let seen = self.files.look(dir)?;
            if !seen.is_some_and(|seen| seen.is_roots_alone()) {
                return Ok(Some(dir.to_path_buf()));
            }
        }
        Ok(None)
    }

    fn make_shared(&self, wish: &ReleaseWish, owner: Option<(u32, u32)>) -> Result<(), Fault> {
        let me = (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        );
        let (uid, gid) = owner.unwrap_or(me);
        for path in &wish.shared {
            let dir = shared_dir(&wish.product).join(path);
            self.files.create_home(&dir, SHARED_MODE, uid, gid)?;
        }
        Ok(())
    }
}

/// Where a product has what its releases share.
fn shared_dir(product: &Name) -> PathBuf {
    PathBuf::from(home(product)).join("shared")
}

/// What stands in the place of what releases share: paths within the release, and where the links there point.
fn links(wish: &ReleaseWish) -> Vec<(String, String)> {
    let shared = wish.shared.iter();
    shared
        .map(|path| {
            // From the directory that the link stands in, through the release's own and that of all of them.
            let up = "../".repeat(path.matches('/').count() + 2);
            (path.clone(), format!("{up}shared/{path}"))
        })
        .collect()
}

fn fault(wish: &ReleaseWish, error: &UnpackError) -> Fault {
    let said = format!("{} cannot be unpacked: {}", wish.object, chain(error));
    if error.is_of_archive() {
        Fault::change(said)
    } else {
        Fault::Box(said)
    }
}

/// Nobody waits any more: the thread that unpacks ends soon.
struct StopOnDrop(Arc<Progressing>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_release_to_what_all_share() {
        let wish = ReleaseWish {
            product: "shop".parse().unwrap(),
            version: "42".parse().unwrap(),
            object: "releases/shop/42.tar.zst".into(),
            sha256: String::new(),
            user: None,
            shared: vec!["storage".into(), "var/log".into()],
            before: None,
        };
        let link = |path: &str, target: &str| (path.to_owned(), target.to_owned());
        assert_eq!(
            links(&wish),
            [
                link("storage", "../../shared/storage"),
                link("var/log", "../../../shared/var/log")
            ]
        );
    }
}
