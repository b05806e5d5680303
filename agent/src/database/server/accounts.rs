//! The accounts of one server made those of another, but for the system's and ours: each server has those of its own.

use std::time::Duration;

use super::dialect::quoted;
use super::error::ServerError;
use super::session::{Session, Statement};

/// Accounts that come with the server.
const SYSTEM: [&str; 4] = ["root", "mysql", "mariadb.sys", "PUBLIC"];

#[derive(Debug)]
struct Held {
    name: String,
    host: String,
    role: bool,
}

impl Held {
    /// As statements have it.
    fn spoken(&self) -> String {
        if self.role {
            format!("'{}'", quoted(&self.name))
        } else {
            format!("'{}'@'{}'", quoted(&self.name), quoted(&self.host))
        }
    }
}

/// Makes the accounts and roles at `to`, whose statements must not be logged, those at `from`. Those of the users
/// named in `ours`, and the system's, are left as they are.
pub(super) async fn copy(
    from: &Session,
    to: &Session,
    ours: &[&str],
    patience: Duration,
) -> Result<(), ServerError> {
    for held in list(to, ours, patience).await? {
        let kind = if held.role { "ROLE" } else { "USER" };
        let drop = format!("DROP {kind} {}", held.spoken());
        to.tell(&Statement::new(drop), patience).await?;
    }
    let wanted = list(from, ours, patience).await?;
    for held in &wanted {
        let make = if held.role {
            Statement::new(format!("CREATE ROLE {}", held.spoken()))
        } else {
            let question = format!("SHOW CREATE USER {}", held.spoken());
            let rows = from.ask(&Statement::new(question), patience).await?;
            let Some(sql) = rows.first().and_then(super::Row::only) else {
                continue;
            };
            hidden(sql, held)
        };
        to.tell(&make, patience).await?;
    }
    // Last: a grant may be of a role.
    for held in &wanted {
        let question = format!("SHOW GRANTS FOR {}", held.spoken());
        let rows = from.ask(&Statement::new(question), patience).await?;
        for sql in rows.iter().filter_map(super::Row::only) {
            to.tell(&hidden(sql, held), patience).await?;
        }
    }
    Ok(())
}

/// A statement that may hold a password's digest.
fn hidden(sql: &str, held: &Held) -> Statement {
    Statement::secret(
        sql.to_owned(),
        format!("the account {} as its source has it", held.spoken()),
    )
}

async fn list(
    session: &Session,
    ours: &[&str],
    patience: Duration,
) -> Result<Vec<Held>, ServerError> {
    // Roles first: accounts may have one by default.
    let question = Statement::new(
        "SELECT User AS name, Host AS host, is_role AS role FROM mysql.user ORDER BY is_role DESC, User, Host",
    );
    let rows = session.ask(&question, patience).await?;
    let held = rows.iter().map(|row| Held {
        name: row.get("name").unwrap_or_default().to_owned(),
        host: row.get("host").unwrap_or_default().to_owned(),
        role: row.get("role") == Some("Y"),
    });
    Ok(held
        .filter(|held| !SYSTEM.contains(&held.name.as_str()) && !ours.contains(&held.name.as_str()))
        .collect())
}
