//! Restarts that wait for a person: a database that is written to is never taken away because a file changed. Pure.

use super::Placed;
use super::facts::FileFacts;
use crate::node::View;
use crate::report::{Kind, Problem, Severity};
use crate::resource::database_units::is_database_server;

/// Restarts that are due: what a database would read is younger than it.
pub(super) fn due(view: &View, placed: &[Placed<'_>], facts: &FileFacts) -> Vec<Problem> {
    let mut due = Vec::new();
    for one in placed {
        let Some(written) = facts.written.get(&one.path) else {
            continue;
        };
        for unit in one
            .file
            .file
            .restart
            .iter()
            .filter(|unit| is_database_server(unit.as_str()))
        {
            // By its own name and by the one here: databases are called alike.
            let started = facts.started.iter().find(|(name, _)| {
                name.trim_end_matches(".service") == unit.as_str().trim_end_matches(".service")
                    || facts.started.len() == 1
            });
            let Some((name, started)) = started else {
                continue;
            };
            if written <= started {
                continue;
            }
            let why = match view.masters.as_slice() {
                [] => String::new(),
                products => {
                    let products: Vec<&str> = products.iter().map(AsRef::as_ref).collect();
                    format!(
                        "; this server is the master of {} and is not restarted by itself. Hand over first (agentctl db switchover), then",
                        products.join(", ")
                    )
                }
            };
            let then = if why.is_empty() { "; " } else { " " };
            due.push(Problem {
                kind: Kind::Files,
                step: Some(one.step.clone()),
                severity: Severity::Warning,
                message: format!(
                    "a restart of {name} is due: it runs with what {} was before{why}{then}systemctl restart {name}",
                    one.path.display()
                ),
                origin: Some(one.file.origin.clone()),
            });
        }
    }
    due
}
