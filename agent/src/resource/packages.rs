//! Packages: those that a box is to have or not to have, in one step, and the pins that keep some at their version.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    Desired, LineOrigin, Member, MemberName, ObserveError, Phase, Resource, Step, Text, Thing,
    Unfit, Want, Wish,
};
use crate::fleet::{Name, Pointer};
use crate::node::{PackageView, View};
use crate::report::{Kind, StepName};
use crate::system::file::Files;
use crate::system::package_manager::{self, PackageState, Version};
use crate::system::platform::{Family, Platform};

/// Where the last answer of the package database is kept.
pub const KEPT: &str = "/var/lib/agentd/packages.json";
/// Where what the package manager said last is kept, without its endings `.log` and `.ended`.
pub const LOG: &str = "/run/agentd/packages";

/// The step.
const STEP: &str = "packages";
/// Where apt reads pins.
const APT_PINS: &str = "/etc/apt/preferences.d/agentd.pref";
/// Where dnf's versionlock reads them, people's own among them.
const DNF_PINS: &str = "/etc/dnf/plugins/versionlock.list";
/// What dnf needs to read them.
const DNF_PLUGIN: &str = "python3-dnf-plugin-versionlock";
/// A transaction takes as long as its settings say. The watchdog grants no more than two hours, and needs no less to tell a
/// transaction from a run that is stuck.
const MAY_TAKE: Duration = Duration::from_hours(2);

/// Packages that bring a database server: a change of one restarts it.
const DATABASE_SERVERS: [&str; 12] = [
    "MariaDB-server",
    "default-mysql-server",
    "mariadb-server",
    "mariadb-server-10.3",
    "mariadb-server-10.5",
    "mariadb-server-10.6",
    "mariadb-server-core",
    "mysql-community-server",
    "mysql-server",
    "mysql-server-8.0",
    "mysql-server-core-8.0",
    "percona-server-server",
];

/// The packages of a box.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packages;

/// What is known of the packages that are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackagesFacts {
    /// The state of each, by its name here. `None`: nobody has looked.
    pub states: Option<BTreeMap<String, PackageState>>,
}

impl Resource for Packages {
    type Facts = PackagesFacts;

    fn kind(&self) -> Kind {
        Kind::Packages
    }

    async fn observe(
        &self,
        view: &View,
        platform: &Platform,
        files: &Files,
    ) -> Result<PackagesFacts, ObserveError> {
        if view.packages.is_empty() || !files.root().is_machine() {
            return Ok(PackagesFacts::default());
        }
        let names: BTreeSet<String> = (view.packages.iter())
            .map(|wanted| here(wanted, platform).to_owned())
            .chain(plugin(view, platform).map(str::to_owned))
            .collect();
        let states = package_manager::look(files, platform.family, Path::new(KEPT), &names).await;
        Ok(PackagesFacts {
            states: Some(states.map_err(ObserveError::Packages)?),
        })
    }

    fn desired(&self, view: &View, platform: &Platform, facts: &PackagesFacts) -> Desired {
        let mut desired = Desired::default();
        if view.packages.is_empty() {
            return desired;
        }
        let mut step = Step::new(Kind::Packages, StepName(STEP.into()));
        step.may_take = MAY_TAKE;
        if !view.masters.is_empty() {
            step.keep_packages = DATABASE_SERVERS.map(str::to_owned).to_vec();
        }
        // Names that are one here (a module that is a part of its server) are one wish.
        let mut by_name: BTreeMap<&str, Vec<&PackageView>> = BTreeMap::new();
        for wanted in &view.packages {
            if wanted.package.absent && is_part(wanted, platform) {
                continue;
            }
            by_name
                .entry(here(wanted, platform))
                .or_default()
                .push(wanted);
        }
        for (name, asked) in &by_name {
            match wish(name, asked, view, platform, facts) {
                Ok(wish) => step.wants.push(want(name, wish, asked)),
                Err(message) => desired.unfit.extend(asked.iter().map(|one| Unfit {
                    kind: Kind::Packages,
                    step: step.name.clone(),
                    member: member(one),
                    message: message.clone(),
                    origin: one.origins.first().cloned(),
                })),
            }
            step.members.extend(asked.iter().map(|one| Member {
                name: member(one),
                file: (*name).to_owned(),
            }));
        }
        if let Some(plugin) = plugin(view, platform).filter(|name| !by_name.contains_key(name)) {
            let pinned: Vec<&PackageView> = pinned(view).collect();
            step.wants.push(want(plugin, there(None, false), &pinned));
        }
        step.wants.extend(pins(view, platform));
        if !step.wants.is_empty() || !step.members.is_empty() {
            desired.steps.push(step);
        }
        desired
    }

    fn leave_out(
        &self,
        step: &StepName,
        members: &BTreeSet<MemberName>,
        view: &mut View,
        old: Option<&View>,
    ) {
        if step.0 != STEP {
            return;
        }
        let is_out = |wanted: &PackageView| members.contains(&member(wanted));
        view.packages.retain(|wanted| !is_out(wanted));
        let before = old.map_or(&[][..], |old| old.packages.as_slice());
        view.packages
            .extend(before.iter().filter(|wanted| is_out(wanted)).cloned());
        view.packages
            .sort_by(|one, other| one.package.name.cmp(&other.package.name));
    }
}

/// What a package is called here.
fn here<'v>(wanted: &'v PackageView, platform: &Platform) -> &'v str {
    let debian = wanted.package.debian.as_ref().map(AsRef::as_ref);
    platform.package(wanted.package.name.as_str(), debian)
}

/// Whether it is a part of another package here, which does not go with it.
fn is_part(wanted: &PackageView, platform: &Platform) -> bool {
    let debian = wanted.package.debian.as_ref().map(AsRef::as_ref);
    platform.is_part(wanted.package.name.as_str(), debian)
}

fn member(wanted: &PackageView) -> MemberName {
    MemberName(wanted.package.name.to_string())
}

fn pinned(view: &View) -> impl Iterator<Item = &PackageView> {
    view.packages
        .iter()
        .filter(|wanted| wanted.package.version.is_some())
}

/// The package that dnf needs to keep others at their versions.
fn plugin(view: &View, platform: &Platform) -> Option<&'static str> {
    let is_needed = platform.family == Family::Centos && pinned(view).next().is_some();
    is_needed.then_some(DNF_PLUGIN)
}

const fn there(version: Option<String>, downgrade: bool) -> Wish {
    Wish::Installed { version, downgrade }
}

/// What is wished of the package `name`, for which `asked` ask. The error says why it cannot be.
fn wish(
    name: &str,
    asked: &[&PackageView],
    view: &View,
    platform: &Platform,
    facts: &PackagesFacts,
) -> Result<Wish, String> {
    let state = facts.states.as_ref().and_then(|states| states.get(name));
    let found = state.and_then(PackageState::version);
    let absent = asked.iter().find(|one| one.package.absent);
    let wanted = asked.iter().find(|one| !one.package.absent);
    if let (Some(absent), Some(wanted)) = (absent, wanted) {
        return Err(format!(
            "{} and {} are one package here, {name}: it cannot be there and not be there",
            wanted.package.name, absent.package.name
        ));
    }
    let mut versions = asked.iter().filter_map(|one| one.package.version.as_ref());
    let version = versions.next();
    if let Some(other) = versions.find(|other| Some(*other) != version) {
        return Err(format!(
            "{name} is the name here of packages that are kept at different versions, {other} among them"
        ));
    }
    let wish = if absent.is_some() {
        if let Some(why) = needed(name, asked, view, platform) {
            return Err(why);
        }
        Wish::NotInstalled
    } else {
        let downgrade = asked.iter().any(|one| one.package.downgrade);
        there(version.map(ToString::to_string), downgrade)
    };
    let Some(found) = found else { return Ok(wish) };
    let changes = match &wish {
        Wish::Installed {
            version: Some(version),
            downgrade,
        } => {
            let wanted = Version::of(version);
            let newer = wanted.compared_with(found, platform.family) == Ordering::Greater;
            if newer && !wanted.fits(found) && !downgrade {
                return Err(format!(
                    "{name} is there in version {found}, which is newer than {version}: going back is not done by itself, for data may not go back with it. Say \"downgrade\": true, or keep it at {found}"
                ));
            }
            !wanted.fits(found)
        }
        Wish::NotInstalled => true,
        _ => false,
    };
    match view
        .masters
        .first()
        .filter(|_| changes && DATABASE_SERVERS.contains(&name))
    {
        Some(product) => Err(master(name, product)),
        None => Ok(wish),
    }
}

/// Why a package is not taken away although the document says so: what else the document has for this box needs it.
fn needed(name: &str, asked: &[&PackageView], view: &View, platform: &Platform) -> Option<String> {
    // By either of its names: the document may have one of its own for Debian.
    let is = |known: &str| {
        let by_name = |one: &&PackageView| one.package.name.as_str() == known;
        name == platform.package(known, None) || asked.iter().any(by_name)
    };
    let (what, many) = if is("httpd") {
        ("sites", view.sites.len())
    } else if is("php-fpm") {
        ("PHP pools", view.php.len())
    } else if is("memcached") {
        let instances = view.caches.values().filter(|cache| cache.instance);
        ("caches", instances.count())
    } else {
        return None;
    };
    (many > 0).then(|| {
        format!("{name} is not removed: the document has {what} for this box ({many}). Take them away, or let it stay")
    })
}

fn master(name: &str, product: &Name) -> String {
    format!(
        "{name} stays as it is: this box is the master of {product}'s database, and a change would restart it. Switch over first (agentctl db switchover {product}); then it is done by itself"
    )
}

fn want(name: &str, wish: Wish, asked: &[&PackageView]) -> Want {
    let origins = asked.iter().flat_map(|one| &one.origins);
    Want {
        thing: Thing::Package(name.to_owned()),
        wish,
        phase: Phase::Commit,
        shown_as: None,
        origins: origins.map(whole).collect(),
    }
}

fn whole(pointer: &Pointer) -> LineOrigin {
    LineOrigin {
        line: None,
        pointer: pointer.clone(),
    }
}

/// The file that keeps packages at their versions, whoever upgrades. Before the transaction: it keeps the manager itself to
/// them.
fn pins(view: &View, platform: &Platform) -> Option<Want> {
    let mut lines = String::new();
    let mut origins = Vec::new();
    let (path, head) = match platform.family {
        Family::Centos => (DNF_PINS, ""),
        Family::Debian => (
            APT_PINS,
            "# Written by node-agent: packages that the fleet document keeps at a version. Edit the document instead.\n",
        ),
    };
    let mut count = head.lines().count();
    let mut seen = BTreeSet::new();
    for wanted in pinned(view) {
        let name = here(wanted, platform);
        let Some(version) = wanted
            .package
            .version
            .as_ref()
            .filter(|_| seen.insert(name))
        else {
            continue;
        };
        let version = Version::of(version.as_str());
        let before = lines.lines().count();
        // Above all others, and below what would go back by itself.
        let _ = match platform.family {
            Family::Centos => writeln!(lines, "{}", version.as_lock(name)),
            Family::Debian => write!(
                lines,
                "\nPackage: {name}\nPin: version {}\nPin-Priority: 999\n",
                version.as_expression()
            ),
        };
        let written = lines.lines().count() - before;
        for line in count + 1..=count + written {
            let line = u32::try_from(line).ok();
            origins.extend(wanted.origins.iter().map(|pointer| LineOrigin {
                line,
                pointer: pointer.clone(),
            }));
        }
        count += written;
    }
    if lines.is_empty() {
        return None;
    }
    let wish = match platform.family {
        Family::Centos => Wish::Block { text: lines },
        Family::Debian => Wish::File {
            text: Text::plain(format!("{head}{lines}")),
            mode: 0o644,
        },
    };
    Some(Want {
        thing: Thing::Path(PathBuf::from(path)),
        wish,
        phase: Phase::Prepare,
        shown_as: None,
        origins,
    })
}
