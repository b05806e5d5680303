//! Semi-synchronous replication on this machine's server: who waits for whose word, and who is let go.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::body::Body;
use super::seat::Member;
use crate::database::server::ServerError;

/// A master waits for so long for a replica's word: for ever.
const NO_FALLBACK: Duration = Duration::from_hours(24 * 30);

impl Body {
    /// Replication that waits, where the document wants that; elsewhere what is set up there is left alone.
    pub(super) async fn prepare_semi_sync(&self, master: bool) -> Result<(), String> {
        if !self.seat.semi_sync {
            return Ok(());
        }
        self.switch_semi_sync(self.wanted_semi_sync(master), false)
            .await
    }

    /// What semi-synchronous replication should be, as a source and as a replica.
    pub(super) fn wanted_semi_sync(&self, master: bool) -> (bool, bool) {
        let semi = self.seat.semi_sync;
        (
            semi && master && self.seat.chain.len() > 1,
            semi && !master && self.givers().any(|member| member.name == self.seat.me),
        )
    }

    /// Switches it. A replica's word counts from its next connection to the source on: where it receives, that one
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

    /// Those whose word a master may take for a candidate's: whoever is never made master must not give it.
    fn givers(&self) -> impl Iterator<Item = &Member> {
        let seat = &self.seat;
        let chain = seat.chain.iter();
        chain.filter(|member| !seat.never.contains(&member.name))
    }

    /// Frees writers that wait for a word that was lost, in the background: a heartbeat waits for nobody.
    pub(super) fn free_stranded(&self) {
        let givers: Vec<IpAddr> = self.givers().map(|member| member.address).collect();
        let (server, product, timeout) = (
            Arc::clone(&self.server),
            self.seat.product.clone(),
            self.timeout(),
        );
        tokio::spawn(async move {
            match server.free_stranded(&givers, timeout, timeout).await {
                Ok(0) => {}
                Ok(count) => tracing::warn!(
                    event = "database-writers-freed",
                    product = %product,
                    count,
                    "a replica's word was lost with its connection, and writers waited for it: their connections were ended"
                ),
                Err(error) => tracing::warn!(
                    event = "database-writers-wait",
                    product = %product,
                    error = %error,
                    "whether writers wait for a replica's word in vain could not be seen"
                ),
            }
        });
    }
}
