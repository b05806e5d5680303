//! What is found, what is wished, what is done: without a machine.

use super::super::super::ledger::Ledger;
use super::super::super::pending::Pending;
use super::super::super::quarantine::Quarantine;
use super::super::super::situation::Sight;
use super::*;
use crate::report::{DocumentId, Kind, StepName};
use crate::resource::{AccountWish, Desired, Phase};
use crate::system::clock;
use crate::system::command::CommandLine;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash
deploy:x:1520:1520:Jane:/home/deploy:/bin/bash
other:x:1600:100::/home/other:/bin/sh
locked:x:1700:1520::/home/locked:/usr/sbin/nologin
";
const GROUP: &str = "root:x:0:
users:x:100:
wheel:x:10:deploy
docker:x:998:deploy
deploy:x:1520:
empty:x:1800:
listed:x:1801:deploy
";
const SHADOW: &str = "deploy:*:19000:0:99999:7:::\nlocked:!*:19000:0:99999:7::1:\n";

/// What the document wants, what the ledger has, and a machine with the accounts above.
struct Box {
    wants: Vec<Want>,
    ledger: Ledger,
    seen: AccountsSeen,
}

impl Box {
    fn new() -> Self {
        Self {
            wants: Vec::new(),
            ledger: Ledger::default(),
            seen: AccountsSeen {
                accounts: Accounts::parse(PASSWD, GROUP, SHADOW, 20_000),
                missing_homes: BTreeSet::new(),
                nologin: "/usr/sbin/nologin",
            },
        }
    }

    fn with<T>(&self, thing: &Thing, of: impl FnOnce(&Situation<'_>) -> T) -> T {
        let mut step = Step::new(Kind::Accounts, StepName("all".into()));
        step.wants.clone_from(&self.wants);
        let desired = Desired {
            steps: vec![step],
            ..Desired::default()
        };
        let seen = Seen::Account(Arc::new(self.seen.clone()));
        let situation = Situation {
            document: DocumentId {
                fleet: "f".parse().unwrap(),
                version: 1,
                digest: "d".into(),
            },
            desired: &desired,
            fallback: None,
            ledger: &self.ledger,
            pending: &Pending::default(),
            quarantine: &Quarantine::empty("d"),
            sight: &Sight::from([(thing.clone(), Ok(seen))]),
            guard: None,
            sweeping: None,
            family: crate::system::platform::Family::Debian,
        };
        of(&situation)
    }

    fn difference(&mut self, thing: &Thing, wish: Wish) -> Result<Option<Change>, String> {
        let want = Want {
            thing: thing.clone(),
            wish,
            phase: Phase::Commit,
            shown_as: None,
            origins: Vec::new(),
        };
        self.wants.push(want.clone());
        let step = Step::new(Kind::Accounts, StepName("one".into()));
        self.with(thing, |situation| difference(&want, &step, situation))
    }

    /// The commands for a user that is wished so.
    fn user(&mut self, name: &str, wish: AccountWish) -> String {
        commands(self.difference(&user(name), Wish::User(wish.into())))
    }

    fn owns(&mut self, thing: &Thing, wish: Wish, adopted: bool) {
        let want = Want {
            thing: thing.clone(),
            wish,
            phase: Phase::Commit,
            shown_as: None,
            origins: Vec::new(),
        };
        let step = Step::new(Kind::Accounts, StepName("one".into()));
        let owned = Owned {
            kind: Kind::Accounts,
            step: step.name.clone(),
            form: Form::of(&want.wish),
            digest: digest_of(&want, &step),
            shown_as: None,
            origins: Vec::new(),
            adopted,
            secret: false,
            original: None,
            attributes: None,
            groups: super::super::super::ledger::groups_of(&want),
            run: 1,
            written: clock::now(),
            version: 1,
        };
        self.ledger.things.insert(thing.clone(), owned);
    }

    fn removal(&self, thing: &Thing) -> Option<Change> {
        let owned = &self.ledger.things[thing];
        self.with(thing, |situation| removal(thing, owned, situation))
    }
}

fn user(name: &str) -> Thing {
    Thing::User(name.into())
}

fn group_of(name: &str) -> Thing {
    Thing::Group(name.into())
}

/// What is there of `deploy` already.
fn deploy() -> AccountWish {
    AccountWish {
        uid: 1520,
        group: "deploy".into(),
        groups: ["wheel".to_owned()].into(),
        exclusive: false,
        home: "/home/deploy".into(),
        shell: "/bin/bash".into(),
        is_login: true,
        comment: None,
    }
}

fn order(change: &Change) -> &AccountOrder {
    match &change.after {
        Some(After::Account(order)) => order,
        other => panic!("{other:?}"),
    }
}

fn commands(change: Result<Option<Change>, String>) -> String {
    match change {
        Ok(Some(change)) => {
            let lines = order(&change).commands.iter();
            lines
                .map(CommandLine::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        }
        Ok(None) => "nothing".into(),
        Err(why) => why,
    }
}

#[test]
fn what_is_there_as_wished_needs_nothing() {
    assert_eq!(Box::new().user("deploy", deploy()), "nothing");
    let group = Box::new().difference(&group_of("wheel"), Wish::Group { gid: 10 });
    assert_eq!(commands(group), "nothing");
    assert_eq!(
        commands(Box::new().difference(&user("gone"), Wish::NoUser { uid: 1234 })),
        "nothing"
    );
}

#[test]
fn what_is_not_there_is_made_with_its_numbers() {
    let mut node = Box::new();
    let group = node.difference(&group_of("shop"), Wish::Group { gid: 1510 });
    let change = group.unwrap().unwrap();
    assert_eq!(
        (change.action, change.inverse, change.adopts),
        (Action::Create, Inverse::Removed, false)
    );
    assert_eq!(
        commands(Ok(Some(change))),
        "/usr/sbin/groupadd --gid 1510 -- shop"
    );
    // Its group is made in the same run.
    let shop = AccountWish {
        uid: 1510,
        group: "shop".into(),
        groups: BTreeSet::new(),
        home: "/srv/shop".into(),
        shell: "/sbin/nologin".into(),
        is_login: false,
        comment: Some("the shop".into()),
        ..deploy()
    };
    insta::assert_snapshot!(node.user("shop", shop), @"/usr/sbin/useradd --uid 1510 --gid 1510 --no-user-group --home-dir /srv/shop --shell /sbin/nologin --password * --expiredate  --no-create-home --comment the shop -- shop");
    let jane = AccountWish {
        uid: 1530,
        groups: ["wheel", "docker"].map(str::to_owned).into(),
        home: "/home/jane".into(),
        ..deploy()
    };
    insta::assert_snapshot!(node.user("jane", jane), @"/usr/sbin/useradd --uid 1530 --gid 1520 --no-user-group --home-dir /home/jane --shell /bin/bash --password * --expiredate  --create-home --groups docker,wheel -- jane");
}

#[test]
fn numbers_are_never_changed_and_never_used_twice() {
    let wish = |change: fn(&mut AccountWish)| {
        let mut wish = deploy();
        change(&mut wish);
        wish
    };
    insta::assert_snapshot!(Box::new().user("deploy", wish(|wish| wish.uid = 1521)), @"the user deploy is there with the uid 1520, and the document says 1521: files belong to numbers, so the agent changes none. Write 1520 in the document, or change it by hand: usermod --uid 1521 deploy, and chown for its files outside of its home");
    insta::assert_snapshot!(Box::new().user("deploy", wish(|wish| wish.group = "users".into())), @r#"the primary group of the user deploy is deploy (gid 1520), and the document says users (gid 100): its files belong to the one that it has, so the agent does not change it. Write `"group": "deploy"` in the document, or change it by hand: usermod --gid 100 deploy"#);
    insta::assert_snapshot!(Box::new().user("jane", deploy()), @"the uid 1520 of the user jane is the user deploy's here already: give jane another in the document, or remove deploy");
    insta::assert_snapshot!(Box::new().user("deploy", wish(|wish| wish.groups = ["nosuch".to_owned()].into())), @"the user deploy is to be in the group nosuch, and there is none: add it to `groups` in the document, or install what makes it");
    insta::assert_snapshot!(commands(Box::new().difference(&group_of("wheel"), Wish::Group { gid: 1510 })), @"the group wheel is there with the gid 10, and the document says 1510: files belong to numbers, so the agent changes none. Write 10 in the document, or change it by hand: groupmod --gid 1510 wheel, and chgrp for the files of 10");
    insta::assert_snapshot!(commands(Box::new().difference(&group_of("shop"), Wish::Group { gid: 998 })), @"the gid 998 of the group shop is the group docker's here already: give shop another in the document, or remove docker");
    insta::assert_snapshot!(commands(Box::new().difference(&user("deploy"), Wish::NoUser { uid: 1521 })), @"the document has the user deploy of uid 1521 removed, and deploy has the uid 1520 here: it may be another one, and stays");
}

#[test]
fn what_others_made_is_changed_as_asked_and_stays_theirs() {
    let mut node = Box::new();
    let wish = AccountWish {
        shell: "/bin/zsh".into(),
        comment: Some("Jane Doe".into()),
        groups: ["users".to_owned()].into(),
        ..deploy()
    };
    let change = node.difference(&user("deploy"), Wish::User(wish.clone().into()));
    let change = change.unwrap().unwrap();
    assert!(change.adopts && !change.drift);
    assert_eq!(change.inverse, Inverse::Restored);
    // Others' groups stay.
    insta::assert_snapshot!(commands(Ok(Some(change))), @"/usr/sbin/usermod --comment Jane Doe --shell /bin/zsh --append --groups users -- deploy");
    let exclusive = AccountWish {
        exclusive: true,
        ..wish
    };
    insta::assert_snapshot!(node.user("deploy", exclusive), @"/usr/sbin/usermod --comment Jane Doe --shell /bin/zsh --groups users -- deploy");
    node.owns(&user("deploy"), Wish::User(deploy().into()), true);
    assert_eq!(node.removal(&user("deploy")), None);
}

#[test]
fn a_group_that_the_document_named_and_names_no_more_is_left_again() {
    let mut node = Box::new();
    node.owns(&user("deploy"), Wish::User(deploy().into()), false);
    let wish = AccountWish {
        groups: BTreeSet::new(),
        ..deploy()
    };
    assert_eq!(
        node.user("deploy", wish),
        "/usr/sbin/usermod --groups docker,listed -- deploy"
    );
}

#[test]
fn drift_is_told_from_what_the_document_changes() {
    let mut node = Box::new();
    let wish = AccountWish {
        shell: "/bin/zsh".into(),
        ..deploy()
    };
    node.owns(&user("deploy"), Wish::User(wish.clone().into()), false);
    let change = node.difference(&user("deploy"), Wish::User(wish.into()));
    assert!(change.unwrap().unwrap().drift);
}

#[test]
fn a_home_that_is_gone_is_made_again() {
    let mut node = Box::new();
    node.seen.missing_homes.insert("/home/deploy".into());
    let change = node.difference(&user("deploy"), Wish::User(deploy().into()));
    let change = change.unwrap().unwrap();
    assert_eq!(order(&change).commands, []);
    let home = order(&change).home.as_ref().unwrap();
    assert_eq!((home.mode, home.uid, home.gid), (0o700, 1520, 1520));
}

#[test]
fn who_is_gone_from_the_document_is_locked_and_unlocked_when_back() {
    let mut node = Box::new();
    node.owns(&user("deploy"), Wish::User(deploy().into()), false);
    let change = node.removal(&user("deploy")).unwrap();
    assert_eq!(
        (change.action, change.inverse),
        (Action::Lock, Inverse::Restored)
    );
    insta::assert_snapshot!(commands(Ok(Some(change))), @"/usr/sbin/usermod --shell /usr/sbin/nologin --expiredate 1 --lock -- deploy");
    // It is so already.
    node.owns(&user("locked"), Wish::User(deploy().into()), false);
    assert_eq!(node.removal(&user("locked")), None);
    // Its ledger may be lost: by how it is locked it is known as the agent's.
    let back = AccountWish {
        uid: 1700,
        groups: BTreeSet::new(),
        home: "/home/locked".into(),
        ..deploy()
    };
    let mut node = Box::new();
    let change = node.difference(&user("locked"), Wish::User(back.into()));
    let change = change.unwrap().unwrap();
    assert!(!change.adopts);
    insta::assert_snapshot!(commands(Ok(Some(change))), @"/usr/sbin/usermod --shell /bin/bash --expiredate  --unlock -- locked");
}

#[test]
fn a_deleted_account_cannot_be_had_back() {
    let change = Box::new().difference(&user("deploy"), Wish::NoUser { uid: 1520 });
    let change = change.unwrap().unwrap();
    assert_eq!(change.action, Action::Remove);
    assert!(matches!(change.inverse, Inverse::Never(_)));
    assert_eq!(commands(Ok(Some(change))), "/usr/sbin/userdel -- deploy");
}

#[test]
fn a_group_goes_when_nobody_is_in_it() {
    let mut node = Box::new();
    for (name, gid) in [
        ("empty", 1800),
        ("listed", 1801),
        ("deploy", 1520),
        ("gone", 1),
    ] {
        node.owns(&group_of(name), Wish::Group { gid }, false);
    }
    let removed = node.removal(&group_of("empty")).unwrap();
    assert_eq!(commands(Ok(Some(removed))), "/usr/sbin/groupdel -- empty");
    assert_eq!(node.removal(&group_of("gone")), None);
    let stays_for = |name: &str| {
        let thing = group_of(name);
        assert_eq!(node.removal(&thing), None);
        let owned = &node.ledger.things[&thing];
        node.with(&thing, |situation| stays(&thing, owned, situation))
    };
    assert_eq!(stays_for("gone"), None);
    insta::assert_snapshot!(stays_for("listed").unwrap(), @"the group listed is not in the document any more, and stays as long as somebody is in it: deploy");
    insta::assert_snapshot!(stays_for("deploy").unwrap(), @"the group deploy is not in the document any more, and stays as long as somebody is in it: deploy, locked");
    // Others made it: it is left alone, without a word.
    node.owns(&group_of("empty"), Wish::Group { gid: 1800 }, true);
    assert_eq!(node.removal(&group_of("empty")), None);
    node.owns(&group_of("listed"), Wish::Group { gid: 1801 }, true);
    let (thing, owned) = (group_of("listed"), &node.ledger.things[&group_of("listed")]);
    assert_eq!(
        node.with(&thing, |situation| stays(&thing, owned, situation)),
        None
    );
}

#[test]
fn an_account_reads_as_what_a_diff_shows() {
    let accounts = Box::new().seen.accounts;
    insta::assert_snapshot!(text::of(&state(&user("locked"), &accounts)), @r"
    uid: 1700, gid: 1520
    groups: 
    home: /home/locked
    shell: /usr/sbin/nologin
    comment: 
    password: locked
    closed since day 1 of 1970
    ");
}
