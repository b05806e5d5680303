//! The dead-man as an nftables set whose one element, the port, has a timeout.
//!
//! Both directions are gated, before connection tracking and so before any rule that lets established connections pass:
//! a client whose statement was under way at the deadline must not get its answer after it. Loopback is gated like the
//! rest. Clients are reset, so that they notice at once.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::{Armed, DeadMan, DeadManError, Gate, Told};
use crate::system::clock::boottime;
use crate::system::command::{self, CommandLine};
use crate::system::digest::sha256_hex;

/// How long nft may take. It takes five milliseconds.
const PATIENCE: Duration = Duration::from_millis(700);
/// What the element is given less than is left, for the time until the kernel has it: at first, and where that was not
/// enough on a busy machine, once more. It expires before the deadline, never after it.
const SLACK: [Duration; 2] = [Duration::from_millis(50), PATIENCE];
/// Where nft is.
const NFT: &str = "/usr/sbin/nft";

/// A dead-man by nftables.
#[derive(Debug)]
pub struct NftGate {
    gate: Gate,
    table: String,
    nft: PathBuf,
    /// The rules as the kernel told them when they were put in place.
    rules: Mutex<Option<Vec<Value>>>,
}

impl NftGate {
    /// A dead-man that is not in place yet.
    pub fn new(gate: Gate) -> Self {
        Self::with(gate, Path::new(NFT))
    }

    /// The same, with another nft.
    pub fn with(gate: Gate, nft: &Path) -> Self {
        Self {
            table: table_of(&gate.product),
            gate,
            nft: nft.into(),
            rules: Mutex::new(None),
        }
    }

    /// The name of its table, in the family inet.
    pub fn table(&self) -> &str {
        &self.table
    }

    async fn nft(&self, arguments: &[&str]) -> Result<String, DeadManError> {
        let program = self.nft.display().to_string();
        let words = std::iter::once(program.as_str()).chain(arguments.iter().copied());
        let line = CommandLine::new(words, PATIENCE);
        let output = command::run(&line).await.map_err(|error| match error {
            command::CommandError::Start { .. } => DeadManError::Unsupported(format!(
                "{} cannot be run; install nftables",
                self.nft.display()
            )),
            other => DeadManError::Failed(crate::system::chain(&other)),
        })?;
        if output.success {
            return Ok(output.stdout);
        }
        let said = output.said();
        Err(if said.contains("No such file or directory") {
            DeadManError::Gone {
                table: self.table.clone(),
            }
        } else if said.contains("Operation not supported") || said.contains("Protocol not") {
            DeadManError::Unsupported(format!("this kernel has no nftables: {said}"))
        } else {
            DeadManError::Failed(said)
        })
    }

    /// The rules as the kernel has them now.
    async fn list(&self) -> Result<Value, DeadManError> {
        let told = self
            .nft(&["-j", "list", "table", "inet", &self.table])
            .await?;
        serde_json::from_str(&told)
            .map_err(|error| DeadManError::Failed(format!("nft -j list: {error}")))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Vec<Value>>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the kernel hold the port open until shortly before `until`; `text` is what nft is told, with what is left.
    ///
    /// A timeout counts from when the kernel gets it, so that the time which nft takes has to be taken off, and is known
    /// only afterwards.
    async fn hold(
        &self,
        until: Duration,
        text: impl Fn(Duration) -> String,
    ) -> Result<(), DeadManError> {
        for slack in SLACK {
            let start = boottime();
            let left = until.saturating_sub(start + slack);
            // The kernel would take nothing for ever.
            if left < Duration::from_millis(1) {
                break;
            }
            self.nft(&[&text(left)]).await?;
            if boottime().saturating_sub(start) <= slack {
                return Ok(());
            }
        }
        // What an earlier try made may outlive the deadline. That there is none is fine.
        match self.close().await {
            Ok(()) | Err(DeadManError::Gone { .. }) => Err(DeadManError::Late),
            Err(error) => Err(error),
        }
    }

    fn closing(&self) -> String {
        format!("flush set inet {} open", self.table)
    }
}

impl DeadMan for NftGate {
    fn arm(&self, until: Duration) -> Told<'_, ()> {
        Box::pin(async move {
            self.hold(until, |left| ruleset(&self.gate, &self.table, left))
                .await?;
            let rules = rules(&self.list().await?);
            *self.known() = Some(rules);
            Ok(())
        })
    }

    fn feed(&self, until: Duration) -> Told<'_, ()> {
        Box::pin(async move {
            // In one transaction: no packet sees it closed in between. Adding alone would not prolong on older kernels.
            let prolong = |left: Duration| {
                format!(
                    "{}; add element inet {} open {{ {} timeout {}ms }}",
                    self.closing(),
                    self.table,
                    self.gate.port,
                    left.as_millis()
                )
            };
            self.hold(until, prolong).await
        })
    }

    fn close(&self) -> Told<'_, ()> {
        Box::pin(async move { self.nft(&[&self.closing()]).await.map(drop) })
    }

    fn disarm(&self) -> Told<'_, ()> {
        Box::pin(async move {
            *self.known() = None;
            // Added first, so that deleting what is not there is no error.
            let remove = format!("add table inet {0}; delete table inet {0}", self.table);
            self.nft(&[&remove]).await.map(drop)
        })
    }

    fn check(&self) -> Told<'_, Armed> {
        Box::pin(async move {
            let table = match self.list().await {
                Ok(table) => table,
                Err(DeadManError::Gone { .. }) => return Ok(Armed::Absent),
                Err(error) => return Err(error),
            };
            // A table without the rules, or with others before them, gates nothing that is known.
            if self.known().as_ref() != Some(&rules(&table)) {
                return Ok(Armed::Absent);
            }
            Ok(match expires(&table) {
                Some(left) => Armed::Open(left),
                None => Armed::Closed,
            })
        })
    }
}

/// A table of its own for each product, by digest: names of products may be longer than names of tables.
fn table_of(product: &str) -> String {
    let digest = sha256_hex(product.as_bytes());
    let short: String = digest.chars().take(12).collect();
    format!("agentd_{short}")
}

/// The whole table, in one transaction that replaces an earlier one. Resets may be sent: they are how clients learn.
fn ruleset(gate: &Gate, table: &str, left: Duration) -> String {
    let list = |wanted: fn(&IpAddr) -> bool| {
        let addresses = gate.peers.iter().filter(|address| wanted(address));
        let words: Vec<String> = addresses.map(ToString::to_string).collect();
        if words.is_empty() {
            String::new()
        } else {
            format!(" elements = {{ {} }};", words.join(", "))
        }
    };
    let (port, millis) = (gate.port, left.as_millis());
    let (four, six) = (list(IpAddr::is_ipv4), list(IpAddr::is_ipv6));
    format!(
        "add table inet {table}; delete table inet {table}; table inet {table} {{ \
         set open {{ type inet_service; flags timeout; elements = {{ {port} timeout {millis}ms }}; }}; \
         set peers4 {{ type ipv4_addr;{four} }}; \
         set peers6 {{ type ipv6_addr;{six} }}; \
         chain received {{ type filter hook input priority -310; policy accept; \
         ip saddr != @peers4 tcp dport {port} tcp dport != @open reject with tcp reset; \
         ip6 saddr != @peers6 tcp dport {port} tcp dport != @open reject with tcp reset; }}; \
         chain sent {{ type filter hook output priority -310; policy accept; \
         ip daddr != @peers4 tcp sport {port} tcp sport != @open tcp flags & rst == 0 drop; \
         ip6 daddr != @peers6 tcp sport {port} tcp sport != @open tcp flags & rst == 0 drop; }}; }}"
    )
}

/// The rules of a listing, in order, without the handles that the kernel gives them; chains and sets of peers too.
fn rules(table: &Value) -> Vec<Value> {
    let items = table.get("nftables").and_then(Value::as_array);
    let mut found = Vec::new();
    for item in items.into_iter().flatten() {
        for kind in ["rule", "chain", "set"] {
            let Some(mut thing) = item.get(kind).cloned() else {
                continue;
            };
            if let Some(fields) = thing.as_object_mut() {
                fields.remove("handle");
                // Its element comes and goes; those of the peers do not.
                if fields.get("name").and_then(Value::as_str) == Some("open") {
                    fields.remove("elem");
                }
            }
            found.push(thing);
        }
    }
    found
}

/// What is left to the element of the set `open`, by the kernel's own clock, rounded down to the second by nft.
fn expires(table: &Value) -> Option<Duration> {
    let items = table.get("nftables")?.as_array()?;
    let sets = items.iter().filter_map(|item| item.get("set"));
    let open = sets
        .into_iter()
        .find(|set| set.get("name").and_then(Value::as_str) == Some("open"))?;
    let element = open.get("elem")?.as_array()?.first()?.get("elem")?;
    // An element without a timeout would never expire: that is not ours.
    let left = element.get("expires")?.as_u64()?;
    Some(Duration::from_secs(left))
}
