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
    /// Tables of earlier agents, for products of other names, that were found and are this one's now.
    found: Mutex<Vec<String>>,
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
            found: Mutex::default(),
        }
    }

    /// The name of its table, in the family inet.
    pub fn table(&self) -> &str {
        &self.table
    }

    async fn nft(&self, arguments: &[&str]) -> Result<String, DeadManError> {
        run(&self.nft, &self.table, arguments).await
    }

    /// What takes away the tables that were found, as nft is told it.
    fn without_found(&self) -> String {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().map(|table| removing(table)).collect()
    }

    /// Replaces whatever stands there by what `text` says, and remembers it as the kernel tells it.
    async fn replaced(&self) -> Result<(), DeadManError> {
        let rules = rules(&self.list().await?);
        *self.known() = Some(rules);
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        Ok(())
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
            let found = self.without_found();
            let text = |left| found.clone() + &ruleset(&self.gate, &self.table, Some(left));
            self.hold(until, text).await?;
            self.replaced().await
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

    fn shut(&self) -> Told<'_, ()> {
        Box::pin(async move {
            let text = self.without_found() + &ruleset(&self.gate, &self.table, None);
            self.nft(&[&text]).await?;
            self.replaced().await
        })
    }

    fn adopt(&self) -> Told<'_, bool> {
        Box::pin(async move {
            let tables = tables(&self.nft).await?;
            if tables.contains(&self.table) {
                let rules = rules(&self.list().await?);
                *self.known() = Some(rules);
            }
            let some = !tables.is_empty();
            let others = tables.into_iter().filter(|table| *table != self.table);
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = others.collect();
            Ok(some)
        })
    }

    fn disarm(&self) -> Told<'_, ()> {
        Box::pin(async move {
            *self.known() = None;
            let remove = self.without_found() + &removing(&self.table);
            self.nft(&[&remove]).await?;
            self.found
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            Ok(())
        })
    }

    fn check(&self) -> Told<'_, Armed> {
        Box::pin(async move {
            // What was found and is still there was never open by this agent's word.
            let left = !self.without_found().is_empty();
            let table = match self.list().await {
                Ok(table) => table,
                Err(DeadManError::Gone { .. }) if left => return Ok(Armed::Closed),
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

/// What the names of all tables begin with, and how many hexadecimal digits follow.
const TABLES: &str = "agentd_";
const DIGITS: usize = 12;

/// A table of its own for each product, by digest: names of products may be longer than names of tables.
fn table_of(product: &str) -> String {
    let digest = sha256_hex(product.as_bytes());
    let short: String = digest.chars().take(DIGITS).collect();
    format!("{TABLES}{short}")
}

/// Takes away a table. Added first, so that deleting what is not there is no error.
fn removing(table: &str) -> String {
    format!("add table inet {table}; delete table inet {table}; ")
}

async fn run(nft: &Path, table: &str, arguments: &[&str]) -> Result<String, DeadManError> {
    let program = nft.display().to_string();
    let words = std::iter::once(program.as_str()).chain(arguments.iter().copied());
    let line = CommandLine::new(words, PATIENCE);
    let output = command::run(&line).await.map_err(|error| match error {
        command::CommandError::Start { .. } => {
            DeadManError::Unsupported(format!("{} cannot be run; install nftables", nft.display()))
        }
        other => DeadManError::Failed(crate::system::chain(&other)),
    })?;
    if output.success {
        return Ok(output.stdout);
    }
    let said = output.said();
    Err(if said.contains("No such file or directory") {
        DeadManError::Gone {
            table: table.to_owned(),
        }
    } else if said.contains("Operation not supported") || said.contains("Protocol not") {
        DeadManError::Unsupported(format!("this kernel has no nftables: {said}"))
    } else {
        DeadManError::Failed(said)
    })
}

/// The tables of dead-men on this machine, whosesoever.
async fn tables(nft: &Path) -> Result<Vec<String>, DeadManError> {
    let told = run(nft, TABLES, &["-j", "list", "tables", "inet"]).await?;
    let told: Value = serde_json::from_str(&told)
        .map_err(|error| DeadManError::Failed(format!("nft -j list tables: {error}")))?;
    let items = told.get("nftables").and_then(Value::as_array);
    let names = items.into_iter().flatten();
    let names = names.filter_map(|item| item.get("table")?.get("name")?.as_str());
    Ok(names
        .filter(|name| is_ours(name))
        .map(str::to_owned)
        .collect())
}

fn is_ours(table: &str) -> bool {
    table.strip_prefix(TABLES).is_some_and(|digits| {
        digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// The tables of all dead-men's gates on this machine. None where there is no nft.
pub async fn left_behind() -> Result<Vec<String>, DeadManError> {
    let nft = Path::new(NFT);
    if nft.exists() {
        tables(nft).await
    } else {
        Ok(Vec::new())
    }
}

/// Takes these away. Only with a server behind them that takes no writes, or whose driver knows that it may: a gate without an owner is
/// what keeps an old master from being a second one.
pub async fn take_down(tables: &[String]) -> Result<(), DeadManError> {
    let remove: String = tables.iter().map(|table| removing(table)).collect();
    run(Path::new(NFT), TABLES, &[&remove]).await.map(drop)
}

/// The whole table, in one transaction that replaces an earlier one, open for so long; `None`: shut. Resets may be sent: they
/// are how clients learn.
fn ruleset(gate: &Gate, table: &str, left: Option<Duration>) -> String {
    let list = |wanted: fn(&IpAddr) -> bool| {
        let addresses = gate.peers.iter().filter(|address| wanted(address));
        let words: Vec<String> = addresses.map(ToString::to_string).collect();
        if words.is_empty() {
            String::new()
        } else {
            format!(" elements = {{ {} }};", words.join(", "))
        }
    };
    let port = gate.port;
    let open = left.map_or_else(String::new, |left| {
        format!(" elements = {{ {port} timeout {}ms }};", left.as_millis())
    });
    let (four, six) = (list(IpAddr::is_ipv4), list(IpAddr::is_ipv6));
    format!(
        "add table inet {table}; delete table inet {table}; table inet {table} {{ \
         set open {{ type inet_service; flags timeout;{open} }}; \
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
