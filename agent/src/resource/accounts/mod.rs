//! Groups and users: their accounts, the keys that open them, what they may do by sudo.
//!
//! Each is a step of its own: what one user has put in the way of its keys keeps nobody's account from being locked.

mod files;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{
    AccountWish, Desired, FileCheck, GuardedList, LineOrigin, ObserveError, Phase, Resource, Step,
    Thing, Want, Wish,
};
use crate::fleet::Pointer;
use crate::fleet::names::GroupName;
use crate::node::{GroupView, UserView, View};
use crate::report::{Kind, Problem, Severity, StepName};
use crate::system::account_files;
use crate::system::command::CommandLine;
use crate::system::file::Files;
use crate::system::platform::{Family, Platform};

/// The check of what sudo is told.
const VISUDO: &str = "/usr/sbin/visudo";
/// It only reads.
const VISUDO_TAKES: std::time::Duration = std::time::Duration::from_secs(10);
/// The step whose list of users the shrink guard watches.
const USERS: &str = "users";

/// What accounts must know of the box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountFacts {
    /// This is no machine that runs, but what lies under another root: accounts are made by commands, and none is run there.
    pub under_a_root: bool,
    /// Those of the shells asked for that are programs here. `None` where that was not looked at.
    pub shells: Option<BTreeSet<String>>,
    /// sudo was seen not to be installed.
    pub lacks_sudo: bool,
    /// The numbers of groups here, by name.
    pub gids: BTreeMap<String, u32>,
}

/// Groups and users of products and roles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Accounts;

impl Resource for Accounts {
    type Facts = AccountFacts;

    fn kind(&self) -> Kind {
        Kind::Accounts
    }

    async fn observe(
        &self,
        view: &View,
        _platform: &Platform,
        files: &Files,
    ) -> Result<AccountFacts, ObserveError> {
        let mut facts = AccountFacts {
            under_a_root: !files.root().is_machine(),
            ..AccountFacts::default()
        };
        if facts.under_a_root || view.users.is_empty() {
            return Ok(facts);
        }
        let shells = view.users.iter().filter_map(|one| one.user.shell.as_ref());
        let shells = shells.map(ToString::to_string);
        facts.shells = Some(
            shells
                .filter(|shell| is_program(Path::new(shell)))
                .collect(),
        );
        facts.lacks_sudo = !Path::new(VISUDO).exists();
        let accounts = account_files::Accounts::read(files)?;
        for one in &view.users {
            let group = one.user.primary_group(&one.name);
            if let Some(found) = accounts.group(group) {
                facts.gids.insert(group.to_owned(), found.gid);
            }
        }
        Ok(facts)
    }

    fn desired(&self, view: &View, platform: &Platform, facts: &AccountFacts) -> Desired {
        let mut desired = Desired::default();
        if view.groups.is_empty() && view.users.is_empty() {
            return desired;
        }
        if facts.under_a_root {
            desired.problems.push(left_alone(view));
            return desired;
        }
        for group in &view.groups {
            desired.steps.push(group_step(group));
        }
        for user in &view.users {
            self::user(user, view, platform, facts, &mut desired);
        }
        let kept = view.users.iter().filter(|one| !one.user.remove);
        let mut guarded = Step::new(Kind::Accounts, StepName(USERS.into()));
        guarded.list = Some(GuardedList {
            what: "users".into(),
            entries: kept.map(|one| one.name.to_string()).collect(),
        });
        desired.steps.push(guarded);
        desired
    }
}

impl Accounts {
    /// The steps that are about one entry of the list of users: held together where the list shrinks too much.
    pub fn steps_of(user: &str) -> [StepName; 3] {
        ["user", "keys", "sudo"].map(|what| StepName(format!("{what}/{user}")))
    }

    /// Whether `step` has the list of users.
    pub fn is_list(step: &StepName) -> bool {
        step.0 == USERS
    }
}

/// Under another root.
fn left_alone(view: &View) -> Problem {
    let named = |names: Vec<&str>| match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let groups = view.groups.iter().map(|group| group.name.as_str());
    let users = view.users.iter().map(|user| user.name.as_str());
    Problem {
        kind: Kind::Accounts,
        step: None,
        severity: Severity::Warning,
        message: format!(
            "groups ({}) and users ({}), their keys and sudo are left to the machine itself: they are made by commands, and under --root none is run",
            named(groups.collect()),
            named(users.collect())
        ),
        origin: None,
    }
}

fn group_step(group: &GroupView) -> Step {
    let mut step = Step::new(Kind::Accounts, group_name(group.name.as_str()));
    let thing = Thing::Group(group.name.to_string());
    let wish = Wish::Group { gid: group.gid };
    step.wants.push(want(thing, wish, &group.origins));
    step
}

fn group_name(group: &str) -> StepName {
    StepName(format!("group/{group}"))
}

fn user(
    view: &UserView,
    all: &View,
    platform: &Platform,
    facts: &AccountFacts,
    desired: &mut Desired,
) {
    let [account, keys, sudo] = Accounts::steps_of(view.name.as_str());
    let thing = Thing::User(view.name.to_string());
    let uid = view.user.uid.get();
    let mut step = Step::new(Kind::Accounts, account.clone());
    if view.user.remove {
        step.wants
            .push(want(thing, Wish::NoUser { uid }, &view.origins));
        desired.steps.push(step);
        return;
    }
    let wish = wish(view, platform);
    let is_missing = |shell: &str| {
        let shells = facts.shells.as_ref();
        view.user.shell.is_some() && shells.is_some_and(|shells| !shells.contains(shell))
    };
    if is_missing(&wish.shell) {
        desired.claims.push(thing);
        let origin = view.origins.first().map(|origin| origin.then("shell"));
        desired.hold(
            Kind::Accounts,
            account,
            format!(
                "{} would log in with {}, and this machine has no such program: the account, its keys and sudo stay as they are. Install it, or name another shell in the document",
                view.name, wish.shell
            ),
            origin,
        );
        desired.keep.extend([keys, sudo]);
        return;
    }
    let primary = view.user.primary_group(&view.name);
    let groups = view.user.groups.iter().map(GroupName::as_str);
    for group in groups.chain([primary]) {
        if all.groups.iter().any(|known| known.name.as_str() == group) {
            step.needs.push(group_name(group));
        }
    }
    let known = all
        .groups
        .iter()
        .find(|group| group.name.as_str() == primary);
    let gid = known.map(|group| group.gid);
    let gid = gid
        .or_else(|| facts.gids.get(primary).copied())
        .unwrap_or(uid);
    let home = wish.home.clone();
    step.wants
        .push(want(thing, Wish::User(Box::new(wish)), &view.origins));
    desired.steps.push(step);

    if !view.keys.is_empty() {
        let mut step = Step::new(Kind::Accounts, keys);
        step.needs.push(account.clone());
        step.wants.push(files::keys(view, &home, uid, gid));
        desired.steps.push(step);
    }
    if view.sudo.is_empty() {
        return;
    }
    let rules = files::sudo(view);
    if facts.lacks_sudo {
        desired.claims.push(rules.thing);
        let origin = view.origins.first().map(|origin| origin.then("sudo"));
        desired.hold(
            Kind::Accounts,
            sudo,
            format!(
                "{} may do something by sudo, and this machine has no sudo ({VISUDO} is missing): install the package sudo, or take `sudo` out of the document",
                view.name
            ),
            origin,
        );
        return;
    }
    let mut step = Step::new(Kind::Accounts, sudo);
    step.needs.push(account);
    step.file_checks.push(FileCheck {
        path: files::sudoers(view),
        command: CommandLine::new([VISUDO, "-c", "-f", FileCheck::STAGED], VISUDO_TAKES),
        member: None,
    });
    step.wants.push(rules);
    desired.steps.push(step);
}

fn wish(view: &UserView, platform: &Platform) -> AccountWish {
    let user = &view.user;
    let nologin = nologin(platform);
    let shell = user.shell.as_ref().map_or(nologin, |shell| shell.as_str());
    AccountWish {
        uid: user.uid.get(),
        group: user.primary_group(&view.name).to_owned(),
        groups: user.groups.iter().map(ToString::to_string).collect(),
        exclusive: user.exclusive,
        home: user.home(&view.name),
        is_login: !(shell.ends_with("/nologin") || shell.ends_with("/false")),
        shell: shell.to_owned(),
        comment: user.comment.as_ref().map(ToString::to_string),
    }
}

/// The shell of those who never log in.
pub fn nologin(platform: &Platform) -> &'static str {
    match platform.family {
        Family::Centos => "/sbin/nologin",
        Family::Debian => "/usr/sbin/nologin",
    }
}

fn want(thing: Thing, wish: Wish, origins: &[Pointer]) -> Want {
    let origins = origins.iter().cloned();
    Want {
        thing,
        wish,
        phase: Phase::Commit,
        shown_as: None,
        origins: origins
            .map(|pointer| LineOrigin {
                line: None,
                pointer,
            })
            .collect(),
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
