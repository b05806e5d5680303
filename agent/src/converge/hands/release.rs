//! Releases: there and whole, or to be made. What is there is switched to and away from by others, and pruned by the tidying.

use std::collections::BTreeSet;

use super::super::change::{After, Change, Inverse, When};
use super::super::ledger::{Form, digest_of};
use super::super::saved::Saved;
use super::super::situation::{Seen, Situation};
use crate::report::Action;
use crate::resource::{ProductReleases, Step, Thing, Want, Wish};
use crate::system::file::Files;

/// Whether a release is there and whole.
pub(super) fn look(files: &Files, name: &str) -> Result<Seen, String> {
    let named = name.split_once('/').and_then(|(product, version)| {
        let version = version.parse().ok()?;
        Some((product.parse().ok()?, version))
    });
    let Some((product, version)) = named else {
        return Err(format!("{name} names no release"));
    };
    let known = ProductReleases::look(files, &product, BTreeSet::new());
    match &known.unseen {
        Some(why) => Err(why.clone()),
        None => Ok(Seen::Release(known.is_ready(&version))),
    }
}

/// See [`super::difference`].
pub(super) fn difference(
    want: &Want,
    step: &Step,
    situation: &Situation<'_>,
) -> Result<Option<Change>, String> {
    let Wish::Release(wish) = &want.wish else {
        return Ok(None);
    };
    match situation.sight.get(&want.thing) {
        Some(Ok(Seen::Release(true))) => return Ok(None),
        Some(Err(error)) => return Err(error.clone()),
        Some(Ok(_)) | None => {}
    }
    Ok(Some(Change {
        thing: want.thing.clone(),
        action: Action::Install,
        when: When::Together,
        before: Saved::Absent,
        inverse: Inverse::Never("nobody is served from it before the sites are switched"),
        after: Some(After::Release(wish.clone())),
        form: Form::Release,
        drift: false,
        digest: digest_of(want, step),
        adopts: false,
        backup: false,
        diff_base: None,
        hidden: false,
        shown_as: None,
        origins: want.origins.clone(),
    }))
}

/// The name of a release in its thing.
pub(super) const fn name(thing: &Thing) -> Option<&str> {
    match thing {
        Thing::Release(name) => Some(name.as_str()),
        _ => None,
    }
}
