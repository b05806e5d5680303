//! `agentctl hold`, `agentctl drain` and `agentctl undrain`: orders that stand for a while.

use std::time::Duration;

use serde::Serialize;

use super::args::{Global, OrderArgs};
use super::console::Console;
use super::failure::Failure;
use super::place;
use crate::converge::{Order, lock_runs};
use crate::report::StandingOrder;
use crate::system::clock;
use crate::system::file::Files;
use crate::system::root::Root;

/// How long a run that goes on is waited for.
const PATIENCE: Duration = Duration::from_mins(10);
/// The most characters of a reason.
const LONGEST_REASON: usize = 200;

#[derive(Serialize)]
struct Said<'a> {
    format: u32,
    order: Option<&'a StandingOrder>,
}

/// Gives a hold, or ends it.
pub fn hold(global: &Global, wanted: &OrderArgs, console: Console) -> Result<u8, Failure> {
    let root = place::root(global)?;
    if wanted.end {
        return end(Order::Hold, root, "changes go on", console);
    }
    let order = order(wanted)?;
    let files = Files::new(root.clone());
    // Afterwards nothing is changed, and nothing is in the middle of being changed.
    let waiting = |what: &str| console.progress(what);
    let lock = place::block_on(lock_runs(&root, PATIENCE, &waiting))??;
    if lock.is_none() {
        return Err(
            Failure::new("a run has been going on for 10 minutes; nothing is held")
                .hint("see what it is doing: agentctl status; then try again"),
        );
    }
    Order::Hold.give(&files, &order)?;
    say(
        &order,
        "nothing is changed on this box",
        "Databases fail over as before, and the names of their masters follow. `agentctl plan` shows what waits.",
        console,
    )
}

/// Has this box drain, or no longer.
pub fn drain(global: &Global, wanted: &OrderArgs, console: Console) -> Result<u8, Failure> {
    let root = place::root(global)?;
    if wanted.end {
        return undrain(global, console);
    }
    let order = order(wanted)?;
    Order::Drain.give(&Files::new(root.clone()), &order)?;
    say(
        &order,
        "this box drains",
        "It goes on serving. It leaves DNS where it keeps its own records there, and /run/agentd/draining is there for health pages that \
         look for it. What other servers go by is the document: to leave node lists too, publish \"state\": \"draining\".",
        console,
    )
}

/// Ends the draining that a person had ordered.
pub fn undrain(global: &Global, console: Console) -> Result<u8, Failure> {
    end(
        Order::Drain,
        place::root(global)?,
        "this box takes visitors again, unless the document says that it drains",
        console,
    )
}

fn order(wanted: &OrderArgs) -> Result<StandingOrder, Failure> {
    let since = clock::now();
    let until = since
        .checked_add(wanted.how_long.duration())
        .map_err(|error| Failure::because("no such time", error))?;
    let reason = wanted.reason.as_deref().unwrap_or_default().trim();
    if reason.is_empty() {
        return Err(Failure::new("say why: --reason TEXT"));
    }
    if reason.chars().count() > LONGEST_REASON {
        return Err(Failure::new(format!(
            "the reason is longer than {LONGEST_REASON} characters"
        )));
    }
    Ok(StandingOrder {
        format: 1,
        since,
        until,
        by: who(),
        reason: reason.to_owned(),
    })
}

/// Who types: through sudo, the account behind it.
pub(super) fn who() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    let named = named.filter_map(|name| std::env::var(name).ok());
    let plain =
        |name: &String| (1..=64).contains(&name.len()) && !name.chars().any(char::is_control);
    named
        .into_iter()
        .find(plain)
        .unwrap_or_else(|| "root".into())
}

fn say(order: &StandingOrder, what: &str, more: &str, console: Console) -> Result<u8, Failure> {
    let said = Said {
        format: 1,
        order: Some(order),
    };
    console.print(&said, |_| {
        format!("{what} {}\n{more}\n", order.line(clock::now()))
    })?;
    Ok(0)
}

fn end(order: Order, root: Root, what: &str, console: Console) -> Result<u8, Failure> {
    let files = Files::new(root);
    let was = order.standing(&files, clock::now())?;
    order.end(&files)?;
    let said = Said {
        format: 1,
        order: None,
    };
    console.print(&said, |_| match &was {
        Some(was) => format!("{what}; it was to be so {}\n", was.line(clock::now())),
        None => format!("nothing was ordered: {what}\n"),
    })?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_an_end_a_name_and_a_bounded_reason() {
        let wanted = |reason: &str| OrderArgs {
            end: false,
            how_long: "2h".parse().unwrap(),
            reason: Some(reason.into()),
        };
        let given = order(&wanted(" new disks ")).unwrap();
        assert_eq!(given.reason, "new disks");
        assert_eq!(given.until.as_second() - given.since.as_second(), 7200);
        assert!(given.stands(clock::now()) && !given.by.is_empty());
        assert!(order(&wanted(&"x".repeat(201))).is_err());
        assert!(order(&wanted("  ")).is_err());
    }
}
