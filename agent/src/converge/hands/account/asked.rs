//! A user that the document asks for: what differs, and what speaks against it. Pure.

use std::collections::BTreeSet;

use super::super::super::change::{AccountOrder, NewHome};
use super::super::super::saved::Saved;
use super::super::super::situation::{AccountsSeen, Situation};
use super::order::LONG_AGO;
use super::order::Work;
use crate::report::Action;
use crate::resource::{AccountWish, Thing, Wish};
use crate::system::account_files::{Password, User};

/// A user that is asked for, and what was found.
pub(super) struct Found<'a> {
    pub(super) name: &'a str,
    pub(super) seen: &'a AccountsSeen,
    /// Groups that the document had it in before.
    pub(super) formerly: &'a [String],
}

impl Found<'_> {
    /// What has to be done for it.
    pub(super) fn user(
        &self,
        wish: &AccountWish,
        situation: &Situation<'_>,
    ) -> Result<Option<Work>, String> {
        let Self { name, seen, .. } = self;
        let accounts = &seen.accounts;
        let gid = self.gid_of(&wish.group, situation)?;
        for group in &wish.groups {
            self.gid_of(group, situation)?;
        }
        let Some(found) = accounts.user(name) else {
            if let Some(other) = accounts.user_of(wish.uid) {
                return Err(format!(
                    "the uid {} of the user {name} is the user {other}'s here already: give {name} another in the document, or remove {other}",
                    wish.uid
                ));
            }
            return Ok(Some(Work {
                action: Action::Create,
                before: Saved::Absent,
                order: AccountOrder::add_user(name, wish, gid),
            }));
        };
        if found.uid != wish.uid {
            return Err(format!(
                "the user {name} is there with the uid {0}, and the document says {1}: files belong to numbers, so the agent changes none. Write {0} in the document, or change it by hand: usermod --uid {1} {name}, and chown for its files outside of its home",
                found.uid, wish.uid
            ));
        }
        if found.gid != gid {
            let has = accounts
                .group_of(found.gid)
                .unwrap_or("a group without a name");
            return Err(format!(
                "the primary group of the user {name} is {has} (gid {}), and the document says {} (gid {gid}): its files belong to the one that it has, so the agent does not change it. Write `\"group\": \"{has}\"` in the document, or change it by hand: usermod --gid {gid} {name}",
                found.gid, wish.group
            ));
        }
        let after = User {
            comment: wish
                .comment
                .clone()
                .unwrap_or_else(|| found.comment.clone()),
            home: wish.home.clone(),
            shell: wish.shell.clone(),
            groups: self.groups(wish, found),
            expires: found.expires.filter(|_| !accounts.is_expired(found)),
            password: match found.password {
                // Its own lock is taken off again; one of somebody else's stays.
                Password::Locked if found.expires == Some(LONG_AGO) => Password::Open,
                other => other,
            },
            ..found.clone()
        };
        let lacks_home = seen.missing_homes.contains(&wish.home);
        if after == *found && !lacks_home {
            return Ok(None);
        }
        Ok(Some(Work {
            action: Action::Update,
            before: Saved::User(found.clone()),
            order: AccountOrder::modify_user(name, found, after, Some(NewHome::of(wish, gid)))
                .listing(wish),
        }))
    }

    /// The groups that it will be a member of.
    fn groups(&self, wish: &AccountWish, found: &User) -> BTreeSet<String> {
        let stays = |group: &&String| !wish.exclusive && !self.formerly.contains(group);
        let stays = found.groups.iter().filter(stays).cloned();
        // Whose primary group it is needs not be listed there, and may be.
        let primary = found.groups.iter().filter(|group| **group == wish.group);
        stays
            .chain(wish.groups.iter().cloned())
            .chain(primary.cloned())
            .collect()
    }

    /// The number that a group has, or will have by the time that it is needed.
    fn gid_of(&self, group: &str, situation: &Situation<'_>) -> Result<u32, String> {
        if let Some(found) = self.seen.accounts.group(group) {
            return Ok(found.gid);
        }
        let mut wants = situation.desired.steps.iter().flat_map(|step| &step.wants);
        wants
            .find_map(|want| match (&want.thing, &want.wish) {
                (Thing::Group(name), Wish::Group { gid }) if name == group => Some(*gid),
                _ => None,
            })
            .ok_or_else(|| {
                format!(
                    "the user {} is to be in the group {group}, and there is none: add it to `groups` in the document, or install what makes it",
                    self.name
                )
            })
    }
}
