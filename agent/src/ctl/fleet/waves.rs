//! The waves of a version that is about to be published: what is said of them before, and opening all of them at once.

use std::fmt::Write as _;

use super::super::failure::Failure;
use super::published::told;
use crate::bucket::Bucket;
use crate::converge::rollout::{self, Progress, Written};
use crate::fleet::{Document, DocumentId, Name};
use crate::node::Waves;
use crate::system::clock;

/// What is said of the rollout before a document is published: which servers take it when, and what does not wait.
pub(super) fn announced(document: &Document, is_urgent: bool) -> Option<String> {
    let waves = Waves::of(&document.fleet)?;
    if is_urgent {
        return Some("all servers take it at once: --urgent".into());
    }
    let bake = document.fleet.rollout.as_ref()?.bake;
    let mut text = String::from("it goes out in waves:");
    let mut before = 0;
    for wave in 0..waves.count() {
        let until = waves.until(wave);
        let own = until.get(before..).unwrap_or_default();
        let _ = write!(
            text,
            "\n  wave {}: {}{}",
            wave + 1,
            few(own),
            if wave == 0 {
                ", at once".to_owned()
            } else {
                format!(", when those before have stood well for {bake}")
            }
        );
        before = until.len();
    }
    text.push_str(
        "\n  at once everywhere: addresses, aliases, who is in node lists, states of servers, database chains, caches' ports",
    );
    Some(text)
}

/// Lets all waves take a version that is about to be published.
pub(super) async fn open_all(bucket: &Bucket, document: &Document) -> Result<(), Failure> {
    let Some(waves) = Waves::of(&document.fleet) else {
        return Ok(());
    };
    let by = who();
    change(bucket, &document.id, |before| {
        let mut after = before.clone();
        after.open(waves.last(), clock::now(), &by, "published as urgent");
        after.halted = None;
        Some(after)
    })
    .await
    .map(drop)
}

fn few(servers: &[Name]) -> String {
    let named: Vec<&str> = servers.iter().take(5).map(Name::as_str).collect();
    match servers.len().saturating_sub(named.len()) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Who sits here, as far as the environment says.
pub(super) fn who() -> String {
    match std::env::var("USER") {
        Ok(user) if !user.is_empty() => format!("{user} at a desk"),
        _ => "a desk".into(),
    }
}

pub(super) async fn change(
    bucket: &Bucket,
    id: &DocumentId,
    with: impl Fn(&Progress) -> Option<Progress>,
) -> Result<Written, Failure> {
    rollout::change(bucket, &id.fleet, id.version, with)
        .await
        .map_err(told)
}
