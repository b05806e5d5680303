//! Users and groups: what is none of a document's business, and that all who speak of one account agree.

use std::borrow::Cow;

use super::Check;
use super::bundles::{Claim, Said};
use crate::fleet::account::{Group, User};
use crate::fleet::bundle::Bundle;
use crate::fleet::names::{AbsolutePath, AccountComment, AccountName, GroupName, Name};
use crate::fleet::pointer::Place;

/// Accounts that every system has for itself: ids say that of the others.
const RESERVED: [&str; 2] = ["root", "nobody"];
/// No home stands at or under these: they are the system's or the agent's.
const RESERVED_HOMES: [&str; 15] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/var/lib/agentd",
    "/var/run",
];
/// No home is one of these itself: others have theirs there.
const SHARED: [&str; 8] = [
    "/home", "/media", "/mnt", "/opt", "/srv", "/var", "/var/lib", "/var/www",
];

/// What must have one value on a server.
/// In this order they are told: a group of a user's own says nothing more than the user.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum About<'f> {
    User(&'f str, &'static str),
    Uid(u32),
    Group(&'f str),
    Gid(u32),
    /// A key of a user, whatever its options.
    Key(&'f str, &'f str),
    /// Where a user's keys stand.
    Keys(String),
}

#[derive(PartialEq)]
enum Value<'f> {
    Number(u32),
    Text(Cow<'f, str>),
    Flag(bool),
    Groups(&'f [GroupName]),
}

impl<'f> Check<'f> {
    /// The users and groups of one product or role, each by itself.
    pub(super) fn accounts(&mut self, of: Bundle<'f>, at: &Place<'_>) {
        let (groups, users) = (at.then("groups"), at.then("users"));
        self.at_most(of.groups().len(), 1000, &groups);
        for (name, group) in of.groups() {
            let at = groups.then(name.as_str());
            self.reserved(name, "group", &at);
            self.roles_of(&group.on, &at);
        }
        self.at_most(of.users().len(), 1000, &users);
        for (name, user) in of.users() {
            let at = users.then(name.as_str());
            self.reserved(name, "user", &at);
            self.user(name, user, &at);
        }
    }

    fn reserved(&mut self, name: &AccountName, noun: &str, at: &Place<'_>) {
        if RESERVED.contains(&name.as_str()) {
            self.findings.add(at, || {
                format!(
                    "`{name}` is a {noun} of the system on every machine: the agent leaves it alone"
                )
            });
        }
    }

    fn roles_of(&mut self, on: &'f [Name], at: &Place<'_>) {
        let at = at.then("on");
        self.list(on, &at, 64);
        for (index, role) in on.iter().enumerate() {
            self.refers(&self.fleet.roles, &super::ROLES, role, &at, index);
        }
    }

    fn user(&mut self, name: &AccountName, user: &'f User, at: &Place<'_>) {
        self.roles_of(&user.on, at);
        self.list(&user.groups, &at.then("groups"), 64);
        self.list(&user.sudo, &at.then("sudo"), 64);
        let keys = at.then("keys");
        self.at_most(user.keys.len(), 200, &keys);
        for (index, key) in user.keys.iter().enumerate() {
            let earlier = user.keys.iter().take(index);
            if earlier.into_iter().any(|other| other.blob() == key.blob()) {
                let at = self.findings.item(&keys, index);
                self.findings
                    .add(&at, || "this key is listed twice".to_owned());
            }
        }
        if let Some(home) = &user.home {
            let reserved = RESERVED_HOMES
                .into_iter()
                .find(|path| home.is_at_or_under(path))
                .or_else(|| SHARED.into_iter().find(|path| home.as_str() == *path));
            if let Some(reserved) = reserved {
                self.findings.add(&at.then("home"), || {
                    format!("{home} cannot be the home of `{name}`: {reserved} belongs to the system, to the agent or to many")
                });
            }
        }
        if user.remove {
            self.nothing_else(user, at);
        }
    }

    fn nothing_else(&mut self, user: &User, at: &Place<'_>) {
        let fields = [
            ("group", user.group.is_some()),
            ("groups", !user.groups.is_empty()),
            ("exclusive", user.exclusive),
            ("home", user.home.is_some()),
            ("shell", user.shell.is_some()),
            ("comment", user.comment.is_some()),
            ("keys", !user.keys.is_empty()),
            ("sudo", !user.sudo.is_empty()),
        ];
        for (field, _) in fields.into_iter().filter(|(_, said)| *said) {
            self.findings.add(&at.then(field), || {
                format!("`{field}` means nothing for an account that is removed: take it out, or take `remove` out")
            });
        }
    }

    /// All who speak of one account on one server.
    pub(super) fn accounts_agree(&mut self) {
        self.agree(claims, |other, first| words(other, first));
    }
}

fn claims(of: Bundle<'_>) -> Vec<Claim<'_, About<'_>, Value<'_>>> {
    let mut claims = Vec::new();
    for (name, group) in of.groups() {
        claims_of_group(name, group, &mut claims);
    }
    for (name, user) in of.users() {
        claims_of_user(name, user, &mut claims);
    }
    claims
}

fn claims_of_group<'f>(
    name: &'f AccountName,
    group: &'f Group,
    claims: &mut Vec<Claim<'f, About<'f>, Value<'f>>>,
) {
    let mut claim = |key, value| {
        claims.push(Claim {
            key,
            value,
            on: &group.on,
            path: vec!["groups".into(), name.as_str().into(), "gid".into()],
        });
    };
    let gid = group.gid.get();
    claim(About::Group(name.as_str()), Value::Number(gid));
    claim(About::Gid(gid), Value::Text(name.as_str().into()));
}

fn claims_of_user<'f>(
    name: &'f AccountName,
    user: &'f User,
    claims: &mut Vec<Claim<'f, About<'f>, Value<'f>>>,
) {
    let mut claim = |key, value, path: &[Cow<'f, str>]| {
        let start = ["users".into(), name.as_str().into()];
        claims.push(Claim {
            key,
            value,
            on: &user.on,
            path: start.into_iter().chain(path.iter().cloned()).collect(),
        });
    };
    let uid = user.uid.get();
    let is = name.as_str();
    let text = |text: Option<&'f str>| Value::Text(text.unwrap_or_default().into());
    claim(About::Uid(uid), Value::Text(is.into()), &["uid".into()]);
    if user.group.is_none() && !user.remove {
        // It brings a group of its own.
        claim(About::Group(is), Value::Number(uid), &["uid".into()]);
        claim(About::Gid(uid), Value::Text(is.into()), &["uid".into()]);
    }
    let group = user.group.as_ref().map(GroupName::as_str);
    let shell = user.shell.as_ref().map(AbsolutePath::as_str);
    let comment = user.comment.as_ref().map(AccountComment::as_str);
    for (field, value) in [
        ("uid", Value::Number(uid)),
        ("remove", Value::Flag(user.remove)),
        // What is not said is the default, whoever does not say it.
        ("group", text(group.filter(|group| *group != is))),
        ("groups", Value::Groups(&user.groups)),
        ("exclusive", Value::Flag(user.exclusive)),
        ("home", Value::Text(user.home(name).into())),
        ("shell", text(shell)),
        ("comment", text(comment)),
    ] {
        claim(About::User(is, field), value, &[field.into()]);
    }
    if !user.keys.is_empty() {
        let at = About::Keys(user.home(name));
        claim(at, Value::Text(is.into()), &["keys".into()]);
    }
    for (index, key) in user.keys.iter().enumerate() {
        let about = About::Key(is, key.blob());
        let options = Value::Text(key.options().into());
        claim(about, options, &["keys".into(), index.to_string().into()]);
    }
}

type SaidOf<'f> = Said<'f, About<'f>, Value<'f>>;

fn words(other: &SaidOf<'_>, first: &SaidOf<'_>) -> String {
    let by = first.by;
    let (here, there) = (&other.claim.value, &first.claim.value);
    match &other.claim.key {
        About::Group(name) => {
            format!("the group `{name}` has the gid {here} here and {there} in {by}")
        }
        About::Gid(gid) => {
            format!("{gid} is the gid of the group {here} here and of {there} in {by}")
        }
        About::Uid(uid) => {
            format!("{uid} is the uid of the user {here} here and of {there} in {by}")
        }
        About::User(name, field) => {
            format!("`{field}` of the user `{name}` is {here} here and {there} in {by}")
        }
        About::Key(name, _) => {
            let options = |value: &Value<'_>| match value {
                Value::Text(text) if text.is_empty() => "no options".to_owned(),
                value => format!("the options {value}"),
            };
            format!(
                "this key of the user `{name}` has {} here and {} in {by}",
                options(here),
                options(there)
            )
        }
        About::Keys(home) => format!(
            "{home}/.ssh/authorized_keys would have the keys of the user {here} and, in {by}, of {there}: only one user can have keys there"
        ),
    }
}

impl std::fmt::Display for Value<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(out),
            Self::Text(text) if text.is_empty() => out.write_str("the default"),
            Self::Text(text) => write!(out, "`{text}`"),
            Self::Flag(flag) => flag.fmt(out),
            Self::Groups([]) => out.write_str("an empty list"),
            Self::Groups(groups) => {
                let names = groups.iter().map(GroupName::as_str);
                out.write_str(&crate::fleet::wording::listed(names, '`', "and"))
            }
        }
    }
}
