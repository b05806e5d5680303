//! Groups and users: made, changed and locked by the system's own tools, which hold the locks of their files.
//!
//! Numbers never change: files on disk belong to them. What others made is changed as asked and never locked or removed,
//! unless the document says so in as many words.

mod asked;
mod order;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::super::change::{AccountOrder, After, Change, Inverse};
use super::super::ledger::{Form, Owned, digest_of};
use super::super::saved::Saved;
use super::super::situation::{AccountsSeen, Seen, Situation};
use crate::report::Action;
use crate::resource::{Step, Thing, Want, Wish, nologin};
use crate::system::account_files::{Accounts, Group, Password, User};
use crate::system::file::Files;
use crate::system::platform::Platform;
use crate::system::{chain, outside};

use order::{LONG_AGO, Work};
pub(in super::super) use text::of as text;

/// Looks at all accounts at once. `users`: those whose homes matter.
pub(super) fn look<'a>(
    files: &Files,
    platform: &Platform,
    users: impl Iterator<Item = &'a str>,
) -> Result<Arc<AccountsSeen>, String> {
    let accounts = Accounts::read(files).map_err(|error| chain(&error))?;
    let homes = users.filter_map(|name| Some(&accounts.user(name)?.home));
    let missing_homes = homes
        .filter(|home| matches!(files.look(Path::new(home.as_str())), Ok(None)))
        .cloned()
        .collect();
    Ok(Arc::new(AccountsSeen {
        accounts,
        missing_homes,
        nologin: nologin(platform),
    }))
}

/// See [`super::difference`].
pub(super) fn difference(
    want: &Want,
    step: &Step,
    situation: &Situation<'_>,
) -> Result<Option<Change>, String> {
    let Some(seen) = seen(&want.thing, situation)? else {
        return Ok(None);
    };
    let accounts = &seen.accounts;
    let owned = situation.ledger.things.get(&want.thing);
    let work = match (&want.thing, &want.wish) {
        (Thing::Group(name), Wish::Group { gid }) => group(name, *gid, accounts)?,
        (Thing::User(name), Wish::User(wish)) => {
            let found = asked::Found {
                name,
                seen,
                formerly: owned.map_or(&[][..], |owned| &owned.groups),
            };
            found.user(wish, situation)?
        }
        (Thing::User(name), Wish::NoUser { uid }) => no_user(name, *uid, accounts)?,
        (thing, _) => return Err(format!("{thing} is no account")),
    };
    let Some(Work {
        action,
        before,
        order,
    }) = work
    else {
        return Ok(None);
    };
    let wished = digest_of(want, step);
    let was_there = before != Saved::Absent;
    Ok(Some(Change {
        thing: want.thing.clone(),
        action,
        when: want.phase.into(),
        inverse: match (&before, action) {
            (Saved::Absent, _) => Inverse::Removed,
            (_, Action::Remove) => Inverse::Never("a deleted account's password is gone with it"),
            _ => Inverse::Restored,
        },
        // What somebody else made stays that: it is neither locked nor removed when nothing asks for it any more.
        adopts: was_there && owned.map_or_else(|| !is_ours(&before, seen), |owned| owned.adopted),
        before,
        drift: owned.is_some_and(|owned| owned.digest == wished),
        after: Some(After::Account(order)),
        form: Form::of(&want.wish),
        digest: wished,
        backup: false,
        diff_base: None,
        hidden: false,
        shown_as: want.shown_as.clone(),
        origins: want.origins.clone(),
    }))
}

/// Whether an account stands as the agent locks those that it made: then it was.
fn is_ours(before: &Saved, seen: &AccountsSeen) -> bool {
    matches!(before, Saved::User(user) if is_locked(user, seen))
}

fn is_locked(user: &User, seen: &AccountsSeen) -> bool {
    user.expires == Some(LONG_AGO) && user.password != Password::Open && user.shell == seen.nologin
}

fn group(name: &str, gid: u32, accounts: &Accounts) -> Result<Option<Work>, String> {
    match accounts.group(name) {
        Some(found) if found.gid == gid => Ok(None),
        Some(found) => Err(format!(
            "the group {name} is there with the gid {0}, and the document says {gid}: files belong to numbers, so the agent changes none. Write {0} in the document, or change it by hand: groupmod --gid {gid} {name}, and chgrp for the files of {0}",
            found.gid
        )),
        None => match accounts.group_of(gid) {
            Some(other) => Err(format!(
                "the gid {gid} of the group {name} is the group {other}'s here already: give {name} another in the document, or remove {other}"
            )),
            None => Ok(Some(Work {
                action: Action::Create,
                before: Saved::Absent,
                order: AccountOrder::add_group(name, gid),
            })),
        },
    }
}

fn no_user(name: &str, uid: u32, accounts: &Accounts) -> Result<Option<Work>, String> {
    match accounts.user(name) {
        None => Ok(None),
        Some(found) if found.uid != uid => Err(format!(
            "the document has the user {name} of uid {uid} removed, and {name} has the uid {} here: it may be another one, and stays",
            found.uid
        )),
        Some(found) => Ok(Some(Work {
            action: Action::Remove,
            before: Saved::User(found.clone()),
            order: AccountOrder::delete_user(name),
        })),
    }
}

/// See [`super::removal`].
pub(super) fn removal(thing: &Thing, owned: &Owned, situation: &Situation<'_>) -> Option<Change> {
    let seen = seen(thing, situation)
        .ok()
        .flatten()
        .filter(|_| !owned.adopted)?;
    let accounts = &seen.accounts;
    let (action, before, order) = match thing {
        Thing::Group(name) => {
            let found = accounts.group(name)?;
            if kept_by(found, accounts).is_some() {
                return None;
            }
            let order = AccountOrder::delete_group(name);
            (Action::Remove, Saved::Group(found.clone()), order)
        }
        Thing::User(name) => {
            let found = accounts.user(name)?;
            if is_locked(found, seen) {
                return None;
            }
            let after = User {
                shell: seen.nologin.to_owned(),
                password: match found.password {
                    Password::Open => Password::Locked,
                    other => other,
                },
                expires: Some(LONG_AGO),
                ..found.clone()
            };
            let order = AccountOrder::lock_user(name, found, after);
            (Action::Lock, Saved::User(found.clone()), order)
        }
        _ => return None,
    };
    Some(Change {
        thing: thing.clone(),
        action,
        when: super::super::change::When::Commit,
        inverse: Inverse::Restored,
        adopts: false,
        before,
        after: Some(After::Account(order)),
        form: owned.form,
        digest: String::new(),
        drift: false,
        backup: false,
        diff_base: None,
        hidden: false,
        shown_as: None,
        origins: owned.origins.clone(),
    })
}

/// Why a group that nothing asks for any more stays, if it does.
pub(in super::super) fn stays(
    thing: &Thing,
    owned: &Owned,
    situation: &Situation<'_>,
) -> Option<String> {
    let Thing::Group(name) = thing else {
        return None;
    };
    let seen = seen(thing, situation)
        .ok()
        .flatten()
        .filter(|_| !owned.adopted)?;
    let kept_by = kept_by(seen.accounts.group(name)?, &seen.accounts)?;
    Some(format!(
        "the group {name} is not in the document any more, and stays as long as somebody is in it: {kept_by}"
    ))
}

/// Who is in a group.
fn kept_by(group: &Group, accounts: &Accounts) -> Option<String> {
    const NAMED: usize = 5;
    let members: BTreeSet<&str> = accounts
        .primaries(group.gid)
        .chain(group.members.iter().map(String::as_str))
        .collect();
    let named: Vec<&str> = members.iter().take(NAMED).copied().collect();
    match members.len() {
        0 => None,
        count if count > NAMED => Some(format!("{}, …", named.join(", "))),
        _ => Some(named.join(", ")),
    }
}

/// `None`: accounts are left alone, for this is no machine that runs.
fn seen<'a>(
    thing: &Thing,
    situation: &'a Situation<'_>,
) -> Result<Option<&'a AccountsSeen>, String> {
    match situation.sight.get(thing) {
        Some(Ok(Seen::Account(seen))) => Ok(Some(seen)),
        Some(Err(error)) => Err(error.clone()),
        _ => Ok(None),
    }
}

/// What stands there now, as it would be restored.
fn state(thing: &Thing, accounts: &Accounts) -> Saved {
    let found = match thing {
        Thing::Group(name) => accounts.group(name).cloned().map(Saved::Group),
        Thing::User(name) => accounts.user(name).cloned().map(Saved::User),
        _ => None,
    };
    found.unwrap_or(Saved::Absent)
}

/// A group or a user as it stands, a line a field. `None`: there is none, or it cannot be told.
pub fn as_it_stands(files: &Files, thing: &Thing) -> Option<String> {
    let accounts = Accounts::read(files).ok()?;
    let text = text::of(&state(thing, &accounts));
    (!text.is_empty()).then_some(text)
}

/// Carries a change out, looking once more at what stands there, and afterwards at what came of it.
pub(in super::super) async fn commit(
    files: &Files,
    thing: &Thing,
    before: &Saved,
    order: &AccountOrder,
) -> Result<(), String> {
    let read = || Accounts::read(files).map_err(|error| chain(&error));
    if state(thing, &read()?) != *before {
        return Err(format!(
            "somebody else has changed the {} in this moment: it is looked at anew by the next run",
            thing.as_path().display()
        ));
    }
    carry_out(files, order).await?;
    let now = state(thing, &read()?);
    if now == order.becomes {
        return Ok(());
    }
    Err(format!(
        "{} ended well, and the {} is not as asked:\n{}",
        order.summary(),
        thing.as_path().display(),
        text::difference(&order.becomes, &now)
    ))
}

async fn carry_out(files: &Files, order: &AccountOrder) -> Result<(), String> {
    for command in &order.commands {
        let output = outside::run(command, &[]).await;
        let output = output.map_err(|error| chain(&error))?;
        output.checked(command).map_err(|error| chain(&error))?;
    }
    if let Some(home) = &order.home {
        let made = files.create_home(&home.path, home.mode, home.uid, home.gid);
        made.map_err(|error| chain(&error))?;
    }
    Ok(())
}

/// Puts back what was there before. Nothing is done where it is so.
pub(in super::super) async fn put_back(
    files: &Files,
    thing: &Thing,
    before: &Saved,
) -> Result<(), String> {
    let accounts = Accounts::read(files).map_err(|error| chain(&error))?;
    let now = state(thing, &accounts);
    if now == *before {
        return Ok(());
    }
    let order = match (thing, before, now) {
        (Thing::Group(name), Saved::Absent, _) => AccountOrder::delete_group(name),
        (Thing::Group(name), Saved::Group(group), Saved::Absent) => {
            AccountOrder::add_group(name, group.gid)
        }
        (Thing::User(name), Saved::Absent, _) => AccountOrder::delete_user(name),
        (Thing::User(name), Saved::User(before), Saved::User(now)) => {
            AccountOrder::modify_user(name, &now, before.clone(), None)
        }
        _ => {
            return Err(format!(
                "the {} cannot be put back",
                thing.as_path().display()
            ));
        }
    };
    carry_out(files, &order).await
}
