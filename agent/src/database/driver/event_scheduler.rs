//! The database server's event scheduler: its EVENTs run on the master, and nowhere else.

use std::sync::atomic::Ordering;

use super::local_server::LocalServer;
use crate::database::server::ServerError;

impl LocalServer {
    /// Has no event run by the clock here: that is the master's. Best effort, for it must not stand in the way of more.
    pub(super) async fn disable_events(&self) {
        self.events_enabled.store(false, Ordering::Relaxed);
        match self.server.disable_events(self.timeout()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(
                event = "database-events-disabled",
                product = %self.context.product,
                count,
                "{}: events of the server's scheduler run on the master only ({count})",
                self.context.product
            ),
            Err(error) => self.events_failed(&error),
        }
    }

    /// On the master: enables the events that ran on the one before, once; then notes which run.
    pub(super) async fn reconcile_events(&self) {
        let timeout = self.timeout();
        if !self.events_enabled.load(Ordering::Relaxed) {
            match self.server.enable_events(timeout).await {
                Ok(count) => {
                    self.events_enabled.store(true, Ordering::Relaxed);
                    if count > 0 {
                        tracing::info!(
                                    event = "database-events-enabled",
                                    product = %self.context.product,
                                    count,
                                    "{}: events of the server's scheduler that ran on the master before run here now ({count})",
                        self.context.product
                                );
                    }
                }
                Err(error) => {
                    // What the server refused it would refuse again; the others are enabled.
                    let refused = matches!(error, ServerError::Said { .. });
                    self.events_enabled.store(refused, Ordering::Relaxed);
                    return self.events_failed(&error);
                }
            }
        }
        if let Err(error) = self.server.note_events(timeout).await {
            self.events_failed(&error);
        }
    }

    fn events_failed(&self, error: &ServerError) {
        tracing::warn!(
            event = "database-events-failed",
            product = %self.context.product,
            error = %error,
            "{}: events of the server's scheduler could not be enabled, disabled or noted: {error}",
                self.context.product
        );
    }
}
