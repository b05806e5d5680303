//! What a database server has: schemas, tables, how large they are. Looked at before and after a copy, and after a restore.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::database::server::dump::{OWN_SCHEMAS, names, not_of_one_moment, ticked};
use crate::database::server::{ServerError, Session, Statement};

/// One question about all tables: of a server with a hundred thousand, many seconds.
const PATIENCE: Duration = Duration::from_mins(10);

/// What a server has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// All schemas but the server's own.
    pub schemas: BTreeSet<String>,
    /// Schemas in which there is nothing at all.
    pub empty: Vec<String>,
    /// Tables by schema and name, with what changes when they are made anew.
    pub tables: BTreeMap<(String, String), String>,
    /// Tables that cannot be copied as of one moment.
    pub unfit: Vec<String>,
    /// About how many bytes they take.
    pub bytes: u64,
}

impl Inventory {
    /// Asks the server.
    pub async fn take(session: &Session) -> Result<Self, ServerError> {
        let schemas = names(session, "SCHEMA_NAME", "SCHEMATA", "TRUE").await?;
        let tables = Statement::new(format!(
            "SELECT TABLE_SCHEMA AS place, TABLE_NAME AS name, CONCAT_WS(' ', ENGINE, CREATE_TIME) AS made, \
             COALESCE(DATA_LENGTH + INDEX_LENGTH, 0) AS bytes FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA NOT IN ({OWN_SCHEMAS}) AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')"
        ));
        let rows = session.ask(&tables, PATIENCE).await?;
        let mut inventory = Self::default();
        for row in &rows {
            let text = |column| row.get(column).unwrap_or_default().to_owned();
            inventory.bytes = inventory
                .bytes
                .saturating_add(row.number("bytes").unwrap_or(0));
            inventory
                .tables
                .insert((text("place"), text("name")), text("made"));
        }
        let used = Statement::new(format!(
            "SELECT TABLE_SCHEMA AS place FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ({OWN_SCHEMAS}) \
             UNION SELECT ROUTINE_SCHEMA FROM information_schema.ROUTINES \
             UNION SELECT EVENT_SCHEMA FROM information_schema.EVENTS"
        ));
        let used = session.ask(&used, PATIENCE).await?;
        let used: BTreeSet<&str> = used.iter().filter_map(|row| row.get("place")).collect();
        inventory.empty = (schemas.iter())
            .filter(|schema| !used.contains(schema.as_str()))
            .cloned()
            .collect();
        inventory.schemas = schemas.into_iter().collect();
        inventory.unfit = not_of_one_moment(session).await?;
        Ok(inventory)
    }

    /// The tables, by schema and name, that were changed, made or dropped since `before`.
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let all: BTreeSet<_> = self.tables.keys().chain(before.tables.keys()).collect();
        (all.into_iter())
            .filter(|key| self.tables.get(*key) != before.tables.get(*key))
            .map(|(schema, table)| format!("{schema}.{table}"))
            .collect()
    }
}

/// Whether a server's binary log has all that it applies: only then a place in it is a position.
pub async fn logs_everything(session: &Session) -> Result<bool, ServerError> {
    let question = Statement::new("SELECT @@log_bin AND @@log_slave_updates AS logs");
    let rows = session.ask(&question, PATIENCE).await?;
    Ok(rows.first().and_then(|row| row.switch("logs")) == Some(true))
}

/// How many rows a table really has.
pub async fn count_rows(session: &Session, schema: &str, table: &str) -> Result<u64, ServerError> {
    let question = format!(
        "SELECT COUNT(*) AS number FROM {}.{}",
        ticked(schema),
        ticked(table)
    );
    let rows = session.ask(&Statement::new(question), PATIENCE).await?;
    let number = rows.first().and_then(|row| row.number("number"));
    Ok(number.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tables: &[(&str, &str)]) -> Inventory {
        let entry = |(name, made): &(&str, &str)| {
            (("shop".to_owned(), (*name).to_owned()), (*made).to_owned())
        };
        Inventory {
            tables: tables.iter().map(entry).collect(),
            ..Inventory::default()
        }
    }

    #[test]
    fn tables_that_were_made_anew_dropped_or_added_have_changed() {
        let before = with(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let after = with(&[("a", "1"), ("b", "2"), ("d", "1")]);
        assert_eq!(after.changed_since(&before), ["shop.b", "shop.c", "shop.d"]);
        assert!(before.changed_since(&before).is_empty());
    }
}
