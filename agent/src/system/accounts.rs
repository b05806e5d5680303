//! Which accounts this machine has, by its own name service (files, LDAP, sssd). Never makes or changes one.
//!
//! Only for the machine itself: the accounts of what lies under another root cannot be looked up this way.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, User, getgrouplist};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::file::{Files, Found};

/// A directory server that is away must not hold up a run.
const DEADLINE: Duration = Duration::from_secs(10);

/// The name service did not say whether an account exists. Not the same as that it does not.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It failed.
    #[error("cannot look up the user {user}")]
    Lookup {
        /// The user.
        user: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not answer in time.
    #[error(
        "looking up users took longer than {} s: is the directory service (see /etc/nsswitch.conf) away?",
        DEADLINE.as_secs()
    )]
    Deadline,
}

/// Who an account is to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Its user id.
    pub user: u32,
    /// Its group ids, the first its own.
    pub groups: Vec<u32>,
}

impl Credentials {
    /// Those of the account of that name; `None` also where the name service does not say. Blocks for as long as that does.
    pub fn of(user: &str) -> Option<Self> {
        let account = User::from_name(user).ok().flatten()?;
        let name = CString::new(user).ok()?;
        let mut groups = vec![account.gid.as_raw()];
        let all = getgrouplist(&name, account.gid).unwrap_or_default();
        groups.extend(all.into_iter().map(Gid::as_raw));
        Some(Self {
            user: account.uid.as_raw(),
            groups,
        })
    }
}

/// What a look-up came to, where not finding anything is no failure.
fn known<T>(found: nix::Result<Option<T>>, name: &str) -> Result<Option<T>, AccountError> {
    match found {
        Ok(found) => Ok(found),
        // What getpwnam(3) lists as "not found" from name services that do not simply return nothing.
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(errno) => Err(AccountError::Lookup {
            user: name.to_owned(),
            source: errno.into(),
        }),
    }
}

/// Whether there is a user of that name. Blocks for as long as the name service does.
pub fn exists(user: &str) -> Result<bool, AccountError> {
    Ok(known(User::from_name(user), user)?.is_some())
}

/// Those of `users` that exist, within ten seconds.
pub async fn existing(users: BTreeSet<String>) -> Result<BTreeSet<String>, AccountError> {
    if users.is_empty() {
        return Ok(users);
    }
    let look_up = spawn_blocking(move || {
        let mut found = BTreeSet::new();
        for user in users {
            if exists(&user)? {
                found.insert(user);
            }
        }
        Ok(found)
    });
    match timeout(DEADLINE, look_up).await {
        Ok(Ok(found)) => found,
        // The task was cancelled with its runtime, or could not be started.
        Ok(Err(_)) | Err(_) => Err(AccountError::Deadline),
    }
}

/// Numbers of accounts, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Of users.
    pub users: BTreeMap<String, u32>,
    /// Of groups.
    pub groups: BTreeMap<String, u32>,
}

/// The numbers of those of `users` and `groups` that exist, within ten seconds.
pub async fn numbers(
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
) -> Result<Numbers, AccountError> {
    let look_up = spawn_blocking(move || {
        let mut numbers = Numbers::default();
        for user in users {
            let found = known(User::from_name(&user), &user)?;
            numbers
                .users
                .extend(found.map(|found| (user, found.uid.as_raw())));
        }
        for group in groups {
            let found = known(Group::from_name(&group), &group)?;
            numbers
                .groups
                .extend(found.map(|found| (group, found.gid.as_raw())));
        }
        Ok(numbers)
    });
    match timeout(DEADLINE, look_up).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => Err(AccountError::Deadline),
    }
}

/// The least number of an account that is a person's or a product's: those below are the system's.
pub const FIRST_OF_PEOPLE: u32 = 1000;

/// The numbers of a user and of its primary group, within ten seconds. `None`: there is no such user.
pub async fn user_and_group(user: String) -> Result<Option<(u32, u32)>, AccountError> {
    let look_up = spawn_blocking(move || {
        let found = known(User::from_name(&user), &user)?;
        Ok(found.map(|found| (found.uid.as_raw(), found.gid.as_raw())))
    });
    match timeout(DEADLINE, look_up).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => Err(AccountError::Deadline),
    }
}

/// The accounts that stand in `/etc/passwd` and `/etc/group` under a root: no name service answers for it.
pub fn numbers_under(files: &Files) -> Numbers {
    let read = |path: &str| {
        let text = match files.read(Path::new(path)) {
            Ok(Found::File { bytes, .. }) => String::from_utf8_lossy(&bytes).into_owned(),
            _ => String::new(),
        };
        let lines = text.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            Some((name.to_owned(), fields.nth(1)?.parse().ok()?))
        });
        lines.collect::<BTreeMap<String, u32>>()
    };
    Numbers {
        users: read("/etc/passwd"),
        groups: read("/etc/group"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn root_exists_and_nobody_of_a_made_up_name() {
        assert!(exists("root").unwrap());
        assert!(!exists("no-such-account-here").unwrap());
        let asked = ["root", "no-such-account-here"].map(str::to_owned).into();
        assert_eq!(existing(asked).await.unwrap(), ["root".to_owned()].into());
    }
}
