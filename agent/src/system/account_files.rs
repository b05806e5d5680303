//! The accounts that this machine's own files have: `/etc/passwd`, `/etc/group`, `/etc/shadow`. Reads, never writes: that
//! is the business of the system's own tools, which hold its locks.
//!
//! Not those of a directory server: see [`super::accounts`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::clock;
use super::file::{FileError, Files, Found};

/// The files of users and groups. The last one is written with `/etc/group`; nothing in it is looked at.
pub const FILES: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"];

const SECS_PER_DAY: i64 = 24 * 60 * 60;

/// All accounts of the files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounts {
    users: BTreeMap<String, User>,
    groups: BTreeMap<String, Group>,
    /// Days since 1970.
    today: i64,
}

/// A user, as the files have it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The number of its primary group.
    pub gid: u32,
    /// The groups that list it as a member.
    pub groups: BTreeSet<String>,
    /// Whose it is.
    pub comment: String,
    /// Its home directory.
    pub home: String,
    /// Its login shell.
    pub shell: String,
    /// What can be done with its password.
    pub password: Password,
    /// The day, counted from 1970, from which on nobody can log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
}

/// What can be done with a password. The password itself is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Password {
    /// It is what it is: one that somebody knows, or one that nobody can have.
    #[default]
    Open,
    /// It is locked, and what it was is still known: it can be unlocked.
    Locked,
    /// It is locked, and was never set.
    Unset,
}

/// A group, as the files have it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Group {
    /// Its number.
    pub gid: u32,
    /// Those listed as its members.
    pub members: BTreeSet<String>,
}

impl Accounts {
    /// Reads the files. One that is not there has no accounts.
    pub fn read(files: &Files) -> Result<Self, FileError> {
        let text = |path: &str| -> Result<String, FileError> {
            Ok(match files.read(Path::new(path))? {
                Found::File { bytes, .. } => String::from_utf8_lossy(&bytes).into_owned(),
                _ => String::new(),
            })
        };
        let [passwd, group, shadow, _] = FILES;
        // So that a change of it is known as seen: it is watched too.
        files.look_at(Path::new("/etc/gshadow"))?;
        let today = clock::now().as_second().div_euclid(SECS_PER_DAY);
        Ok(Self::parse(
            &text(passwd)?,
            &text(group)?,
            &text(shadow)?,
            today,
        ))
    }

    /// From the texts of the files. Of two entries of one name the first counts, as it does for everybody else; what is
    /// no entry (`+` of NIS, a broken line) is passed over.
    pub fn parse(passwd: &str, group: &str, shadow: &str, today: i64) -> Self {
        let mut accounts = Self {
            today,
            ..Self::default()
        };
        for line in passwd.lines() {
            if let Some((name, user)) = user(line) {
                accounts.users.entry(name.to_owned()).or_insert(user);
            }
        }
        for line in group.lines() {
            if let Some((name, group)) = self::group(line) {
                accounts.groups.entry(name.to_owned()).or_insert(group);
            }
        }
        for (name, group) in &accounts.groups {
            for member in &group.members {
                if let Some(user) = accounts.users.get_mut(member) {
                    user.groups.insert(name.clone());
                }
            }
        }
        for line in shadow.lines() {
            let mut fields = line.split(':');
            let (name, password) = (fields.next(), fields.next().unwrap_or_default());
            let Some(user) = name.and_then(|name| accounts.users.get_mut(name)) else {
                continue;
            };
            user.password = match password.strip_prefix('!') {
                None => Password::Open,
                Some(rest) if rest.is_empty() || rest.starts_with('!') => Password::Unset,
                Some(_) => Password::Locked,
            };
            // After the day of the last change and four spans.
            user.expires = fields.nth(5).and_then(|day| day.parse().ok());
        }
        accounts
    }

    /// The user of that name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// Who has that number: the first by name.
    pub fn user_of(&self, uid: u32) -> Option<&str> {
        let mut users = self.users.iter();
        let (name, _) = users.find(|(_, user)| user.uid == uid)?;
        Some(name)
    }

    /// The group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Which group has that number: the first by name.
    pub fn group_of(&self, gid: u32) -> Option<&str> {
        let mut groups = self.groups.iter();
        let (name, _) = groups.find(|(_, group)| group.gid == gid)?;
        Some(name)
    }

    /// Whose primary group the one with that number is, by name.
    pub fn primaries(&self, gid: u32) -> impl Iterator<Item = &str> {
        let users = self.users.iter();
        let users = users.filter(move |(_, user)| user.gid == gid);
        users.map(|(name, _)| name.as_str())
    }

    /// Whether nobody can log in as that user any more.
    pub fn is_expired(&self, user: &User) -> bool {
        user.expires.is_some_and(|day| day <= self.today)
    }

    /// The same with that user, for planning what is not there yet.
    pub fn insert_user(&mut self, name: &str, user: User) {
        self.users.insert(name.to_owned(), user);
    }

    /// The same with that group.
    pub fn insert_group(&mut self, name: &str, group: Group) {
        self.groups.insert(name.to_owned(), group);
    }
}

fn user(line: &str) -> Option<(&str, User)> {
    let [name, _, uid, gid, comment, home, shell] = fields(line)?;
    let user = User {
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        comment: comment.to_owned(),
        home: home.to_owned(),
        shell: shell.to_owned(),
        ..User::default()
    };
    Some((name, user))
}

fn group(line: &str) -> Option<(&str, Group)> {
    let [name, _, gid, members] = fields(line)?;
    let members = members.split(',').filter(|member| !member.is_empty());
    let group = Group {
        gid: gid.parse().ok()?,
        members: members.map(str::to_owned).collect(),
    };
    Some((name, group))
}

fn fields<const N: usize>(line: &str) -> Option<[&str; N]> {
    let fields: Vec<&str> = line.split(':').collect();
    let fields: [&str; N] = fields.try_into().ok()?;
    (!fields.first()?.is_empty()).then_some(fields)
}

/// The files that change with accounts, as paths.
pub fn paths() -> impl Iterator<Item = PathBuf> {
    FILES.into_iter().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash
deploy:x:1520:1520:Jane, laptop:/home/deploy:/bin/bash
deploy:x:9:9::/:/bin/false
+nis::::::
shop:x:1510:1510::/srv/shop:/sbin/nologin
old:x:1500:1510::/home/old:/bin/sh
broken line
";
    const GROUP: &str = "root:x:0:\nshop:x:1510:deploy,gone\nwheel:x:10:deploy\ndeploy:x:1520:\n";
    const SHADOW: &str = "root:$6$x$y:19000:0:99999:7:::\ndeploy:*:19000:0:99999:7:::\nshop:!:19000::::::\nold:!$6$x$y:19000:0:99999:7::1:\n";

    #[test]
    fn what_the_files_say() {
        let accounts = Accounts::parse(PASSWD, GROUP, SHADOW, 20_000);
        let deploy = accounts.user("deploy").unwrap();
        assert_eq!(
            (deploy.uid, deploy.comment.as_str()),
            (1520, "Jane, laptop")
        );
        assert_eq!(deploy.groups, ["shop", "wheel"].map(str::to_owned).into());
        assert_eq!(deploy.password, Password::Open);
        assert!(!accounts.is_expired(deploy));
        assert_eq!(accounts.user("shop").unwrap().password, Password::Unset);
        let old = accounts.user("old").unwrap();
        assert_eq!((old.password, old.expires), (Password::Locked, Some(1)));
        assert!(accounts.is_expired(old));
        assert_eq!(accounts.user_of(1510), Some("shop"));
        assert_eq!(
            accounts.user_of(9),
            None,
            "the first entry of a name counts"
        );
        assert_eq!(accounts.group_of(10), Some("wheel"));
        assert_eq!(
            accounts.primaries(1510).collect::<Vec<_>>(),
            ["old", "shop"]
        );
        assert!(accounts.user("+nis").is_none());
    }

    #[test]
    fn a_day_in_the_future_is_no_lock() {
        let accounts = Accounts::parse(PASSWD, GROUP, "old:x:1:::::20001:", 20_000);
        let old = accounts.user("old").unwrap();
        assert_eq!(old.expires, Some(20_001));
        assert!(!accounts.is_expired(old));
    }
}
