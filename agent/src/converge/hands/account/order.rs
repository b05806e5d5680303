//! What is done to an account, as data: the commands of the system's own tools, and what comes of them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::super::super::change::{AccountOrder, NewHome};
use super::super::super::saved::Saved;
use crate::report::Action;
use crate::resource::AccountWish;
use crate::system::account_files::{Group, Password, User};
use crate::system::command::CommandLine;

/// The day from which on an account is closed that the agent locks: the first after 1970's first.
pub(super) const LONG_AGO: i64 = 1;
/// They wait up to 15 s for the locks of the files.
const DEADLINE: Duration = Duration::from_mins(1);
/// A password that nobody can have, and no lock: sshd lets nobody in by key whose account is locked, where PAM has no say.
const NO_PASSWORD: &str = "*";
/// What is served from there is read by others.
const SERVED: u32 = 0o755;
/// What people have there is theirs.
const PRIVATE: u32 = 0o700;

/// What has to be done for a wish.
pub(super) struct Work {
    pub(super) action: Action,
    pub(super) before: Saved,
    pub(super) order: AccountOrder,
}

impl NewHome {
    pub(super) fn of(wish: &AccountWish, gid: u32) -> Self {
        Self {
            path: PathBuf::from(&wish.home),
            mode: if wish.is_login { PRIVATE } else { SERVED },
            uid: wish.uid,
            gid,
        }
    }
}

fn command(argv: Vec<String>) -> CommandLine {
    CommandLine::new(argv, DEADLINE)
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

fn list(groups: &BTreeSet<String>) -> String {
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    names.join(",")
}

impl AccountOrder {
    pub(super) fn add_group(name: &str, gid: u32) -> Self {
        let gid_text = gid.to_string();
        Self {
            commands: vec![command(words([
                "/usr/sbin/groupadd",
                "--gid",
                &gid_text,
                "--",
                name,
            ]))],
            home: None,
            becomes: Saved::Group(Group {
                gid,
                ..Group::default()
            }),
            groups: Vec::new(),
        }
    }

    pub(super) fn delete_group(name: &str) -> Self {
        Self {
            commands: vec![command(words(["/usr/sbin/groupdel", "--", name]))],
            home: None,
            becomes: Saved::Absent,
            groups: Vec::new(),
        }
    }

    pub(super) fn delete_user(name: &str) -> Self {
        Self {
            commands: vec![command(words(["/usr/sbin/userdel", "--", name]))],
            home: None,
            becomes: Saved::Absent,
            groups: Vec::new(),
        }
    }

    pub(super) fn add_user(name: &str, wish: &AccountWish, gid: u32) -> Self {
        let (uid, gid_text) = (wish.uid.to_string(), gid.to_string());
        let mut argv = words([
            "/usr/sbin/useradd",
            "--uid",
            &uid,
            "--gid",
            &gid_text,
            "--no-user-group",
            "--home-dir",
            &wish.home,
            "--shell",
            &wish.shell,
            "--password",
            NO_PASSWORD,
            // Not what the machine's defaults say.
            "--expiredate",
            "",
        ]);
        // What the system has for people's homes is for people.
        argv.push(
            if wish.is_login {
                "--create-home"
            } else {
                "--no-create-home"
            }
            .to_owned(),
        );
        if let Some(comment) = &wish.comment {
            argv.extend(words(["--comment", comment]));
        }
        if !wish.groups.is_empty() {
            argv.extend(["--groups".to_owned(), list(&wish.groups)]);
        }
        argv.extend(words(["--", name]));
        Self {
            commands: vec![command(argv)],
            home: Some(NewHome::of(wish, gid)),
            becomes: Saved::User(User {
                uid: wish.uid,
                gid,
                groups: wish.groups.clone(),
                comment: wish.comment.clone().unwrap_or_default(),
                home: wish.home.clone(),
                shell: wish.shell.clone(),
                password: Password::Open,
                expires: None,
            }),
            groups: Vec::new(),
        }
        .listing(wish)
    }

    /// The same, with the groups that `wish` names.
    pub(super) fn listing(self, wish: &AccountWish) -> Self {
        Self {
            groups: wish.groups.iter().cloned().collect(),
            ..self
        }
    }

    /// From `now` to `after`, which has the same numbers. `home`: made where it is missing.
    pub(super) fn modify_user(name: &str, now: &User, after: User, home: Option<NewHome>) -> Self {
        let mut argv = Vec::new();
        if after.comment != now.comment {
            argv.extend(words(["--comment", &after.comment]));
        }
        if after.home != now.home {
            argv.extend(words(["--home", &after.home]));
        }
        if after.shell != now.shell {
            argv.extend(words(["--shell", &after.shell]));
        }
        if after.expires != now.expires {
            let day = after
                .expires
                .map_or_else(String::new, |day| day.to_string());
            argv.extend(["--expiredate".to_owned(), day]);
        }
        match (now.password, after.password) {
            (Password::Open, Password::Locked) => argv.push("--lock".to_owned()),
            (Password::Locked, Password::Open) => argv.push("--unlock".to_owned()),
            _ => {}
        }
        if now.groups.is_subset(&after.groups) {
            let more: BTreeSet<String> = after.groups.difference(&now.groups).cloned().collect();
            if !more.is_empty() {
                // What others have put it into since stays.
                argv.extend(["--append".to_owned(), "--groups".to_owned(), list(&more)]);
            }
        } else {
            argv.extend(["--groups".to_owned(), list(&after.groups)]);
        }
        let commands = if argv.is_empty() {
            Vec::new()
        } else {
            let mut all = words(["/usr/sbin/usermod"]);
            all.append(&mut argv);
            all.extend(words(["--", name]));
            vec![command(all)]
        };
        Self {
            commands,
            home,
            becomes: Saved::User(after),
            groups: Vec::new(),
        }
    }

    pub(super) fn lock_user(name: &str, now: &User, after: User) -> Self {
        Self::modify_user(name, now, after, None)
    }

    /// What is done, for people.
    pub(super) fn summary(&self) -> String {
        let lines: Vec<String> = self.commands.iter().map(ToString::to_string).collect();
        lines.join("; ")
    }
}
