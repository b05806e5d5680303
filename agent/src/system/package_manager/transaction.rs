//! Changing packages: what is missing comes in one transaction, what must go in another, and each way in which that fails
//! is told apart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::runner::{self, Ended, NoEnd, Runner};
use super::said::{self, Cause};
use super::{PackageState, Patience, Version, apt, dnf, leftovers, query};
use crate::system::chain;
use crate::system::clock;
use crate::system::command::{self, CommandLine};
use crate::system::platform::{Family, Platform};

/// Between two tries for a lock.
const PAUSE: Duration = Duration::from_secs(1);
/// For what only looks.
const LOOK: Duration = Duration::from_mins(1);

/// What becomes of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its name here.
    pub name: String,
    /// What is to be: the version, where it must be one, or its absence.
    pub wanted: Wanted,
}

/// What is to be of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// It is there.
    There {
        /// In this version. `None`: any.
        version: Option<String>,
        /// Also where a newer one is there.
        downgrade: bool,
    },
    /// It is not there.
    Gone,
}

impl Order {
    fn is_true(&self, state: Option<&PackageState>) -> bool {
        match (&self.wanted, state) {
            (Wanted::There { version, .. }, Some(PackageState::Installed { version: found })) => {
                version
                    .as_ref()
                    .is_none_or(|wanted| Version::of(wanted).fits(found))
            }
            (Wanted::Gone, Some(PackageState::Absent)) => true,
            _ => false,
        }
    }

    const fn version(&self) -> Option<&String> {
        match &self.wanted {
            Wanted::There { version, .. } => version.as_ref(),
            Wanted::Gone => None,
        }
    }
}

/// What a transaction came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Packages that are as they were ordered to be.
    pub came: BTreeSet<String>,
    /// Packages that are not as they were ordered to be, and why.
    pub failed: BTreeMap<String, String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Nothing, or not all, could be done, and no package is to blame: it is worth another try. Why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

/// Whether a transaction goes on that an agent has started, this one or one before it.
pub async fn is_under_way(platform: &Platform) -> bool {
    runner::is_running(&platform.systemctl).await
}

/// What a transaction is carried out with.
#[derive(Debug)]
pub struct Terms<'a> {
    /// This machine.
    pub platform: &'a Platform,
    /// How long it may take.
    pub patience: Patience,
    /// Where what the manager says is kept: without its ending.
    pub kept: &'a Path,
    /// Packages that stay at the version that they have, whatever others need.
    pub keep: &'a [String],
    /// An earlier run was cut off in the middle of this.
    pub again: bool,
}

fn runner_of<'a>(terms: &Terms<'a>) -> Runner<'a> {
    Runner {
        systemctl: &terms.platform.systemctl,
        kept: terms.kept,
        until: Instant::now() + terms.patience.transaction,
    }
}

/// Carries orders out. `say` is called with what is being done.
///
/// Looks first: what is true by now is left alone, and afterwards: what is not true then, has failed.
pub async fn carry_out(
    terms: &Terms<'_>,
    orders: &[Order],
    say: &dyn Fn(&str),
) -> Result<Done, Refusal> {
    let began = clock::now().as_second();
    let mut work = Work {
        terms,
        runner: runner_of(terms),
        lock_until: Instant::now() + terms.patience.lock,
        say,
        done: Done::default(),
        late: BTreeMap::new(),
        ended_badly: None,
    };
    if is_under_way(terms.platform).await {
        say("waiting for a transaction of packages that goes on");
        if !work.runner.wait().await {
            return Err(Refusal(
                "a transaction of packages that an earlier agentd began still goes on: systemctl status agentd-packages.service".into(),
            ));
        }
    }
    let open = work.open(orders).await?;
    let (gone, there): (Vec<&Order>, Vec<&Order>) =
        (open.into_iter()).partition(|order| order.wanted == Wanted::Gone);
    let worked = async {
        if !gone.is_empty() {
            work.remove(&gone).await?;
        }
        if !there.is_empty() || terms.again {
            work.install(orders, &there).await?;
        }
        work.verify(orders).await
    };
    let worked = worked.await;
    for path in leftovers::since(Path::new("/etc"), began) {
        work.done.notes.push(format!(
            "{} appeared: the package's own version of an edited file, or an edited file of a removed package. Compare, and delete it",
            path.display()
        ));
    }
    worked.map(|()| work.done)
}

struct Work<'a> {
    terms: &'a Terms<'a>,
    runner: Runner<'a>,
    lock_until: Instant,
    say: &'a dyn Fn(&str),
    done: Done,
    /// What was cut off at the deadline: whatever the database says of it, its scripts have not ended.
    late: BTreeMap<String, String>,
    /// What the manager said of an error, where it ended with one.
    ended_badly: Option<String>,
}

impl Work<'_> {
    const fn family(&self) -> Family {
        self.terms.platform.family
    }

    async fn states(&self, orders: &[Order]) -> Result<BTreeMap<String, PackageState>, Refusal> {
        let names: BTreeSet<String> = orders.iter().map(|order| order.name.clone()).collect();
        let asked = query::states(self.family(), &names).await;
        asked.map_err(|error| {
            Refusal(format!(
                "the package database does not answer: {}",
                chain(&error)
            ))
        })
    }

    async fn open<'o>(&self, orders: &'o [Order]) -> Result<Vec<&'o Order>, Refusal> {
        let states = self.states(orders).await?;
        let is_open = |order: &&Order| !order.is_true(states.get(&order.name));
        Ok(orders.iter().filter(is_open).collect())
    }

    /// What is not as ordered has failed, if nobody has said so yet.
    async fn verify(&mut self, orders: &[Order]) -> Result<(), Refusal> {
        let states = self.states(orders).await?;
        let state = |order: &Order| states.get(&order.name);
        for order in orders.iter().filter(|order| order.is_true(state(order))) {
            // It came with others that failed.
            self.done.failed.remove(&order.name);
            self.done.came.insert(order.name.clone());
        }
        // Where some are to blame, the others only wait: they are tried again without them.
        if self.done.failed.is_empty() && self.late.is_empty() {
            for order in orders.iter().filter(|order| !order.is_true(state(order))) {
                let is = match state(order) {
                    Some(PackageState::Installed { version }) => {
                        format!("version {version} is there")
                    }
                    Some(PackageState::Broken { version, state }) => {
                        format!("version {version} is there in part ({state})")
                    }
                    _ => "no package of that name is: if others provide it, name the one that does"
                        .to_owned(),
                };
                let how = match &self.ended_badly {
                    Some(said) => format!("failed ({said})"),
                    None => "ended well".to_owned(),
                };
                let why = format!("the package manager {how}, and {is}");
                self.done.failed.insert(order.name.clone(), why);
            }
        }
        self.done.failed.append(&mut self.late);
        if let Some(said) = self
            .ended_badly
            .take()
            .filter(|_| self.done.failed.is_empty())
        {
            self.done.notes.push(format!(
                "all that was asked for is there, but the package manager ended with an error about something else: {said}"
            ));
        }
        Ok(())
    }

    async fn remove(&mut self, orders: &[&Order]) -> Result<(), Refusal> {
        let all: Vec<String> = orders.iter().map(|order| order.name.clone()).collect();
        let mut names = all.clone();
        if let Some(why) = self.why_not_removed(&all).await? {
            // One that is needed does not keep the others.
            names.clear();
            for name in &all {
                let alone = std::slice::from_ref(name);
                match self.why_not_removed(alone).await? {
                    None => names.push(name.clone()),
                    Some(why) => drop(self.done.failed.insert(name.clone(), why)),
                }
            }
            if names.len() == all.len() {
                let failed = all.into_iter().map(|name| (name, why.clone()));
                self.done.failed.extend(failed);
                return Ok(());
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        (self.say)(&format!("removing {}", names.join(", ")));
        let command = match self.family() {
            Family::Centos => dnf::remove(&names),
            Family::Debian => apt::remove(&names),
        };
        let ended = self.patiently(&command, &names).await?;
        if let Some(ended) = ended
            && let Some(cause) = said::cause(&ended)
        {
            self.judge(&cause, &ended, &names)?;
        }
        Ok(())
    }

    /// Why packages cannot go without taking others along.
    async fn why_not_removed(&self, names: &[String]) -> Result<Option<String>, Refusal> {
        match self.family() {
            Family::Centos => {
                let ended = look(&dnf::test_removal(names)).await?;
                Ok((ended.code != Some(0)).then(|| {
                    format!(
                        "it is not removed, for others that are installed need it; say of them that they are absent too, or leave it: {}",
                        said::essence(&ended.said)
                    )
                }))
            }
            Family::Debian => {
                let ended = look(&apt::simulated(apt::remove(names))).await?;
                let along: Vec<&str> = said::simulated(&ended.said)
                    .into_iter()
                    .filter(|(verb, name)| {
                        *verb == "Remv" && !names.iter().any(|asked| asked == name)
                    })
                    .map(|(_, name)| name)
                    .collect();
                Ok((!along.is_empty()).then(|| {
                    format!(
                        "it is not removed, for that would take along {}; say of them that they are absent too, or leave it",
                        along.join(", ")
                    )
                }))
            }
        }
    }

    /// `all`: also those that are true already.
    async fn install(&mut self, all: &[Order], orders: &[&Order]) -> Result<(), Refusal> {
        if self.terms.again && self.family() == Family::Centos && self.runner.was_cut_off() {
            self.install_again(all).await?;
        }
        if orders.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = orders.iter().map(|order| order.name.clone()).collect();
        (self.say)(&format!("installing {}", names.join(", ")));
        let mut refreshed = false;
        let mut killed = false;
        loop {
            let (command, missing) = self.installation(orders, refreshed).await?;
            let (ended, cause) = if missing.is_empty() {
                let Some(ended) = self.patiently(&command, &names).await? else {
                    return Ok(());
                };
                let cause = said::cause(&ended);
                (ended, cause)
            } else {
                let said = missing.join("\n");
                let ended = Ended {
                    code: Some(100),
                    said,
                };
                (ended, Some(Cause::Unknown))
            };
            self.note_scripts(&ended);
            let Some(cause) = cause else { return Ok(()) };
            let is_interrupted = ended.was_killed() || cause == Cause::Interrupted;
            if is_interrupted && !killed {
                killed = true;
                self.done.notes.push(
                    "the package manager had been killed in the middle of a transaction, and was told to go on".into(),
                );
                self.go_on(all).await?;
                let open = self.open(all).await?;
                if open.is_empty() {
                    return Ok(());
                }
                continue;
            }
            match cause {
                // The lists on this machine may be older than what the document asks for.
                Cause::Unknown | Cause::Unreachable if !refreshed => {
                    refreshed = true;
                    self.refresh().await?;
                }
                cause => return self.judge(&cause, &ended, &names),
            }
        }
    }

    /// The command, and what there is no version of that fits.
    async fn installation(
        &self,
        orders: &[&Order],
        refreshed: bool,
    ) -> Result<(Vec<String>, Vec<String>), Refusal> {
        let mut specs = Vec::new();
        let mut missing = Vec::new();
        for order in orders {
            let name = &order.name;
            match (self.family(), order.version()) {
                (Family::Centos, version) => {
                    specs.push(dnf::spec(name, version.map(String::as_str)));
                }
                (Family::Debian, None) => specs.push(name.clone()),
                (Family::Debian, Some(version)) => {
                    let known = look(&apt::versions(name)).await?;
                    match apt::newest_that_fits(&known.said, name, version) {
                        Some(found) => specs.push(format!("{name}={found}")),
                        None => missing
                            .push(format!("E: Version '{version}' for '{name}' was not found")),
                    }
                }
            }
        }
        if self.family() == Family::Centos {
            let command = dnf::install(&specs, self.terms.keep, refreshed);
            return Ok((command, missing));
        }
        let downgrade = orders.iter().any(|order| {
            matches!(
                order.wanted,
                Wanted::There {
                    downgrade: true,
                    ..
                }
            )
        });
        let names: BTreeSet<String> = orders.iter().map(|order| order.name.clone()).collect();
        let states = query::states(self.family(), &names)
            .await
            .unwrap_or_default();
        let in_part = states
            .values()
            .any(|state| matches!(state, PackageState::Broken { state, .. } if state == "half-installed"));
        let command = apt::install(&specs, downgrade, in_part);
        if missing.is_empty() && !self.terms.keep.is_empty() {
            let simulated = look(&apt::simulated(command.clone())).await?;
            let touched = said::simulated(&simulated.said);
            let touched = touched.iter().map(|(_, name)| *name);
            let kept: Vec<&str> = touched
                .filter(|name| self.terms.keep.iter().any(|kept| kept == name))
                .collect();
            if !kept.is_empty() {
                return Err(Refusal(format!(
                    "it would change {} too, and restart the database whose master this is; nothing was installed. Switch over first: agentctl db switchover",
                    kept.join(", ")
                )));
            }
        }
        Ok((command, missing))
    }

    /// rpm counts a package as there before its script has ended: those of a transaction that was cut off come once more.
    async fn install_again(&mut self, orders: &[Order]) -> Result<(), Refusal> {
        let states = self.states(orders).await?;
        let is_there =
            |order: &&Order| order.wanted != Wanted::Gone && order.is_true(states.get(&order.name));
        let names: Vec<String> = (orders.iter().filter(is_there))
            .map(|order| order.name.clone())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let list = names.join(", ");
        (self.say)(&format!("installing {list} again"));
        let ended = self.patiently(&dnf::reinstall(&names), &names).await?;
        self.done.notes.push(match ended {
            Some(ended) if ended.code == Some(0) => format!(
                "{list} came a second time: the transaction was cut off, and nobody knows whether the packages' scripts had ended"
            ),
            Some(ended) => format!(
                "the transaction was cut off, and the scripts of {list} may not have ended; once more they could not be installed: {}",
                said::essence(&ended.said)
            ),
            None => return Ok(()),
        });
        Ok(())
    }

    /// After the manager was killed, or found that it had been.
    async fn go_on(&mut self, orders: &[Order]) -> Result<(), Refusal> {
        match self.family() {
            Family::Centos => self.install_again(orders).await,
            Family::Debian => {
                // First what is asked for: another's script may be what hung.
                let states = self.states(orders).await?;
                let in_part = states
                    .iter()
                    .filter(|(_, state)| matches!(state, PackageState::Broken { .. }));
                let names: Vec<String> = in_part.map(|(name, _)| name.clone()).collect();
                // Where a script fails again, the transaction itself says so.
                self.patiently(&apt::configure(&names), &names)
                    .await
                    .map(drop)
            }
        }
    }

    async fn refresh(&mut self) -> Result<(), Refusal> {
        if self.family() == Family::Centos {
            return Ok(());
        }
        (self.say)("fetching the lists of packages");
        let Some(ended) = self.patiently(&apt::update(), &[]).await? else {
            return Ok(());
        };
        if said::is_unreachable(&ended.said) {
            self.done.notes.push(format!(
                "a repository could not be reached: {}",
                said::essence(&ended.said)
            ));
        }
        Ok(())
    }

    /// Runs a command, waiting for others that work on the database. `None`: it was killed at the deadline, and that has been
    /// said of `names`.
    async fn patiently(
        &mut self,
        command: &[String],
        names: &[String],
    ) -> Result<Option<Ended>, Refusal> {
        loop {
            match self.runner.run(command).await {
                Ok(ended) => match said::cause(&ended) {
                    Some(Cause::Locked(holder)) if Instant::now() < self.lock_until => {
                        (self.say)(&format!(
                            "waiting for the package database, which {holder} holds"
                        ));
                        sleep(PAUSE).await;
                    }
                    Some(Cause::Locked(holder)) => {
                        return Err(Refusal(format!(
                            "{holder} works on the package database, and did not let go of it within {} s; tried again later",
                            self.terms.patience.lock.as_secs()
                        )));
                    }
                    _ => return Ok(Some(ended)),
                },
                Err(NoEnd::NotStarted(why)) => {
                    return Err(Refusal(format!(
                        "systemd does not start the package manager: {why}"
                    )));
                }
                Err(NoEnd::Late(said)) => {
                    self.late(&said, names)?;
                    return Ok(None);
                }
            }
        }
    }

    /// Says whose fault it is that the deadline came: of a package that is asked for, or of one that only stands in the way.
    fn late(&mut self, said: &str, names: &[String]) -> Result<(), Refusal> {
        let seconds = self.terms.patience.transaction.as_secs();
        let at = said::last_at(said);
        let culprit = at.and_then(|at| {
            let is_it = |name: &&String| {
                let rest = at.strip_prefix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ':', '.']))
            };
            names.iter().filter(is_it).max_by_key(|name| name.len())
        });
        let said = said::essence(said);
        let at = at.map_or_else(String::new, |at| format!(", at {at}"));
        let mend = match self.family() {
            Family::Centos => "dnf reinstall it by hand once its script ends",
            Family::Debian => "see dpkg --audit",
        };
        let why = format!(
            "the package manager did not end within {seconds} s and was killed with all that it had started{at}: a script of a package that waits for something? {mend}. It had said: {said}"
        );
        match culprit {
            Some(name) => drop(self.late.insert(name.clone(), why)),
            None => return Err(Refusal(why)),
        }
        Ok(())
    }

    fn note_scripts(&mut self, ended: &Ended) {
        // Where the transaction failed for it, that is told there.
        if ended.code != Some(0) {
            return;
        }
        for script in said::failed_scripts(&ended.said) {
            self.done.notes.push(format!(
                "{script}: the package is installed all the same; see {}",
                self.terms.kept.with_extension("log").display()
            ));
        }
    }

    /// Why it failed: no package's fault, or whose.
    fn judge(&mut self, cause: &Cause, ended: &Ended, names: &[String]) -> Result<(), Refusal> {
        let said = said::essence(&ended.said);
        self.ended_badly = Some(said.clone());
        let unreached = self
            .done
            .notes
            .iter()
            .any(|note| note.starts_with("a repository could not be reached"));
        match cause {
            Cause::NoSpace => Err(Refusal(format!(
                "the file system has not enough room for the packages; nothing is lost, make room: {said}"
            ))),
            Cause::Unreachable => Err(Refusal(format!(
                "a repository of packages cannot be reached, or is not whole: {said}"
            ))),
            Cause::Unknown if unreached => {
                Err(Refusal(format!("{said}; {}", self.done.notes.join("; "))))
            }
            Cause::Interrupted | Cause::Locked(_) => Err(Refusal(said)),
            Cause::Unknown | Cause::Conflict | Cause::Failed => {
                let blamed = said::blamed(&ended.said, names.iter().map(String::as_str));
                let what = match cause {
                    Cause::Unknown => "no repository of this machine has it",
                    Cause::Conflict => "it does not go together with what is installed or wanted",
                    _ if ended.was_killed() => "the package manager was killed again and again",
                    _ => "it could not be installed",
                };
                if blamed.is_empty() {
                    let failed = names
                        .iter()
                        .map(|name| (name.clone(), format!("{what}: {said}")));
                    // What came all the same is told by the look afterwards.
                    self.done.failed.extend(failed);
                } else {
                    for (name, why) in blamed {
                        self.done.failed.insert(name, format!("{what}: {why}"));
                    }
                }
                Ok(())
            }
        }
    }
}

/// Runs what only looks.
async fn look(argv: &[String]) -> Result<Ended, Refusal> {
    let line = CommandLine::new(argv.iter().cloned(), LOOK);
    let output = command::run(&line).await;
    let output = output.map_err(|error| Refusal(chain(&error)))?;
    Ok(Ended {
        code: output.code,
        said: format!("{}\n{}", output.stdout, output.stderr),
    })
}
