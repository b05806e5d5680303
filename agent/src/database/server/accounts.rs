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
    for (account, statements) in statements(from, ours, patience).await? {
        for sql in statements {
            to.tell(&hidden(&sql, &account), patience).await?;
        }
    }
    Ok(())
}

/// The statements that make the accounts and roles at `from` anew, account by account, in an order in which they can be run.
/// Without the system's accounts and those of the users named in `ours`.
pub(in crate::database) async fn statements(
    from: &Session,
    ours: &[&str],
    patience: Duration,
) -> Result<Vec<(String, Vec<String>)>, ServerError> {
    let wanted = list(from, ours, patience).await?;
    let mut all = Vec::new();
    for account in &wanted {
        let name = account.quoted_name();
        let make = if account.role {
            Some(format!("CREATE ROLE {name}"))
        } else {
            let question = format!("SHOW CREATE USER {name}");
            let rows = from.ask(&Statement::new(question), patience).await?;
            let sql = rows.first().and_then(super::Row::only);
            sql.map(str::to_owned)
        };
        all.push((name, make.into_iter().collect()));
    }
    // Last: a grant may be of a role.
    for account in &wanted {
        let name = account.quoted_name();
        let question = format!("SHOW GRANTS FOR {name}");
        let rows = from.ask(&Statement::new(question), patience).await?;
        let grants = rows.iter().filter_map(super::Row::only).map(str::to_owned);
        all.push((name, grants.collect()));
    }
    Ok(all)
}

/// A statement that may hold a password's digest.
pub(in crate::database) fn hidden(sql: &str, account: &str) -> Statement {
    Statement::secret(
        sql.to_owned(),
        format!("the account {account} as its source has it"),
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
