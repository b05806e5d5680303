//! The accounts of one server made those of another, but for the system's and ours: each server has those of its own.

use std::time::Duration;

use super::dialect::quoted;
use super::error::ServerError;
use super::session::{Session, Statement};

/// Accounts that come with the server.
const SYSTEM: [&str; 4] = ["root", "mysql", "mariadb.sys", "PUBLIC"];

#[derive(Debug)]
struct ServerAccount {
    name: String,
    host: String,
    role: bool,
}

impl ServerAccount {
    /// As statements have it.
    fn quoted_name(&self) -> String {
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
    for account in list(to, ours, patience).await? {
        let kind = if account.role { "ROLE" } else { "USER" };
        let drop = format!("DROP {kind} {}", account.quoted_name());
        to.tell(&Statement::new(drop), patience).await?;
    }
    let wanted = list(from, ours, patience).await?;
    for account in &wanted {
        let make = if account.role {
            Statement::new(format!("CREATE ROLE {}", account.quoted_name()))
        } else {
            let question = format!("SHOW CREATE USER {}", account.quoted_name());
            let rows = from.ask(&Statement::new(question), patience).await?;
            let Some(sql) = rows.first().and_then(super::Row::only) else {
                continue;
            };
            hidden(sql, account)
        };
        to.tell(&make, patience).await?;
    }
    // Last: a grant may be of a role.
    for account in &wanted {
        let question = format!("SHOW GRANTS FOR {}", account.quoted_name());
        let rows = from.ask(&Statement::new(question), patience).await?;
        for sql in rows.iter().filter_map(super::Row::only) {
            to.tell(&hidden(sql, account), patience).await?;
        }
    }
    Ok(())
}

/// A statement that may hold a password's digest.
fn hidden(sql: &str, account: &ServerAccount) -> Statement {
    Statement::secret(
        sql.to_owned(),
        format!("the account {} as its source has it", account.quoted_name()),
    )
}

async fn list(
    session: &Session,
    ours: &[&str],
    patience: Duration,
) -> Result<Vec<ServerAccount>, ServerError> {
    // Roles first: accounts may have one by default.
    let question = Statement::new(
        "SELECT User AS name, Host AS host, is_role AS role FROM mysql.user ORDER BY is_role DESC, User, Host",
    );
    let rows = session.ask(&question, patience).await?;
    let account = rows.iter().map(|row| ServerAccount {
        name: row.get("name").unwrap_or_default().to_owned(),
        host: row.get("host").unwrap_or_default().to_owned(),
        role: row.get("role") == Some("Y"),
    });
    Ok(account
        .filter(|account| {
            !SYSTEM.contains(&account.name.as_str()) && !ours.contains(&account.name.as_str())
        })
        .collect())
}
