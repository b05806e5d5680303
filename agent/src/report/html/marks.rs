//! Signs that are told apart by colour, by shape and by word: zones, and how a server is.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::fleet::names::ZoneName;
use crate::report::fleet_status::{ServerHealth, ServerRow};

/// Shapes of zones. With eight colours (told apart by all kinds of eyes) beside them.
const SHAPES: [&str; 8] = ["●", "■", "▲", "◆", "★", "▼", "◐", "✚"];

/// Which zones a fleet has: each has a sign of its own, up to eight; from then on the word alone tells them apart.
#[derive(Debug, Clone, Default)]
pub struct Zones(Vec<ZoneName>);

impl Zones {
    /// Those of these servers, by name.
    pub fn of(rows: &[ServerRow]) -> Self {
        let zones: BTreeSet<&ZoneName> = rows.iter().filter_map(|row| row.zone.as_ref()).collect();
        Self(zones.into_iter().cloned().collect())
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(ZoneName::as_str)
    }
}

/// The sign of a zone and its name.
pub fn zone(zones: &Zones, zone: Option<&ZoneName>) -> Markup {
    let Some(zone) = zone else {
        return html! { span.none { "no zone" } };
    };
    let index = zones.0.binary_search(zone).unwrap_or(0) % SHAPES.len();
    let shape = SHAPES.get(index).copied().unwrap_or_default();
    html! {
        span class={ "zone zone-" (index) } { span aria-hidden="true" { (shape) } " " (zone) }
    }
}

/// How a server is: its sign and the word.
pub fn health(health: ServerHealth) -> Markup {
    let (shape, class) = match health {
        ServerHealth::Silent => ("✖", "bad"),
        ServerHealth::Unheard => ("?", "bad"),
        ServerHealth::Degraded => ("▲", "bad"),
        ServerHealth::Waiting => ("…", "bad"),
        ServerHealth::Behind => ("↓", "warn"),
        ServerHealth::NotReady => ("!", "warn"),
        ServerHealth::Following => ("↻", "good"),
        ServerHealth::Good => ("✔", "good"),
        ServerHealth::Retired => ("–", "gone"),
    };
    html! {
        span class={ "health " (class) } { span aria-hidden="true" { (shape) } " " (health.as_str()) }
    }
}
