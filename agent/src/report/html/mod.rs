//! Pages for a browser: what a whole fleet looks like, as a file that stands alone and as a part of the panel. No input or output.
//!
//! All text of unknown origin passes through maud, which escapes it. Colour never says anything alone: a shape and a word stand
//! beside it.

mod fleet;
mod marks;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use fleet::{balance, fleet_page, others, row, rows, summary};
pub use marks::{Zones, health, zone};

/// How all pages look.
pub const STYLE: &str = include_str!("style.css");

/// One of eight colours that a fleet is known by, after its name: a person with two panels open must see which is which.
pub fn fleet_color(fleet: &str) -> String {
    // FNV-1a: the same on every desk, and in every version.
    let hash = fleet.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("fleet-{}", hash % 8)
}

/// A page that needs nothing beside it.
pub fn alone(title: &str, fleet: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                // Ours alone, and without a character that HTML gives a meaning within a style: a test looks.
                style { (PreEscaped(STYLE)) }
            }
            body class=(fleet_color(fleet)) { (body) }
        }
    }
    .into_string()
}
