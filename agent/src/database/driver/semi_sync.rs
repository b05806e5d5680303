//! Semi-synchronous replication on this machine's server: which replicas' acknowledgements a commit waits for, and the
//! writers that are freed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::context::Member;
use super::local_server::LocalServer;
use crate::database::server::ServerError;

/// A master waits so long for a replica's acknowledgement: practically for ever.
const NO_FALLBACK: Duration = Duration::from_hours(24 * 30);

impl LocalServer {
    /// Replication that waits, where the document wants that; elsewhere what is set up there is left alone.
    pub(super) async fn prepare_semi_sync(&self, master: bool) -> Result<(), String> {
        if !self.context.semi_sync {
            return Ok(());
        }
        self.switch_semi_sync(self.wanted_semi_sync(master), false)
            .await
    }

    /// What semi-synchronous replication should be, as a source and as a replica.
    pub(super) fn wanted_semi_sync(&self, master: bool) -> (bool, bool) {
        let semi = self.context.semi_sync;
        (
            semi && master && self.context.chain.len() > 1,
            semi && !master
                && self
                    .acknowledgers()
                    .any(|member| member.name == self.context.me),
        )
    }

    /// Switches it. A replica's acknowledgement counts from its next connection to the source on: where it receives, that one
    /// is made anew, while what was received goes on being applied.
    pub(super) async fn switch_semi_sync(
        &self,
        (source, replica): (bool, bool),
        receives: bool,
    ) -> Result<(), String> {
        let (server, deadline) = (&self.server, self.timeout() * 3);
        let switching = async {
            server
                .semi_sync(source, replica, NO_FALLBACK, deadline)
                .await?;
            if receives {
                server.receive_anew(deadline).await?;
            }
            Ok::<_, ServerError>(())
        };
        switching
            .await
            .map_err(|error| format!("semi-synchronous replication could not be switched: {error}"))
    }

    /// The servers whose acknowledgement counts: whoever is never made master must not give one.
    fn acknowledgers(&self) -> impl Iterator<Item = &Member> {
        let context = &self.context;
        let chain = context.chain.iter();
        chain.filter(|member| !context.never.contains(&member.name))
    }

    /// Frees writers that wait for an acknowledgement that was lost, in the background: a heartbeat waits for nobody.
    pub(super) fn free_stranded(&self) {
        let acknowledgers: Vec<IpAddr> =
            self.acknowledgers().map(|member| member.address).collect();
        let (server, product, timeout) = (
            Arc::clone(&self.server),
            self.context.product.clone(),
            self.timeout(),
        );
        tokio::spawn(async move {
            match server.free_stranded(&acknowledgers, timeout, timeout).await {
                Ok(0) => {}
                Ok(count) => tracing::warn!(
                    event = "database-writers-freed",
                    product = %product,
                    count,
                    "{product}: a replica's word was lost with its connection, and {count} writers waited for it: their connections were ended"
                ),
                Err(error) => tracing::warn!(
                    event = "database-writers-wait",
                    product = %product,
                    error = %error,
                    "{product}: whether writers wait for a replica's word in vain could not be seen: {error}"
                ),
            }
        });
    }
}
