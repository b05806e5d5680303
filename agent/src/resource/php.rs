//! Pools of php-fpm, one a product: its sites' PHP runs in it as the product's own user.
//!
//! All pools of a box are one step, so that php-fpm reloads once for all of them, and a pool that it refuses is left out alone.
//! Sites turn to a pool when its file is there (`sites`): so this step's turn comes before theirs, and its removal after it.
//!
//! ```text
//! /etc/php-fpm.d/agentd-shop.conf      the pool
//! /run/php-fpm/agentd-shop.sock        where Apache hands requests to it
//! /var/lib/php/agentd/shop             its sessions, where the document says nothing else of them
//! ```

mod pool;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pool_names::{pool_file, socket};
use super::{
    Activation, Check, Desired, FileCheck, LineOrigin, Member, MemberName, ObserveError, Phase,
    Probe, Question, Resource, Sites, Step, Text, Thing, Unfit, Verb, Want, Wish,
};
use crate::fleet::Name;
use crate::node::{PhpView, View};
use crate::report::{Kind, StepName};
use crate::system::accounts::{self, Numbers};
use crate::system::command::CommandLine;
use crate::system::file::{Attributes, Files, Found};
use crate::system::platform::{Php, Platform};

const STEP: &str = "php";
/// How long php-fpm's test of a configuration may take: it starts nothing.
const TEST: Duration = Duration::from_secs(30);
/// Where the sessions of pools lie, a directory a product.
const SESSIONS: &str = "/var/lib/php/agentd";
/// The longest name of a Unix socket.
const LONGEST_SOCKET: usize = 107;

/// The pools of a box.
#[derive(Debug, Clone, Copy, Default)]
pub struct PhpPools;

/// What pools must know of the box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PhpFacts {
    /// php-fpm is here.
    pub installed: bool,
    /// The accounts that exist. `None`: not looked up.
    pub numbers: Option<Numbers>,
    /// Whom Apache's workers run as: they connect to the sockets.
    pub web_server: String,
    /// How long a reload waits for requests under way is said in php-fpm's own configuration.
    pub patient: bool,
    /// At a desk, or under a root: what is not known is as it should be.
    pub assumed: bool,
    /// Pools that the document has no more and that Apache's present sites still hand requests to.
    pub in_use: BTreeSet<String>,
}

impl Resource for PhpPools {
    type Facts = PhpFacts;

    fn kind(&self) -> Kind {
        Kind::Php
    }

    async fn observe(
        &self,
        view: &View,
        platform: &Platform,
        files: &Files,
    ) -> Result<PhpFacts, ObserveError> {
        let php = &platform.php;
        let in_use = in_use(view, platform, files);
        if view.php.is_empty() {
            return Ok(PhpFacts {
                in_use,
                ..PhpFacts::default()
            });
        }
        let machine = files.root().is_machine();
        let mut facts = PhpFacts {
            assumed: !machine,
            web_server: Sites::user(files, platform),
            in_use,
            ..PhpFacts::default()
        };
        if let Ok(Found::File { bytes, .. }) = files.read(&php.main_config) {
            facts.patient = says_patience(&String::from_utf8_lossy(&bytes));
        }
        let pools = || view.php.iter().map(|pool| &pool.php);
        let users: BTreeSet<String> = pools().map(|php| php.user.to_string()).collect();
        let groups: BTreeSet<String> = pools()
            .filter_map(|php| Some(php.group.as_ref()?.to_string()))
            .collect();
        facts.numbers = Some(if machine {
            facts.installed = php.program.exists() && php.pool_dir.is_dir();
            accounts::numbers(users, groups).await?
        } else {
            facts.installed = true;
            accounts::numbers_under(files)
        });
        Ok(facts)
    }

    fn assumed(&self) -> PhpFacts {
        PhpFacts {
            installed: true,
            assumed: true,
            web_server: "apache".into(),
            ..PhpFacts::default()
        }
    }

    fn desired(&self, view: &View, platform: &Platform, facts: &PhpFacts) -> Desired {
        let mut desired = Desired::default();
        let php = &platform.php;
        // The sites turn away from it first.
        let still = facts.in_use.iter().flat_map(|product| {
            [
                Thing::Path(php.pool_dir.join(format!("agentd-{product}.conf"))),
                Thing::Path(Path::new(SESSIONS).join(product)),
            ]
        });
        desired.claims.extend(still);
        if view.php.is_empty() {
            return desired;
        }
        if !facts.installed {
            let claims = view.php.iter().flat_map(|pool| things(pool, php));
            desired.claims.extend(claims);
            let message = format!(
                "php-fpm is not installed on this box ({} and {} are looked for), but products have PHP here: add \"php-fpm\" to `packages`, or say in [platform.php] of agentd.toml where it stands",
                php.program.display(),
                php.pool_dir.display(),
            );
            let origin = view.php.first().map(|pool| pool.origin.clone());
            desired.hold(Kind::Php, StepName(STEP.into()), message, origin);
            return desired;
        }
        let mut step = empty_step(platform);
        for pool in &view.php {
            if pool.left_out {
                desired.claims.extend(things(pool, php));
                continue;
            }
            if let Some((message, field)) = why_not(pool, php, facts) {
                desired.claims.extend(things(pool, php));
                desired.unfit.push(Unfit {
                    kind: Kind::Php,
                    step: StepName(STEP.into()),
                    member: member(pool),
                    message,
                    origin: Some(pool.origin.then(field)),
                });
                continue;
            }
            add(&mut step, pool, platform, facts);
        }
        // Pools are one step: they are wished for without those that cannot be.
        if desired.unfit.is_empty() && !step.wants.is_empty() {
            desired.steps = vec![step];
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
        for pool in &mut view.php {
            if !members.contains(&member(pool)) {
                continue;
            }
            let before = old
                .into_iter()
                .flat_map(|old| &old.php)
                .find(|before| before.product == pool.product && before.php != pool.php);
            match before {
                Some(before) => *pool = before.clone(),
                None => pool.left_out = true,
            }
        }
    }
}

fn member(pool: &PhpView) -> MemberName {
    MemberName(pool.product.to_string())
}

/// What a pool owns.
fn things(pool: &PhpView, php: &Php) -> [Thing; 2] {
    [
        Thing::Path(pool_file(&pool.product, php)),
        Thing::Path(sessions(&pool.product)),
    ]
}

fn sessions(product: &Name) -> PathBuf {
    Path::new(SESSIONS).join(product.as_str())
}

/// Pools that are here, that the document does not have, and whose sockets stand in what Apache serves.
fn in_use(view: &View, platform: &Platform, files: &Files) -> BTreeSet<String> {
    let php = &platform.php;
    let names = files.list(&php.pool_dir).unwrap_or_default();
    let gone: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_prefix("agentd-")?.strip_suffix(".conf"))
        .filter(|product| {
            !view
                .php
                .iter()
                .any(|pool| pool.product.as_str() == *product)
        })
        .collect();
    if gone.is_empty() {
        return BTreeSet::new();
    }
    let served = Sites::served(files, &platform.apache);
    gone.into_iter()
        .filter(|product| {
            let socket = php.socket_dir.join(format!("agentd-{product}.sock|"));
            let socket = socket.to_string_lossy();
            served.iter().any(|text| text.contains(&*socket))
        })
        .map(str::to_owned)
        .collect()
}

/// Whether php-fpm's configuration says itself how long a reload waits for requests under way.
fn says_patience(text: &str) -> bool {
    text.lines().any(|line| {
        line.trim_start()
            .strip_prefix("process_control_timeout")
            .is_some_and(|rest| rest.trim_start().starts_with('='))
    })
}

/// Why a pool cannot be, with the field that asks for what is not there.
fn why_not(pool: &PhpView, php: &Php, facts: &PhpFacts) -> Option<(String, &'static str)> {
    let product = &pool.product;
    let socket = socket(product, php);
    if socket.as_os_str().len() > LONGEST_SOCKET {
        return Some((
            format!(
                "the socket of {product}'s pool, {}, has a longer name than the kernel takes ({LONGEST_SOCKET} characters): name a shorter `socket_dir` in [platform.php] of agentd.toml",
                socket.display()
            ),
            "user",
        ));
    }
    if facts.assumed {
        return None;
    }
    let numbers = facts.numbers.as_ref()?;
    let user = &pool.php.user;
    match numbers.users.get(user.as_str()) {
        None => {
            return Some((
                format!(
                    "the pool of {product} stays as it is: this machine has no user {user}. Have the document make it (`users`), or name another `user`"
                ),
                "user",
            ));
        }
        Some(0) => {
            return Some((
                format!(
                    "the pool of {product} stays as it is: {user} is root by another name here, and PHP never runs as root"
                ),
                "user",
            ));
        }
        Some(_) => {}
    }
    let group = pool.php.group.as_ref()?;
    (!numbers.groups.contains_key(group.as_str())).then(|| {
        (
            format!(
                "the pool of {product} stays as it is: this machine has no group {group}. Have the document make it (`groups`), or name another `group`"
            ),
            "group",
        )
    })
}

fn empty_step(platform: &Platform) -> Step {
    let mut step = Step::new(Kind::Php, StepName(STEP.into()));
    // A reload with a configuration that somebody else has broken would end php-fpm: it is asked first.
    let test = || {
        let program = platform.php.program.to_string_lossy().into_owned();
        let config = platform.php.main_config.to_string_lossy().into_owned();
        CommandLine::new([program, "-t".into(), "-y".into(), config], TEST)
    };
    step.check = Some(Check {
        staged: test(),
        present: test(),
    });
    step.activate = vec![Activation {
        unit: platform.unit("php-fpm"),
        verb: Verb::ReloadOrStart,
        log: None,
    }];
    step
}

/// Adds what a pool wants.
fn add(step: &mut Step, pool: &PhpView, platform: &Platform, facts: &PhpFacts) {
    let php = &platform.php;
    let whole = LineOrigin {
        line: None,
        pointer: pool.origin.clone(),
    };
    let uid = facts
        .numbers
        .as_ref()
        .and_then(|numbers| numbers.users.get(pool.php.user.as_str()).copied());
    let own_sessions = pool::has_own_sessions(&pool.php);
    if own_sessions && let Some(uid) = uid {
        step.wants.push(Want {
            thing: Thing::Path(sessions(&pool.product)),
            wish: Wish::Directory {
                attributes: Attributes {
                    mode: 0o700,
                    uid,
                    gid: Attributes::own(0).gid,
                },
            },
            phase: Phase::Commit,
            shown_as: None,
            origins: vec![whole.clone()],
        });
    }
    let socket = socket(&pool.product, php);
    let pool::Rendered {
        text,
        origins,
        ping,
        answer,
    } = pool::render(pool, &socket, facts);
    let file = pool_file(&pool.product, php);
    step.members.push(Member {
        name: member(pool),
        file: file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    });
    step.file_checks.push(FileCheck {
        path: file.clone(),
        command: CommandLine::new(
            [
                php.program.to_string_lossy().into_owned(),
                "-t".into(),
                "-y".into(),
                FileCheck::STAGED.into(),
            ],
            TEST,
        ),
        member: Some(member(pool)),
    });
    step.wants.push(Want {
        thing: Thing::Path(file),
        wish: Wish::File {
            text: Text::plain(text),
            mode: 0o644,
        },
        phase: Phase::Commit,
        shown_as: None,
        origins,
    });
    step.probes.push(Probe {
        member: Some(member(pool)),
        question: Question::FastCgi {
            socket,
            path: ping,
            body: answer,
        },
        refusal: None,
    });
}
