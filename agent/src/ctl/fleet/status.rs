//! `agentctl fleet status`: the fleet at a glance, on a terminal, as JSON, as a page; once or again and again.

use std::time::Duration;

use super::super::args::StatusArgs;
use super::super::failure::Failure;
use super::desk::Desk;
use super::glance::Glance;
use super::publish::write;
use crate::report::fleet_status::{FleetStatus, Selection};
use crate::report::{html, text};
use crate::system::clock;

/// Clears the screen and what was scrolled away, and begins at the top.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Shows the fleet.
pub(super) async fn status(desk: &Desk, wanted: &StatusArgs) -> Result<u8, Failure> {
    let mut glance = Glance::new(desk, wanted.direct).await?;
    let selection = Selection {
        product: wanted.product.as_ref().map(ToString::to_string),
        role: wanted.role.as_ref().map(ToString::to_string),
        zone: wanted.zone.clone(),
        ..Selection::default()
    };
    let Some(every) = wanted.watch else {
        let status = glance.look(desk).await?.only(&selection);
        show(desk, wanted, &status, false)?;
        return Ok(u8::from(status.has_problems()));
    };
    loop {
        // The screen stays as it was while the bucket is away: old news with a word on it are better than none.
        match glance.look(desk).await {
            Ok(status) => show(desk, wanted, &status.only(&selection), true)?,
            Err(failure) => {
                desk.console
                    .note(&format!("not seen at {}:", text::moment(clock::now())));
                desk.console.fail(&failure);
            }
        }
        tokio::time::sleep(every.max(Duration::from_secs(1))).await;
    }
}

fn show(
    desk: &Desk,
    wanted: &StatusArgs,
    status: &FleetStatus,
    again: bool,
) -> Result<(), Failure> {
    if let Some(file) = &wanted.html {
        write(file, &html::fleet_page(status))?;
        if !again {
            desk.console.note(&format!(
                "{} shows {}",
                file.display(),
                text::count(status.servers.len(), "server")
            ));
        }
        return Ok(());
    }
    desk.console.print(status, |paint| {
        let text = text::fleet(status, wanted.problems, paint);
        if again && paint.on {
            format!("{CLEAR}{text}")
        } else {
            text
        }
    })
}
