//! A user-level lock (`GET_LOCK`) that an open session holds on a server: the proof of life that needs no bucket.

use std::time::Duration;

use super::error::ServerError;
use super::instance::within;
use super::session::{Place, Session, Statement};
use crate::system::digest::sha256_hex;

/// The longest lock name that the servers take, in characters.
const LONGEST: usize = 64;

/// The name of a product's lock: `agentd/<product>`, or by digest where that would be too long.
pub fn lock_name(product: &str) -> String {
    let name = format!("agentd/{product}");
    if name.len() <= LONGEST {
        return name;
    }
    let digest = sha256_hex(product.as_bytes());
    name.chars()
        .take(30)
        .chain("-".chars())
        .chain(digest.chars().take(32))
        .collect()
}

/// A product's lock on one server, held or to be had. Held as long as its session lives: when we fall silent the server
/// itself ends the session, no sooner than `idle` after our last word.
#[derive(Debug)]
pub struct Lock {
    name: String,
    session: Session,
}

impl Lock {
    /// A lock on the server at `place`, not tried yet. `idle` must be the lease's time to live or more; whole seconds.
    pub fn new(place: &Place, product: &str, idle: Duration) -> Self {
        let secs = idle.as_secs() + u64::from(idle.subsec_nanos() > 0);
        Self {
            name: lock_name(product),
            session: Session::new(
                place.clone(),
                vec![format!("SET SESSION wait_timeout = {}", secs.max(1))],
            ),
        }
    }

    /// Takes it if nobody holds it, without waiting; true where it is ours now, also where it was before.
    pub async fn take(&self, deadline: Duration) -> Result<bool, ServerError> {
        self.switch(
            &format!("SELECT GET_LOCK('{}', 0) AS held", self.name),
            deadline,
        )
        .await
    }

    /// Whether it is still ours, and the session kept alive. An error is a no: the session is gone, and the lock with it,
    /// or the server could not say.
    pub async fn ping(&self, deadline: Duration) -> Result<bool, ServerError> {
        if self.session.connected() == Some(false) {
            return Ok(false);
        }
        let ours = format!(
            "SELECT IS_USED_LOCK('{}') = CONNECTION_ID() AS held",
            self.name
        );
        self.switch(&ours, deadline).await
    }

    /// For how long whoever holds it has said nothing, at least; `None`: nobody holds it. Whole seconds, rounded down.
    pub async fn silence(&self, deadline: Duration) -> Result<Option<Duration>, ServerError> {
        let question = Statement::new(format!(
            "SELECT TIME AS secs, COMMAND AS command FROM information_schema.PROCESSLIST \
             WHERE ID = IS_USED_LOCK('{}')",
            self.name
        ));
        let asked = self.session.ask(&question, deadline);
        let rows = within(deadline, self.session.name(), "its lock's holder", asked).await?;
        Ok(rows.first().map(|row| {
            // In the middle of a statement it is not silent.
            let sleeps = row.get("command") == Some("Sleep");
            let secs = row.number("secs").filter(|_| sleeps).unwrap_or(0);
            Duration::from_secs(secs)
        }))
    }

    /// Gives it back, by ending the session. Without a word to the server, for it may not answer.
    pub async fn release(&self) {
        self.session.close().await;
    }

    async fn switch(&self, sql: &str, deadline: Duration) -> Result<bool, ServerError> {
        let question = Statement::new(sql);
        let asked = self.session.ask(&question, deadline);
        let rows = within(deadline, self.session.name(), "its lock", asked).await?;
        Ok(rows
            .first()
            .and_then(|row| row.switch("held"))
            .unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_product_has_a_lock_of_its_own() {
        assert_eq!(lock_name("shop"), "agentd/shop");
        let (a, b) = (lock_name(&"x".repeat(63)), lock_name(&"x".repeat(62)));
        assert!(
            a.len() <= LONGEST && b.len() <= LONGEST && a != b,
            "{a} {b}"
        );
    }
}
