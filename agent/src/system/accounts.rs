//! Which accounts this machine has, by its own name service (files, LDAP, sssd). Never makes or changes one.
//!
//! Only for the machine itself: the accounts of what lies under another root cannot be looked up this way.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Gid, User, getgrouplist};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

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

/// Whether there is a user of that name. Blocks for as long as the name service does.
pub fn exists(user: &str) -> Result<bool, AccountError> {
    match User::from_name(user) {
        Ok(found) => Ok(found.is_some()),
        // What getpwnam(3) lists as "not found" from name services that do not simply return nothing.
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(false),
        Err(errno) => Err(AccountError::Lookup {
            user: user.to_owned(),
            source: errno.into(),
        }),
    }
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
